"""Slots of Ray Tune: one Tune run at a time, in a thread of the engine, hosts all attempts.

Tune keeps the actors alive and places the attempts; it decides nothing and nothing is ever resumed
from its files. The engine's orders go through the `Desk` to Tune's searcher, and what the slots
return comes back the same way. Reports never pass through here.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import secrets
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil

from smallhours.backends.base import Placed, SlotReturn
from smallhours.backends.ray_desk import Desk, Leave
from smallhours.devices import host
from smallhours.errors import EngineError

#: Ray's temporary directory: longer, and its sockets' paths pass what the kernel takes.
_PATH_CHARS = 43
_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray accepts
#: How long Ray may take to go before its processes are killed; also where it still starts.
_SHUTDOWN_S, _START_S = 4.0, 15.0
#: Directories of the session: Ray's own, and the Tune run's.
_RAY, _TUNE = "r", "tune"
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


class RayLauncher:
    """Runs attempts in the slots of one long Tune run, and of another after each `renew`.

    Ray runs in a thread and leaves the signal handlers that are set when `open` is called.
    """

    name = "ray"

    def __init__(self) -> None:
        self._desk: Desk | None = None
        self._make_desk: Callable[[Callable[[], None]], Desk] | None = None
        self._thread: threading.Thread | None = None
        self._processes: list[psutil.Process] = []
        self._place = Path()

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
        self._place = Path(directory)
        _check_place(self._place)
        if self._thread is not None and self._thread.is_alive():
            lost("Ray was told to go and did not")
            return
        os.environ.pop("RAY_ADDRESS", None)  # never join a cluster that is there
        os.environ.update(environment(slots))

        def make(ready: Callable[[], None]) -> Desk:
            return Desk(slots, ready, returned, lost, self.dead, at_once=host.cores())

        self._make_desk = make
        self._desk = make(ready)
        self._thread = threading.Thread(target=self._live, args=(slots,), name="ray", daemon=True)
        self._thread.start()

    def start(self, placed: Placed) -> None:
        """Give the attempt the next free slot."""
        assert self._desk is not None
        self._desk.start(placed)

    def renew(self, ready: Callable[[], None]) -> None:
        """End the Tune run and begin another on the same Ray; see `Launcher.renew`."""
        assert self._desk is not None
        assert self._make_desk is not None
        ended, self._desk = self._desk, self._make_desk(ready)
        ended.close()

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
        family = _family()
        self._thread.join(_SHUTDOWN_S if self._processes else _START_S)
        family = list({*family, *self._processes})
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # compares the start time: never a stranger of the same pid
        psutil.wait_procs(family, timeout=1.0)
        self._processes = []
        self._desk.give_back()
        for name in (_RAY, _TUNE):
            shutil.rmtree(self._place / name, ignore_errors=True)
        _give_memory_back()

    def _live(self, slots: int) -> None:
        """Be the Ray thread, from `ray.init` to `ray.shutdown`."""
        try:
            import ray

            try:
                with _sigterm_kept():
                    _init(slots, self._place)
                self._processes = _family()
                if trouble := _outside_loopback(self._processes):
                    self._fail(trouble)
                self._serve(slots)
            finally:
                ray.shutdown()
        except BaseException:  # noqa: BLE001 - nothing else would tell the engine
            self._fail(traceback.format_exc())

    def _serve(self, slots: int) -> None:
        """Host one Tune run after the other, until the desk of the latest is over."""
        assert self._desk is not None
        while not (desk := self._desk).over:
            with suppress(Leave):
                _fit(desk, slots, self._place / _TUNE)
            if desk is self._desk:
                desk.fail("Tune's run ended by itself")  # unless it was told to
            desk.give_back()
            for left in (self._place / _TUNE, *self._place.glob(f"{_RAY}/session_*/artifacts")):
                shutil.rmtree(left, ignore_errors=True)
            _give_memory_back()

    def _fail(self, words: str) -> None:
        """Give up, unless the end was ordered."""
        assert self._desk is not None
        self._desk.fail(words)


def _check_place(place: Path) -> None:
    """See to it that Ray can use a directory, and others can't.

    Raises:
        EngineError: it is not so.
    """
    if len(str(place / _RAY)) > _PATH_CHARS:
        raise EngineError(f"{place}: Ray needs a path of at most {_PATH_CHARS - 2} characters")
    if place.stat().st_mode & 0o077:
        raise EngineError(f"{place} can be entered by others: it must have mode 0700")


def _give_memory_back() -> None:
    """Free what Tune and Ray left behind in cycles, and hand it back to the system."""
    gc.collect()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


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
        _temp_dir=str(directory / _RAY),
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


def _fit(desk: Desk, slots: int, place: Path) -> None:
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
            storage_path=str(place),
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
