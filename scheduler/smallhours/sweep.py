"""Finds and kills processes of ours that nobody looks after any more."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import time
from pathlib import Path

from smallhours.devices import host
from smallhours.processes import session_of

_PROC = Path("/proc")
#: Between two looks at what is left.
_PAUSE_S = 0.02
#: A session's directory that is younger is left alone: its engine may just be starting.
_YOUNG_S = 60.0


def descendants(root: int) -> list[int]:
    """Return the pids of all processes below one, itself left out."""
    children: dict[int, list[int]] = {}
    for process in host.all_processes():
        children.setdefault(process.parent, []).append(process.pid)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_descendants(limit_s: float = 10.0) -> int:
    """Kill everything below this process, again until nothing is left.

    With PR_SET_CHILD_SUBREAPER set, that includes processes that left their session or whose
    parents are gone.

    Returns:
        How many processes were killed.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        _reap()
        alive = [pid for pid in descendants(os.getpid()) if not _is_zombie(pid)]
        if not alive:
            break
        killed.update(alive)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    _reap()
    return len(killed)


def kill_session(directory: str, started_after: int) -> int:
    """Kill what is left of a session whose supervisor died.

    It is known by its mark in the environment, or by an open file below its directory (some of
    Ray's processes overwrite their environment).

    Args:
        directory: The session's private directory.
        started_after: Clock ticks since boot; what is older can't be of that session.

    Returns:
        How many processes were killed.
    """
    killed = 0
    for process in host.all_processes():
        if process.started < started_after or process.pid == os.getpid():
            continue
        if session_of(process.pid) == directory or _holds_file_below(process.pid, directory):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
    return killed


def remove_dead_sessions(below: Path = Path("/tmp")) -> list[Path]:
    """Remove the private directories of sessions of this user that nobody looks after any more.

    Whatever state directory they were of: killed supervisors and reboots leave them. One lives if a
    process carries its mark, holds a file below it, or listens in it (perhaps in a container that
    shares the directory); one that was made just now may not have a process yet.

    Args:
        below: Where they lie.

    Returns:
        What was removed.
    """
    prefix, own = f"sh-{os.getuid()}-", os.getuid()
    latest = time.time() - _YOUNG_S
    removed = []
    for path in below.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            info = path.lstat()
            old = stat.S_ISDIR(info.st_mode) and info.st_uid == own and info.st_mtime < latest
            if old and not _is_used(path):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed


def _is_used(directory: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.connect(str(directory / "engine.sock"))
        return True
    return any(
        session_of(process.pid) == str(directory) or _holds_file_below(process.pid, str(directory))
        for process in host.all_processes()
    )


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _is_zombie(pid: int) -> bool:
    process = host.read_process(pid)
    return process is None or process.state in "ZX"


def _holds_file_below(pid: int, directory: str) -> bool:
    try:
        with os.scandir(_PROC / str(pid) / "fd") as entries:
            return any(_target(entry).startswith(directory + "/") for entry in entries)
    except OSError:
        return False


def _target(entry: os.DirEntry[str]) -> str:
    try:
        return str(Path(entry.path).readlink())
    except OSError:
        return ""
