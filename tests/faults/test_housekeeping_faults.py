"""Whoever deletes is killed at any moment: what is left is whole, or goes at the next start."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes.ledgers import Recording
from smallhours import housekeeping, rules
from smallhours.core import facts as f
from smallhours.core.state import State
from smallhours.paths import Home

#: Removes a study and kills itself at the n-th call of what changes the disk.
_REMOVE = """
import os, signal, sys
from pathlib import Path
from smallhours import housekeeping
from smallhours.paths import Home
left = int(sys.argv[2])
def watch(event, _arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
housekeeping.remove_files(Home(Path(sys.argv[1])), 1)
"""


def make(home: Home, study: int) -> set[str]:
    for trial in range(3):
        for name in ("checkpoints/10-1/state.pt", "attempt-1/log.txt"):
            path = home.trial(study, trial) / name
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x" * 100)
    return files(home, study)


def files(home: Home, study: int) -> set[str]:
    folder = home.trials / str(study)
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.processes
@pytest.mark.parametrize("deed", [0, 1, 2, 3, 5, 8, 13])
def test_a_removal_that_is_killed_leaves_all_or_nothing_where_it_was(
    tmp_path: Path, deed: int
) -> None:
    night = Recording(tmp_path)
    night.home.prepare()
    night.session()
    night.study(1)
    night.add(
        f.StudyEnded(study=1, outcome="cancelled", winner=None), f.StudyRemoved(study=1, by="ada")
    )
    whole = make(night.home, 1)
    command = [sys.executable, "-c", _REMOVE, str(tmp_path), str(deed)]
    done = subprocess.run(command, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert files(night.home, 1) in (whole, set())
    state = State(rules.make)
    night._ledger.rebuild(state, ())
    housekeeping.remove_leftovers(night.home, state)
    assert not (night.home.trials / "1").exists()
    assert list((tmp_path / "trash").iterdir()) == []
    night.close()


def test_studies_removed_at_the_same_time_do_not_get_in_each_other_s_way(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    for study in range(8):
        make(home, study)
    kept = make(home, 9)
    threads = [
        threading.Thread(target=housekeeping.remove_files, args=(home, study % 8))
        for study in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in home.trials.iterdir()] == ["9"]
    assert files(home, 9) == kept
    assert list((tmp_path / "trash").iterdir()) == []
