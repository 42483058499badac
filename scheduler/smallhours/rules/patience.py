"""Patience: a trial that has stopped getting better, and is behind, is stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from smallhours.core.noise import Noise
from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal
from smallhours.rules.track import Tracks


class PatienceRule:
    """Stop a trial on a plateau that lies below what a completed trial ended with.

    A trial is on a plateau when its best value has not risen by more than `min_delta` for `steps`
    steps. That alone says nothing about the trials it competes with, and would stop the best of
    them where it levels out. So its best value must also be worse than the best last value of the
    completed trials, by more than the study's noise.
    """

    name = "patience"
    version = 2
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self, goal: Goal, steps: float = 10, min_delta: float = 0.0, warmup: float = 5
    ) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._steps = int(steps)
        self._min_delta = min_delta
        self._warmup = int(warmup)
        self._tracks = Tracks(goal, min_delta)
        self._noise = Noise()
        #: The best of the completed trials, and its last value.
        self._best: tuple[int, float] | None = None

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Keep the trial's best value, and when it last got better."""
        self._tracks.observe(trial, step, curve)

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | None:
        """Stop the trial if it has been on a plateau for long enough, and that is too low."""
        track = self._tracks[trial]
        still = step - track.gained_at
        if step <= self._warmup or still < self._steps or self._best is None:
            return None
        rival, threshold = self._best
        noise = self._noise.level
        if self._sign * (threshold - track.best) <= noise:
            return None
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={
                "steps": self._steps,
                "min_delta": self._min_delta,
                "warmup": self._warmup,
            },
            step=step,
            value=track.best,
            threshold=threshold,
            goal=self._goal.value,
            compared=1,
            competitors=((rival, threshold),),
            noise=noise,
            measures={"steps without a gain": still},
        )

    def observe_noise(self, sd: float) -> None:
        """Let no difference up to this stop anything from now on."""
        self._noise.observe(sd)

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Let a completed trial's last value count from now on."""
        self._tracks.drop(trial)
        if not (completed and curve):
            return
        values = [curve[step] for step in sorted(curve)]
        self._noise.add(values)
        last = values[-1]
        if math.isfinite(last) and (self._best is None or self._goal.better(last, self._best[1])):
            self._best = (trial, last)
