"""Slots of Ray Tune: one Tune run, in a thread of the engine, hosts a whole night's attempts.

Tune keeps the actors alive and places the attempts; it decides nothing and nothing is ever resumed
from its files. The engine's orders go through the `Desk` to Tune's searcher, and what the slots
return comes back the same way. Reports never pass through here.
"""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from smallhours.backends.base import Placed, SlotReturn
from smallhours.errors import EngineError

#: Ray's temporary directory: longer, and its sockets' paths pass what the kernel takes.
_PATH_CHARS = 43
_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray accepts
#: How often an order whose slot died before the attempt began goes to another slot.
_TRIES = 4
#: Tune's loop turns at least this often while attempts run, should a wake-up get lost.
_TURN_S = 1.0
#: How long attempts that run may take to end once `close` was called.
_BUSY_S = 1.0
#: How long Ray may take to go before its processes are killed; also where it still starts.
_SHUTDOWN_S, _START_S = 4.0, 15.0
#: Not less than C's `struct sigaction` (152 on x86-64).
_SIGACTION_BYTES = 512
#: One token a process: Ray reads it once and keeps it.
_TOKEN = secrets.token_hex(32)


def environment(slots: int) -> dict[str, str]:
    """Return what Ray must find in the environment before it is imported."""
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # puts every socket on loopback
        "RAY_memory_monitor_refresh_ms": "0",  # its kills would abort the whole run
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # two idle processes that no slot can use
        "RAY_task_events_report_interval_ms": "0",  # a history that nobody reads
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_MAX_PENDING_TRIALS_PG": str(slots),
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",
        "TUNE_STATE_REFRESH_PERIOD": "3600",
    }


class Leave(BaseException):
    """Takes the Ray thread out of `fit()` past Tune's own clean-up, which can take 15 s."""


@dataclass(slots=True)
class _Given:
    """An order that Tune has."""

    placed: Placed
    tries: int
    began: bool = False


class Desk:
    """Where the engine's thread leaves orders and the Ray thread takes them; never blocks it."""

    def __init__(
        self,
        slots: int,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
        dead: Callable[[], str | None],
    ) -> None:
        self.over = False
        self._slots = slots
        self._ready: Callable[[], None] | None = ready
        self._returned, self._lost, self._dead = returned, lost, dead
        self._bell = threading.Condition()
        self._rang = False
        self._orders: deque[tuple[Placed, int]] = deque()
        self._given: dict[str, _Given] = {}
        self._closing_at: float | None = None
        self._failed = False

    # From the engine's thread.

    def start(self, placed: Placed) -> None:
        """Leave an order."""
        with self._bell:
            self._orders.append((placed, 1))
            self._bell.notify_all()

    def close(self) -> None:
        """Have the Ray thread leave; attempts that still run get a moment to end."""
        with self._bell:
            self.over = True
            self._closing_at = time.monotonic()
            self._bell.notify_all()

    # From the Ray thread.

    def take(self, tune_id: str) -> Placed | None:
        """Return the next order; where nothing runs, wait for one. None: not now, or `over`."""
        if self._ready is not None:
            ready, self._ready = self._ready, None
            ready()
        with self._bell:
            if not self._given:  # Tune itself would sleep a second at a time
                self._bell.wait_for(lambda: self.over or self._orders)
            if self.over or not self._servable():
                return None
            placed, tries = self._orders.popleft()
            self._given[tune_id] = _Given(placed, tries)
            return placed

    def began(self, tune_id: str) -> None:
        """Note that a slot has the order."""
        self._given[tune_id].began = True

    def done(self, tune_id: str, ended: dict[str, Any] | None) -> None:
        """Return an attempt to the engine, or try another slot if it never began."""
        with self._bell:
            given = self._given.pop(tune_id)
            if ended is None and not given.began and given.tries < _TRIES and not self.over:
                self._orders.appendleft((given.placed, given.tries + 1))
                return
        if ended is None:
            dead = self._dead()
            parent = "raylet" if dead else "slot"
            ended = {"lost_parent": parent, "detail": dead or "the slot's process died"}
        self._returned(SlotReturn(key=given.placed.key, **ended))

    def fail(self, words: str) -> None:
        """Give up: say so once, and have the Ray thread leave."""
        with self._bell:
            if self._failed or self.over:
                return
            self._failed = self.over = True
        self._lost(words)

    def give_back(self) -> None:
        """Return, after `close`, whatever is left."""
        with self._bell:
            left = [given.placed for given in self._given.values()]
            left += [placed for placed, _ in self._orders]
            self._given.clear()
            self._orders.clear()
        if self._failed:
            return
        for placed in left:
            self._returned(SlotReturn(key=placed.key, lost_parent="slot", detail="closed"))

    def hush(self) -> None:
        """Forget earlier rings: what they told of is looked at next."""
        self._rang = False

    def listen(self) -> None:
        """Wait until an actor rings, an order can be served or the end has come."""
        with self._bell:
            self._bell.wait_for(lambda: self._rang or self.over or self._servable(), _TURN_S)

    def leave_if_busy(self) -> None:
        """Once `over`: leave at once if attempts still run that will not be waited for."""
        closing_at = self._closing_at
        if self._given and (closing_at is None or time.monotonic() - closing_at > _BUSY_S):
            raise Leave

    # From a thread of Ray's.

    def ring(self) -> None:
        """Say that an actor has something."""
        with self._bell:
            self._rang = True
            self._bell.notify_all()

    def _servable(self) -> bool:
        return bool(self._orders) and len(self._given) < self._slots


class RayLauncher:
    """Runs attempts in the slots of one long Tune run.

    Ray runs in a thread and leaves the signal handlers that are set when `open` is called.
    """

    name = "ray"

    def __init__(self) -> None:
        self._desk: Desk | None = None
        self._thread: threading.Thread | None = None
        self._processes: list[psutil.Process] = []

    def open(
        self,
        slots: int,
        directory: str,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
    ) -> None:
        """Start Ray in the background; see `Launcher.open`.

        Raises:
            EngineError: the directory's path is too long for Ray, or others can enter it.
        """
        place = Path(directory)
        if len(str(place / "r")) > _PATH_CHARS:
            raise EngineError(f"{place}: Ray needs a path of at most {_PATH_CHARS - 2} characters")
        if place.stat().st_mode & 0o077:
            raise EngineError(f"{place} can be entered by others: it must have mode 0700")
        os.environ.pop("RAY_ADDRESS", None)  # never join a cluster that is there
        os.environ.update(environment(slots))
        self._desk = Desk(slots, ready, returned, lost, self.dead)
        self._thread = threading.Thread(
            target=self._live, args=(self._desk, slots, place), name="ray", daemon=True
        )
        self._thread.start()

    def start(self, placed: Placed) -> None:
        """Give the attempt the next free slot."""
        assert self._desk is not None
        self._desk.start(placed)

    def dead(self) -> str | None:
        """Say which of Ray's own processes died; None: all live.

        Cheap; call it each second: Ray's workers notice a dead raylet only once it was reaped.
        """
        node = _node()
        if node is None or not self._processes:
            return None
        names = ", ".join(f"{kind} ({process.pid})" for kind, process in node.dead_processes())
        return f"Ray's {names} died" if names else None

    def close(self) -> None:
        """End Ray; kills its processes where it does not go by itself."""
        if self._desk is None or self._thread is None:
            return  # never opened
        self._desk.close()
        self._thread.join(_SHUTDOWN_S if self._processes else _START_S)
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # compares the start time: never a stranger of the same pid
        psutil.wait_procs(self._processes, timeout=1.0)
        self._desk.give_back()

    def _live(self, desk: Desk, slots: int, directory: Path) -> None:
        """Be the Ray thread, from `ray.init` to `ray.shutdown`."""
        try:
            import ray

            try:
                with _sigterm_kept():
                    _init(slots, directory)
                self._processes = _family()
                if trouble := _outside_loopback(self._processes):
                    desk.fail(trouble)
                if not desk.over:
                    _fit(desk, slots, directory)
                    desk.fail("Tune's run ended by itself")
            except Leave:
                pass
            finally:
                ray.shutdown()
        except BaseException:  # noqa: BLE001 - nothing else would tell the engine
            desk.fail(traceback.format_exc())


def _init(slots: int, directory: Path) -> None:
    """Start Ray on this machine."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=slots,
        num_gpus=0,
        resources={"slot": 2 * slots},  # a new slot need not wait for a dying one
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=str(directory / "r"),
    )


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Leave SIGTERM as it was: Ray's C++ handler prints a stack and aborts the process after 3 s.

    Python sets handlers in the main thread only, hence `sigaction` itself.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.create_string_buffer(_SIGACTION_BYTES)
    libc.sigaction(signal.SIGTERM, None, before)
    try:
        yield
    finally:
        libc.sigaction(signal.SIGTERM, before, None)


def _fit(desk: Desk, slots: int, directory: Path) -> None:
    """Run Tune until the desk is over."""
    from ray import tune

    from smallhours.backends import ray_slot

    if trouble := ray_slot.unexpected_internals():
        desk.fail(trouble)
        return
    tuner = tune.Tuner(
        ray_slot.Slot,
        tune_config=tune.TuneConfig(
            search_alg=ray_slot.Orders(desk),
            scheduler=ray_slot.Gate(desk, slots),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="night",
            storage_path=str(directory / "tune"),
            verbose=0,
            callbacks=[ray_slot.Starts(desk)],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    tuner.fit()


def _trial_name(trial: Any) -> str:
    """Name a Tune trial, and its directory, by its id alone."""
    return str(trial.trial_id)


def _node() -> Any:
    """Return Ray's record of the processes it started; None: there is none (any more)."""
    return getattr(sys.modules.get("ray._private.worker"), "_global_node", None)


def _family() -> list[psutil.Process]:
    """Return Ray's processes and their descendants."""
    node = _node()
    family: list[psutil.Process] = []
    for infos in node.all_processes.values() if node is not None else ():
        for info in infos:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(info.process.pid)
                family += [root, *root.children(recursive=True)]
    return family


def _outside_loopback(family: list[psutil.Process]) -> str:
    """Say which socket of this process or of Ray's can be reached from outside; empty: none."""
    for process in [psutil.Process(), *family]:
        try:
            sockets = process.net_connections("inet")
            name = process.name()
        except psutil.NoSuchProcess:
            continue
        for socket in sockets:
            if socket.status == psutil.CONN_LISTEN and not _is_loopback(socket.laddr.ip):
                return (
                    f"Ray's {name} listens on {socket.laddr.ip}:{socket.laddr.port}, which others "
                    "can reach: refusing to run"
                )
    return ""


def _is_loopback(address: str) -> bool:
    """Say whether an address, also an IPv4 one mapped into IPv6, is this machine only."""
    parsed = ip_address(address.partition("%")[0])
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
