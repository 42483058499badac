"""Numbers that are not known exactly, and how their errors go together (a Kalman filter).

What a trial's steps took may be put down to its own pace or to the weight of what is beside it.
Which of them it was shows later, when one of both is seen without the other: that is why errors are
kept with their covariances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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

    def add(self, belief: Belief, parts: Mapping[Belief, float] | None = None) -> None:
        """Take in a number.

        Args:
            belief: The number, or what it has besides its parts.
            parts: What it is a sum of, each so many times; None: nothing else.
        """
        shared = self._shared(parts or {})
        variance = belief.sd**2
        for other, times in (parts or {}).items():
            belief.mean += other.mean * times
            variance += shared[self._all.index(other)] * times
        for row, covariance in zip(self._covariance, shared, strict=True):
            row.append(covariance)
        self._all.append(belief)
        self._covariance.append([*shared, variance])
        belief.sd = math.sqrt(variance)

    def restore(
        self, means: Sequence[float], covariance: Sequence[Sequence[float]]
    ) -> list[Belief]:
        """Take in numbers that were known before, and how their errors go together."""
        first = len(self._all)
        for at, mean in enumerate(means):
            self.add(Belief(mean, math.sqrt(covariance[at][at])))
        for at, given in enumerate(covariance):
            self._covariance[first + at][first:] = given
        return self._all[first:]

    def covariance(self, beliefs: Sequence[Belief]) -> list[list[float]]:
        """Return how the errors of numbers go together."""
        places = [self._all.index(belief) for belief in beliefs]
        return [[self._covariance[at][other] for other in places] for at in places]

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
        shared = self._shared(slopes)
        variance += sum(shared[self._all.index(b)] * slope for b, slope in slopes.items())
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

    def _shared(self, parts: Mapping[Belief, float]) -> list[float]:
        """Return the covariance of each number with a sum of some."""
        places = [(self._all.index(belief), times) for belief, times in parts.items()]
        return [sum(row[at] * times for at, times in places) for row in self._covariance]
