"""Looks after the engine: starts it, starts it again when it dies, and sweeps what it left.

Tiny on purpose (no Ray, no torch): what is not here can't fail here.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from smallhours import exits, processes, sweep
from smallhours.devices.host import read_process
from smallhours.errors import SmallhoursError
from smallhours.paths import Home, home
from smallhours.worker import limits

_logger = logging.getLogger("smallhours.supervisor")

#: An engine that was told to end may take this long (checkpoints, `finally` blocks, Ray).
END_LIMIT_S = 180.0
#: The engine is not started again after this many deaths within this time.
_DEATHS_ALLOWED = 5
_DEATHS_WITHIN_S = 600.0
#: What is said of an engine that ended for good, but not in good order.
_WHY_FINAL = {exits.LEDGER: "it can't use the ledger", exits.DISK_FULL: "the disk is full"}
#: How long an engine that is about to leave may still hold the lock.
_LOCK_PATIENCE_S, _LOCK_PAUSE_S = 20.0, 0.1


class Supervisor:
    """One engine after another, until one ends in good order."""

    def __init__(self, place: Home, *, stay: bool = False) -> None:
        self._home = place
        self._stay = stay
        self._engine: subprocess.Popen[bytes] | None = None
        self._told_to_end: float | None = None

    def run(self) -> int:
        """Supervise until the engine ends in good order; return the exit status."""
        limits.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        # Held for as long as this process lives: engines come and go in between.
        own = self._home.lock.with_name("supervisor.lock")
        if not (self._take(own, keep=True) and self._take(self._home.lock, keep=False)):
            _logger.info("another engine is at work; nothing to do")
            return 0
        self._sweep_last_session()
        for path in sweep.remove_dead_sessions():
            _logger.info("removed %s, which a dead session left", path)
        deaths: list[float] = []
        before = ""
        while self._told_to_end is None:
            status = self._one_engine(before)
            before = f"signal {-status}" if status < 0 else f"exit {status}"
            _logger.info("the engine ended with %s", before)
            if self._told_to_end is not None:
                return max(status, 0)
            if status in exits.FINAL:
                if status != exits.DONE:
                    self._tell(_WHY_FINAL[status])
                return status
            now = time.monotonic()
            deaths = [at for at in deaths if now - at < _DEATHS_WITHIN_S] + [now]
            if len(deaths) >= _DEATHS_ALLOWED:
                _logger.error("it died %d times in a row; giving up", len(deaths))
                self._tell(f"it died {len(deaths)} times in a row")
                return exits.ENGINE_FAILED
        return exits.DONE

    def _one_engine(self, before: str) -> int:
        # Short, private, and not below $XDG_RUNTIME_DIR, which a logout empties.
        directory = tempfile.mkdtemp(prefix=f"sh-{os.getuid()}-", dir="/tmp")
        environment = {**os.environ, "SMALLHOURS_SESSION": directory}
        command = [sys.executable, "-P", "-m", "smallhours.engine", "--before", before]
        command += ["--stay"] if self._stay else []
        self._engine = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self._told_to_end is not None:  # while it was being started
            self._engine.terminate()
        try:
            return self._wait(self._engine)
        finally:
            self._engine = None
            killed = sweep.kill_descendants()
            if killed:
                _logger.warning("swept %d processes", killed)
            shutil.rmtree(directory, ignore_errors=True)

    def _wait(self, engine: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return engine.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                processes.trim_log(self._home)
                told = self._told_to_end
                if told is not None and time.monotonic() - told > END_LIMIT_S:
                    engine.kill()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._told_to_end is None:
            self._told_to_end = time.monotonic()
        if self._engine is not None:
            self._engine.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def _tell(self, why: str) -> None:
        """Tell the user's command, where there is one, that no engine will be started again."""
        from smallhours import hooks, settings  # not above: nothing depends on them

        try:
            command = settings.read().on_event
        except SmallhoursError as error:
            _logger.error("%s", error)
            return
        if command:
            hooks.call(command, hooks.gave_up(why, self._home), self._home)

    def _take(self, lock: Path, *, keep: bool) -> bool:
        """Wait until nobody holds a lock; False where somebody goes on holding it.

        Args:
            lock: The file.
            keep: Hold it from then on, until this process ends.
        """
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while not _locked(fd):
            if time.monotonic() > deadline or self._told_to_end is not None:
                os.close(fd)
                return False
            time.sleep(_LOCK_PAUSE_S)
        if not keep:
            os.close(fd)
        return True

    def _sweep_last_session(self) -> None:
        """Kill what a session left whose supervisor was killed, too."""
        try:
            last = json.loads(self._home.owner.read_bytes())
            directory, started = str(last["directory"]), int(last["pid_started"])
            lives = read_process(int(last["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if lives is not None and lives.started == started:
            return
        killed = sweep.kill_session(directory, started)
        if killed:
            _logger.warning("swept %d processes of the last session", killed)
        path = Path(directory)
        ours = path.parent == Path("/tmp") and path.name.startswith(f"sh-{os.getuid()}-")
        if ours and path.is_dir() and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    """Run a supervisor for the state directory that the environment names."""
    parser = argparse.ArgumentParser(prog="smallhours.supervisor", allow_abbrev=False)
    parser.add_argument("--stay", action="store_true", help="stay when the queue runs dry")
    parser.add_argument("--log", action="store_true", help="write to engine.log from the start")
    arguments = parser.parse_args(argv)
    os.umask(0o077)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True
    )
    place = home()
    try:
        place.prepare()
    except SmallhoursError as error:
        _logger.error("%s", error)
        return error.exit_code
    # Where it stands is how it is known (`processes.supervisor_lives`).
    os.chdir(place.root)
    if arguments.log:
        with processes.open_log(place) as log:
            os.dup2(log.fileno(), sys.stdout.fileno())
            os.dup2(log.fileno(), sys.stderr.fileno())
    return Supervisor(place, stay=arguments.stay).run()


if __name__ == "__main__":
    raise SystemExit(main())
