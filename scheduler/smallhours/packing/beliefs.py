"""Numbers that are not known exactly, and how their errors go together (a Kalman filter).

What a trial's steps took may be put down to its own pace or to the weight of what is beside it.
Which of them it was shows later, when one of both is seen without the other: that is why errors are
kept with their covariances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: What is farther from what was expected than so many standard deviations counts as this far.
_FARTHEST: Final = 3.0


@dataclass(slots=True, eq=False)
class Belief:
    """A number, as far as it is known."""

    mean: float
    #: Standard deviation.
    sd: float
    #: It never counts as better known than this.
    least_sd: float = 0.0


@dataclass(slots=True)
class Beliefs:
    """Numbers whose errors may go together."""

    _all: list[Belief] = field(default_factory=list)
    _covariance: list[list[float]] = field(default_factory=list)

    def __contains__(self, belief: Belief) -> bool:
        return belief in self._all

    def add(self, belief: Belief) -> None:
        """Take in a number whose error has nothing to do with those of the others."""
        for row in self._covariance:
            row.append(0.0)
        self._all.append(belief)
        self._covariance.append([0.0] * len(self._all))
        self._covariance[-1][-1] = belief.sd**2

    def drop(self, belief: Belief) -> None:
        """Let go of a number; of the others stays known what it taught."""
        at = self._all.index(belief)
        del self._all[at], self._covariance[at]
        for row in self._covariance:
            del row[at]

    def learn(self, slopes: Mapping[Belief, float], unexpected: float, variance: float) -> None:
        """Correct the numbers by what was seen.

        Args:
            slopes: By how much what is seen rises with each number that it depends on.
            unexpected: What was seen less what was expected.
            variance: Of what is seen where all numbers are known.
        """
        parts = [(self._all.index(belief), slope) for belief, slope in slopes.items()]
        shared = [sum(row[at] * slope for at, slope in parts) for row in self._covariance]
        variance += sum(shared[at] * slope for at, slope in parts)
        most = _FARTHEST * math.sqrt(variance)
        unexpected = max(-most, min(most, unexpected))
        for at, (belief, part, row) in enumerate(
            zip(self._all, shared, self._covariance, strict=True)
        ):
            if part == 0.0:
                continue
            gain = part / variance
            belief.mean += gain * unexpected
            for other, with_other in enumerate(shared):
                row[other] -= gain * with_other
            row[at] = max(row[at], belief.least_sd**2, 1e-12)
            belief.sd = math.sqrt(row[at])
