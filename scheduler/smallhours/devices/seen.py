"""What the core is told of the devices, out of what their probes read."""

from __future__ import annotations

from collections.abc import Iterable

from smallhours.core.seen import DeviceSeen, FaultSeen
from smallhours.devices import host
from smallhours.devices.base import CPU, Device, Fault, Reading, display_reserve_bytes
from smallhours.devices.inventory import Observed


def gpu(observed: Observed, places: int, *, open_: bool = True, shared: bool = False) -> DeviceSeen:
    """Return a GPU, or a part of one, as the core takes it.

    Args:
        observed: The device with its latest reading.
        places: The most trials at a time on it.
        open_: False: what its trials share is not ready for one more (MPS).
        shared: MPS makes one process of all on the card.
    """
    device, reading = observed.device, observed.reading
    if reading is None:
        return DeviceSeen(
            name=device.name, kind="gpu", total_bytes=device.total_bytes, closed="gone"
        )
    return DeviceSeen(
        name=device.name,
        kind="gpu",
        total_bytes=reading.total_bytes or device.total_bytes,
        reserve_bytes=display_reserve_bytes(device),
        used_bytes=_used_bytes(reading),
        ours_bytes=_ours_bytes(reading),
        held={
            process.pid: process.used_bytes
            for process in reading.processes or ()
            if process.ours and process.used_bytes is not None
        },
        utilisation=reading.utilisation,
        closed="hot" if observed.too_hot else None if open_ else "sharing",
        places=1 if device.compute_mode == "exclusive" and not shared else places,
    )


def cpu(observed: Device | None, ours_bytes: int) -> DeviceSeen:
    """Return the CPU as the core takes it.

    Args:
        observed: It, as its probe found it; None: that has not answered.
        ours_bytes: What our trials hold of the host's memory.
    """
    available, total = host.memory()
    cores = None if observed is None else observed.cores
    return DeviceSeen(
        name=CPU,
        kind="cpu",
        total_bytes=total,
        used_bytes=None if available is None or total is None else total - available,
        ours_bytes=ours_bytes,
        cores=float(host.cores()) if cores is None else cores,
    )


def faults(heard: Iterable[Fault]) -> tuple[FaultSeen, ...]:
    """Return faults as the core takes them."""
    return tuple(FaultSeen(device=fault.device, xid=fault.xid, at=fault.at) for fault in heard)


def _used_bytes(reading: Reading) -> int | None:
    """Return what nobody can have any more: the driver's own share included."""
    if reading.total_bytes is not None and reading.free_bytes is not None:
        return reading.total_bytes - reading.free_bytes
    return (
        None if reading.used_bytes is None else reading.used_bytes + (reading.reserved_bytes or 0)
    )


def _ours_bytes(reading: Reading) -> int | None:
    """Return what processes of ours hold; None: they can't be told from others.

    In a container the driver gives the host's process numbers, which mean nothing here: nobody of
    that number can be seen.
    """
    if reading.processes is None:
        return None
    ours = [process.used_bytes for process in reading.processes if process.ours]
    if None in ours or (not ours and any(not process.name for process in reading.processes)):
        return None
    return sum(used for used in ours if used is not None)
