"""One MPS control daemon of our own: started, asked, told to let go of a client, stopped.

NVIDIA's Multi-Process Service is a daemon that starts a server for a card; CUDA programs that find
its pipe directory work through that server, and their kernels run at the same time. All of it is
driven by lines of text to ``nvidia-cuda-mps-control``. Everything here blocks, each call with a
limit, and belongs to one thread: the daemon takes one connection at a time and refuses others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from smallhours import processes
from smallhours.devices import host
from smallhours.sweep import descendants
from smallhours.text import clean

_logger = logging.getLogger(__name__)

PROGRAM: Final = "nvidia-cuda-mps-control"
#: In the environment of a CUDA program: where its daemon listens.
PIPE_VARIABLE: Final = "CUDA_MPS_PIPE_DIRECTORY"
_LOG_VARIABLE: Final = "CUDA_MPS_LOG_DIRECTORY"

_PAUSE_S: Final = 0.02
#: Of a socket's path (sun_path, less the zero at its end).
_LONGEST_PATH: Final = 107
_WORDS_LENGTH: Final = 160
_GONE: Final = "its control daemon is gone"
#: What the control program says, to begin with, where there is no daemon at its pipe.
_NOT_FOUND: Final = "Cannot find MPS control daemon"
#: What `terminate_client` says when it worked: CUDA_SUCCESS. All else is a refusal.
_SUCCESS: Final = "0"
#: Of the daemon's log: a server that is no more, and one that takes clients.
_CRASH: Final = re.compile(r"fatal exception|exited with status (?!0\b)", re.IGNORECASE)
_READY: Final = re.compile(r"NEW SERVER \d+: Ready")


class Limits(NamedTuple):
    """How long may be waited, in seconds."""

    #: For a daemon to start, to answer, to let go of a client, and to end by itself.
    start_s: float = 10.0
    ask_s: float = 5.0
    terminate_s: float = 10.0
    quit_s: float = 3.0
    #: For processes that were killed to be gone.
    killed_s: float = 2.0
    #: By a signal, until the card was taken from its process.
    signal_s: float = 3.0
    #: By the end of the session, for all daemons.
    close_s: float = 8.0


class MpsError(Exception):
    """The daemon can't be started, does not answer, or refuses; the message says which."""


class _Identity(NamedTuple):
    pid: int
    #: Clock ticks since boot, against reuse of the pid.
    started: int

    def lives(self) -> bool:
        return processes.started_at(self.pid) == self.started


class ControlDaemon:
    """A control daemon for one card, in directories that nobody else can enter."""

    def __init__(
        self,
        directory: Path,
        card: str,
        environment: Mapping[str, str],
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        """Start nothing yet.

        Args:
            directory: A private one (short path), made when the daemon is started.
            card: The card's UUID. By number, its clients would have to count it as 0.
            environment: What the daemon sees beside its own variables.
            limits: How long may be waited.
        """
        self._directory, self._limits = directory, limits
        #: The path of ``nvidia-cuda-mps-control``, once it was started.
        self.program = PROGRAM
        #: Where its clients look for it.
        self.pipe = directory / "pipe"
        self._logs = directory / "log"
        others = {k: v for k, v in environment.items() if not k.startswith("CUDA_MPS_")}
        self._environment = {
            **others,
            PIPE_VARIABLE: str(self.pipe),
            _LOG_VARIABLE: str(self._logs),
            "CUDA_VISIBLE_DEVICES": card,
        }
        self._daemon: _Identity | None = None
        self._servers: set[_Identity] = set()
        #: How much of the log was read, and the latest line of it that tells of a crash.
        self._read_bytes = 0
        self._crash = ""

    def start(self, program: str) -> None:
        """Start the daemon and wait until it answers. It starts a server with its first client.

        Args:
            program: The path of ``nvidia-cuda-mps-control``.

        Raises:
            MpsError: it can't be started; what of it was started may have to be stopped.
        """
        self.program = program
        socket = self.pipe / "control"
        if len(os.fsencode(socket)) > _LONGEST_PATH:
            raise MpsError(f"{socket}: the path is too long for a socket")
        try:
            for path in (self._directory, self.pipe, self._logs):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            said = self._daemonise()
        except OSError as error:
            raise MpsError(f"{PROGRAM} can't be started: {error}") from error
        deadline = time.monotonic() + self._limits.start_s
        while True:
            self._daemon = self._identify()
            if self._daemon is not None:
                self._ask("get_server_list")
                return
            if time.monotonic() >= deadline:
                raise MpsError(f"{PROGRAM} did not start{said and f': {said}'}")
            time.sleep(_PAUSE_S)

    def trouble(self) -> str:
        """Return what is wrong with the daemon or its server, in words; empty: nothing."""
        if self._daemon is None or not self._daemon.lives():
            return _GONE
        try:
            for server in self._list("get_server_list"):
                self._remember(server)
                if self._ask(f"get_server_status {server}") == "FAULT":
                    return f"its server (process {server}) is in fault"
        except MpsError as error:
            return str(error)
        return self._crashed()

    def terminate(self, leader: int) -> int:
        """Take the GPU's work and contexts away from the clients of a session of processes.

        Afterwards signals do no harm. To kill a client with work in flight may leave the server,
        and with it all other clients, in an undefined state.

        Args:
            leader: The pid that leads the session.

        Returns:
            How many clients were let go; 0: it has none.

        Raises:
            MpsError: the daemon does not answer, or refuses.
        """
        done = 0
        for server in self._list("get_server_list"):
            for client in self._list(f"get_client_list {server}"):
                process = host.read_process(client)
                if process is None or leader not in (client, process.session):
                    continue
                answer = self._ask(f"terminate_client {server} {client}", self._limits.terminate_s)
                if answer != _SUCCESS:
                    raise MpsError(f"client {client} can't be let go: {answer or 'no answer'}")
                done += 1
        return done

    def stop(self) -> None:
        """End the daemon and its servers, by force where they don't end by themselves."""
        daemon = self._daemon
        if daemon is None:
            return
        family = {daemon, *self._servers, *_identities(descendants(daemon.pid))}
        try:
            self._ask("quit -t 1", self._limits.quit_s)
        except MpsError as error:
            _logger.info("%s", error)
        else:
            _wait_until_gone(family, self._limits.quit_s)
        for process in family:
            if process.lives():
                _logger.warning("MPS does not end by itself: process %d is killed", process.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        _wait_until_gone(family, self._limits.killed_s)
        self._daemon, self._servers, self._crash = None, set(), ""

    # --- the program ------------------------------------------------------------------------

    def _daemonise(self) -> str:
        """Have the program go to the background; return what it said.

        Raises:
            OSError: it can't be run, says no, or does not return.
        """
        log, words = self._logs / "control.log", self._logs / "start.log"
        if log.exists():
            log.replace(log.with_name("control.log.1"))
        self._read_bytes = 0
        # No pipe: the daemon might hold it open.
        with words.open("wb") as out:
            try:
                done = subprocess.run(
                    [self.program, "-d"],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=self._environment,
                    timeout=self._limits.start_s,
                )
            except subprocess.TimeoutExpired as error:
                raise TimeoutError(f"no answer for {self._limits.start_s:.0f} s") from error
        said = clean(words.read_text("utf-8", "replace").strip(), _WORDS_LENGTH)
        if done.returncode:
            raise OSError(said or f"it left with {done.returncode}")
        return said

    def _ask(self, command: str, limit_s: float | None = None) -> str:
        """Give the daemon a command; return its answer.

        Raises:
            MpsError: there is none.
        """
        verb = command.split(maxsplit=1)[0]
        try:
            done = subprocess.run(
                [self.program],
                check=False,
                input=command + "\n",
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=self._environment,
                timeout=limit_s or self._limits.ask_s,
            )
        except subprocess.TimeoutExpired:
            raise MpsError(f"its control daemon does not answer ({verb})") from None
        except OSError as error:
            raise MpsError(f"{PROGRAM} can't be run: {error}") from error
        if done.returncode:
            said = clean((done.stdout + done.stderr).strip(), _WORDS_LENGTH)
            if said.startswith(_NOT_FOUND):
                raise MpsError(_GONE)
            raise MpsError(f"its control daemon refuses {verb}: {said or done.returncode}")
        return done.stdout.strip()

    def _list(self, command: str) -> list[int]:
        words = self._ask(command).split()
        if not all(word.isdigit() for word in words):
            said = clean(" ".join(words), _WORDS_LENGTH)
            raise MpsError(f"its control daemon gives no list of processes: {said}")
        return [int(word) for word in words]

    # --- what it leaves behind --------------------------------------------------------------

    def _identify(self) -> _Identity | None:
        """Return the daemon by the file that names it; None: it is not there, or not ours."""
        try:
            pid = int((self.pipe / f"{PROGRAM}.pid").read_text("ascii"))
        except (OSError, ValueError):
            return None
        started = processes.started_at(pid)
        ours = processes.variable_of(pid, PIPE_VARIABLE) == str(self.pipe)
        return _Identity(pid, started) if ours and started is not None else None

    def _remember(self, server: int) -> None:
        self._servers = {known for known in self._servers if known.lives()}
        self._servers.update(_identities([server]))

    def _crashed(self) -> str:
        """Return the log's word of a server that crashed, and none took its place; else empty."""
        for line in self._new_lines():
            if _CRASH.search(line):
                self._crash = clean(line.partition("] ")[2] or line, _WORDS_LENGTH)
            elif _READY.search(line):
                self._crash = ""
        return self._crash

    def _new_lines(self) -> Iterator[str]:
        try:
            with (self._logs / "control.log").open("rb") as log:
                log.seek(self._read_bytes)
                whole, end, _ = log.read().rpartition(b"\n")
        except OSError:
            return  # not written yet
        self._read_bytes += len(whole) + len(end)
        yield from whole.decode("utf-8", "replace").splitlines()


def _identities(pids: list[int]) -> Iterator[_Identity]:
    for pid in pids:
        started = processes.started_at(pid)
        if started is not None:
            yield _Identity(pid, started)


def _wait_until_gone(family: set[_Identity], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    for process in family:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process.pid)
            try:
                if process.lives():
                    poll = select.poll()
                    poll.register(descriptor, select.POLLIN)
                    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            finally:
                os.close(descriptor)
