"""The warm processes from which trials are forked: one per study, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smallhours.core.model import Study
from smallhours.worker import limits

_logger = logging.getLogger(__name__)

#: Zygotes that stay alive when others are wanted.
_KEPT = 3
#: A zygote that dies this often in a row before a trial spoke is not started again by itself.
_FAILURES_ALLOWED = 2


@dataclass(slots=True)
class _Zygote:
    study: int
    config: dict[str, object]
    log: Path
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None
    pidfd: int | None = None
    failures: int = 0
    #: Attempts that were sent here and are not over.
    busy: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Death:
    """How a zygote ended."""

    exit_code: int | None
    signal: int | None
    stderr: str


class Zygotes:
    """Starts, keeps and lets go of zygotes.

    Lives in the engine's main thread: a zygote dies with the thread that started it.
    """

    def __init__(self, directory: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._logs = logs
        self._environment = {**limits.PREFERRED, **environment, **limits.ENVIRONMENT}
        self._of: dict[int, _Zygote] = {}
        self._deaths: dict[int, Death] = {}

    def address(self, study: int) -> str:
        """Return where a study's zygote listens."""
        return f"unix:{self._directory / f'z{study}.sock'}"

    def warm(self, study: Study, snapshot: Path) -> None:
        """Start a study's zygote ahead of time, unless as many as are kept are there already.

        Raises:
            OSError: the machine has no room for it.
        """
        if study.id in self._of or len(self._of) < _KEPT:
            self.ensure(study, snapshot)

    def ensure(self, study: Study, snapshot: Path) -> str:
        """Make sure that a study's zygote runs (or starts); return its address.

        Raises:
            OSError: the machine has no room for it.
        """
        zygote = self._of.get(study.id)
        if zygote is None:
            self._make_room()
            zygote = self._of[study.id] = self._create(study, snapshot)
        else:
            # The latest used is last: room is made at the front.
            self._of[study.id] = self._of.pop(study.id)
        if zygote.process is None:
            self._spawn(zygote)
        return self.address(study.id)

    def busy(self, study: int, attempt: str) -> None:
        """An attempt was sent to the study's zygote."""
        self._of[study].busy.add(attempt)

    def idle(self, study: int, attempt: str) -> None:
        """That attempt is over."""
        if study in self._of:
            self._of[study].busy.discard(attempt)

    def spoke(self, study: int) -> None:
        """A trial of the study spoke: its zygote works."""
        if study in self._of:
            self._of[study].failures = 0

    def death(self, study: int) -> Death | None:
        """Return how the study's last dead zygote ended; None: none died."""
        return self._deaths.get(study)

    def kill(self, study: int) -> None:
        """Kill a zygote that does not answer; a fresh one is started when it is wanted.

        Who waits at its socket is turned away: another one would leave them waiting just the same.
        """
        zygote = self._of.get(study)
        if zygote is not None and zygote.process is not None:
            zygote.failures = _FAILURES_ALLOWED
            zygote.process.kill()

    def retire(self, study: int) -> None:
        """Let a study's zygote go for good."""
        zygote = self._of.pop(study, None)
        if zygote is not None:
            self._end(zygote)

    def close(self) -> None:
        """Let all go and wait until they are gone."""
        for study in list(self._of):
            self.retire(study)

    def _make_room(self) -> None:
        free = [zygote for zygote in self._of.values() if not zygote.busy]
        for zygote in free[: max(0, len(self._of) + 1 - _KEPT)]:
            self.retire(zygote.study)

    def _create(self, study: Study, snapshot: Path) -> _Zygote:
        path = self._directory / f"z{study.id}.sock"
        path.unlink(missing_ok=True)
        self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(64)
        config: dict[str, object] = {
            "study": study.spec.name,
            "module": study.module,
            "source": study.source,
            "snapshot": str(snapshot),
            "cwd": study.cwd,
        }
        return _Zygote(study.id, config, self._logs / f"{study.id}.log", listener)

    def _spawn(self, zygote: _Zygote) -> None:
        fd = zygote.listener.fileno()
        config = {**zygote.config, "fd": fd, "engine_pid": os.getpid()}
        with zygote.log.open("ab") as log:
            process = subprocess.Popen(
                # -P: the working directory must not shadow our modules; the study's own folder
                # is put on the path by the zygote.
                [sys.executable, "-P", "-m", "smallhours.worker.zygote", json.dumps(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[fd],
                env=self._environment,
                start_new_session=True,
            )
        try:
            zygote.pidfd = os.pidfd_open(process.pid)
        except OSError:
            process.kill()
            process.wait()
            raise
        zygote.process = process
        asyncio.get_running_loop().add_reader(zygote.pidfd, self._died, zygote)

    def _forget_process(self, zygote: _Zygote) -> int:
        assert zygote.process is not None
        assert zygote.pidfd is not None
        asyncio.get_running_loop().remove_reader(zygote.pidfd)
        os.close(zygote.pidfd)
        status = zygote.process.wait()
        zygote.process = zygote.pidfd = None
        return status

    def _died(self, zygote: _Zygote) -> None:
        status = self._forget_process(zygote)
        zygote.failures += 1
        self._deaths[zygote.study] = Death(
            exit_code=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            stderr=_tail(zygote.log),
        )
        _logger.warning("zygote of study %d ended with %d", zygote.study, status)
        if zygote.failures < _FAILURES_ALLOWED:
            try:
                self._spawn(zygote)
            except OSError as error:
                _logger.error("zygote of study %d can't be started again: %s", zygote.study, error)
            else:
                return
        # Whoever waits at its socket is turned away, and told by `death` why.
        self._of.pop(zygote.study, None)
        zygote.listener.close()

    def _end(self, zygote: _Zygote) -> None:
        zygote.listener.close()
        if zygote.process is not None:
            with contextlib.suppress(ProcessLookupError):
                zygote.process.send_signal(signal.SIGKILL)
            self._forget_process(zygote)


def _tail(path: Path, size_bytes: int = 4096) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size_bytes))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
