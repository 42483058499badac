"""All devices of this machine, watched: what they are, their latest readings, which are too hot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from smallhours.clock import Clock
from smallhours.devices.base import Device, Fault, Reading, too_hot
from smallhours.devices.cpu import CpuProbe
from smallhours.devices.nvml import NvmlProbe
from smallhours.devices.watch import Watch


class Observed(NamedTuple):
    """A device with the latest that is known of it."""

    device: Device
    #: None: it is gone.
    reading: Reading | None
    #: Nothing should be started on it until it has cooled; False where it can't be known.
    too_hot: bool


class Inventory:
    """What is known of all devices. Asking never waits for a device."""

    def __init__(self, watches: Iterable[Watch]) -> None:
        """Begin to look at the first `look`.

        Args:
            watches: One for each kind of device, so that a driver that hangs hides no other.
        """
        self._watches: Sequence[Watch] = tuple(watches)
        self._hot: dict[str, bool] = {}

    def look(self) -> None:
        """Ask for fresh readings; returns at once."""
        for watch in self._watches:
            watch.look()

    def observed(self) -> tuple[Observed, ...]:
        """Return the latest there is of each device; nothing before the first look has ended."""
        found = []
        for watch in self._watches:
            seen = watch.seen
            for device in seen.devices:
                reading = seen.readings[device.name]
                before = self._hot.get(device.name, False)
                hot = reading is not None and too_hot(reading, before=before)
                self._hot[device.name] = hot
                found.append(Observed(device, reading, hot))
        return tuple(found)

    def wait(self, limit_s: float) -> None:
        """Wait until all kinds of devices were looked at once, or for so long."""
        for watch in self._watches:
            watch.wait(limit_s)

    def take_faults(self) -> list[Fault]:
        """Return the faults heard of since the last call."""
        return [fault for watch in self._watches for fault in watch.take_faults()]

    def close(self) -> None:
        """Stop looking."""
        for watch in self._watches:
            watch.close()


def of_this_machine(clock: Clock, ours: Callable[[int], bool]) -> Inventory:
    """Return the CPU and the GPUs of this machine, as the engine sees them.

    Args:
        clock: The machine's clocks.
        ours: Says whether a process belongs to this session.
    """
    roots = _roots()
    return Inventory(
        (
            Watch("the CPU", lambda: CpuProbe(clock, roots), clock),
            Watch("the GPUs", lambda: NvmlProbe(clock, ours), clock),
        )
    )


def _roots() -> tuple[int, ...]:
    """Return the processes that this session descends from: this one, and its supervisor."""
    parent = os.getppid()
    try:
        command = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
    except OSError:
        command = []
    return (os.getpid(), parent) if b"smallhours.supervisor" in command else (os.getpid(),)
