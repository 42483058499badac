"""What the core is told of devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from smallhours.core.spec import DeviceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSeen:
    """A device as it was at the latest look; None: not known."""

    #: The UUID of a GPU, or ``cpu``.
    name: str
    kind: DeviceKind
    total_bytes: int | None
    #: Kept free for the desktop that it shows.
    reserve_bytes: int = 0
    #: What is taken, by whomever.
    used_bytes: int | None = None
    #: What of it processes of this session hold, and each of them by pid.
    ours_bytes: int | None = None
    held: Mapping[int, int] = field(default_factory=dict)
    #: Share of the time in which something ran, 0 to 1.
    utilisation: float | None = None
    #: Nothing is to be started on it (``sharing``: MPS begins, or was spoilt).
    closed: Literal["hot", "gone", "sharing"] | None = None
    #: Cores that may be used; None: it is no CPU.
    cores: float | None = None
    #: The most trials at a time; None: as many as pay.
    places: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSeen:
    """A fault that a GPU's driver reported (an Xid)."""

    #: None: not known.
    device: str | None
    xid: int | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesSeen:
    """All devices that trials may run on, as they are now."""

    at: float
    devices: tuple[DeviceSeen, ...]
    #: Heard of since the last of these events.
    faults: tuple[FaultSeen, ...] = ()
    #: How GPUs are shared.
    sharing: Literal["time_slicing", "mps"] = "time_slicing"
