"""How devices are shown: what they are doing, and the trials on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smallhours.explain.packing import cap_words, model
from smallhours.status import DevicePlan, DeviceReading
from smallhours.text import clean, duration, listing, number, percent, size

#: A reading older than this is not of now; the line says so.
_OLD_S = 15.0
_NAMES_LISTED = 4
_TRIALS_LISTED = 6
#: Why nothing more is started on a device.
_SHUT: Final[Mapping[str, str]] = {
    "hot": "too hot: nothing starts until it has cooled",
    "gone": "nothing starts while it is gone",
    "quiet": "quiet hours: nothing starts",
    "harm": "nothing starts until a trial ends: the latest one slowed the others down",
    "probe": "nothing starts beside a study's first trial while that is watched",
    "room": "being cleared for a study's first trial, which is watched alone",
    "full": "as many trials as may be",
}


def words(reading: DeviceReading, now: float) -> str:
    """Return what a device is doing, and who else is on it.

    Args:
        reading: The latest of it.
        now: Wall time (Unix seconds).
    """
    name = "" if reading.kind == "cpu" else f"{model(reading.label)}: "
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


def plan_words(plan: DevicePlan, studies: Mapping[int, str]) -> str:
    """Return which trials are on a device, what is kept for them, and why nothing more starts.

    Args:
        plan: What the engine plans for it.
        studies: The studies' names by id.
    """
    parts = []
    if plan.trials:
        names = [f"{studies.get(study, study)}/{trial}" for study, trial in plan.trials]
        kept = f"{size(plan.promised_bytes)} of {size(plan.room_bytes)} kept for"
        parts.append(f"{kept} {listing(names, _TRIALS_LISTED)}")
    if plan.shut is not None:
        parts.append(_SHUT[plan.shut])
    if plan.cap is not None:
        parts.append(cap_words(plan.cap))
    return "; ".join(parts)
