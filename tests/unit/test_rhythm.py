from __future__ import annotations

import pytest

from smallhours_tui.rhythm import TICK_S, Rhythm


def looks(rhythm: Rhythm, seconds: float, *, focused: bool, begin: float = 0.0) -> int:
    """Return how many looks are taken in a while."""
    ticks = range(1, round(seconds / TICK_S) + 1)
    return sum(rhythm.due(begin + tick * TICK_S, focused=focused) for tick in ticks)


@pytest.mark.parametrize(("focused", "expected"), [(True, 60), (False, 15)])
def test_a_window_without_the_focus_is_looked_at_less_often(focused: bool, expected: int) -> None:
    assert looks(Rhythm(0.0), 60.0, focused=focused) == expected


def test_somebody_who_presses_keys_sees_more() -> None:
    rhythm = Rhythm(0.0)
    rhythm.touched_at = 10.0
    assert looks(rhythm, 2.0, focused=True, begin=10.0) == 4
    assert looks(rhythm, 60.0, focused=True, begin=20.0) == 60, "and less once they are gone"


def test_what_is_sure_to_be_new_is_not_waited_for() -> None:
    rhythm = Rhythm(0.0)
    assert not rhythm.due(0.1, focused=False)
    rhythm.hurry()
    assert rhythm.due(0.2, focused=False)
    assert not rhythm.due(0.3, focused=False)
