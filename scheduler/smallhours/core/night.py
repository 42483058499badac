"""What the queue must know beside what is recorded: the machine, the time, the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from smallhours.core.events import WallTime
from smallhours.core.footprint import Footprint
from smallhours.core.model import Trial
from smallhours.core.placement import Placement
from smallhours.core.settings import Settings
from smallhours.core.shares import Shares
from smallhours.core.spec import DeviceKind
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
    placement: Placement
    #: Monotonic time of the event at hand.
    at: float = 0.0
    wall: WallTime | None = None
    settings: Settings = field(default_factory=Settings)
    device: str = ""
    #: How many trials may run at a time on the CPU.
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
        """Fixed places that are free now, those not that are kept for trials that are asked for."""
        if self.backend != "ready" or self.worn or self.placement.packs("cpu"):
            return 0
        kept = sum(self._has_fixed_place(study) for study, _ in self.asked_lately)
        return self.slots - len(self.on_fixed_places) - kept

    @property
    def on_fixed_places(self) -> list[Trial]:
        """The trials that run where so many run at a time, whatever they need."""
        packed = self.placement.devices
        lives = self.state.live.values()
        return [trial for trial in lives if trial.live and trial.live.device not in packed]

    @property
    def asked_lately(self) -> list[tuple[int, int]]:
        """The trials for whose parameters a place is kept: study and number."""
        return [
            (study, number)
            for study, numbers in self.asked.items()
            for number, asked_at in numbers.items()
            if self.at - asked_at < ASK_PATIENCE_S
        ]

    @property
    def at_a_time(self) -> int:
        """How many trials run at a time on all devices, as far as can be told."""
        kinds: tuple[DeviceKind, ...] = ("cpu", "gpu")
        fixed = 0 if self.placement.packs("cpu") else self.slots
        return fixed + sum(self.placement.at_a_time(kind) for kind in kinds)

    def _has_fixed_place(self, study: int) -> bool:
        return not self.placement.packs(self.placement.kind_of(self.state.studies[study]))
