"""MPS on one card: what is wanted of it, how it stands, and the thread that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from smallhours.clock import Clock
from smallhours.devices.base import Device
from smallhours.devices.mps_control import ControlDaemon, MpsError
from smallhours.devices.mps_usable import OFF, Machine, Obstacle
from smallhours.settings import MpsMode

_logger = logging.getLogger(__name__)

#: Seconds between two looks at a server that works, or recovers.
CHECK_S: Final = 5.0
#: A card goes on without MPS when its server had to be restarted this often within this time.
RESTARTS_ALLOWED: Final = 3
_RESTARTS_WITHIN_S: Final = 3600.0

#: ``suspect``: a client ended badly, and the server is being looked at. ``poisoned``: it takes no
#: new clients, and is restarted once the last has gone. ``failed``: it is not tried again.
Phase: TypeAlias = Literal["off", "starting", "on", "suspect", "poisoned", "failed"]

_T = TypeVar("_T")


class State(NamedTuple):
    """How it stands with MPS on a card."""

    phase: Phase
    #: In words; empty: nothing to say.
    why: str = ""

    @property
    def ready(self) -> bool:
        """Whether a trial may be started on the card now, with MPS or without."""
        return self.phase in ("off", "on", "failed")


class Card:
    """Lives in the engine's event loop and never blocks it."""

    def __init__(self, daemon: ControlDaemon, clock: Clock, machine: Callable[[], Machine]) -> None:
        """Start nothing yet.

        Args:
            daemon: The card's own; only its thread calls it from here on.
            clock: The machine's clocks.
            machine: Looks at the machine; called in the thread.
        """
        self._daemon, self._clock, self._machine = daemon, clock, machine
        self.state = State("off")
        #: Trials go through a daemon of the user's, whatever is done.
        self.theirs = False
        #: The daemon is there for clients, or is being restarted.
        self._serves = False
        self._thread = _Thread()
        #: The thread does something beside letting go of clients; one thing at a time.
        self._working = False
        #: What the last answer was about: another wish is a new question.
        self._asked: tuple[Device, MpsMode] | None = None
        self._checked_at = 0.0
        self._restarts: deque[float] = deque(maxlen=RESTARTS_ALLOWED)

    @property
    def pipe(self) -> Path | None:
        """Where clients find the daemon; None: there is none for them."""
        return self._daemon.pipe if self._serves else None

    def look(self, device: Device, mode: MpsMode, *, busy: bool) -> None:
        """See that it is as it should be, or on the way there.

        Args:
            device: The card.
            mode: What the settings say.
            busy: A trial runs on it.
        """
        if self._working:
            return
        wish = (device, mode)
        if not self._serves:
            if wish != self._asked and not busy:
                self._asked = wish
                self._open(device, mode)
        elif mode == "off" and not busy:
            self._asked = wish
            self._close(State("off", OFF.why))
        elif self.state.phase == "poisoned" and not busy:
            self._restart()
        elif self._clock.mono() >= self._checked_at + CHECK_S:
            self._check()

    def suspect(self) -> None:
        """Look at the server before anything else is started: a process on it ended badly."""
        if self.state.phase == "on":
            self._enter(State("suspect", "a process ended badly"))
            if not self._working:
                self._check()

    def terminate(self, pid: int, done: Callable[[], None]) -> None:
        """Take the card away from a session of processes; say when it is done, or was in vain."""

        def answered(result: int | Exception) -> None:
            if isinstance(result, Exception):
                _logger.warning("MPS: process %d keeps the card: %s", pid, result)
            elif result:
                _logger.info("MPS: the card was taken from process %d", pid)
            done()

        self._thread.do(lambda: self._daemon.terminate(pid), answered)

    def close(self) -> asyncio.Future[None]:
        """End the daemon; the future is done once it has ended."""
        ended = asyncio.get_running_loop().create_future()

        def answered(result: Exception | None) -> None:
            if isinstance(result, Exception):
                _logger.error("MPS does not end: %s", result)
            if not ended.done():
                ended.set_result(None)

        self._serves = False
        self._thread.do(self._daemon.stop, answered)
        self._thread.end()
        return ended

    # --- from one phase to the next --------------------------------------------------------

    def _open(self, device: Device, mode: MpsMode) -> None:
        """Find out whether it can be used, and start the daemon if so."""

        def work() -> Obstacle | None:
            machine = self._machine()
            obstacle = machine.obstacle(device, mode)
            if obstacle is None:
                assert machine.program is not None
                self._start(machine.program)
            return obstacle

        def answered(result: Obstacle | Exception | None) -> None:
            if isinstance(result, Exception):
                self._enter(State("failed", str(result)))
            elif result is not None:
                self.theirs = result.theirs
                self._enter(State("off", result.why))
            else:
                self._begin()

        if mode == "off":
            answered(OFF)
            return
        self._enter(State("starting"))
        self._do(work, answered)

    def _check(self) -> None:
        before = self.state.phase

        def answered(trouble: str | Exception) -> None:
            self._checked_at = self._clock.mono()
            if self.state.phase == before:
                self._enter(State("poisoned", str(trouble)) if trouble else State("on"))
            else:
                self._check()  # meanwhile a process ended badly

        self._do(self._daemon.trouble, answered)

    def _restart(self) -> None:
        """Put a fresh server in the place of one that is of no use any more."""
        now, why = self._clock.mono(), self.state.why
        often = len(self._restarts) == RESTARTS_ALLOWED
        if often and now - self._restarts[0] < _RESTARTS_WITHIN_S:
            self._close(State("failed", f"{why}, after {RESTARTS_ALLOWED} restarts"))
            return
        self._restarts.append(now)

        def work() -> None:
            self._daemon.stop()
            self._start(self._daemon.program)

        def answered(result: Exception | None) -> None:
            if isinstance(result, Exception):
                self._serves = False
                self._enter(State("failed", str(result)))
            else:
                self._begin()

        self._enter(State("starting", why))
        self._do(work, answered)

    def _begin(self) -> None:
        self._serves, self._checked_at = True, self._clock.mono()
        self._enter(State("on"))

    def _close(self, last: State) -> None:
        self._serves = False
        self._enter(State("starting", last.why))
        self._do(self._daemon.stop, lambda _: self._enter(last))

    def _enter(self, state: State) -> None:
        if state.phase != self.state.phase:
            words = f"{state.phase}: {state.why}" if state.why else state.phase
            bad = state.phase in ("poisoned", "failed")
            _logger.log(logging.ERROR if bad else logging.INFO, "MPS is %s", words)
        self.state = state

    # --- the thread ------------------------------------------------------------------------

    def _start(self, program: str) -> None:
        """Start the daemon; what is half started is ended.

        Raises:
            MpsError: it can't be started.
        """
        try:
            self._daemon.start(program)
        except MpsError:
            self._daemon.stop()
            raise

    def _do(self, work: Callable[[], _T], answered: Callable[[_T | Exception], None]) -> None:
        def done(result: _T | Exception) -> None:
            self._working = False
            answered(result)

        self._working = True
        self._thread.do(work, done)


class _Thread:
    """Does one thing after the other; a daemon, so that one that hangs keeps nobody."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], _T], answered: Callable[[_T | Exception], None]) -> None:
        """Do something; its result, or what went wrong, is told in the event loop."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            result: _T | Exception
            try:
                result = work()
            except MpsError as error:
                result = error
            except Exception as error:
                _logger.exception("MPS")
                result = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answered, result)

        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="MPS", daemon=True)
            self._thread.start()
        self._todo.put(run)

    def end(self) -> None:
        """Let the thread go when all is done."""
        self._todo.put(None)

    def _run(self) -> None:
        while (job := self._todo.get()) is not None:
            job()
