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


def workload() -> Workload:
    """Return trials of nearly half a card each; the first that is watched fails in its first step.

    It is over before its card was looked at, and never said what it took.
    """
    trials = tuple(
        TrialSpec(
            name=f"short/{n}",
            study="short",
            arrival_s=0.0,
            steps=20,
            step_s=0.3,
            device_bytes=10 * GIB,
            believed_bytes=5 * GIB if n == 3 else 10 * GIB,
            load=Load(0.3, 0.3),
            params={"width": 64},
            fails_at=1 if n == 3 else None,
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


def test_one_that_ended_before_it_was_looked_at_is_not_taken_for_small():
    outcome = CoreRun(workload(), rules.make).go()
    assert not outcome.left
    assert outcome.spans[0].trial == "short/3"
    assert outcome.spans[0].ending == "failed"
    assert outcome.overcommits == 0
    alone_s = sum(trial.steps * trial.step_s for trial in workload().trials)
    assert outcome.makespan_s < 0.8 * alone_s
