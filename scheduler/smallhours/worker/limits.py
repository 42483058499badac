"""What the kernel is asked for: die with the parent, adopt orphans, count threads."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

#: Sent to have a trial write the stacks of its threads (faulthandler; works with the GIL held).
DUMP_SIGNAL = signal.SIGRTMIN + 3

#: Set before numpy or torch are imported: a pool of threads would forbid to fork.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    # pyarrow (which pandas, and so scikit-learn, imports) starts a thread with its allocator.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # Else a module-level torch.cuda.is_available() makes CUDA unusable after every fork.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

#: Set as well, unless the user's environment says otherwise: malloc's memory in huge pages (glibc
#: 2.35 or later; others pass it over). With 300 MB of torch and scikit-learn, a fork takes 5 to
#: 8 ms instead of 9 to 16, and the end of the process 8 instead of 11 to 18.
PREFERRED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


#: Of trials: what else runs on the machine (a desktop, the engine, a question to it) goes first.
NICENESS = 10


class ParentGoneError(RuntimeError):
    """The parent died before this process could bind its life to it."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl")


def give_way() -> None:
    """Let others have the CPU first, now and in all processes that this one starts."""
    os.nice(max(0, NICENESS - os.nice(0)))


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent's thread that started it ends.

    Args:
        parent_pid: Who the parent must be.

    Raises:
        ParentGoneError: it is somebody else by now.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise ParentGoneError(f"process {parent_pid} is gone")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def born(pid: int | str = "self") -> int:
    """Return when a process started, in clock ticks since boot (field 22 of its stat)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[19])


def children() -> list[int]:
    """Return the pids of this process's children, zombies included."""
    own = os.getpid()
    try:
        return [
            int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text("ascii").split()
        ]
    except FileNotFoundError:
        return _children_by_search(own)


def _children_by_search(own: int) -> list[int]:
    """Do the same where the kernel keeps no list (built without CONFIG_PROC_CHILDREN)."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # gone since
        if int(stat.rpartition(")")[2].split()[1]) == own:
            found.append(int(entry.name))
    return found


def threads() -> dict[int, str]:
    """Return this process's threads but the main one: their ids and names in the kernel."""
    own = os.getpid()
    found = {}
    for entry in os.scandir("/proc/self/task"):
        if int(entry.name) != own:
            try:
                found[int(entry.name)] = Path(entry.path, "comm").read_text("utf-8").strip()
            except OSError:
                continue  # ended since
    return found


def loaded(name: str) -> Any:
    """Return a module if the study imported it, else None: nothing is imported for its sake."""
    return sys.modules.get(name)


def cuda_in_use() -> bool:
    """Say whether CUDA was initialised in this process, which no fork survives."""
    torch = loaded("torch")
    return torch is not None and bool(torch.cuda.is_initialized())
