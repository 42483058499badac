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
    #: When it first reported, and at what step.
    first_at: float = 0.0
    first_step: int = 0
    #: It was forked.
    begun: bool = False
    #: It does no more steps: it hangs, or unwinds.
    quiet: bool = False
    #: Its end is certain.
    exiting: bool = False
    fault: str = ""
    cpu_s: float = 0.0

    def reported(self, at: float) -> None:
        """Take note of a report."""
        self.reports += 1
        if self.reports == 1:
            self.first_at, self.first_step = at, self.step

    def mean_step_s(self, at: float) -> float:
        """Return the seconds that a step took since the first report; what it should, before."""
        steps = self.step - self.first_step
        return (at - self.first_at) / steps if steps else self.script.step_s

    @property
    def resident_bytes(self) -> int:
        """What it holds of the host's memory now."""
        return self.script.resident_bytes + self.step * self.script.growth_bytes
