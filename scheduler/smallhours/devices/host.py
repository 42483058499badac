"""The host as a device: cores, memory, and what process trees take of them, read from /proc."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
#: The kernel keeps so many bytes of a process's name.
_NAME_BYTES = 15

#: Host memory that a slot must find, before anything is known about the trials.
SLOT_BYTES = 512 * 2**20


class ProcessLine(NamedTuple):
    """What /proc/PID/stat says of one process."""

    pid: int
    parent: int
    #: Its session, which a trial's process leads and hands to its children.
    session: int
    state: str
    cpu_s: float
    resident_bytes: int
    #: Clock ticks since boot.
    started: int
    #: CPU time of its children that ended and were waited for, and of theirs.
    ended_children_cpu_s: float = 0.0


class TreeSample(NamedTuple):
    """What a process tree takes."""

    state: str
    #: Of the members that live.
    cpu_s: float
    resident_bytes: int
    #: Of children that their parents have seen end.
    ended_children_cpu_s: float = 0.0


def read_process(pid: int) -> ProcessLine | None:
    """Read one process; None where there is none (any more)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name (field 2) may hold spaces and brackets; it ends at the last bracket.
    fields = text.rpartition(")")[2].split()
    return ProcessLine(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        state=fields[0],
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
        started=int(fields[19]),
        ended_children_cpu_s=(int(fields[13]) + int(fields[14])) / _TICKS_PER_S,
    )


def process_name(pid: int) -> str | None:
    """Return what a process is called; None: it is gone, or can't be seen.

    The kernel keeps 15 bytes of a name. One that was perhaps cut off is completed from the command
    line, where that agrees.
    """
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
        name = _whole_name(pid, name)
    return name.decode("utf-8", errors="replace")


def _whole_name(pid: int, name: bytes) -> bytes:
    try:
        first = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0", 1)[0]
    except OSError:
        return name
    whole = first.rpartition(b"/")[2]
    return whole if whole.startswith(name) else name


def all_processes() -> list[ProcessLine]:
    """Read every process of the machine."""
    found = (read_process(int(name)) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208
    return [process for process in found if process is not None]


def sample_trees(roots: Iterable[int]) -> dict[int, TreeSample]:
    """Sample process trees in one pass over /proc.

    Resident bytes are summed over the tree: pages shared between a trial and its own children
    count more than once, so the figure errs on the safe side.

    Args:
        roots: Pids; those that live no more are left out of the answer.
    """
    wanted = set(roots)
    if not wanted:
        return {}
    processes = {process.pid: process for process in all_processes()}
    members: dict[int, list[ProcessLine]] = {root: [] for root in wanted if root in processes}
    for process in processes.values():
        root = _root_of(process, processes, wanted)
        if root is not None:
            members[root].append(process)
    return {
        root: TreeSample(
            state=processes[root].state,
            cpu_s=sum(p.cpu_s for p in tree),
            ended_children_cpu_s=sum(p.ended_children_cpu_s for p in tree),
            resident_bytes=sum(p.resident_bytes for p in tree),
        )
        for root, tree in members.items()
    }


def _root_of(
    process: ProcessLine, processes: dict[int, ProcessLine], wanted: set[int]
) -> int | None:
    if process.session in wanted:
        return process.session
    line: ProcessLine | None = process
    while line is not None and line.pid not in wanted:
        line = processes.get(line.parent)
    return line.pid if line is not None else None


def memory() -> tuple[int | None, int | None]:
    """Return the bytes of host memory that could be had, and in all; None: not known."""
    values: dict[str, int] = {}
    try:
        for line in (_PROC / "meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemAvailable", "MemTotal"):
                values[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError):
        return None, None
    return values.get("MemAvailable"), values.get("MemTotal")


def kernel_oom_kills() -> int | None:
    """Return how many processes the kernel has killed for want of memory; None: not known."""
    try:
        for line in (_PROC / "vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


def free_disk_bytes(path: Path) -> int | None:
    """Return the bytes that could be written below a directory; None: not known."""
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    return info.f_bavail * info.f_frsize


def in_wsl() -> bool:
    """Say whether this is Linux below Windows."""
    return "microsoft" in platform.release().lower()


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))
