"""What the engine lets others see of its plans: ``status.json``, a view that nothing depends on.

What happened is in the ledger. What waits and why, and when it will be done, changes with every
second and is nobody's history: it is written here at most once a second and is stale when the
engine is gone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from smallhours.core.waiting import Why
from smallhours.paths import Home


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that waits, or a study's next trial, which does not exist yet."""

    study: int
    #: None: the study's next one.
    trial: int | None
    why: Why
    #: Wall time (Unix seconds) since when, for this reason.
    since: float


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """When a study will be done, from what is known of it now."""

    study: int
    #: Wall time (Unix seconds) at which it will be done, hours and deadline aside; None: not known.
    done_at: float | None
    #: Whether that is before the deadline; None: no deadline, or not known.
    in_time: bool | None
    #: Trials that will have ended by the deadline, those that have included; None: see above.
    trials_in_time: int | None


class DeviceProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process on a device."""

    pid: int
    #: Empty: not known.
    name: str
    #: Memory of the device that it holds; None: not known.
    used_bytes: int | None
    #: Whether it belongs to the engine's session.
    ours: bool


class DeviceReading(msgspec.Struct, frozen=True, kw_only=True):
    """A device and what it was doing; None: not known (`devices.base.Reading` says more)."""

    #: UUID of a GPU or of a part of one, or ``cpu``.
    name: str
    kind: Literal["cpu", "gpu", "mig"]
    label: str
    #: Where a GPU stands among the GPUs.
    index: int | None
    #: Wall time (Unix seconds) of the reading; None: the device is gone.
    at: float | None
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    reserved_bytes: int | None
    #: 0 to 1.
    utilisation: float | None
    temperature_c: float | None
    #: No trial should be started there until it has cooled.
    too_hot: bool
    power_w: float | None
    display: bool | None
    #: Cores of the CPU that may be used, and cores' worth of other people's work.
    cores: float | None
    others_cores: float | None
    processes: tuple[DeviceProcess, ...] | None
    #: Where figures come from.
    sources: dict[str, str]


class DevicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A device whose trials are packed by what they need, and what is on it."""

    #: UUID of a GPU or of a part of one, or ``cpu``.
    name: str
    #: The trials that live there: study and number.
    trials: tuple[tuple[int, int], ...]
    #: Memory that trials may have together (the reserve and what others hold taken off), and what
    #: of it is kept for those that are there; one that is watched has all that is free.
    room_bytes: int
    promised_bytes: int
    #: The trials may ask for so much of its compute together; None: nothing did harm yet.
    cap: float | None
    #: Why nothing more starts there. ``harm``: the latest trial slowed the others down and can't be
    #: paused; ``probe``: a study's first trial is watched alone; ``room``: it is cleared for one;
    #: ``full``: there are as many trials as may be. None: more may start.
    shut: Literal["hot", "gone", "quiet", "harm", "probe", "room", "full"] | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's plans at a moment."""

    #: Wall time (Unix seconds) it was written, and the engine that wrote it.
    at: float
    pid: int
    session: int
    device: str
    #: Trials at a time on the CPU; where `packed`, at most: as many as pay.
    slots: int
    #: Attempts that live.
    running: int
    backend: Literal["closed", "opening", "ready", "renewing", "closing"]
    #: Wall time until which the machine is yielded; 0: until a foreign process is gone; None: not.
    yielded_until: float | None
    #: Who asked for it, or the processes that it is yielded to; None: it is not yielded.
    yielded_to: str | None
    deadline: float | None
    #: Bytes of checkpoints beyond the user's budget that have to be kept.
    storage_short_bytes: int
    waiting: tuple[Waiting, ...]
    forecast: tuple[Forecast, ...]
    #: As they were at most some seconds before; empty: not looked at yet.
    devices: tuple[DeviceReading, ...] = ()
    #: Whether the number of trials on the CPU is found by what they are measured to need.
    packed: bool = False
    #: The devices whose trials are packed.
    plans: tuple[DevicePlan, ...] = ()


def read(home: Home) -> Status | None:
    """Return the latest view; None: there is none (no engine, or one that just began)."""
    try:
        return msgspec.json.decode(home.status.read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None


def write(home: Home, status: Status) -> None:
    """Replace the view."""
    temporary = home.status.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.replace(home.status)
