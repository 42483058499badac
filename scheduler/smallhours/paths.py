"""Where things lie: the state directory and what is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from smallhours.errors import UsageError


class Home(NamedTuple):
    """The state directory: ``$SMALLHOURS_HOME``, else ``$XDG_STATE_HOME/smallhours``."""

    root: Path

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.root / "ledger.db"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one writer."""
        return self.root / "engine.lock"

    @property
    def owner(self) -> Path:
        """Who the one writer is: JSON with pid, start time, boot id, session."""
        return self.root / "engine.json"

    @property
    def status(self) -> Path:
        """What the living engine plans (`smallhours.status`)."""
        return self.root / "status.json"

    @property
    def devices(self) -> Path:
        """What devices are called (`smallhours.nameplates`)."""
        return self.root / "devices.json"

    @property
    def inbox(self) -> Path:
        """Requests, one JSON file each."""
        return self.root / "inbox"

    @property
    def snapshots(self) -> Path:
        """Copies of the studies' code."""
        return self.root / "snapshots"

    @property
    def trials(self) -> Path:
        """Logs, notes and checkpoints: ``<study id>/<trial>/``."""
        return self.root / "trials"

    @property
    def trash(self) -> Path:
        """What is being deleted; emptied at each start."""
        return self.root / "trash"

    @property
    def log(self) -> Path:
        """What supervisor, engine and Ray had to say."""
        return self.root / "engine.log"

    def trial(self, study: int, trial: int) -> Path:
        """Return the directory of a trial: its user's files and its checkpoints."""
        return self.trials / str(study) / str(trial)

    def attempt(self, study: int, trial: int, attempt: int) -> Path:
        """Return the directory of an attempt: log, death note, stacks."""
        return self.trial(study, trial) / f"attempt-{attempt}"

    def prepare(self) -> None:
        """Create the directory and what is in it, 0700.

        Raises:
            UsageError: it belongs to somebody else, or others can write to it.
        """
        for path in (self.root, self.inbox, self.snapshots, self.trials):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = self.root.stat()
        if info.st_uid != os.getuid():
            raise UsageError(f"{self.root} belongs to another user: set SMALLHOURS_HOME")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UsageError(f"{self.root} can be written by others: chmod 700 it")


def home() -> Home:
    """Return the state directory that the environment names (it need not exist)."""
    own = os.environ.get("SMALLHOURS_HOME")
    if own:
        return Home(Path(own).absolute())
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local/state"
    return Home(base / "smallhours")


def read_only(database: Path) -> str:
    """Return the URI under which SQLite opens a database for reading only."""
    # Of what a path may hold, only these three mean something else in a URI.
    name = str(database).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{name}?mode=ro"
