"""Other people's programs that the machine is given back to while they run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path

from smallhours.devices import host
from smallhours.processes import SESSION_VARIABLE, session_of

_PROC = Path("/proc")


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
            name = host.process_name(int(entry)) if entry.isdigit() else None
            if name and name not in found and self._pattern.match(name) and not _ours(int(entry)):
                found.add(name)
        return tuple(sorted(found))


def in_session(pid: int) -> bool:
    """Say whether a process is of this session; one that can't be seen is not."""
    process = host.read_process(pid)
    return process is not None and _is_ours(process)


def in_any_session(pid: int) -> bool:
    """Say whether a process is of any session of smallhours."""
    return bool(session_of(pid))


def _ours(pid: int) -> bool:
    """Say whether a process is of this session, or no more than a zombie."""
    process = host.read_process(pid)
    return process is None or process.state in "ZX" or _is_ours(process)


def _is_ours(process: host.ProcessLine) -> bool:
    own = os.environ.get(SESSION_VARIABLE)
    if own and session_of(process.pid) == own:
        return True
    # Some of Ray's processes overwrite their environment.
    above: host.ProcessLine | None = process
    while above is not None and above.pid != os.getpid():
        above = host.read_process(above.parent)
    return above is not None
