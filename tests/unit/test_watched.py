"""What a device shows of the trials on it."""

from __future__ import annotations

from smallhours import rules
from smallhours.core.recall import LEAST_BYTES
from smallhours.core.watched import Watched
from smallhours.packing.cards import Card
from smallhours.simulate.interference import Interference, Load
from smallhours.simulate.night import CoreRun
from smallhours.simulate.workload import StudySpec, TrialSpec, Workload

GIB = 2**30


def test_who_was_never_looked_at_may_take_any_amount():
    watched = Watched("gpu", "gpu0", None)
    assert watched.peak(None) is None
    watched.unlisted = 1
    assert watched.peak(None) is None, "the list may be older than its first report"


def test_who_is_never_listed_does_not_use_the_card():
    watched = Watched("gpu", "gpu0", None, unlisted=5)
    assert watched.peak(None) == LEAST_BYTES


def workload(step_s: float) -> Workload:
    """Return trials of half a card each, three steps long."""
    trials = tuple(
        TrialSpec(
            name=f"short/{n}",
            study="short",
            arrival_s=0.0,
            steps=3,
            step_s=step_s,
            device_bytes=10 * GIB,
            believed_bytes=None,
            load=Load(0.3, 0.3),
            params={"width": 64},
        )
        for n in range(12)
    )
    return Workload(
        cards=(Card("gpu0", 24 * GIB),),
        studies=(StudySpec(name="short"),),
        trials=trials,
        interference=Interference("mps"),
        launch_s=0.1,
        seed=1,
    )


def test_trials_that_end_between_two_looks_are_not_taken_for_small():
    for step_s in (0.2, 0.5, 0.9, 1.7):
        night = CoreRun(workload(step_s), rules.make)
        outcome = night.go()
        assert not outcome.left
        assert not outcome.overcommits, f"steps of {step_s} s"
