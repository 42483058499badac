"""Copies of a study's code: what its trials run, however the originals are edited meanwhile."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smallhours.errors import UsageError
from smallhours.paths import Home

#: A folder with more than this is no project of its own: only what was imported is copied.
MAX_FILES = 2_000
MAX_BYTES = 20 * 2**20
#: Directory entries looked at, at most, before that is decided.
_MAX_ENTRIES = 50_000

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of a study's code."""

    #: Name of its directory below ``snapshots/``: 16 hex digits of its content's hash.
    id: str
    #: Hash of the files that were imported: what tells an edited study from the one before.
    digest: str


def take(home: Home, folder: Path, imported: tuple[str, ...]) -> Snapshot:
    """Copy a study's code into the state directory.

    Args:
        home: The state directory.
        folder: The study's folder.
        imported: The study's own files that were imported, relative to the folder.

    Raises:
        UsageError: a file can't be read, or the copy can't be written.
    """
    try:
        own = {name: (folder / name).read_bytes() for name in imported if _inside(name)}
        contents = _tree(folder, home.root) or {}
        contents.update(own)
        identity = _hash(contents)[:16]
        _write(home.snapshots, identity, contents)
    except OSError as error:
        raise UsageError(f"the study's code can't be copied: {error}") from error
    return Snapshot(id=identity, digest=_hash(own))


def _inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _tree(folder: Path, state: Path) -> dict[str, bytes] | None:
    """Read all Python files below the folder; None: there is too much of it."""
    contents: dict[str, bytes] = {}
    size_bytes = entries = 0
    for entry in _walk(folder, state):
        entries += 1
        if entries > _MAX_ENTRIES:
            return None
        if not entry.name.endswith(".py"):
            continue
        try:
            if not entry.is_file():
                continue
            size_bytes += entry.stat().st_size
            if len(contents) == MAX_FILES or size_bytes > MAX_BYTES:
                return None
            contents[os.path.relpath(entry.path, folder)] = Path(entry.path).read_bytes()
        except OSError:
            continue  # a dangling link or somebody else's: it wasn't imported, so it isn't missed
    return contents


def _walk(folder: Path, state: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies below a folder, without environments, caches and the state directory."""
    waiting = [folder]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # may not be read
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        for entry in entries:
            yield entry
            if entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False) and Path(entry.path) != state:
                waiting.append(Path(entry.path))


def _hash(contents: dict[str, bytes]) -> str:
    """Return the SHA-256 of paths and contents, each with its length, in the paths' order."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        for part in (os.fsencode(name), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _write(snapshots: Path, identity: str, contents: dict[str, bytes]) -> None:
    """Write the copy so that it is there whole or not at all; one that exists is the same."""
    final = snapshots / identity
    if final.is_dir():
        os.utime(final)  # wanted again: housekeeping leaves it alone until it is asked for
        return
    temporary = snapshots / f".{identity}-{secrets.token_hex(4)}"
    temporary.mkdir(mode=0o700)
    try:
        folders = {temporary}
        for name, content in contents.items():
            path = temporary / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folders.update(p for p in path.parents if p.is_relative_to(temporary))
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for folder in folders:
            _sync(folder)
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # else somebody was quicker with the same content
                raise
        _sync(snapshots)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
