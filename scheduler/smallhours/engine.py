"""The engine: reads the ledger, feeds the core with what happens, carries out what it decides."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Literal

from smallhours import exits, hooks, housekeeping, inbox, processes, requests, rules
from smallhours.backends import launchers
from smallhours.backends.base import Launcher
from smallhours.backends.process import ProcessBackend
from smallhours.clock import Clock, SystemClock, boot_id
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.deeds import Deeds
from smallhours.errors import LedgerError
from smallhours.hooks import Hooks
from smallhours.inhibit import Inhibitor
from smallhours.ledger.store import DiskFullError, Ledger
from smallhours.paths import Home, home
from smallhours.search_thread import Searches
from smallhours.status_writer import StatusWriter
from smallhours.surroundings import Surroundings
from smallhours.upkeep import Upkeep
from smallhours.worker import limits

_logger = logging.getLogger("smallhours.engine")

#: Reports wait for each other this long before they are committed together.
_GROUP_COMMIT_S = 0.25
_INBOX_S = 0.05
_TICK_S = 1.0
#: When Ray is lost, attempts have this long to end before the engine leaves without them.
_LOST_LIMIT_S = 20.0


class Engine:
    """One session. Everything but Tune's loop and the search runs in the main thread's loop."""

    def __init__(
        self,
        place: Home,
        directory: Path,
        launcher: Launcher,
        clock: Clock,
        *,
        stay: bool = False,
    ) -> None:
        """Take the ledger.

        Args:
            place: The state directory.
            directory: The session's private directory (short path).
            launcher: Gives processes a place.
            clock: The machine's clocks.
            stay: Wait for more to do instead of leaving when the queue is dry.

        Raises:
            LedgerError: the ledger can't be used.
        """
        self._stay = stay
        self._home, self._directory = place, directory
        self._launcher = launcher
        self._clock = clock
        self._machine = Machine(rules.make)
        self._ledger = Ledger(place.ledger, place.lock)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self._around = Surroundings(clock, directory, environment)
        self._status = StatusWriter(place, self._machine, clock, self._around.devices)
        self._hooks = Hooks(place, self._around.settings.on_event)
        self._inhibitor = Inhibitor()
        #: Told of once when it comes to be: why nothing runs and nothing will.
        self._over: str | None = "dry"
        self._backend = ProcessBackend(
            place,
            directory,
            launcher,
            studies=self._machine.state.studies,
            clock=clock,
            places=self._around.places,
            environment=environment,
            sharing=self._around.mps,
        )
        self._searches = Searches(self.post, clock)
        self._upkeep = Upkeep(place, self._around.settings.log_bytes)
        self._deeds = Deeds(
            place,
            self._machine.state,
            backend=self._backend,
            searches=self._searches,
            upkeep=self._upkeep,
            leave=self._end,
        )
        self._events: deque[e.Event] = deque()
        self._handling = False
        #: The ledger takes nothing more: nothing may be done that it doesn't know of.
        self._stuck = False
        self._group_commit: asyncio.TimerHandle | None = None
        self._lost_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[int] | None = None

    def post(self, event: e.Event) -> None:
        """Take an event; from the engine's own thread it is handled at once, in order."""
        assert self._loop is not None
        if threading.current_thread() is not threading.main_thread():
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self.post, event)
            return
        self._events.append(event)
        if not self._handling:
            self._handle_all()

    def _handle_all(self) -> None:
        self._handling = True
        try:
            while self._events and self._goes_on:
                self._handle(self._events.popleft())
        except Exception as error:  # noqa: BLE001 - asyncio hides an OSError of a callback
            self._fail(error)
        finally:
            self._handling = False

    def _handle(self, event: e.Event) -> None:
        self._carry_out(self._machine.handle(event))
        if isinstance(event, e.BackendLost):
            self._leave_soon()

    @property
    def _goes_on(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def run(self, before: str) -> int:
        """Run until the queue is dry or the engine is told to end; return the exit status."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_error)
        self._ended = self._loop.create_future()
        session = self._read_ledger()
        processes.write_owner(self._home, session, self._directory)
        housekeeping.remove_leftovers(self._home, self._machine.state)
        try:
            # Before Ray starts: it puts back what handlers it finds, once it has put in its own.
            for number, cause in ((signal.SIGINT, "ctrl-c"), (signal.SIGTERM, "sigterm")):
                self._loop.add_signal_handler(number, self._on_signal, cause)
            # What is told from here on belongs to this session; it waits until there are hands.
            self._handling = True
            self.post(e.SettingsRead(at=self._clock.mono(), settings=self._around.settings.core()))
            self.post(self._started(session, before))
            await asyncio.gather(self._backend.open(self.post), self._around.first_look())
            self.post(self._around.devices_seen({}, ()))
            self._handle_all()
            # What was asked while no engine was up counts before anything is started.
            with self._fatal():
                self._look_into_inbox()
            work = (self._inbox(), self._ticks(), self._find_checkpoints())
            tasks = [asyncio.create_task(task) for task in work]
            status = await self._ended
            for task in tasks:
                task.cancel()
        finally:
            self._inhibitor.release()
            await self._backend.close()
            self._searches.shutdown()
            await self._hooks.close()
            await self._around.close()
            self._status.remove()
        if status == exits.DONE:
            self._ledger.close()
        self._home.owner.unlink(missing_ok=True)
        return status

    # --- beginning and end -----------------------------------------------------------------

    def _read_ledger(self) -> int:
        """Rebuild the state from the ledger; return the number of the new session."""
        begun = self._clock.mono()
        state = self._machine.state
        rows = self._ledger.rebuild(state, {request.id for request in inbox.lying(self._home)})
        _logger.info("read %d facts in %.2f s", rows, self._clock.mono() - begun)
        return state.session.session + 1 if state.session else 1

    async def _find_checkpoints(self) -> None:
        """Tell the core of the checkpoints whose studies were not read."""
        with self._fatal():
            found = await self._upkeep.holdings(self._machine.state.studies)
            if self._goes_on and found:
                self.post(e.CheckpointsFound(at=self._clock.mono(), holdings=tuple(found)))

    def _started(self, session: int, before: str) -> e.EngineStarted:
        return e.EngineStarted(
            at=self._clock.mono(),
            session=session,
            pid=os.getpid(),
            boot_id=boot_id(),
            version=metadata.version("smallhours"),
            directory=str(self._directory),
            backend=self._launcher.name,
            before=before,
            rules=rules.versions(),
            wall=self._around.wall(),
            stay=self._stay,
        )

    def _end(self, status: int) -> None:
        assert self._ended is not None
        if not self._ended.done():
            self._ended.set_result(status)

    def _leave_soon(self) -> None:
        """Leave in any case: with Ray gone, not every attempt may be given back."""
        assert self._loop is not None
        self._lost_timer = self._loop.call_later(_LOST_LIMIT_S, self._end, exits.AGAIN)

    def _on_signal(self, cause: str) -> None:
        _logger.info("told to end: %s", cause)
        now = self._clock.mono()
        self.post(e.ShutdownRequested(at=now, cause="ctrl-c" if cause == "ctrl-c" else "sigterm"))

    def _on_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        self._fail(error if isinstance(error, BaseException) else None, str(context["message"]))

    def _fail(self, error: BaseException | None, what: str = "the engine failed") -> None:
        """Leave, so that a fresh engine goes on; this one can't be trusted any more."""
        _logger.critical("%s", what, exc_info=error)
        self._end(exits.BUG)

    # --- what has a clock ------------------------------------------------------------------

    async def _inbox(self) -> None:
        with self._fatal():
            while True:
                self._look_into_inbox()
                await asyncio.sleep(_INBOX_S)

    def _look_into_inbox(self) -> None:
        for request in inbox.pending(self._home):
            if request.id not in self._machine.state.answered:
                event = self._event_of(request)
                self._load_closed(event)
                self.post(event)
            if self._ledger.dirty or request.id not in self._machine.state.answered:
                return  # not answered for sure: the request waits for the next engine
            inbox.discard(self._home, request.id)
            if not self._goes_on:
                return
            self._status.update()
        if self._goes_on:
            self._carry_out(self._machine.finish_if_dry(self._clock.mono()))
            self._tell_if_over()

    def _tell_if_over(self) -> None:
        """Tell of an empty queue once, where the engine does not leave for it."""
        over = self._machine.over
        if over is not None and over != self._over and self._stay:
            kind: Literal["queue_dry", "deadline"] = "queue_dry" if over == "dry" else "deadline"
            self._hooks.fire(hooks.of_queue(kind, self._machine.state))
        self._over = over

    def _load_closed(self, event: e.Event) -> None:
        """Take in the trials of a study that is over before something is done about it."""
        state = self._machine.state
        match event:
            case e.StudySubmitted() if event.spec.name in state.names:
                self._ledger.load(state, state.names[event.spec.name])
            case e.CancelRequested() | e.ContinueRequested():
                self._ledger.load(state, event.study)

    def _event_of(self, request: inbox.Request) -> e.Event:
        now = self._clock.mono()
        try:
            return requests.event_of(request, now)
        except ValueError as error:
            return e.RequestRefused(
                at=now, request=request.id, verb=request.verb, uid=request.uid, text=str(error)
            )

    async def _ticks(self) -> None:
        with self._fatal():
            while True:
                await asyncio.sleep(_TICK_S)
                self._tick()

    def _tick(self) -> None:
        if self._around.settings_changed():
            settings = self._around.settings
            self._hooks.command = settings.on_event
            self._upkeep.log_bytes = settings.log_bytes
            self.post(e.SettingsRead(at=self._clock.mono(), settings=settings.core()))
        processes = self._backend.sample()
        self.post(self._around.tick(processes))
        self.post(self._around.devices_seen(processes, self._backend.busy))
        self._backend.check()
        self._upkeep.cap_logs(self._machine.state.live)
        self._status.update()
        if self._machine.state.live:
            self._inhibitor.hold()
        else:
            self._inhibitor.release()

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Leave where what it surrounds fails; the engine does not go on half alive."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end
            self._fail(error)

    # --- actions ---------------------------------------------------------------------------

    def _carry_out(self, actions: list[a.Action]) -> None:
        decided = False
        told: list[hooks.Event] = []
        for action in actions:
            if isinstance(action, a.Record):
                self._ledger.append(action.fact, at=self._clock.wall(), mono=self._clock.mono())
                decided = decided or not isinstance(action.fact, a.LAZY)
                if (event := hooks.event_of(action.fact, self._machine.state)) is not None:
                    told.append(event)
                if isinstance(action.fact, f.AttemptEnded):
                    self._upkeep.finish_log(f.key_of(action.fact))
                continue
            if decided and not isinstance(action, (a.Ask, a.Introduce, a.Tell, a.Reopen)):
                # Nothing is done about a decision that a crash could take back. (What the search
                # is told is only a cache.)
                self._commit()
                decided = False
            if self._stuck:
                return
            self._deeds.do(action)
        if decided:
            self._commit()
        elif self._ledger.dirty and self._group_commit is None:
            assert self._loop is not None
            self._group_commit = self._loop.call_later(_GROUP_COMMIT_S, self._commit)
        if not self._stuck:
            for event in told:
                self._hooks.fire(event)

    def _commit(self) -> None:
        if self._group_commit is not None:
            self._group_commit.cancel()
            self._group_commit = None
        try:
            self._ledger.commit()
        except DiskFullError as error:
            _logger.error("%s", error)
            if self._ledger.dirty:
                self._stuck = True
                self._end(exits.DISK_FULL)
            else:
                cause = e.ShutdownRequested(at=self._clock.mono(), cause="ledger disk full")
                assert self._loop is not None
                self._loop.call_soon(self.post, cause)


def main(argv: list[str] | None = None) -> int:
    """Run the engine for the state directory and session that the environment names."""
    parser = argparse.ArgumentParser(prog="smallhours.engine")
    parser.add_argument("--before", default="", help="how the session before ended")
    parser.add_argument("--stay", action="store_true", help="wait for more when the queue is dry")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    parent = os.getppid()
    try:
        limits.die_with_parent(parent)
    except limits.ParentGoneError:
        return exits.ENGINE_FAILED
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True
    )
    place, directory = home(), Path(os.environ["SMALLHOURS_SESSION"])
    place.prepare()
    launcher = launchers.make(os.environ.get("SMALLHOURS_LAUNCHER", "ray"))
    try:
        engine = Engine(place, directory, launcher, SystemClock(), stay=arguments.stay)
    except LedgerError as error:
        _logger.error("%s", error)
        return exits.LEDGER
    try:
        return asyncio.run(engine.run(arguments.before))
    except LedgerError as error:
        _logger.error("%s", error)
        return exits.LEDGER


if __name__ == "__main__":
    raise SystemExit(main())
