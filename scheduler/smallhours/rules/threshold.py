"""The threshold rule: a trial that has not come to a level by a certain step is stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal


class ThresholdRule:
    """Stop a trial whose best value is still worse than `limit` after `warmup` steps.

    A value equal to the limit goes on. The limit is the user's own, so no noise is granted on top
    of it; as the best value counts, one bad report after a good one stops nothing.
    """

    name = "threshold"
    version = 1
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(self, goal: Goal, limit: float, warmup: float = 5) -> None:
        self._goal = goal
        self._limit = limit
        self._warmup = int(warmup)

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take no note: a curve has all that counts."""

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | None:
        """Compare the trial's best value so far with the limit."""
        if step <= self._warmup:
            return None
        values = [value for at, value in curve.items() if at <= step and math.isfinite(value)]
        if not values:
            return None
        best = max(values) if self._goal is Goal.MAXIMIZE else min(values)
        if not self._goal.better(self._limit, best):
            return None
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={"limit": self._limit, "warmup": self._warmup},
            step=step,
            value=best,
            threshold=self._limit,
            goal=self._goal.value,
            compared=0,
            competitors=(),
        )

    def observe_noise(self, sd: float) -> None:
        """Take no note: the limit is the user's own."""

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Take no note."""
