"""What is known of studies: memory, compute, pace. It is asked before a trial runs, and told after.

What was learned is plain data that another session begins with.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

from smallhours.packing.cards import Runner, Wish
from smallhours.packing.footprint import Bound, Footprint, Measured
from smallhours.packing.load import Alone, Demand, Load, Loads, Sharing, slowdowns
from smallhours.packing.regression import Observation, Params, Regression

#: Error (log) of the pace of a study's first trial, before it is timed.
_PACE_UNKNOWN_SD: Final = 3.0
#: Steps of one configuration differ by this share from trial to trial, until they say better.
_PACE_NOISE: Final = 0.1
_PACE_CERTAINTY: Final = 2.0


@dataclass(slots=True)
class Learned:
    """What outlives a session."""

    measured: dict[str, list[Measured]] = field(default_factory=dict)
    #: Logarithms of the seconds that a step takes alone.
    paces: dict[str, list[Observation]] = field(default_factory=dict)
    #: Those of them that were timed alone.
    anchors: dict[str, list[Observation]] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    #: By card: its cap (None: none yet), and the compute that was seen to do no harm.
    caps: dict[str, tuple[float | None, float]] = field(default_factory=dict)


class Knowledge:
    """What is known of all studies."""

    def __init__(self, sharing: Sharing, learned: Learned | None = None) -> None:
        learned = learned or Learned()
        self.loads = Loads(sharing, learned.loads)
        self.footprints = {name: Footprint(list(m)) for name, m in learned.measured.items()}
        self._paces: dict[str, Regression] = {}
        for study, seen in learned.paces.items():
            for params, value in seen:
                self._pace_of(study).observe(params, value)
        #: Paces of trials that were timed alone.
        self._anchors = {study: list(seen) for study, seen in learned.anchors.items()}
        #: What was predicted of trials, and from how many observations.
        self._bounds: dict[str, tuple[int, Bound | None]] = {}
        self._lengths: dict[str, tuple[int, float | None]] = {}

    def learned(self) -> Learned:
        """Return what outlives the session."""
        return Learned(
            {name: list(footprint.measured) for name, footprint in self.footprints.items()},
            {name: list(pace.seen) for name, pace in self._paces.items() if pace.seen},
            {name: list(seen) for name, seen in self._anchors.items()},
            self.loads.known,
        )

    def bound(self, wish: Wish) -> Bound | None:
        """Return what a trial is predicted to take; None: nothing of its study was measured."""
        footprint = self.footprints.get(wish.study)
        if footprint is None:
            return None
        known = self._bounds.get(wish.key)
        if known is None or known[0] != len(footprint.measured):
            bound = footprint.bound(wish.params, wish.believed_bytes)
            known = self._bounds[wish.key] = len(footprint.measured), bound
        return known[1]

    def demand(self, wish: Wish) -> Demand:
        """Return what a trial asks of a card's compute, as far as is known."""
        return self.loads.demand(wish.study)

    def kind(self, wish: Wish) -> Hashable:
        """Return what its demand and its progress beside others depend on."""
        return wish.study

    def slowdowns(self, wishes: Sequence[Wish]) -> list[float]:
        """Return by what factor trials beside each other should be slower than alone."""
        return slowdowns([self.demand(wish) for wish in wishes])

    def progress(self, wishes: Sequence[Wish], doubt: float) -> float:
        """Return the progress of trials beside each other.

        Args:
            wishes: The trials.
            doubt: What they ask for is taken for higher by so many of its errors.
        """
        demands = [self.loads.demand(wish.study, doubt) for wish in wishes]
        return sum(1.0 / slow for slow in slowdowns(demands))

    def expected_s(self, wish: Wish) -> float | None:
        """Return the seconds that a trial would take alone; None: nothing is known of its study."""
        model = self._pace_of(wish.study)
        known = self._lengths.get(wish.key)
        if known is None or known[0] != len(model.seen):
            predicted = model.predict(wish.params)
            step_s = None if predicted is None else math.exp(predicted.mean)
            known = self._lengths[wish.key] = len(model.seen), step_s
        return None if known[1] is None else wish.steps_left * known[1]

    def known(self, study: str) -> bool:
        """Whether a trial of the study was watched."""
        return self.loads.watched(study) and study in self.footprints

    def forget(self, runner: Runner) -> None:
        """Drop what was predicted of a trial that is off its card."""
        self._bounds.pop(runner.wish.key, None)
        self._lengths.pop(runner.wish.key, None)
        if runner.alone is not None:
            self.loads.forget(runner.alone)

    def measure(self, study: str, params: Params, peak_bytes: int) -> None:
        """Take in a peak that was measured without a prediction."""
        self.footprints.setdefault(study, Footprint()).measure(params, peak_bytes)

    def measured(self, runner: Runner) -> None:
        """Take in the peak of a trial that runs, or ran."""
        wish = runner.wish
        assert runner.peak_bytes is not None
        footprint = self.footprints.setdefault(wish.study, Footprint())
        footprint.measure(wish.params, runner.peak_bytes, runner.bound, wish.believed_bytes)

    def timed(self, there: Sequence[Runner], runner: Runner, step_s: float, error: float) -> None:
        """Learn from how long a trial's steps take beside what is there.

        Args:
            there: All that was on the card meanwhile.
            runner: The trial.
            step_s: Seconds a step, as on a card of speed 1.
            error: Standard error of that, relative.
        """
        log_s, wish = math.log(step_s), runner.wish
        first = runner.alone is None
        if runner.alone is None:
            runner.alone = self._alone(wish, log_s)
        studies = [other.wish.study for other in there]
        self.loads.learn(studies, [*there].index(runner), runner.alone, log_s, error)
        seen = Observation(dict(wish.params), runner.alone.mean)
        if first:
            self._pace_of(wish.study).observe(*seen)
        if len(there) == 1 and not runner.anchored:
            runner.anchored = True
            self._anchors.setdefault(wish.study, []).append(seen)

    def _alone(self, wish: Wish, log_s: float) -> Alone:
        """Return what is believed of a trial's pace before it was timed itself."""
        model = self._pace_of(wish.study)
        predicted = model.predict(wish.params)
        if predicted is None:
            return Alone(log_s, _PACE_UNKNOWN_SD)
        # Most paces were told from those beside others. Those that were timed alone set the level,
        # or all would come to agree on a wrong one.
        off = []
        for params, value in self._anchors.get(wish.study, ()):
            known = model.predict(params)
            off.append(0.0 if known is None else value - known.mean)
        level = sum(off) / len(off) if off else 0.0
        return Alone(predicted.mean + level, predicted.scale)

    def _pace_of(self, study: str) -> Regression:
        return self._paces.setdefault(study, Regression(_PACE_NOISE, _PACE_CERTAINTY))
