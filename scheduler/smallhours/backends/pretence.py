"""A process that is simulated: how far it is, and what is to become of it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from smallhours.backends.workload import Script
from smallhours.core.actions import Start, Stop


@dataclass(slots=True)
class Process:
    """An attempt that lives."""

    order: Start
    script: Script
    pid: int
    jitter: random.Random
    step: int = 0
    stop: Stop | None = None
    stop_ordered_at: float = 0.0
    #: It took its memory; and its reports in this attempt.
    met: bool = False
    reports: int = 0
    #: It was forked.
    begun: bool = False
    #: It does no more steps: it hangs, or unwinds.
    quiet: bool = False
    #: Its end is certain.
    exiting: bool = False
    fault: str = ""
    cpu_s: float = 0.0

    @property
    def resident_bytes(self) -> int:
        """What it holds of the host's memory now."""
        return self.script.resident_bytes + self.step * self.script.growth_bytes
