"""What the queue must know beside what is recorded: the machine, the time, the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from smallhours.core.events import WallTime
from smallhours.core.footprint import Footprint
from smallhours.core.settings import Settings
from smallhours.core.shares import Shares
from smallhours.core.state import State
from smallhours.core.trial import AttemptKey

#: By study: numbers of trials that its search was asked for, and when.
Asked: TypeAlias = dict[int, dict[int, float]]

#: A search that takes longer to answer gives the place that waits for it to others.
ASK_PATIENCE_S = 5.0


@dataclass(slots=True)
class Night:
    """Everything that decides what runs; only `state` survives the session."""

    state: State
    shares: Shares
    asked: Asked
    #: Monotonic time of the event at hand.
    at: float = 0.0
    wall: WallTime | None = None
    settings: Settings = field(default_factory=Settings)
    device: str = ""
    #: How many trials may run at a time.
    slots: int = 0
    available_bytes: int | None = None
    total_bytes: int | None = None
    #: What runs the trials: nothing is started unless it is ready.
    backend: Literal["closed", "opening", "ready", "renewing", "closing"] = "closed"
    #: A renewal is due: nothing is started until what runs has ended.
    worn: bool = False
    #: What the attempts that live were measured to need so far.
    footprints: dict[AttemptKey, Footprint] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Places that are free now, those kept for trials whose parameters are being chosen not."""
        if self.backend != "ready" or self.worn:
            return 0
        kept = sum(
            self.at - asked_at < ASK_PATIENCE_S
            for numbers in self.asked.values()
            for asked_at in numbers.values()
        )
        return self.slots - len(self.state.live) - kept
