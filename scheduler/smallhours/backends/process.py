"""Runs attempts as real processes: zygotes fork them, a launcher places them, sockets hear them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal as signals
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from smallhours.backends import evidence, links
from smallhours.backends.base import Launcher, NothingShared, Placed, Post, Sharing, SlotReturn
from smallhours.backends.life import LauncherLife
from smallhours.backends.links import Link, Message
from smallhours.backends.places import Places
from smallhours.backends.zygotes import Zygotes
from smallhours.clock import Clock
from smallhours.core import events as e
from smallhours.core.actions import Start, Stop
from smallhours.core.model import Study
from smallhours.core.trial import AttemptKey
from smallhours.devices import host
from smallhours.devices.base import CPU
from smallhours.paths import Home
from smallhours.worker import limits

_logger = logging.getLogger(__name__)

#: How long a process that is gone may still be heard (what it sent lies in the socket).
_LAST_WORDS_S = 1.0
#: How long the hello of a process that is gone already may take to be read.
_LATE_HELLO_S = 1.0
#: Samples of resident bytes that are kept of an attempt.
_SAMPLES_KEPT = 60


@dataclass(slots=True)
class _Attempt:
    """What is known of an attempt that was started and has not been given back."""

    key: AttemptKey
    order: Start
    kernel_oom_kills: int | None
    link: Link | None = None
    pid: int | None = None
    pid_started: int | None = None
    stop: Stop | None = None
    finished: bool = False
    #: (monotonic time, resident bytes) of its process tree.
    resident: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES_KEPT))
    returned: SlotReturn | None = None
    #: Ends the wait for last words.
    timer: asyncio.TimerHandle | None = None


class ProcessBackend:
    """The real backend (`backends.base.Backend`). Lives in the engine's event loop."""

    def __init__(
        self,
        home: Home,
        directory: Path,
        launcher: Launcher,
        *,
        studies: Mapping[int, Study],
        clock: Clock,
        places: Callable[[], Places],
        environment: Mapping[str, str],
        sharing: Sharing | None = None,
    ) -> None:
        """Set up.

        Args:
            home: The state directory.
            directory: The session's private directory (short path).
            launcher: Gives processes a place.
            studies: The studies by id, as the core knows them.
            clock: For the times of events.
            places: Says how many attempts may run at a time, and where; asked at each `wake`.
            environment: What processes of trials see as their environment.
            sharing: What is asked before a process is signalled; None: nothing.
        """
        self._home = home
        self._directory = directory
        self._launcher = launcher
        self._studies = studies
        self._clock = clock
        self._sharing: Sharing = sharing or NothingShared()
        self._ask_places, self._places = places, places()
        self._zygotes = Zygotes(directory, home.root / "zygotes", environment)
        self._attempts: dict[AttemptKey, _Attempt] = {}
        self._server: asyncio.Server | None = None
        self._post: Post = _nobody
        self._life = LauncherLife(
            launcher,
            str(directory),
            ready=self._ready,
            rested=self._rested,
            returned=self._returned,
            lost=self._launcher_lost,
        )

    async def open(self, post: Post) -> None:
        """Listen to trials; see `Backend.open`."""
        loop = asyncio.get_running_loop()
        self._post = post
        path = self._directory / "engine.sock"
        self._server = await loop.create_unix_server(
            lambda: Link(self._heard, self._closed), path=str(path), backlog=256
        )

    def wake(self) -> None:
        """Start the launcher; see `Backend.wake`."""
        self._places = self._ask_places()
        self._life.wake(self._places.in_all)

    def renew(self) -> None:
        """Have the launcher begin afresh; see `Backend.renew`."""
        self._life.renew()

    def rest(self) -> None:
        """Let the launcher go until `wake`; see `Backend.rest`."""
        self._life.rest()

    def open_study(self, study: int) -> None:
        """Start the study's zygote, where there is room for one more."""
        with contextlib.suppress(OSError):  # the first attempt tries again, and is told
            self._zygotes.warm(self._studies[study], self._snapshot(study))

    def close_study(self, study: int) -> None:
        """Let the study's zygote go."""
        self._zygotes.retire(study)

    def space_address(self, study: int) -> str:
        """Return where the study's space function can be asked."""
        return self._zygotes.address(study)

    def start(self, order: Start) -> None:
        """Hand an attempt to the launcher; see `Backend.start`."""
        key = order.key
        study = self._studies[key.study]
        attempt_dir = self._home.attempt(*key)
        self._attempts[key] = _Attempt(key, order, host.kernel_oom_kills())
        try:
            attempt_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            address = self._zygotes.ensure(study, self._snapshot(key.study))
        except OSError as error:
            _logger.error("%s can't be started: %s", key, error)
            asyncio.get_running_loop().call_soon(self._returned, evidence.not_started(key, error))
            return
        self._zygotes.busy(key.study, str(key))
        self._launcher.start(
            Placed(key=key, zygote=address, order=self._order(order, study, attempt_dir))
        )

    def stop(self, order: Stop) -> None:
        """Tell an attempt's process to end, now or as soon as it speaks."""
        attempt = self._attempts.get(order.key)
        if attempt is not None:
            attempt.stop = order
            if attempt.link is not None:
                attempt.link.stop(order.how, order.why)

    def dump_stack(self, key: AttemptKey) -> None:
        """Have the process write its stacks into ``fault.txt``."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            self._send(attempt, limits.DUMP_SIGNAL, os.kill)

    def signal(self, key: AttemptKey, signal: Literal["SIGTERM", "SIGKILL"]) -> None:
        """Signal an attempt's process group; one that never spoke goes with its zygote."""
        attempt = self._attempts.get(key)
        if attempt is None:
            return
        _logger.warning("%s to %s (pid %s)", signal, key, attempt.pid)
        if attempt.pid is None:
            self._zygotes.kill(key.study)
        else:
            send = partial(self._send, attempt, signals.Signals[signal], os.killpg)
            self._sharing.before_signal(attempt.pid, send)

    def _send(self, attempt: _Attempt, number: int, kill: Callable[[int, int], None]) -> None:
        """Send a signal, unless the pid is that of a later process by now."""
        process = host.read_process(attempt.pid) if attempt.pid is not None else None
        if process is not None and process.started == attempt.pid_started:
            with contextlib.suppress(ProcessLookupError):
                kill(process.pid, number)

    def sample(self) -> dict[AttemptKey, e.ProcessSample]:
        """Sample the process trees of all attempts that run."""
        now = self._clock.mono()
        roots = {a.pid: a for a in self._attempts.values() if a.pid is not None}
        samples = {}
        for pid, tree in host.sample_trees(roots).items():
            attempt = roots[pid]
            attempt.resident.append((now, tree.resident_bytes))
            samples[attempt.key] = e.ProcessSample(
                resident_bytes=tree.resident_bytes, cpu_s=tree.cpu_s, state=tree.state
            )
        return samples

    @property
    def busy(self) -> set[str]:
        """The devices of all attempts that were started and are not over."""
        return {attempt.order.device for attempt in self._attempts.values()}

    def check(self) -> None:
        """Look whether what the launcher stands on still lives."""
        self._life.check()

    async def close(self) -> None:
        """Let everything go; see `Backend.close`."""
        self._post = _nobody
        await self._life.close()
        self._zygotes.close()
        for attempt in self._attempts.values():
            if attempt.link is not None:
                attempt.link.hang_up()
        if self._server is not None:
            self._server.close()

    # --- what the launcher says ------------------------------------------------------------

    def _ready(self) -> None:
        self._post(
            e.BackendReady(
                at=self._clock.mono(),
                device=CPU,
                slots=self._places.cpu,
                packed=self._places.packed,
            )
        )

    def _rested(self) -> None:
        self._post(e.BackendClosed(at=self._clock.mono()))

    def _launcher_lost(self, detail: str) -> None:
        self._post(e.BackendLost(at=self._clock.mono(), cause="raylet died", detail=detail))
        for attempt in list(self._attempts.values()):
            if attempt.link is None:
                self._returned(SlotReturn(key=attempt.key, lost_parent="raylet"))

    def _returned(self, back: SlotReturn) -> None:
        attempt = self._attempts.get(back.key)
        if attempt is None or attempt.returned is not None:
            return
        attempt.returned = back
        if attempt.link is not None:
            wait = _LAST_WORDS_S
        elif attempt.pid is not None or back.zygote_died or back.note is not None:
            wait = 0.0  # it spoke and hung up, or it never ran
        else:
            wait = _LATE_HELLO_S
        loop = asyncio.get_running_loop()
        attempt.timer = loop.call_later(wait, self._exited, attempt) if wait else None
        if not wait:
            self._exited(attempt)

    def _exited(self, attempt: _Attempt) -> None:
        back = attempt.returned
        assert back is not None
        del self._attempts[attempt.key]
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.link is not None:
            attempt.link.refuse("its process is gone")
        self._zygotes.idle(attempt.key.study, str(attempt.key))
        if attempt.pid is not None and back.exit_code != 0:
            self._sharing.ended_badly()
        self._post(self._exit_event(attempt, back))

    def _exit_event(self, attempt: _Attempt, back: SlotReturn) -> e.ProcessExited:
        now, key = self._clock.mono(), attempt.key
        code, signal, stderr = back.exit_code, back.signal, back.stderr
        if (
            back.zygote_died
            and code is None
            and (death := self._zygotes.death(key.study)) is not None
        ):
            code, signal, stderr = death.exit_code, death.signal, death.stderr
        oom_before, oom_now = attempt.kernel_oom_kills, host.kernel_oom_kills()
        return e.ProcessExited(
            at=now,
            key=key,
            finished=attempt.finished,
            note=evidence.note_of(back.note),
            exit_code=code,
            signal=signal,
            lost_parent=back.lost_parent,
            zygote_died=back.zygote_died,
            stderr=stderr,
            fault=back.fault,
            kernel_oom_kills=(oom_now or 0) - (oom_before or 0) if oom_now is not None else 0,
            resident=tuple((round(now - at, 1), size) for at, size in attempt.resident),
            disk_free_bytes=host.free_disk_bytes(self._home.root),
            detail=evidence.text(back.detail),
        )

    # --- what trials say -------------------------------------------------------------------

    def _heard(self, link: Link, message: Message) -> None:
        attempt = self._attempts.get(link.key) if link.key is not None else None
        if attempt is None:
            link.refuse("no such attempt is running")
            return
        now, key = self._clock.mono(), attempt.key
        match message:
            case links.Hello():
                self._greeted(attempt, link, message)
            case links.Report():
                metrics = {name: float(value) for name, value in message.m.items()}
                self._post(e.ReportArrived(at=now, key=key, step=message.s, metrics=metrics))
                if message.w and attempt.stop is None:
                    link.go()
            case links.Restored():
                self._post(
                    e.StateRestored(
                        at=now,
                        key=key,
                        step=message.s,
                        path=message.path,
                        rejected=message.rejected,
                    )
                )
            case links.Checkpoint():
                self._post(
                    e.CheckpointWritten(
                        at=now, key=key, step=message.s, path=message.path, size_bytes=message.bytes
                    )
                )
            case links.Usage():
                footprint = evidence.footprint_of(message)
                self._post(e.FootprintMeasured(at=now, key=key, footprint=footprint))
            case links.Stopping():
                self._post(e.StopNoticed(at=now, key=key))
            case links.Done():
                attempt.finished = True

    def _greeted(self, attempt: _Attempt, link: Link, hello: links.Hello) -> None:
        attempt.link, attempt.pid, attempt.pid_started = link, hello.pid, hello.born
        self._zygotes.spoke(attempt.key.study)
        if attempt.stop is not None:
            link.stop(attempt.stop.how, attempt.stop.why)
        self._post(
            e.ProcessStarted(
                at=self._clock.mono(), key=attempt.key, pid=hello.pid, pid_started=hello.born
            )
        )

    def _closed(self, link: Link) -> None:
        attempt = self._attempts.get(link.key) if link.key is not None else None
        if attempt is None or attempt.link is not link:
            return
        attempt.link = None
        if attempt.returned is not None:
            self._exited(attempt)
        elif self._life.lost:
            self._returned(SlotReturn(key=attempt.key, lost_parent="raylet"))

    # --- details ---------------------------------------------------------------------------

    def _snapshot(self, study: int) -> Path:
        return self._home.snapshots / self._studies[study].snapshot

    def _order(self, order: Start, study: Study, attempt_dir: Path) -> dict[str, Any]:
        spec, key = study.spec, order.key
        return {
            "attempt": str(key),
            "name": study.name_of(key.trial),
            "params": order.params,
            "seed": order.seed,
            "steps": spec.steps,
            "metric": spec.metric,
            "goal": spec.goal.value,
            "score": spec.score.value,
            "device": "cpu" if order.device == CPU else "cuda",
            "threads": self._places.threads(order.device),
            "home": str(self._home.root),
            "trial_dir": str(self._home.trial(key.study, key.trial)),
            "attempt_dir": str(attempt_dir),
            "engine": f"unix:{self._directory / 'engine.sock'}",
            "resume": [{"step": point.step, "path": point.path} for point in order.resume],
            "checkpoint_every_s": spec.checkpoint_every_s,
            "best_known": order.best_known,
            "memory_bytes": order.memory_bytes,
            "environment": self._places.environment(order.device)
            | self._sharing.environment(order.device, order.memory_bytes),
        }


def _nobody(event: e.Event) -> None:
    """Take the events of a backend that nobody listens to."""
