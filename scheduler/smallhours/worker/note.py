"""Death notes: what a process writes about its own failure, and what the user's log says of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from smallhours.worker import usage

Phase = Literal["load", "prepare", "train"]
Note = dict[str, Any]

_OURS = str(Path(__file__).parent.parent) + os.sep
_MESSAGE_CAP, _TRACEBACK_CAP = 4_000, 20_000
_MOST_CAUSES = 3
_RESERVED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Frame:
    code: CodeType
    line: int
    #: The file relative to the study's folder; None: it isn't the user's.
    own: str | None


def describe(error: BaseException, folder: Path, phase: Phase) -> Note:
    """Return the death note of an error; works whatever the error's own methods do.

    Args:
        error: What was raised.
        folder: The study's folder: frames of files below it are the user's own.
        phase: What was going on.
    """
    if isinstance(error, MemoryError):
        traceback.clear_frames(error.__traceback__)  # what filled the memory hangs on them
    own = [frame for frame in _frames(error, folder) if frame.own is not None]
    kind = _kind(error)
    os_error = error if isinstance(error, OSError) else None
    memory = usage.left()  # what the error's frames hold is still held
    return {
        "type": kind,
        "message": _message(error)[:_MESSAGE_CAP],
        "fingerprint": _fingerprint(kind, own),
        "where": _where(error, own, folder),
        "traceback": _cut(_format(error, folder, own_only=False)),
        "phase": phase,
        "errno": os_error.errno if os_error else None,
        "path": _path(os_error.filename) if os_error else "",
        "causes": [[_kind(cause), _message(cause)[:_MESSAGE_CAP]] for cause in _causes(error)],
        "memory": memory,
    }


def for_people(error: BaseException, folder: Path) -> str:
    """Return the traceback with the user's own frames only, and the error."""
    return _format(error, folder, own_only=True)


def reserve(path: Path) -> None:
    """Set room aside for a note, so that a full disk can still be told of."""
    with contextlib.suppress(OSError), path.with_suffix(".tmp").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _RESERVED_BYTES)


def release(path: Path) -> None:
    """Give the room back that no note was needed for."""
    path.with_suffix(".tmp").unlink(missing_ok=True)


def write(note: Note, path: Path) -> None:
    """Write a note so that it is there whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - not truncated: its blocks are reserved
        file.write(json.dumps(note).encode())
        file.flush()
        file.truncate()
        os.fsync(descriptor)
    temporary.replace(path)


def is_own(file: str, folder: Path) -> bool:
    """Say whether a file is the user's: below the study's folder, no library, not ours."""
    path = Path(file)
    if file.startswith(_OURS) or not path.is_absolute() or not path.is_relative_to(folder):
        return False
    return not in_library(path.relative_to(folder).parent)


def in_library(place: Path) -> bool:
    """Say whether a folder below the study's holds installed packages, as an environment does."""
    return any(
        part in {"site-packages", "dist-packages"} or part.startswith(".") for part in place.parts
    )


def _frames(error: BaseException, folder: Path) -> list[_Frame]:
    """Return the error's frames without those of ours that called the user's function."""
    frames = []
    link = error.__traceback__
    while link is not None:
        code = link.tb_frame.f_code
        own = is_own(code.co_filename, folder)
        relative = str(Path(code.co_filename).relative_to(folder)) if own else None
        frames.append(_Frame(code, link.tb_lineno, relative))
        link = link.tb_next
    return frames


def _fingerprint(kind: str, own: list[_Frame]) -> str:
    """Hash type and own frames; a run of equal frames (recursion) counts as one."""
    places = [f"{frame.own}:{frame.code.co_qualname}" for frame in own]
    distinct = [place for i, place in enumerate(places) if i == 0 or places[i - 1] != place]
    return hashlib.sha256("\n".join([kind, *distinct]).encode()).hexdigest()[:16]


def _where(error: BaseException, own: list[_Frame], folder: Path) -> str:
    if own:
        return f"{own[-1].own}:{own[-1].line} in {own[-1].code.co_name}"
    if isinstance(error, SyntaxError) and error.filename and is_own(error.filename, folder):
        return f"{Path(error.filename).relative_to(folder)}:{error.lineno}"
    return ""


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _causes(error: BaseException) -> list[BaseException]:
    """Return the errors that this one was raised from, nearest first."""
    found: list[BaseException] = []
    while (cause := error.__cause__) is not None and len(found) < _MOST_CAUSES:
        found.append(cause)
        error = cause
    return found


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - an error may fail to say what it is
        return f"(its message can't be had: {type(second).__name__} in __str__)"


def _path(filename: object) -> str:
    if isinstance(filename, bytes | str | os.PathLike):
        return os.fsdecode(filename)
    return "" if filename is None else repr(filename)


def _format(error: BaseException, folder: Path, *, own_only: bool) -> str:
    try:
        summary = traceback.TracebackException.from_exception(error)
        _filter(summary, folder, own_only=own_only, seen=set())
        return "".join(summary.format())
    except Exception as second:  # noqa: BLE001 - an error may break what formats it
        return f"{type(error).__name__} (can't be formatted: {type(second).__name__})\n"


def _filter(
    summary: traceback.TracebackException, folder: Path, *, own_only: bool, seen: set[int]
) -> None:
    """Take frames out of an error's traceback and those of the errors it hangs together with."""
    if id(summary) in seen:
        return
    seen.add(id(summary))
    frames = [frame for frame in summary.stack if not frame.filename.startswith(_OURS)]
    own = [frame for frame in frames if is_own(frame.filename, folder)]
    if own_only and own:
        frames = own if frames[-1] is own[-1] else [*own, frames[-1]]
    summary.stack = traceback.StackSummary.from_list(frames)
    for other in (summary.__cause__, summary.__context__, *(summary.exceptions or ())):
        if other is not None:
            _filter(other, folder, own_only=own_only, seen=seen)


def _cut(text: str) -> str:
    if len(text) <= _TRACEBACK_CAP:
        return text
    half = _TRACEBACK_CAP // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


def print_error(error: BaseException, folder: Path) -> None:
    """Print an error to standard error as the user's log shows it."""
    print(for_people(error, folder), end="", file=sys.stderr, flush=True)
