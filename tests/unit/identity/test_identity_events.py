"""Identity events on the wire and at rest."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest

from streamgauge.errors import PayloadError
from streamgauge.identity import bindings, events
from streamgauge.identity.events import Binding, Event

POD = Binding("10.0.0.7", "pod", "uid-1", "shop", "web-6d5f-x2x9z", "web", "Deployment", "node-a", False, 10)


def stored(*told: Event) -> pa.Table:
    rows = [row for number, event in enumerate(told) for row in event.rows(1000 + number)]
    return pa.Table.from_pylist(rows, schema=events.STORED_SCHEMA)


def other(**values) -> Binding:
    return Binding(**{**{name: getattr(POD, name) for name in Binding.__slots__}, **values})


def test_an_event_is_read_as_it_was_written() -> None:
    """All fields come back; a field that a newer sender added is left out."""
    event = Event("home", 12, (POD, other(uid="uid-2", valid_to=11)), 12, 2)
    payload = orjson.loads(event.encode())
    payload["bindings"][0]["zone"] = "new"

    assert event == Event.decode(event.encode()) == Event.decode(orjson.dumps(payload))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"cluster": ""},
        {"bindings": []},
        {"bindings": ["pod"]},
        {"time": -1},
        {"time": True},
        {"snapshot": "now"},
        {"bindings": [{"ip": "10.0.0.7"}]},
    ],
)
def test_what_is_no_event_is_refused(change) -> None:
    """It goes into quarantine instead of into the table."""
    with pytest.raises(PayloadError):
        Event.decode(orjson.dumps({**orjson.loads(Event("home", 12, (POD,)).encode()), **change}))


@pytest.mark.parametrize(
    "change",
    [{"ip": "10.0.0.300"}, {"ip": 7}, {"object": "job"}, {"name": None}, {"host_network": 1}, {"valid_to": 1 << 63}],
)
def test_a_binding_with_a_wrong_field_is_refused(change) -> None:
    """One bad binding makes the message unreadable: half an event would be a lie."""
    values = orjson.loads(Event("home", 12, (POD,)).encode())
    values["bindings"][0] |= change

    with pytest.raises(PayloadError):
        Event.decode(orjson.dumps(values))


def test_an_address_has_one_spelling() -> None:
    """Two spellings of one address are one binding."""
    values = orjson.loads(Event("home", 12, (other(ip="2001:DB8:0::1"),)).encode())

    assert Event.decode(orjson.dumps(values)).bindings[0].ip == "2001:db8::1"


def test_many_bindings_are_several_messages() -> None:
    """A snapshot of a large cluster says in each part how many bindings it has."""
    many = [other(uid=f"uid-{number}") for number in range(events.MESSAGE_BINDINGS * 2 + 1)]
    parts = list(events.snapshot("home", 5, many))

    assert [len(part.bindings) for part in parts] == [500, 500, 1]
    assert {(part.snapshot, part.snapshot_size) for part in parts} == {(5, 1001)}
    assert many == [binding for part in parts for binding in part.bindings]
    assert [part.snapshot for part in events.changes("home", 5, many)] == [None, None, None]


def test_the_last_row_of_a_binding_counts() -> None:
    """Began, told again by a snapshot, ended: one line."""
    ended = other(valid_to=40)
    folded = bindings.fold(
        stored(Event("home", 11, (POD,)), Event("home", 20, (POD,), 20, 1), Event("home", 41, (ended,)))
    )

    assert [ended] == bindings.to_list(folded)
    assert folded["cluster"].to_pylist() == ["home"]
    assert folded.schema == bindings.BINDINGS_SCHEMA


def test_a_complete_snapshot_ends_what_it_does_not_have() -> None:
    """A pod that went unwatched is ended by the next full list; not by part of one, nor by another cluster's."""
    new = other(uid="uid-2", ip="10.0.0.8", valid_from=25)
    before = Event("home", 11, (POD,))
    whole, part, foreign = (
        Event("home", 30, (new,), 30, 1),
        Event("home", 30, (new,), 30, 2),
        Event("far", 30, (new,), 30, 1),
    )

    assert [other(valid_to=30), new] == bindings.to_list(bindings.fold(stored(before, whole)))
    assert [POD, new] == bindings.to_list(bindings.fold(stored(before, part)))
    assert [POD, new] == bindings.to_list(bindings.fold(stored(before, foreign)))


def test_what_began_behind_a_snapshot_holds() -> None:
    """A snapshot only speaks for what was known when it was taken."""
    new = other(uid="uid-2", ip="10.0.0.8", valid_from=35)
    folded = bindings.fold(
        stored(Event("home", 30, (POD,), 30, 1), Event("home", 36, (new,)), Event("home", 50, (new,), 50, 1))
    )

    assert [other(valid_to=50), new] == bindings.to_list(folded)


def test_rows_in_any_order_fold_alike() -> None:
    """Objects are put together in any order; the order of the stream decides."""
    table = stored(Event("home", 11, (POD,)), Event("home", 41, (other(valid_to=40),)))

    assert bindings.fold(table) == bindings.fold(table.take(pa.array([1, 0])))
    assert len(bindings.fold(events.STORED_SCHEMA.empty_table())) == 0


def test_a_list_becomes_the_same_table() -> None:
    """What is watched and what is stored are read alike."""
    folded = bindings.fold(stored(Event("home", 11, (POD, other(uid="uid-2", valid_to=12)))))

    assert folded == bindings.to_table(bindings.to_list(folded), "home")
