"""Other people's programs that the machine is given back to while they run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path

from smallhours.devices import host
from smallhours.processes import SESSION_VARIABLE

_PROC = Path("/proc")
#: The kernel keeps so many bytes of a process's name.
_NAME_BYTES = 15


class Foreign:
    """Looks for running processes by name, whoever they belong to."""

    def __init__(self, globs: Sequence[str]) -> None:
        """Look for nothing yet.

        Args:
            globs: Names such as ``blender`` or ``steam*``; capitals don't matter.
        """
        self._pattern = re.compile("|".join(map(translate, globs)), re.IGNORECASE)
        self._wanted = bool(globs)

    def seen(self) -> tuple[str, ...]:
        """Return the names of processes that run now and match, those of this session left out."""
        if not self._wanted:
            return ()
        found = set()
        for entry in os.listdir(_PROC):  # noqa: PTH208 - asked every few seconds: twice as fast
            name = _name(entry) if entry.isdigit() else None
            if name and name not in found and self._pattern.match(name) and not _ours(int(entry)):
                found.add(name)
        return tuple(sorted(found))


def _name(pid: str) -> str | None:
    """Return what a process is called; None: it is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/comm", os.O_RDONLY)
    except OSError:
        return None
    try:
        name = os.read(descriptor, 64).rstrip(b"\n")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if len(name) >= _NAME_BYTES:
        name = _whole(pid, name)
    return name.decode("utf-8", errors="replace")


def _whole(pid: str, name: bytes) -> bytes:
    """Return a name that was perhaps cut off as its command line has it, where that agrees."""
    try:
        first = (_PROC / pid / "cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:
        return name
    whole = first.rpartition(b"/")[2]
    return whole if whole.startswith(name) else name


def in_session(pid: int) -> bool:
    """Say whether a process is of this session; one that can't be seen is not."""
    process = host.read_process(pid)
    if process is None:
        return False
    mark = f"{SESSION_VARIABLE}={os.environ.get(SESSION_VARIABLE, '')}".encode()
    if mark in _environment(pid):
        return True
    # Some of Ray's processes overwrite their environment.
    while process is not None and process.pid != os.getpid():
        process = host.read_process(process.parent)
    return process is not None


def in_any_session(pid: int) -> bool:
    """Say whether a process is of any session of smallhours."""
    prefix = f"{SESSION_VARIABLE}=".encode()
    return any(item.startswith(prefix) for item in _environment(pid))


def _ours(pid: int) -> bool:
    """Say whether a process is of this session, or no more than a zombie."""
    process = host.read_process(pid)
    return process is None or process.state in "ZX" or in_session(pid)


def _environment(pid: int) -> list[bytes]:
    """Return what a process was started with; nothing where that may not be read."""
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []  # somebody else's, or gone
