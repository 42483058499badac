"""Devices and what is read of them: the words that all probes share, and what follows from them.

What a probe can't answer is None, never 0; `gaps` says for each such figure what is done instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

#: The name of the CPU as a device.
CPU: Final = "cpu"

#: ``mig``: a part of a card that the driver keeps apart from the others.
Kind: TypeAlias = Literal["cpu", "gpu", "mig"]

#: Who may use CUDA on a card: ``exclusive``: one process at a time; ``prohibited``: none.
ComputeMode: TypeAlias = Literal["default", "exclusive", "prohibited"]

#: A card is too hot this far below the temperature at which it slows itself down ...
HOT_MARGIN_C: Final = 5.0
#: ... and has cooled when it is this much cooler still.
COOLED_BY_C: Final = 10.0

#: Of `Reading.sources["processes"]`: the driver lists processes, but not what they hold.
WITHOUT_MEMORY: Final = "nvml, without their memory"

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A place where trials can run, as it was when it was first seen."""

    #: The UUID of a GPU (``GPU-8932f937-...``) or of a part of one (``MIG-...``), or ``cpu``.
    name: str
    kind: Kind
    #: For people: ``NVIDIA GeForce RTX 3090``.
    label: str
    #: Its memory; None: not known (some GPUs share the host's and don't say how much).
    total_bytes: int | None
    #: Cores that may be used, a fraction where a quota says so; None: it is no CPU.
    cores: float | None = None
    #: Whether a screen hangs on it; None: not known.
    display: bool | None = None
    #: CUDA's compute capability, such as (8, 6); None: not known, or no GPU.
    capability: tuple[int, int] | None = None
    #: Who may use CUDA on it (`nvidia-smi -c` sets it); None: not known, or no GPU.
    compute_mode: ComputeMode | None = None
    #: Where it stands among the GPUs, counted as nvidia-smi does; None: it is no GPU.
    index: int | None = None
    #: The UUID of the card that it is a part of; empty: it is not a part.
    card: str = ""


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A process on a device."""

    pid: int
    #: What it is called, cleaned; empty: not known.
    name: str
    #: Memory of the device that it holds; None: the driver doesn't say (WSL2, some parts of cards).
    used_bytes: int | None
    #: Whether it belongs to this session.
    ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a device said of itself at one moment."""

    device: str
    #: Monotonic clock, in seconds.
    at: float
    total_bytes: int | None = None
    #: What is taken, by whomever; what the driver keeps for itself is only in it where
    #: `reserved_bytes` is None.
    used_bytes: int | None = None
    free_bytes: int | None = None
    #: What the driver keeps for itself; None: it is not told apart.
    reserved_bytes: int | None = None
    #: Share of the time in which something ran, 0 to 1; None also for the CPU's first reading.
    utilisation: float | None = None
    temperature_c: float | None = None
    #: At which the device slows itself down.
    slowdown_c: float | None = None
    power_w: float | None = None
    #: All processes on it; None: they can't be listed.
    processes: tuple[ProcessUse, ...] | None = None
    #: CPU: cores' worth of work of processes outside of this session; None: not known (yet).
    others_cores: float | None = None
    #: Where figures come from (``memory``, ``processes``, ``heat``, ...), for people.
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreign(self) -> tuple[ProcessUse, ...]:
        """The processes that are not of this session; empty also where none can be listed."""
        return tuple(process for process in self.processes or () if not process.ours)


class Fault(NamedTuple):
    """A fault that the GPU's driver reported (an Xid)."""

    #: UUID of a device, or of the card where it can't be told which part; None: not known.
    device: str | None
    #: Its number in NVIDIA's list; None: the driver doesn't know it either.
    xid: int | None
    #: Monotonic clock, in seconds, when it was heard of.
    at: float


class Probe(Protocol):
    """Finds devices and reads them. Used by one thread at a time; may take its time."""

    def devices(self) -> tuple[Device, ...]:
        """Return all devices ever found that may be used, those that are gone included."""
        ...

    def read(self, name: str) -> Reading | None:
        """Read a device; None: it is gone. Never raises."""
        ...

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults since the last call."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...


class Taken(NamedTuple):
    """What processes take of a device's memory, and how it is known."""

    used_bytes: int
    #: ``card delta``: what the whole device has gained, whoever took it.
    source: Literal["processes", "card delta"]


def taken(before: Reading, now: Reading, pids: Collection[int]) -> Taken | None:
    """Return what processes take of a device's memory.

    Where the driver says so process by process, it is the sum. Where it doesn't (WSL2), it is what
    the device has gained since `before`: true as long as nobody else came or went.

    Args:
        before: Read before the processes came.
        now: Read while they are there.
        pids: The processes.

    Returns:
        None: nothing is known.
    """
    held = [p.used_bytes for p in now.processes or () if p.pid in pids]
    known = [used for used in held if used is not None]
    if held and len(known) == len(held):
        return Taken(sum(known), "processes")
    if now.used_bytes is None or before.used_bytes is None:
        return None
    return Taken(max(0, now.used_bytes - before.used_bytes), "card delta")


def too_hot(reading: Reading, *, before: bool) -> bool:
    """Say whether a device is too hot for anything to be started on it.

    Hot from `HOT_MARGIN_C` below the temperature at which it slows itself down; cool again
    `COOLED_BY_C` below that, so that it doesn't go to and fro. A device that doesn't say when it
    slows down, or how warm it is, is never too hot: it protects itself.

    Args:
        reading: The device now.
        before: The answer before this one.
    """
    if reading.temperature_c is None or reading.slowdown_c is None:
        return False
    hot_c = reading.slowdown_c - HOT_MARGIN_C
    return reading.temperature_c >= (hot_c - COOLED_BY_C if before else hot_c)


def display_reserve_bytes(device: Device) -> int:
    """Return the memory to leave free on a device for the desktop that it shows.

    What the desktop holds now is counted as used. The reserve is for what it takes next: a window
    more costs a 4K frame in three buffers (3840 x 2160 x 4 B x 3 = 95 MiB), a browser's or a video
    player's process 200 to 400 MiB. Without it the trial doesn't fail, the desktop does. 512 MiB
    hold both; large cards have large screens, so it is a twentieth of the card, 1 GiB at most.
    A card that doesn't say whether a screen hangs on it (WSL2) is taken to have one.
    """
    if device.kind != "gpu" or device.display is False:
        return 0
    return min(1024 * _MIB, max(512 * _MIB, (device.total_bytes or 0) // 20))


@dataclass(frozen=True, slots=True)
class Gap:
    """A figure that a device doesn't give."""

    what: str
    #: What is done without it.
    instead: str


def gaps(device: Device, reading: Reading) -> Iterator[Gap]:
    """Yield what can't be measured on a device, with what is done instead."""
    if device.kind == "cpu":
        if reading.temperature_c is None:
            yield Gap("temperature", "the CPU slows itself down when it is too hot")
        return
    if reading.used_bytes is None:
        yield Gap("memory", "what is free must be found out by trying")
    elif reading.reserved_bytes is None:
        yield Gap("the driver's own memory", "it counts as used")
    if reading.processes is None:
        yield Gap("processes", "what is used beyond our trials counts as foreign")
    elif reading.sources.get("processes") == WITHOUT_MEMORY:
        yield Gap("memory of processes", "torch's own peak and what the whole card gains are used")
    if reading.utilisation is None:
        yield Gap("utilisation", "how busy it is shows in the pace of the trials")
    if reading.temperature_c is None or reading.slowdown_c is None:
        missing = "temperature" if reading.temperature_c is None else "slowdown temperature"
        yield Gap(missing, "it never counts as too hot and slows itself down")
    if device.display is None and device.kind == "gpu":
        yield Gap("display", "it is taken to show one, and memory is left for it")
