"""The metrics page: what services publish through the shared wrapper is what Prometheus' reference parser reads."""

from __future__ import annotations

import threading

import pytest
from aioprometheus.formats.text import TextFormatter
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streamgauge.metrics import Metrics, label

AWKWARD = ['quote " in it', "back\\slash", "line\nfeed", "bell \x07", "\ud800", "ü→", "", " ", "a" * 500, '",x="1']


def samples(metrics):
    """Return the page as ``{(name, labels): value}``, read by the reference parser."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def test_values_set_and_added_stand_on_the_page():
    """A counter adds, a gauge is set, constant labels stand in every series."""
    metrics = Metrics({"node": "a"})
    counter, gauge = metrics.counter("things_total", "Things.", "kind"), metrics.gauge("depth", "Depth.")
    counter.add(2, "x")
    counter.add(3, "x")
    gauge.set(1.5)
    assert samples(metrics) == {
        ("streamgauge_things_total", (("kind", "x"), ("node", "a"))): 5,
        ("streamgauge_depth", (("node", "a"),)): 1.5,
    }
    assert counter.get("x") == 5
    assert gauge.get() == 1.5
    assert counter.get("never") == 0


def test_a_removed_series_is_gone_and_may_come_back():
    """``remove`` forgets a series; removing an unknown one does nothing."""
    metrics = Metrics()
    gauge = metrics.gauge("depth", "Depth.", "place")
    gauge.set(1, "a")
    gauge.set(2, "b")
    metrics.render()
    gauge.remove("a")
    gauge.remove("never")
    gauge.set(3, "c")
    assert samples(metrics) == {
        ("streamgauge_depth", (("place", "b"),)): 2,
        ("streamgauge_depth", (("place", "c"),)): 3,
    }


def test_a_wrong_number_of_labels_is_refused():
    """A call with too few or too many label values is an error in the program and says so."""
    counter = Metrics().counter("things_total", "Things.", "kind")
    with pytest.raises(TypeError, match="takes labels"):
        counter.add(1)


def test_a_histogram_counts_by_bucket():
    """``observe`` fills the buckets that bound the value, count and sum."""
    metrics = Metrics()
    metrics.histogram("wait_seconds", "Wait.", [0.1, 1.0]).observe(0.5)
    found = {(name, dict(labels).get("le")): value for (name, labels), value in samples(metrics).items()}
    assert found == {
        ("streamgauge_wait_seconds_bucket", "0.1"): 0,
        ("streamgauge_wait_seconds_bucket", "1.0"): 1,
        ("streamgauge_wait_seconds_bucket", "+Inf"): 1,
        ("streamgauge_wait_seconds_count", None): 1,
        ("streamgauge_wait_seconds_sum", None): 0.5,
    }


@pytest.mark.parametrize("value", AWKWARD)
def test_an_awkward_label_value_never_breaks_the_page(value):
    """Quotes, backslashes, line feeds, control characters and long values are escaped, replaced or cut."""
    metrics = Metrics({"constant": value})
    metrics.counter("one_total", "One.", "name").add(1, value)
    metrics.totals("many_total", "Many.", "name").publish([(value,)], [2])
    metrics.levels("levels", "Levels.", "name").publish([(value,)], [3])
    metrics.distribution("sizes", "Sizes.", [1.0], "name").publish([((value,), [1, 1], 9)])
    found = samples(metrics)
    assert {value for (name, _), value in found.items() if name == "streamgauge_one_total"} == {1}
    expected = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value[:256])
    assert {dict(labels)["name"] for _, labels in found} == {expected}


@given(st.text(max_size=40))
def test_label_values_come_back_as_they_were(value):
    """What is printable survives the page unchanged."""
    metrics = Metrics()
    metrics.counter("one_total", "One.", "name").add(1, value)
    ((_, labels),) = samples(metrics)
    assert dict(labels)["name"] == "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value)


def test_numbers_published_in_bulk_are_exact_at_any_size():
    """Totals beyond 2**53 stand on the page to the last digit."""
    metrics = Metrics()
    metrics.totals("bytes_total", "Bytes.").publish([()], [2**63 + 1])
    assert f"\nstreamgauge_bytes_total {2**63 + 1}\n".encode() in metrics.render()


def test_bulk_series_follow_their_keys():
    """Publishing replaces all series: those left out are gone; with the same generation only values change."""
    metrics = Metrics()
    totals = metrics.totals("x_total", "X.", "name")
    totals.publish([("a",), ("b",)], [1, 2], 1)
    assert len(samples(metrics)) == 2
    totals.publish([("a",), ("b",)], [3, 4], 1)
    assert sorted(samples(metrics).values()) == [3, 4]
    totals.publish([("c",)], [5], 2)
    assert samples(metrics) == {("streamgauge_x_total", (("name", "c"),)): 5}


def test_the_page_says_what_aioprometheus_own_formatter_says():
    """The fast page and the library's own mean the same, for every kind of collector."""
    metrics = Metrics({"service": "x"})
    metrics.counter("a_total", "A.", "p", "q").add(2.5, "1", "2")
    metrics.gauge("b", "B.").set(1e20)
    metrics.histogram("c_seconds", "C.", [1.0]).observe(3)
    metrics.totals("d_total", "D.", "p").publish([("x",), ("y",)], [1, 2])
    metrics.levels("e", "E.", "p").publish([("x",)], [0.25])
    metrics.distribution("f_bytes", "F.", [64, 128], "p").publish([(("x",), [1, 2, 3], 700)])
    ours = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    theirs = TextFormatter().marshall(metrics._registry).decode()
    assert ours == {family.name: family for family in text_string_to_metric_families(theirs)}
    assert len(ours) == 6


def test_what_is_aggregated_elsewhere_is_published_before_each_page():
    """``before_scrape`` functions run once a page, in order."""
    metrics, calls = Metrics(), []
    gauge = metrics.gauge("calls", "Calls.")

    def publish():
        calls.append(1)
        gauge.set(len(calls))

    metrics.before_scrape(publish)
    assert list(samples(metrics).values()) == [1]
    assert list(samples(metrics).values()) == [2]


def test_series_may_appear_while_pages_are_made():
    """A page is made in a thread while the service goes on adding series; every page is whole."""
    metrics, finished = Metrics(), threading.Event()
    counter = metrics.counter("things_total", "Things.", "kind")

    def add():
        for number in range(20_000):
            counter.add(1, number % 5_000)
        finished.set()

    worker = threading.Thread(target=add)
    worker.start()
    while not finished.is_set():
        samples(metrics)
    worker.join()
    assert sum(samples(metrics).values()) == 20_000


def test_a_short_plain_label_is_left_as_it_is():
    """The common case costs nothing and changes nothing."""
    assert label("eth0") == "eth0"
    assert label(7) == "7"
