"""The card that `gpu.py` measures on: which it is, MPS on it, and a part of its memory held.

Nothing here makes a CUDA context in the process that calls it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml
from common import HERE

from smallhours.clock import SystemClock
from smallhours.devices.base import Device, Reading
from smallhours.devices.mps_control import PIPE_VARIABLE, ControlDaemon
from smallhours.devices.mps_usable import Machine
from smallhours.devices.nvml import NvmlProbe

GB = 10**9
#: Until the ballast is held: torch imported, a context made, the card nearly filled.
_BALLAST_S = 60.0


class NoCardError(Exception):
    """There is nothing to measure on; the message says what is missing."""


class Card:
    """A card, read through NVML."""

    def __init__(self, uuid: str = "") -> None:
        """Find it.

        Args:
            uuid: Its UUID, or the beginning of it; empty: the first that may be used.

        Raises:
            NoCardError: there is none.
        """
        self._probe = NvmlProbe(SystemClock(), lambda _: False)
        if self._probe.unavailable is not None:
            raise NoCardError(self._probe.unavailable.why)
        found = [card for card in self._probe.devices() if card.name.startswith(uuid)]
        if not found:
            raise NoCardError(f"no GPU's UUID begins with {uuid}" if uuid else "there is no GPU")
        self.device: Device = found[0]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to see this card only, and no MPS daemon."""
        return {"CUDA_VISIBLE_DEVICES": self.device.name, PIPE_VARIABLE: "/nonexistent"}

    def read(self) -> Reading:
        """Return what it says now.

        Raises:
            NoCardError: it is gone.
        """
        reading = self._probe.read(self.device.name)
        if reading is None:
            raise NoCardError(f"{self.device.label} is gone")
        return reading

    def describe(self) -> dict[str, Any]:
        """Return what figures must be read with; not its UUID, which is private."""
        reading = self.read()
        return {
            "card": self.device.label,
            "driver": _driver(),
            "capability": self.device.capability,
            "compute_mode": self.device.compute_mode,
            "display": self.device.display,
            "total_bytes": reading.total_bytes,
            "used_before_bytes": reading.used_bytes,
            "others": None if reading.processes is None else len(reading.processes),
        }

    def obstacle_to_mps(self) -> str:
        """Say why MPS can't be used on it; empty: it can."""
        obstacle = Machine.look(os.environ, lambda _: False).obstacle(self.device, "on")
        return "" if obstacle is None else obstacle.why

    @contextmanager
    def mps(self) -> Iterator[dict[str, str]]:
        """Run an MPS daemon of our own for it; gives what its clients' environment needs.

        Raises:
            MpsError: it can't be started.
        """
        program = Machine.look(os.environ, lambda _: False).program
        assert program is not None, "see `obstacle_to_mps`"
        with tempfile.TemporaryDirectory(prefix="smallhours-mps-") as directory:
            daemon = ControlDaemon(Path(directory), self.device.name, os.environ)
            try:
                daemon.start(program)
                yield self.environment | {PIPE_VARIABLE: str(daemon.pipe)}
            finally:
                daemon.stop()

    @contextmanager
    def ballast(self, card_gb: float) -> Iterator[float | None]:
        """Have a process hold all but so much of what is free, so that the card seems smaller.

        Gives how many GB it holds; None: so little is free that none is needed.

        Raises:
            RuntimeError: it can't be held.
        """
        free = self.read().free_bytes
        if free is None or free <= card_gb * GB:
            yield None
            return
        # It ends when its standard input does: with this process, whatever becomes of it.
        with subprocess.Popen(
            [sys.executable, str(HERE / "gpu_probes.py"), "ballast", str(int(card_gb * GB))],
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            limit = threading.Timer(_BALLAST_S, process.kill)
            limit.start()
            try:
                line = process.stdout.readline()
                limit.cancel()
                if not line:
                    raise RuntimeError(f"no process could hold {free / GB - card_gb:.0f} GB")
                yield float(line)
            finally:
                limit.cancel()
                process.kill()


def pids(reading: Reading) -> set[int]:
    """Return the numbers of the processes that a card lists."""
    return {process.pid for process in reading.processes or ()}


def newcomers(before: Reading, after: Reading) -> set[int]:
    """Return who came; in a container NVML may list others' numbers, or nobody."""
    return pids(after) - pids(before)


def held_by(reading: Reading, wanted: set[int]) -> int | None:
    """Return the bytes that some processes are said to hold; None: that is not said."""
    processes = reading.processes or ()
    held = [process.used_bytes for process in processes if process.pid in wanted]
    known = [size for size in held if size is not None]
    return sum(known) if known else None


def _driver() -> str | None:
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
