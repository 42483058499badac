"""Slots of the simulated backend: they come up one after another, and stay."""

from __future__ import annotations

from smallhours.backends.timeline import Timeline
from smallhours.backends.warm import WarmSlots
from smallhours.core.trial import AttemptKey


def key(trial: int) -> AttemptKey:
    return AttemptKey(1, trial, 1)


def begun(slots: WarmSlots, *trials: int) -> dict[int, float]:
    """Let attempts take slots; return when each begins, as it does."""
    found: dict[int, float] = {}

    def begin(trial: int) -> None:
        found[trial] = slots.timeline.mono()

    for trial in trials:
        slots.take(key(trial), lambda trial=trial: begin(trial))
    return found


def run(timeline: Timeline) -> None:
    while timeline.next_at() < float("inf"):
        timeline.step()


def test_cold_slots_come_up_so_many_at_a_time():
    timeline = Timeline()
    found = begun(WarmSlots(timeline, 2.0, cores=2.0), 1, 2, 3)
    run(timeline)
    assert found == {1: 2.0, 2: 2.0, 3: 4.0}


def test_a_slot_that_is_freed_goes_to_the_one_that_waits_longest():
    timeline = Timeline()
    slots = WarmSlots(timeline, 2.0)
    found = begun(slots, 1, 2, 3)
    timeline.after(3.0, lambda: slots.give(key(1)))
    run(timeline)
    # The second slot, which was on its way for 2, is there for 3.
    assert found == {1: 2.0, 2: 3.0, 3: 4.0}


def test_one_that_waits_no_more_takes_none():
    timeline = Timeline()
    slots = WarmSlots(timeline, 2.0)
    found = begun(slots, 1, 2)
    slots.give(key(1))
    run(timeline)
    assert found == {2: 2.0}


def test_without_coming_up_all_begin_at_once():
    assert begun(WarmSlots(Timeline()), 1, 2) == {1: 0.0, 2: 0.0}
