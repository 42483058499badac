"""Who the engine is and whether it lives; starting it; what an earlier one left behind."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

from smallhours.clock import boot_id
from smallhours.devices import host
from smallhours.errors import EngineError
from smallhours.paths import Home

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

#: ``engine.log`` is put aside when it is larger than this.
LOG_CAP_BYTES = 20 * 2**20

#: In the environment of every process of a session: its directory below /tmp.
SESSION_VARIABLE = "SMALLHOURS_SESSION"

_PROC = Path("/proc")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The engine as ``engine.json`` names it."""

    pid: int
    #: Start time of the process in clock ticks since boot, against reuse of the pid.
    pid_started: int
    boot_id: str
    #: None: it has not begun one yet.
    session: int | None = None
    #: The session's private directory below /tmp; empty: not known.
    directory: str = ""


class Stray(NamedTuple):
    """A process of a session whose engine and supervisor are gone."""

    pid: int
    session: str
    command: str


def started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None: gone, or a zombie."""
    process = host.read_process(pid)
    return None if process is None or process.state in "ZX" else process.started


def owner(home: Home) -> Owner | None:
    """Return the living engine of a state directory, if there is one."""
    try:
        found = msgspec.json.decode(home.owner.read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError):
        return None
    lives = found.boot_id == boot_id() and started_at(found.pid) == found.pid_started
    return found if lives else None


def stays(engine: Owner) -> bool:
    """Say whether an engine goes on waiting when its queue runs dry."""
    try:
        command = (_PROC / str(engine.pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return b"--stay" in command.split(b"\0")


def write_owner(home: Home, session: int, directory: Path) -> None:
    """Say in ``engine.json`` that this process is the engine now."""
    pid = os.getpid()
    own = Owner(
        pid=pid,
        pid_started=started_at(pid) or 0,
        boot_id=boot_id(),
        session=session,
        directory=str(directory),
    )
    temporary = home.owner.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(own))
    temporary.replace(home.owner)


def supervisor_lives(home: Home) -> bool:
    """Say whether a supervisor looks after this state directory (it starts engines that die)."""
    command = b"\0-m\0smallhours.supervisor\0"
    for pid in filter(str.isdigit, os.listdir(_PROC)):  # noqa: PTH208 - quick verbs ask this
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - and pathlib is slow
                found = command in file.read()
            # `start_engine` starts it in the state directory.
            if found and (_PROC / pid / "cwd").samefile(home.root):
                return True
        except OSError:
            continue  # gone since, or somebody else's
    return False


def wait_until_gone(engine: Owner, timeout_s: float) -> bool:
    """Wait for the end of an engine's process; say whether it came within the time."""
    try:
        descriptor = os.pidfd_open(engine.pid)
    except ProcessLookupError:
        return True
    try:
        if started_at(engine.pid) != engine.pid_started:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def start_engine(
    home: Home, *, stay: bool = False, more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start supervisor and engine, detached from this terminal; returns at once.

    Args:
        home: The state directory.
        stay: Have the engine wait for more when the queue runs dry, instead of leaving.
        more: Variables of its environment on top of those of this process.

    Raises:
        EngineError: no process could be started.
    """
    import subprocess  # not above: printing verbs ask who the engine is, and start in no time

    home.prepare()
    environment = {**os.environ, **(more or {}), "SMALLHOURS_HOME": str(home.root)}
    try:
        with open_log(home) as log:
            return subprocess.Popen(
                supervisor_command(stay=stay),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home.root,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        raise EngineError(f"the engine can't be started: {error}") from error


def supervisor_command(*, stay: bool) -> list[str]:
    """Return the command that starts a supervisor."""
    # -P and the working directory keep modules of the user's from shadowing ours.
    command = [sys.executable, "-P", "-m", "smallhours.supervisor"]
    return [*command, "--stay"] if stay else command


def open_log(home: Home) -> BinaryIO:
    """Open ``engine.log`` to append to it; one that grew too large is put aside first."""
    trim_log(home)
    return home.log.open("ab")


def trim_log(home: Home) -> None:
    """Put the log aside where it grew too large, over what was put aside before.

    It is copied and emptied: those who write to it go on, at its end.
    """
    import shutil  # see `start_engine`

    try:
        if home.log.stat().st_size <= LOG_CAP_BYTES:
            return
        shutil.copyfile(home.log, home.log.with_name(home.log.name + ".1"))
        os.truncate(home.log, 0)
    except OSError:
        pass  # there is none, or no room: it is only a log


def log_tail(home: Home, lines: int = 12) -> str:
    """Return the last lines of ``engine.log``; empty where there is none."""
    try:
        with home.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 16_384))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def strays() -> list[Stray]:
    """Return this user's processes that outlived their engine and its supervisor."""
    sessions: dict[str, list[Stray]] = {}
    living: set[str] = set()
    for pid in map(int, filter(str.isdigit, os.listdir(_PROC))):  # noqa: PTH208 - as above
        session = session_of(pid)
        if not session:
            continue
        command = _command_of(pid)
        sessions.setdefault(session, []).append(Stray(pid=pid, session=session, command=command))
        if "smallhours.engine" in command or "smallhours.supervisor" in command:
            living.add(session)
    return [stray for name, found in sessions.items() if name not in living for stray in found]


def session_of(pid: int) -> str:
    """Return the session that a process was started in; empty: none, or it can't be seen."""
    return variable_of(pid, SESSION_VARIABLE)


def variable_of(pid: int, name: str) -> str:
    """Return a variable of the environment that a process was started with; empty: it has none."""
    prefix = name.encode() + b"="
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return ""  # somebody else's, or gone
    for item in environment.split(b"\0"):
        if item.startswith(prefix):
            return os.fsdecode(item[len(prefix) :])
    return ""


def _command_of(pid: int) -> str:
    """Return the command line of a process; empty: it is gone, or can't be seen."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace")
