"""What a trial's process leaves behind when its code fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLeft:
    """What a trial's process saw of memory when it failed; None: not known."""

    #: Of the card it used, as CUDA says.
    gpu_free_bytes: int | None = None
    gpu_total_bytes: int | None = None
    #: What torch had reserved there, and the most that it ever had.
    gpu_held_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    #: Of /dev/shm.
    shared_free_bytes: int | None = None
    shared_total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeathNote:
    """What a trial's process wrote about its own failure."""

    type: str
    message: str
    fingerprint: str
    where: str
    traceback: str
    phase: str
    #: Set where the failure was an OSError.
    errno: int | None = None
    path: str = ""
    #: The errors that it was raised from, nearest first: type and message.
    causes: tuple[tuple[str, str], ...] = ()
    memory: MemoryLeft = MemoryLeft()
