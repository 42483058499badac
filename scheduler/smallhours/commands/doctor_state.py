"""What `smallhours doctor` says of the state directory: whose it is, where it lies, its room."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from smallhours import housekeeping
from smallhours.commands.finding import Finding
from smallhours.errors import SmallhoursError
from smallhours.ledger.store import open_to_read
from smallhours.paths import Home
from smallhours.text import clean, size

#: Checkpoints, logs and Ray's own files of a night.
_DISK_BYTES = 2 * 2**30
#: File systems of other machines: flock and shared memory don't hold there what they promise.
_REMOTE = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
        *("ocfs2", "smb3", "smbfs", "virtiofs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    }
)
_FLEETING = frozenset({"tmpfs", "ramfs"})


def examine(home: Home, budget_bytes: int | None) -> Iterator[Finding]:
    """Yield what each check of the state directory finds.

    Args:
        home: The state directory; it need not exist.
        budget_bytes: What all checkpoints may take; None: nobody said.
    """
    if not home.root.exists():
        yield Finding(what="state", verdict="ok", found=f"{home.root} (not there yet)")
    else:
        yield _directory(home.root)
    there = next(path for path in (home.root, *home.root.parents) if path.exists())
    yield _file_system(there)
    yield _room(home, there, budget_bytes)
    if home.ledger.exists():
        yield _ledger(home)


def _directory(root: Path) -> Finding:
    info = root.stat()
    mode = stat.S_IMODE(info.st_mode)
    found = f"{root} (mode {mode:04o})"
    if info.st_uid != os.getuid():
        return Finding(
            what="state",
            verdict="wrong",
            found=f"{found} belongs to another user",
            do="set SMALLHOURS_HOME to a directory of your own",
        )
    if mode & 0o077:
        writable = bool(mode & 0o022)
        return Finding(
            what="state",
            verdict="wrong" if writable else "note",
            found=f"{found}: others can {'write' if writable else 'look'} there",
            do=f"chmod 700 {root}",
        )
    return Finding(what="state", verdict="ok", found=found)


def _file_system(there: Path) -> Finding:
    """Check that locks and the ledger's shared memory work where it lies."""
    kind = file_system(there, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if kind in _REMOTE:
        return Finding(
            what="file system",
            verdict="wrong",
            found=f"{kind}: locks and SQLite's shared memory can't be relied upon there",
            do="set SMALLHOURS_HOME to a directory on a disk of this machine",
        )
    if kind in _FLEETING:
        return Finding(
            what="file system",
            verdict="note",
            found=f"{kind}: what is kept there is gone after a reboot",
            do="set SMALLHOURS_HOME to a directory on a disk",
        )
    return Finding(what="file system", verdict="ok", found=kind or "unknown")


def file_system(path: Path, mounts: str) -> str:
    """Return the kind of file system that a path lies on; empty: unknown.

    Args:
        path: Of something that exists.
        mounts: The content of ``/proc/self/mountinfo``.
    """
    whole = str(path.resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        point = _unescaped(mount.split()[4])
        inside = whole == point or whole.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point, the later one is seen.
        if inside and len(point) >= len(best):
            best, kind = point, source.split()[0]
    return kind


def _unescaped(point: str) -> str:
    """Return a mount point with what the kernel writes in octal (blanks, backslashes)."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)


def _room(home: Home, there: Path, budget_bytes: int | None) -> Finding:
    free = shutil.disk_usage(there).free
    if free < _DISK_BYTES:
        return Finding(
            what="disk",
            verdict="wrong",
            found=f"{size(free)} free",
            do=f"make room, or set SMALLHOURS_HOME to another disk: checkpoints and logs need"
            f" {size(_DISK_BYTES)} at least",
        )
    if budget_bytes is None:
        return Finding(what="disk", verdict="ok", found=f"{size(free)} free")
    used = housekeeping.checkpoint_bytes(home)
    budget = f"{size(free)} free; checkpoints take {size(used)} of {size(budget_bytes)}"
    if free + used < budget_bytes + _DISK_BYTES:
        return Finding(
            what="disk",
            verdict="note",
            found=budget,
            do=f"the disk is full before the budget is: make room, or set storage.checkpoints to"
            f" {size(max(used, free + used - _DISK_BYTES))} at most",
        )
    return Finding(what="disk", verdict="ok", found=budget)


def _ledger(home: Home) -> Finding:
    found = size(home.ledger.stat().st_size)
    mend = "nothing was changed; copy it aside, and see what `smallhours verify` says"
    try:
        database = open_to_read(home.ledger)
        try:
            answer = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            database.close()
    except (SmallhoursError, sqlite3.Error) as error:
        return Finding(what="ledger", verdict="wrong", found=clean(str(error)), do=mend)
    if answer != "ok":
        return Finding(what="ledger", verdict="wrong", found=clean(answer), do=mend)
    return Finding(what="ledger", verdict="ok", found=f"{found}, its pages are sound")
