"""The noise of a study, as far as its curves and its repeated seeds tell it."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Sequence

#: A second difference of independent values has so many times the variance of one of them.
_BEND_VARIANCE = 6.0
#: Reports from which on a scatter means anything.
LEAST_REPORTS = 4


class Noise:
    """The median scatter of the completed trials' last thirds, or what seeds change if more.

    Scatter is the standard deviation of a curve about its own trend. What another seed changes
    can't be seen in single curves, so this is the least that the noise can be. It is known from
    the first confirmations on; of few of them it may come out too small.
    """

    __slots__ = ("_between_seeds", "_scatters")

    def __init__(self) -> None:
        self._scatters: list[float] = []
        self._between_seeds = 0.0

    @property
    def level(self) -> float:
        """The noise in units of the metric; 0 while nothing told any."""
        scatter = self._scatters[len(self._scatters) // 2] if self._scatters else 0.0
        return max(scatter, self._between_seeds)

    def observe(self, sd: float) -> None:
        """Take the standard deviation of scores between seeds in the place of the one before."""
        if math.isfinite(sd):
            self._between_seeds = sd

    def add(self, values: Sequence[float]) -> None:
        """Take a completed trial's values, first to last."""
        tail = values[-max(LEAST_REPORTS, len(values) // 3) :]
        if len(tail) < LEAST_REPORTS:
            return
        bends = (bend_squared(*three) for three in zip(tail, tail[1:], tail[2:], strict=False))
        found = scatter_of(bends, len(tail) - 2)
        if math.isfinite(found):
            insort(self._scatters, found)


def pooled_sd(groups: Iterable[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, pooled; None: no group has two values."""
    squares, freedom = 0.0, 0
    for group in groups:
        if len(group) > 1:
            mean = math.fsum(group) / len(group)
            squares += math.fsum((value - mean) ** 2 for value in group)
            freedom += len(group) - 1
    return math.sqrt(squares / freedom) if freedom else None


def bend_squared(a: float, b: float, c: float) -> float:
    """Return the square of the second difference of three values: level and slope cancel in it."""
    bend = a - 2 * b + c
    return bend * bend


def scatter_of(bends_squared: Iterable[float], count: int) -> float:
    """Return the scatter of the values that so many second differences were taken of."""
    return math.sqrt(sum(bends_squared) / (_BEND_VARIANCE * count))
