"""What simulated processes say of themselves: what they needed, and what went wrong with them."""

from __future__ import annotations

from smallhours.backends.cards import SimulatedDevices
from smallhours.backends.workload import Script
from smallhours.core.actions import Start
from smallhours.core.death import DeathNote
from smallhours.core.footprint import Footprint, GpuPeak
from smallhours.packing.context import CONTEXT_BYTES

_MIB = 2**20


def simulated_note(type_: str, message: str, step: int, errno: int | None = None) -> DeathNote:
    """Return the death note of a training function that raised."""
    return DeathNote(
        type=type_,
        message=message,
        fingerprint=f"{type_} in train",
        where="study.py:12 in train",
        traceback=f"{type_} at step {step}: {message}",
        phase="train",
        errno=errno,
    )


def footprint_of(order: Start, script: Script, mean_step_s: float) -> Footprint:
    """Return what a process measures of itself.

    Args:
        order: Where it runs.
        script: What it does.
        mean_step_s: How long its steps took; on cores it waits for one where that is longer.
    """
    going = min(1.0, script.step_s / mean_step_s) if order.device == "cpu" else 1.0
    used = script.cores * going
    on_card = max(0, script.device_bytes - CONTEXT_BYTES)
    gpus = () if order.device == "cpu" or not on_card else (GpuPeak(0, on_card, on_card),)
    return Footprint(
        step_s=script.step_s,
        mean_step_s=mean_step_s,
        cores=used,
        wanted_cores=max(script.cores, used + 1.0 - going),
        host_bytes=script.resident_bytes,
        host_source="pss",
        gpus=gpus,
    )


def shortage_of(order: Start, script: Script, devices: SimulatedDevices) -> str | None:
    """Return what torch says of a first allocation that fails; None: it is granted."""
    wanted, cap = script.device_bytes, order.memory_bytes
    total = devices.total_bytes(order.key)
    walled = cap is not None and wanted - CONTEXT_BYTES > cap
    if order.device == "cpu" or not (walled or devices.short_bytes(order.key)):
        return None
    free = max(0, total // 100)
    own, asked = wanted // 2, wanted - wanted // 2
    said = (
        f"CUDA out of memory. Tried to allocate {asked / _MIB:.2f} MiB. GPU 0 has a total capacity"
        f" of {total / _MIB:.2f} MiB of which {free / _MIB:.2f} MiB is free. Including non-PyTorch"
        f" memory, this process has {own / _MIB:.2f} MiB memory in use."
    )
    if walled and cap is not None:
        said += f" {cap / _MIB:.2f} MiB allowed;"
    return f"{said} Of the allocated memory {own / _MIB:.2f} MiB is allocated by PyTorch."
