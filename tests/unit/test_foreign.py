"""Foreign processes are found by name; our own never are."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smallhours.foreign import Foreign

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run a program under a name of our choice, as no child of this process."""
    begun: list[int] = []

    def start(name: str, **environment: str) -> int:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "", program)
        # The shell says who it is and is gone at once, so that the program is nobody's child here.
        done = subprocess.run(
            ["sh", "-c", '"$0" 600 >/dev/null 2>&1 & echo $!', program],
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
        )
        pid = int(done.stdout)
        begun.append(pid)
        until = time.monotonic() + 8.0
        while Path(f"/proc/{pid}/comm").read_text().strip() != name[:15]:
            assert time.monotonic() < until, "it never became that program"
            time.sleep(0.001)
        return pid

    yield start
    for pid in begun:
        os.kill(pid, 9)


def test_a_process_is_found_by_its_name(run: Run) -> None:
    assert Foreign(["shblender"]).seen() == ()
    run("shblender")
    assert Foreign(["shblender"]).seen() == ("shblender",)


def test_globs_match_whole_names_whatever_their_capitals(run: Run) -> None:
    run("shSteam-client")
    assert Foreign(["shsteam*"]).seen() == ("shSteam-client",)
    assert Foreign(["shsteam"]).seen() == ()
    assert Foreign(["team*", "shst?am-client"]).seen() == ("shSteam-client",)


def test_a_name_longer_than_the_kernel_keeps_is_found(run: Run) -> None:
    run("shavery-long-name-indeed")
    assert Foreign(["shavery-long-name-indeed"]).seen() == ("shavery-long-name-indeed",)


def test_processes_of_this_session_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALLHOURS_SESSION", "/tmp/sh-0-here")
    run("shours")
    run("shtheirs", SMALLHOURS_SESSION="/tmp/sh-0-there")
    assert Foreign(["shours", "shtheirs"]).seen() == ("shtheirs",)


def test_what_runs_below_this_process_is_left_out(tmp_path: Path) -> None:
    program = tmp_path / "shchild"
    shutil.copy(shutil.which("sleep") or "", program)
    child = subprocess.Popen([program, "600"], env={})
    try:
        comm, until = Path(f"/proc/{child.pid}/comm"), time.monotonic() + 8
        while comm.read_text().strip() != "shchild" and time.monotonic() < until:
            time.sleep(0.01)  # a process has its new name a moment after it was started
        assert comm.read_text().strip() == "shchild"
        assert Foreign(["shchild"]).seen() == ()
    finally:
        child.kill()
        child.wait()


def test_without_names_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> list[str]:
        raise AssertionError("looked")

    monkeypatch.setattr(os, "listdir", refuse)
    assert Foreign([]).seen() == ()
