"""A clock that stands still until it is moved."""

from __future__ import annotations


class ManualClock:
    """Both clocks; wall time is a fixed way ahead of the monotonic one."""

    AHEAD_S = 1_700_000_000.0

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def mono(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.AHEAD_S
