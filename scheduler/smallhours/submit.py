"""From a study file to requests for the engine: load it elsewhere, check it, copy its code."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from smallhours import inbox, study_code
from smallhours.core.spec import StudySpec
from smallhours.errors import StudyFileError, UsageError
from smallhours.hints import did_you_mean, study_name_problem
from smallhours.paths import Home
from smallhours.progress import working

#: How long a study file may take to be imported.
LOAD_LIMIT_S = 30.0

#: Where the loader puts its answer.
_ANSWER_FD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the loader read from a study file."""

    source: Path
    specs: tuple[StudySpec, ...]
    #: The name under which the file was imported.
    module: str
    #: The study's own code as it was imported, relative to the file's folder.
    files: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder that the study's imports start from."""
        return self.source.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A study that the engine was asked to add."""

    name: str
    request: str


class _Answer(msgspec.Struct):
    """What the loader prints."""

    studies: list[dict[str, Any]] = []
    module: str = ""
    files: list[str] = []
    error: dict[str, str] | None = None


def load(path: Path) -> Loaded:
    """Read a study file in a process of its own.

    Args:
        path: The file, as it was typed.

    Raises:
        StudyFileError: something in the file is wrong.
    """
    source = path.absolute()
    if not source.is_file():
        raise StudyFileError(str(path), "", f"there is no such file{_nearest(path)}")
    if source.suffix != ".py":
        raise StudyFileError(str(path), "", "a study is a Python file, its name ends in .py")
    with working(f"loading {path.name}"):
        answer = _run_loader(path, source)
    if answer.error is not None:
        error = answer.error
        message = error.get("message", "")
        trace = error.get("traceback", "").rstrip()
        raise StudyFileError(
            str(path), error.get("key", ""), f"{message}\n{trace}" if trace else message
        )
    if not answer.studies:
        raise StudyFileError(
            str(path), "", 'it defines no study: write study = Study("name", ...) at its top level'
        )
    specs = tuple(_spec(path, data) for data in answer.studies)
    return Loaded(
        source=source, specs=specs, module=answer.module or path.stem, files=tuple(answer.files)
    )


def add(
    home: Home,
    path: Path,
    *,
    replace: bool = False,
    rename: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Loaded, list[Added]]:
    """Ask the engine to add every study of a file.

    Args:
        home: The state directory.
        path: The study file.
        replace: Retire studies of the same names that differ, instead of refusing.
        rename: Another name for the file's only study.
        changes: Fields of every study's spec that are other than the file says.

    Returns:
        What was loaded, and one request for each study.

    Raises:
        StudyFileError: something in the file is wrong; nothing was asked for.
        UsageError: the file can't be copied, or can't be renamed.
    """
    loaded = load(path)
    specs = loaded.specs
    if rename is not None:
        if len(specs) > 1:
            names = ", ".join(spec.name for spec in specs)
            raise UsageError(f"--as names one study, and {path} has {len(specs)}: {names}")
        problem = study_name_problem(rename)
        if problem:
            raise UsageError(f"--as: {problem}")
        specs = (msgspec.structs.replace(specs[0], name=rename),)
    specs = tuple(msgspec.structs.replace(spec, **(changes or {})) for spec in specs)
    home.prepare()
    copied = study_code.take(home, loaded.folder, loaded.files)
    added = []
    for spec in specs:
        body = {
            "spec": msgspec.to_builtins(spec),
            "snapshot": copied.id,
            "digest": copied.digest,
            "source": str(loaded.source),
            "module": loaded.module,
            "cwd": str(Path.cwd()),
            "replace": replace,
            "by": inbox.who(),
        }
        added.append(Added(name=spec.name, request=inbox.submit(home, "add", body)))
    return loaded, added


def _nearest(path: Path) -> str:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f": {path.parent} is no folder"
    return did_you_mean(path.name, (found.name for found in folder.glob("*.py")))


def _run_loader(path: Path, source: Path) -> _Answer:
    """Have the loader read the file; it is killed with all that it started when it is too slow."""
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said:
        status = _spawn(source, answer.fileno(), said.fileno())
        if status is None:
            raise StudyFileError(
                str(path),
                "",
                f"importing it took more than {LOAD_LIMIT_S:.0f} s: move what is slow (data,"
                " downloads) into the function under @study.prepare" + _tail(said),
            )
        answer.seek(0)
        try:
            return msgspec.json.decode(answer.read(), type=_Answer)
        except msgspec.MsgspecError:
            how = _how(status)
            raise StudyFileError(
                str(path), "", f"the process that imported it {how} without a word" + _tail(said)
            ) from None


def _spawn(source: Path, answer_fd: int, said_fd: int) -> int | None:
    """Run the loader to its end; returns its wait status, or None where it had to be killed."""
    with Path(os.devnull).open("rb") as nothing:
        pid = os.posix_spawn(
            sys.executable,
            # -P: the folder that smallhours was called in must not shadow its modules.
            [sys.executable, "-P", "-m", "smallhours.worker.loader", str(source)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, said_fd, 1),
                (os.POSIX_SPAWN_DUP2, said_fd, 2),
                (os.POSIX_SPAWN_DUP2, answer_fd, _ANSWER_FD),
            ],
            setpgroup=0,
        )
    descriptor = os.pidfd_open(pid)
    in_time = False
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        in_time = bool(poll.poll(LOAD_LIMIT_S * 1000))
    finally:
        os.close(descriptor)
        _kill_group(pid)
        status = os.waitpid(pid, 0)[1]
    return status if in_time else None


def _kill_group(pid: int) -> None:
    """Kill what is left of the loader's process group (its leader isn't reaped yet)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail(said: IO[bytes]) -> str:
    """Return the last lines of what the study file printed while it was imported."""
    said.seek(0)
    lines = said.read().decode("utf-8", errors="replace").splitlines()[-8:]
    return "".join(f"\n  {line}" for line in lines)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with code {code}"


def _spec(path: Path, data: dict[str, Any]) -> StudySpec:
    """Decode and check what the loader said of one study."""
    name = str(data.get("name", "?"))
    try:
        return msgspec.convert(data, StudySpec, strict=True)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = f"{name}{where.rstrip('`')}"
        hint = ""
        unknown = re.search(r"unknown field `([^`]*)`", message)
        if unknown:
            hint = did_you_mean(unknown[1], StudySpec.__struct_fields__)
        raise StudyFileError(str(path), key, message + hint) from None
