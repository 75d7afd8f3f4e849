"""When an object closes, and who may hold how much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.backup.memory import Memory
from services.backup.rotation import Rotation

LIMITS = Rotation(max_bytes=100, max_rows=50, max_age=10.0, max_messages=5)


def test_an_object_closes_at_the_first_limit():
    """Bytes, rows, messages and age each close it; an empty one never closes."""
    open_object = {"size": 1, "rows": 1, "messages": 1, "age": 1.0}

    assert not LIMITS.due(**open_object)
    for name, value in {"size": 100, "rows": 50, "messages": 5, "age": 10.0}.items():
        assert LIMITS.due(**open_object | {name: value})
    assert not LIMITS.due(size=0, rows=0, messages=0, age=99.0)


def test_an_object_closes_earlier_while_memory_is_short():
    """A smaller limit of bytes replaces the one set."""
    assert LIMITS.due(size=60, rows=1, messages=1, age=0.0, max_bytes=60)


def test_how_long_to_wait():
    """Until the age closes it; as long as it may be when there is nothing."""
    assert LIMITS.wait(messages=1, age=4.0) == 6.0
    assert LIMITS.wait(messages=1, age=40.0) == 0.0
    assert LIMITS.wait(messages=0, age=40.0) == 10.0


@given(st.lists(st.integers(0, 200), min_size=1, max_size=9), st.integers(10, 400))
def test_full_memory_always_empties(held, limit):
    """When all memory is used, one lane at least holds enough to close its object: the lanes never block each other."""
    memory = Memory(limit)
    for size in held:
        memory.join(lambda size=size: size)

    assert memory.held == sum(held)
    if memory.full:
        assert any(size >= memory.object_bytes(10**9) for size in held)


def test_a_busy_lane_uses_what_idle_ones_leave():
    """Up to half of the memory an object grows as large as it is set."""
    memory = Memory(100)
    for size in (49, 0, 0):
        memory.join(lambda size=size: size)

    assert memory.object_bytes(64) == 64
