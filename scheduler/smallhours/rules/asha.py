"""ASHA, asynchronous successive halving: at each rung only the best share of trials goes on."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from operator import itemgetter
from typing import ClassVar, TypeAlias

from smallhours.core.reasons import RungCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal

#: Competitors on each side of the cutoff that a verdict names.
_NAMED_EACH_SIDE = 3
#: What trials had at a rung: (merit, trial), worst first. A higher merit is better.
_Field: TypeAlias = list[tuple[float, int]]
_merit_of = itemgetter(0)


class AshaRule:
    """Stop a trial that is not among the best 1/`eta` of those that came to the same rung.

    After L. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, in the
    form that never waits: a trial is judged when it comes to a rung, by what is known then, and is
    stopped or goes on at once. The rungs are at steps `grace`, `grace * eta`, `grace * eta**2` ...
    A trial comes to a rung with its first report at or after it, and is judged there once; its last
    step is never a stop. What it had then counts at the rung for good, however the trial ends.

    The cutoff is made in one of two ways:

    * as Ray Tune's `AsyncHyperBandScheduler` (one bracket) makes it: the value that divides the
      best 1/`eta` from the others of those that came before, interpolated between its neighbours.
      A report that passes several rungs at once counts at the highest.
    * `ranked`, as Optuna's `SuccessiveHalvingPruner` makes it: the trial must be among the best
      `n // eta` (at least 1) of all `n` that came so far, itself included. A report that passes
      several rungs at once must do so at each, the lowest first.

    A value equal to the cutoff goes on. Where a later attempt goes back to a checkpoint and comes
    to the same rung again, its value stands in for the earlier one, and it isn't judged again:
    an interruption must not cost a trial its life. NaN and infinity count nowhere: the divergence
    guard ends such a trial.

    The values of a rung are kept sorted, so that judging costs a few look-ups.
    """

    name = "asha"
    version = 1
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self, goal: Goal, steps: int, eta: float = 3, grace: float = 3, ranked: float = 0
    ) -> None:
        self._goal = goal
        self._steps = steps
        self._eta = int(eta)
        self._ranked = bool(ranked)
        #: Turns a value into its merit, and back.
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._rungs: list[_Rung] = []
        at = int(grace)
        while at <= steps:
            self._rungs.append(_Rung(len(self._rungs) + 1, at))
            at *= self._eta
        #: The verdict at the latest report of each trial that is behind.
        self._cuts: dict[int, RungCut] = {}

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Judge the trial if it has come to a rung, and let its value count there."""
        self._cuts.pop(trial, None)
        value = curve[step]
        if not math.isfinite(value):
            return
        for rung in self._reached(step):
            counted = rung.counted.get(trial)
            if counted is not None:
                if step <= counted[0]:
                    rung.put(trial, step, self._sign * value)
                continue
            cut = self._judge(rung, step, value)
            rung.put(trial, step, self._sign * value)
            if cut is not None:
                self._cuts[trial] = cut
                break

    def decide(self, trial: int, step: int, curve: Curve) -> RungCut | None:
        """Return the verdict on the trial's latest report, unless that is its last step."""
        cut = self._cuts.get(trial)
        return cut if cut is not None and cut.step == step < self._steps else None

    def observe_noise(self, sd: float) -> None:
        """Take no note: ranks decide, whatever lies between them."""

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Forget the verdict; the trial's values go on counting."""
        self._cuts.pop(trial, None)

    def _reached(self, step: int) -> list[_Rung]:
        """Return the rungs at which a report at this step may count, the lowest first."""
        passed = bisect_right(self._rungs, step, key=_step_of)
        return self._rungs[0 if self._ranked else max(0, passed - 1) : passed]

    def _judge(self, rung: _Rung, step: int, value: float) -> RungCut | None:
        """Compare a newcomer with those that came to the rung before it."""
        rivals = rung.rivals
        if not rivals:
            return None
        merit = self._sign * value
        cutoff, above = (_nth_best if self._ranked else _quantile)(rivals, self._eta)
        if merit >= cutoff:
            return None
        named = rivals[max(0, above - _NAMED_EACH_SIDE) : above + _NAMED_EACH_SIDE]
        return RungCut(
            rule=self.name,
            version=self.version,
            step=step,
            rung=rung.number,
            value=value,
            cutoff=self._sign * cutoff,
            goal=self._goal.value,
            rank=len(rivals) - bisect_right(rivals, merit, key=_merit_of) + 1,
            of=len(rivals) + 1,
            competitors=tuple((number, self._sign * of) for of, number in reversed(named)),
        )


class _Rung:
    """What trials had when they came to one rung."""

    __slots__ = ("counted", "number", "rivals", "step")

    def __init__(self, number: int, step: int) -> None:
        self.number = number
        self.step = step
        #: For each trial the step of the report that counts, and its merit.
        self.counted: dict[int, tuple[int, float]] = {}
        self.rivals: _Field = []

    def put(self, trial: int, step: int, merit: float) -> None:
        """Let a trial's value count, in the place of the one it had here."""
        before = self.counted.get(trial)
        if before is not None:
            del self.rivals[bisect_left(self.rivals, (before[1], trial))]
        self.counted[trial] = (step, merit)
        insort(self.rivals, (merit, trial))


def _step_of(rung: _Rung) -> int:
    return rung.step


def _quantile(rivals: _Field, eta: int) -> tuple[float, int]:
    """Return the merit that divides the best 1/eta from the others, and the first place above it.

    The arithmetic is that of numpy's linear interpolation, which Ray Tune uses: same last bit.
    """
    place = (len(rivals) - 1) * ((1 - 1 / eta) * 100 / 100)
    below, above = math.floor(place), math.ceil(place)
    low, high = rivals[below][0], rivals[above][0]
    share, gap = place - below, high - low
    if not math.isfinite(gap):
        return low * (1 - share) + high * share, above
    return high - gap * (1 - share) if share >= 0.5 else low + gap * share, above


def _nth_best(rivals: _Field, eta: int) -> tuple[float, int]:
    """Return the merit of the last place that goes on once the newcomer is in, and that place."""
    place = len(rivals) - max(1, (len(rivals) + 1) // eta)
    return rivals[place][0], place
