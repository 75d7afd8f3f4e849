"""docs/53-wire.md and the JSON Schema say what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given

from streamgauge import codec, json_schema, schema, subjects
from streamgauge.identity.events import Event
from streamgauge.ledger import LedgerRecord
from streamgauge.schema import TrafficClass
from streamgauge.subjects import Envelope
from tests.support.rows import any_batch, batch_of
from tests.unit.test_filter import frames

PAGE = (Path(__file__).parents[3] / "docs" / "53-wire.md").read_text(encoding="utf-8")
HEADERS = Envelope("n", "b", 1, "i", "o", 1, 1, 1, 0, 0, class_sequence=1, class_packets=1).headers()
VALIDATOR = jsonschema.Draft202012Validator(
    json_schema.ndjson_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_header_is_on_the_page_and_no_other() -> None:
    """In the order in which one reads them."""
    listed = re.findall(r"^\| `([\w-]+)` \|", section("Headers"), re.MULTILINE)

    assert sorted(listed) == sorted(HEADERS)


def test_every_class_and_subject_is_on_the_page() -> None:
    """Those that a collector can publish."""
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", section("Subjects"), re.MULTILINE))))

    assert {one.token for one in TrafficClass} <= listed
    for prefix in (subjects.TRAFFIC, subjects.LEDGER, subjects.IDENTITY):
        assert f"| `{prefix}." in PAGE


def test_every_field_of_a_ledger_record_is_on_the_page() -> None:
    """As they stand in the JSON."""
    text = section("The ledger")

    assert [one.name for one in fields(LedgerRecord) if f"`{one.name}`" not in text] == []


def test_arithmetic_of_the_page() -> None:
    """The example of a gap is what the tracker says."""
    from streamgauge.consumer.gaps import Tracker

    tracker = Tracker()
    for number, packets, total in ((6, 10, 100), (10, 20, 180)):
        envelope = Envelope("n", "b", number, "i", "o", 1, packets, 1, 0, 0, class_sequence=number, class_packets=total)
        tracker.take(envelope, "dns", 0.0)
    (gap,) = tracker.due(99.0)

    assert (gap.first, gap.last, gap.packets) == (7, 9, 60)
    assert "180 - 20 - 100 = 60 packets" in PAGE


def test_the_schema_is_one() -> None:
    """And the file in docs/ is checked by tests/unit/test_reference.py."""
    jsonschema.Draft202012Validator.check_schema(json_schema.ndjson_schema())

    assert set(json_schema.ndjson_schema()["properties"]) == set(schema.NAMES)


def test_the_example_of_the_page_fits_the_schema() -> None:
    """Word for word."""
    (example,) = re.findall(r"```json\n(.*?)\n```", section("Payload: NDJSON"), re.DOTALL)

    VALIDATOR.validate(json.loads(example))


def test_the_identity_event_of_the_page_is_one() -> None:
    """Word for word what the exporter would publish."""
    (example,) = re.findall(r"```json\n(.*?)\n```", section("Identity"), re.DOTALL)

    assert Event.decode(example.encode()).encode().decode() == example


def test_real_lines_fit_the_schema() -> None:
    """Packets of every class."""
    lines = codec.encode_ndjson(batch_of(frames())).splitlines()

    assert len(lines) == len(frames())
    for line in lines:
        VALIDATOR.validate(json.loads(line))


@given(any_batch)
def test_any_line_fits_the_schema(batch: object) -> None:
    """Whatever the decoder can make."""
    for line in codec.encode_ndjson(batch).splitlines():
        VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [{"src_ip": "10.0.0"}, {"bytes": -1}, {"bytes": "60"}, {"src_mac": "02-42"}, {"dns_response": 1}, {"node": None}],
)
def test_wrong_lines_do_not_fit(change: dict[str, object]) -> None:
    """A schema that takes everything says nothing."""
    line = json.loads(codec.encode_ndjson(batch_of(frames())).splitlines()[0])
    VALIDATOR.validate({**line, "added_later": 1})
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**line, **change})
