"""Whether trials can share a card through MPS, and if not, why not and what would help."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from smallhours.devices import host
from smallhours.devices.base import Device
from smallhours.devices.mps_control import PIPE_VARIABLE, PROGRAM
from smallhours.settings import MpsMode

#: From here on each client has an address space of its own (Volta); before, one could overwrite
#: what another has in memory.
_CAPABILITY: Final = (7, 0)
_PIPE: Final = "/tmp/nvidia-mps"
#: The kernel keeps 15 letters of a process's name.
_NAME: Final = PROGRAM[:15]
#: How a daemon was called; without one of them the program asks one.
_DAEMON_OPTIONS: Final = {b"-d", b"-f", b"-S", b"--static-partitioning"}
_CONNECT_S: Final = 1.0


class Obstacle(NamedTuple):
    """Why MPS is not used on a card."""

    why: str
    #: What the user can do about it; empty: nothing.
    do: str = ""
    #: Trials run through the user's own daemon, whatever is done.
    theirs: bool = False


#: The user does not want it.
OFF: Final = Obstacle("it is off in the settings")


class Machine(NamedTuple):
    """What matters of the machine as a whole."""

    #: The path of the control program; None: `missing` says why.
    program: str | None
    missing: Obstacle | None
    #: The user's own daemon, in words; empty: there is none.
    foreign: str

    @classmethod
    def look(cls, environment: Mapping[str, str], ours: Callable[[int], bool]) -> Machine:
        """Look at this machine. Takes some milliseconds.

        Args:
            environment: Where ``PATH`` and the variables of MPS are looked for.
            ours: Says whether a process is of this session.
        """
        program, missing = _program(environment)
        return cls(program, missing, _foreign(environment, ours) if program else "")

    def obstacle(self, device: Device, mode: MpsMode) -> Obstacle | None:
        """Return why MPS is not used on a card; None: it is."""
        if mode == "off":
            return OFF
        obstacle = self.missing or _of_card(device)
        if obstacle is not None or not self.foreign:
            return obstacle
        if device.compute_mode == "exclusive":
            why = f"{self.foreign} has the card to itself, and trials go through it"
            do = f"end it (`echo quit | {PROGRAM}`), and smallhours runs one of its own"
            return Obstacle(why, do, theirs=True)
        if mode == "on":
            return None
        why = f"{self.foreign} is left alone, and trials do not go through it"
        return Obstacle(why, 'with mps = "on" in the settings a private one runs beside it')


def _program(environment: Mapping[str, str]) -> tuple[str | None, Obstacle | None]:
    if host.in_wsl():
        return None, Obstacle("WSL2 has no MPS")
    path = environment.get("PATH")
    found = shutil.which(PROGRAM, path=path)
    if found is not None:
        return found, None
    if shutil.which(PROGRAM, mode=os.F_OK, path=path) is not None:
        return None, Obstacle(f"{PROGRAM} may not be run by you", "look at its rights")
    do = "it comes with the driver; Debian and Ubuntu have it in nvidia-compute-utils-<version>"
    return None, Obstacle(f"{PROGRAM} is not on PATH", do)


def _of_card(device: Device) -> Obstacle | None:
    if device.kind != "gpu":
        return Obstacle("the card is split into parts (MIG), which keep trials apart")
    if device.capability is None:
        return Obstacle("its compute capability is not known")
    if device.capability < _CAPABILITY:
        has, needed = (".".join(map(str, pair)) for pair in (device.capability, _CAPABILITY))
        return Obstacle(f"its compute capability is {has}, and {needed} is needed")
    if device.compute_mode == "prohibited":
        return Obstacle("its compute mode forbids CUDA", "`sudo nvidia-smi -c DEFAULT` allows it")
    return None


def _foreign(environment: Mapping[str, str], ours: Callable[[int], bool]) -> str:
    """Return the control daemon that is not ours, in words; empty: there is none."""
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208 - see `host`
        name = host.process_name(pid)
        if name is not None and name.startswith(_NAME) and _is_daemon(pid) and not ours(pid):
            return f"an MPS daemon that is not ours (process {pid})"
    # One outside of this container is not among the processes.
    pipe = environment.get(PIPE_VARIABLE) or _PIPE
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_CONNECT_S)
        link.connect(f"{pipe}/control")
        return f"an MPS daemon that is not ours (in {pipe})"
    return ""


def _is_daemon(pid: int) -> bool:
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # gone since
    return not _DAEMON_OPTIONS.isdisjoint(words)
