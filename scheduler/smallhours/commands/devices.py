"""How devices are shown: one line of words each."""

from __future__ import annotations

from smallhours.status import DeviceReading
from smallhours.text import clean, duration, listing, number, percent, size

#: A reading older than this is not of now; the line says so.
_OLD_S = 15.0
_NAMES_LISTED = 4
_PART_LENGTH = 12


def title(kind: str, index: int | None, name: str) -> str:
    """Return what a device is called for short: ``cpu``, ``GPU 0``, ``GPU 0 MIG-1f2e9a``."""
    if kind == "cpu":
        return "cpu"
    card = "GPU" if index is None else f"GPU {index}"
    return card if kind == "gpu" else f"{card} {name[:_PART_LENGTH]}"


def words(reading: DeviceReading, now: float) -> str:
    """Return what a device is doing, and who else is on it.

    Args:
        reading: The latest of it.
        now: Wall time (Unix seconds).
    """
    model = clean(reading.label, 40).removeprefix("NVIDIA ").removeprefix("GeForce ")
    name = "" if reading.kind == "cpu" else f"{model}: "
    if reading.at is None:
        return f"{name}gone; it is looked for from time to time"
    said = ", ".join(_figures(reading)) or "nothing is known of it"
    others = _others(reading)
    old = now - reading.at
    late = f" ({duration(old)} ago: it does not answer)" if old > _OLD_S else ""
    return f"{name}{said}{late}" + (f"; {others}" if others else "")


def _figures(reading: DeviceReading) -> list[str]:
    said = []
    if reading.used_bytes is not None:
        of = "" if reading.total_bytes is None else f" of {size(reading.total_bytes)}"
        said.append(f"{size(reading.used_bytes)}{of} used")
    if reading.utilisation is not None:
        said.append(f"{percent(reading.utilisation)} busy")
    if reading.temperature_c is not None:
        hot = " (too hot)" if reading.too_hot else ""
        said.append(f"{reading.temperature_c:.0f} °C{hot}")
    if reading.power_w is not None:
        said.append(f"{reading.power_w:.0f} W")
    return said


def _others(reading: DeviceReading) -> str:
    """Return who else is there."""
    if reading.kind == "cpu":
        if reading.others_cores is None or reading.cores is None:
            return ""
        return f"others use {number(reading.others_cores)} of {number(reading.cores)} cores"
    foreign = [process for process in reading.processes or () if not process.ours]
    foreign.sort(key=lambda process: process.used_bytes or 0, reverse=True)
    names = [
        f"{clean(process.name, 24) or f'process {process.pid}'}"
        + ("" if process.used_bytes is None else f" {size(process.used_bytes)}")
        for process in foreign
    ]
    return f"others: {listing(names, _NAMES_LISTED)}" if names else ""
