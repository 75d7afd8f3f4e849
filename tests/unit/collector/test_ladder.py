"""The overload ladder climbs when something cannot follow, and comes down when it is calm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.collector.ladder import LEVELS, Ladder, Pressure

CALM = Pressure(pending=0.0, dropped=0, stalled=0)


def test_calm_stays_at_packets():
    """Nothing is merged as long as everything follows."""
    ladder = Ladder()

    assert not any(ladder.observe(second, CALM) for second in range(100))
    assert ladder.window == 0.0


def test_a_filling_queue_climbs_level_by_level():
    """Each level gets time to take effect; on the highest it stays."""
    ladder = Ladder()
    climbed = [second for second in range(60) if ladder.observe(second, Pressure(0.6, 0, 0))]

    assert climbed == [0, 5]
    assert (ladder.level, ladder.window) == (2, 10.0)


def test_losses_climb_only_while_they_grow():
    """Old losses are no reason; new ones are, whatever the queue."""
    ladder = Ladder()
    ladder.observe(0, Pressure(0.0, 1000, 10))

    assert not ladder.observe(1, Pressure(0.0, 1000, 10))
    assert ladder.observe(2, Pressure(0.0, 1001, 10))
    assert not ladder.observe(3, Pressure(0.0, 1002, 10))
    assert ladder.observe(8, Pressure(0.0, 1003, 10))


def test_a_stall_climbs_when_it_lasts():
    """A moment in which no window is free is bridged by the ring; one that lasts is an overload."""
    ladder = Ladder()
    stalls = [1, 2, 2, 3, 4, 5]

    assert [ladder.observe(second, Pressure(0.0, 0, stalled)) for second, stalled in enumerate([0, *stalls])] == [
        False, False, False, False, False, False, True,
    ]  # fmt: skip


def test_comes_down_level_by_level_when_calm():
    """Half a minute of calm leaves one level; unrest begins the half minute anew."""
    ladder = Ladder()
    ladder.observe(0, Pressure(0.9, 0, 0))
    ladder.observe(5, Pressure(0.9, 0, 0))
    ladder.observe(20, CALM)
    ladder.observe(40, Pressure(0.3, 0, 0))
    left = [second for second in range(41, 160) if ladder.observe(second, CALM)]

    assert left == [71, 101]
    assert ladder.window == 0.0


def test_never_goes_below_the_granularity_that_was_asked_for():
    """With rows by flow and second as the setting, only coarser ones are on the ladder."""
    ladder = Ladder(1.0)
    ladder.observe(0, Pressure(0.9, 0, 0))

    assert (ladder.level, ladder.window) == (1, 10.0)
    assert not [second for second in range(31, 500) if ladder.observe(second, CALM) and ladder.window < 1.0]
    assert ladder.window == 1.0


pressures = st.builds(Pressure, st.floats(0, 2), st.integers(0, 5), st.integers(0, 5))


@given(st.lists(st.tuples(st.floats(0, 60), pressures), max_size=60))
def test_whatever_comes_the_level_is_one_of_the_ladder(observations):
    """It moves one step at a time and stays on the ladder."""
    ladder, now, before = Ladder(), 0.0, 0
    for pause, pressure in observations:
        now += pause
        changed = ladder.observe(now, pressure)

        assert abs(ladder.level - before) == changed
        assert ladder.window == LEVELS[ladder.level]
        before = ladder.level
