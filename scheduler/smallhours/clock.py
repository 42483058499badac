"""The only place outside the edges where time is read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for durations, one for people."""

    def mono(self) -> float:
        """Return seconds of a clock that never jumps and stops in suspend."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def mono(self) -> float:
        """Return CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the time of day in seconds since 1970."""
        return time.time()


def boot_id() -> str:
    """Return the kernel's id of this boot; a reboot changes it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
