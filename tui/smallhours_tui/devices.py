"""Devices in words: what they are called, and what a trial was to take of one and took."""

from __future__ import annotations

from collections.abc import Iterable

from smallhours.core.footprint import Footprint, Prediction
from smallhours.explain.packing import title
from smallhours.status import DeviceReading
from smallhours.text import clean, size

_PART_LENGTH = 12
_LABEL_LENGTH = 40


def find(readings: Iterable[DeviceReading], device: str) -> DeviceReading | None:
    """Return the latest reading of a device; None: there is none."""
    return next((reading for reading in readings if reading.name == device), None)


def short(readings: Iterable[DeviceReading], device: str) -> str:
    """Return what a device is called: ``cpu``, ``GPU 0``; without a reading a part of its name."""
    found = find(readings, device)
    if found is not None:
        return title(found.kind, found.index, found.name)
    return clean(device, _PART_LENGTH)


def long(readings: Iterable[DeviceReading], device: str) -> str:
    """Return what a device is called and what it is: ``GPU 0 (RTX 4090)``."""
    found = find(readings, device)
    if found is None or found.kind == "cpu":
        return short(readings, device)
    return f"{title(found.kind, found.index, found.name)} ({model(found)})"


def model(reading: DeviceReading) -> str:
    """Return what a device is: ``RTX 4090``."""
    label = clean(reading.label, _LABEL_LENGTH)
    return label.removeprefix("NVIDIA ").removeprefix("GeForce ")


def measured_bytes(device: str, footprint: Footprint | None) -> int | None:
    """Return what a trial took of its device's memory; None: not measured."""
    if footprint is None:
        return None
    if device == "cpu":
        return footprint.host_bytes
    if footprint.gpu_bytes is None and footprint.context_bytes is None:
        return None
    return (footprint.gpu_bytes or 0) + (footprint.context_bytes or 0)


def memory_words(device: str, predicted: Prediction | None, footprint: Footprint | None) -> str:
    """Return what an attempt was to take of its device's memory beside what it took.

    Such as ``5.2 GiB measured; 5 GiB expected, 5.4 GiB promised``; empty: nothing is known.
    """
    took = measured_bytes(device, footprint)
    told = [] if took is None else [f"{size(took)} measured"]
    if predicted is not None:
        beyond = ", and it took more" if took is not None and took > predicted.upper_bytes else ""
        told.append(
            f"{size(predicted.expected_bytes)} expected, {size(predicted.upper_bytes)} promised"
            f"{beyond}"
        )
    return "; ".join(told)
