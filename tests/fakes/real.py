"""A state directory of its own with real processes: command line, supervisor, engine, trials."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from smallhours import rules
from smallhours.core import facts as f
from smallhours.core.state import State
from smallhours.devices.host import all_processes, read_process
from smallhours.errors import LedgerError
from smallhours.ledger import checks
from smallhours.ledger.store import open_to_read, read_all
from smallhours.paths import Home


class RealNight:
    """Runs the real thing in a directory and looks at what it left."""

    def __init__(self, folder: Path, launcher: str = "local") -> None:
        self.folder = folder
        self.home = Home(folder / "state")
        self._begun: list[subprocess.Popen[bytes]] = []
        self.environment = {
            # Tests that run Ray in this process leave its settings, token included, behind.
            **{name: text for name, text in os.environ.items() if not name.startswith("RAY_")},
            "SMALLHOURS_HOME": str(self.home.root),
            "SMALLHOURS_LAUNCHER": launcher,
            "NO_COLOR": "1",
            "COLUMNS": "80",
        }

    def study(self, text: str, name: str = "study.py") -> Path:
        """Write a study file."""
        path = self.folder / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    def command(self, *words: str | Path, check: int | None = 0, limit_s: float = 60) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "smallhours.cli", *map(str, words)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        output = done.stdout + done.stderr
        if check is not None:
            assert done.returncode == check, (
                f"{words} left with {done.returncode}:\n{output}{self.log()}"
            )
        return output

    def begin(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "smallhours.cli", *map(str, words)],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._begun.append(process)
        return process

    def facts(self) -> list[f.Fact]:
        """Read everything that is recorded so far."""
        try:
            db = open_to_read(self.home.ledger)
        except LedgerError:
            return []
        try:
            return [entry.fact for entry in read_all(db)]
        finally:
            db.close()

    def ends(self) -> list[f.AttemptEnded]:
        """Return the recorded ends."""
        return [fact for fact in self.facts() if isinstance(fact, f.AttemptEnded)]

    def wait(
        self, condition: Callable[[list[f.Fact]], object], limit_s: float = 30
    ) -> list[f.Fact]:
        """Wait until the recorded facts fulfil a condition."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            facts = self.facts()
            if condition(facts):
                return facts
            time.sleep(0.03)
        raise AssertionError(f"it never came to that; the log:\n{self.log()}")

    def wait_for_reports(self, count: int, trial: int | None = None) -> list[f.Fact]:
        """Wait until that many reports are recorded."""

        def enough(facts: list[f.Fact]) -> bool:
            reports = [x for x in facts if isinstance(x, f.Reported) and trial in (None, x.trial)]
            return len(reports) >= count

        return self.wait(enough)

    def engine_pid(self) -> int:
        """Return the pid of the engine."""
        return int(json.loads(self.home.owner.read_bytes())["pid"])

    def trial_pid(self, trial: int = 0) -> int:
        """Return the pid of the latest attempt of a trial that spoke."""
        spoke = [x for x in self.facts() if isinstance(x, f.AttemptRunning) and x.trial == trial]
        return spoke[-1].pid

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(pid, number)

    def log(self) -> str:
        """Return the engine's log."""
        return self.home.log.read_text(errors="replace")[-6000:] if self.home.log.exists() else ""

    def processes(self) -> list[int]:
        """Return the pids of all living processes of this state directory."""
        mark = f"SMALLHOURS_HOME={self.home.root}".encode()
        found = []
        for process in all_processes():
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in environment and process.state not in "ZX":
                found.append(process.pid)
        return found

    def wait_until_gone(self, limit_s: float = 10) -> None:
        """Wait until no process of ours lives."""
        deadline = time.monotonic() + limit_s
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = {pid: _command(pid) for pid in self.processes()}
        assert not left, left

    def check(self) -> State:
        """Judge the ledger: whole, every end with its reason, every stop derived again."""
        db = open_to_read(self.home.ledger)
        try:
            report = checks.check(db, rules.make, running=False)
        finally:
            db.close()
        assert report.good, report.findings
        assert report.state is not None
        return report.state

    def close(self) -> None:
        """Kill whatever is left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._begun:
            process.kill()
            process.wait()


def _command(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "gone"
    process = read_process(pid)
    return f"{text} ({process.state if process else 'gone'})"
