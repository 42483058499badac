"""A virtual clock, on which whole nights pass in milliseconds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable


class Timeline:
    """A virtual clock and what is due on it; what is due at the same time comes in order."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def mono(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def wall(self) -> float:
        """Return the virtual time of day: the night begins in 1970."""
        return self._now

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have something called later."""
        assert delay_s >= 0
        self._count += 1
        heapq.heappush(self._due, (self._now + delay_s, self._count, call))

    def next_at(self) -> float:
        """Return when the next thing is due; infinity: never."""
        return self._due[0][0] if self._due else math.inf

    def step(self) -> None:
        """Go on to the next thing that is due, and call it."""
        self._now, _, call = heapq.heappop(self._due)
        call()
