"""The median rule: a trial that is behind the median of its finished rivals is stopped."""

from __future__ import annotations

import math
from bisect import insort

from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal

#: Competitors on each side of the threshold that a verdict names.
_NAMED_EACH_SIDE = 3


class MedianRule:
    """Stop a trial whose best value so far is worse than the median at the same step.

    After D. Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017,
    section 3.2.2, in the form of Optuna's `MedianPruner`: the median is over the values that the
    completed trials had at exactly this step, and it is compared with the trial's best value up to
    this step. Nothing is stopped at a step up to `warmup`, nor before `startup` trials completed.

    A completed trial's values are kept sorted for each step, so that a decision costs a look-up.
    NaN never gets here: the divergence guard is asked first.
    """

    name = "median"
    version = 1

    def __init__(self, goal: Goal, warmup: float = 5, startup: float = 5) -> None:
        self._goal = goal
        self._warmup = int(warmup)
        self._startup = int(startup)
        #: For each step the completed trials' (value, trial), in rising order of value.
        self._at_step: dict[int, list[tuple[float, int]]] = {}
        self._completed = 0
        #: For each running trial: its latest step and its best value up to there.
        self._best: dict[int, tuple[int, float]] = {}

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Keep the trial's best value up to this step."""
        known = self._best.get(trial)
        if known is not None and known[0] < step:
            candidates = [known[1], curve[step]]
        else:
            # First report, or an attempt that went back to a checkpoint: values of later steps
            # will be superseded and do not count.
            candidates = [value for s, value in curve.items() if s <= step]
        best = candidates[0]
        for value in candidates[1:]:
            if math.isnan(best) or self._goal.better(value, best):
                best = value
        self._best[trial] = (step, best)

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | None:
        """Compare the trial's best value so far with the median at this step."""
        if step <= self._warmup or self._completed < self._startup:
            return None
        rivals = self._at_step.get(step, [])
        if not rivals:
            return None
        middle = len(rivals) // 2
        median = rivals[middle][0]
        if len(rivals) % 2 == 0:
            # As numpy's linear interpolation computes it, which Optuna uses: same last bit.
            lower = rivals[middle - 1][0]
            half = (median - lower) * 0.5
            median = median - half if math.isfinite(half) else median * 0.5 + lower * 0.5
        best = self._best[trial][1]
        if not self._goal.better(median, best):
            return None
        named = rivals[max(0, middle - _NAMED_EACH_SIDE) : middle + _NAMED_EACH_SIDE]
        if self._goal is Goal.MAXIMIZE:
            named = named[::-1]
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={"warmup": self._warmup, "startup": self._startup},
            step=step,
            value=best,
            threshold=median,
            goal=self._goal.value,
            compared=len(rivals),
            competitors=tuple((number, value) for value, number in named),
        )

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Let a completed trial's values count from now on."""
        self._best.pop(trial, None)
        if not completed:
            return
        self._completed += 1
        for step, value in curve.items():
            if math.isfinite(value):
                insort(self._at_step.setdefault(step, []), (value, trial))
