"""The median rule: a trial that is behind the median of its finished rivals is stopped."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import ClassVar

from smallhours.core.noise import Noise
from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal
from smallhours.rules.track import Tracks

#: Competitors on each side of the threshold that a verdict names.
_NAMED_EACH_SIDE = 3


class MedianRule:
    """Stop a trial whose best value so far is worse than the median at the same step.

    After D. Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017,
    section 3.2.2, in the form of Optuna's `MedianPruner`: the median is over the values that the
    completed trials had at exactly this step, and it is compared with the trial's best value up to
    this step. Nothing is stopped at a step up to `warmup`, nor before `startup` trials completed,
    nor where the difference is within `noise` times the study's noise (0: as Optuna has it).

    Where `steps`, the length of a whole trial, is given and a completed trial ended earlier or
    later than that, its values count at the same shares of its own length: a learning rate schedule
    ends with the trial, so that equal steps of trials of different length can't be compared. A
    running trial is taken to go on to `steps`.

    A completed trial's values are kept sorted for each step, so that a decision costs a look-up.
    NaN never gets here: the divergence guard is asked first.
    """

    name = "median"
    version = 3
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self,
        goal: Goal,
        steps: int | None = None,
        warmup: float = 5,
        startup: float = 5,
        noise: float = 1.0,
    ) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._steps = steps
        self._warmup = int(warmup)
        self._startup = int(startup)
        #: For each step the completed trials' (value, trial), in rising order of value.
        self._at_step: dict[int, list[tuple[float, int]]] = {}
        self._completed = 0
        self._tracks = Tracks(goal)
        self._noise_factor = noise
        self._noise = Noise()

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Keep the trial's best value up to this step."""
        self._tracks.observe(trial, step, curve)

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
        best = self._tracks[trial].best
        noise = self._noise_factor * self._noise.level
        if not self._sign * (median - best) > noise:
            return None
        named = rivals[max(0, middle - _NAMED_EACH_SIDE) : middle + _NAMED_EACH_SIDE]
        if self._goal is Goal.MAXIMIZE:
            named = named[::-1]
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={
                "warmup": self._warmup,
                "startup": self._startup,
                "noise": self._noise_factor,
            },
            step=step,
            value=best,
            threshold=median,
            goal=self._goal.value,
            compared=len(rivals),
            competitors=tuple((number, value) for value, number in named),
            noise=noise,
        )

    def observe_noise(self, sd: float) -> None:
        """Let no difference up to this stop anything from now on."""
        self._noise.observe(sd)

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Let a completed trial's values count from now on."""
        self._tracks.drop(trial)
        if not (completed and curve):
            return
        self._completed += 1
        steps = sorted(curve)
        self._noise.add([curve[step] for step in steps])
        for step, own in self._places(steps):
            value = curve[own]
            if math.isfinite(value):
                insort(self._at_step.setdefault(step, []), (value, trial))

    def _places(self, steps: list[int]) -> Iterator[tuple[int, int]]:
        """Pair the steps at which a completed trial counts with those at which it reported."""
        length = steps[-1]
        if self._steps is None or length == self._steps:
            yield from zip(steps, steps, strict=True)
            return
        for step in range(1, self._steps + 1):
            reported = bisect_right(steps, step * length / self._steps)
            if reported:
                yield step, steps[reported - 1]
