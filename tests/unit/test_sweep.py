"""Directories of dead sessions go; those that somebody uses, or may be about to, stay."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallhours import sweep


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sweep-", dir="/tmp") as text:  # short: sockets
        yield Path(text)


def session(place: Path, name: str, *, young: bool = False) -> Path:
    path = place / f"sh-{os.getuid()}-{name}"
    (path / "r").mkdir(parents=True)
    if not young:
        os.utime(path, (1, 1))
    return path


def test_what_a_dead_session_left_is_removed(place: Path) -> None:
    dead = session(place, "dead")
    other = place / "sh-x"
    other.mkdir()
    assert sweep.remove_dead_sessions(place) == [dead]
    assert not dead.exists()
    assert other.exists()


def test_a_directory_made_just_now_is_left_alone(place: Path) -> None:
    fresh = session(place, "fresh", young=True)
    assert sweep.remove_dead_sessions(place) == []
    assert fresh.exists()


def test_a_link_is_not_followed(place: Path) -> None:
    target = place / "mine"
    target.mkdir()
    link = place / f"sh-{os.getuid()}-link"
    link.symlink_to(target)
    assert sweep.remove_dead_sessions(place) == []
    assert target.exists()


def test_a_directory_in_which_somebody_listens_is_left_alone(place: Path) -> None:
    path = session(place, "heard")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "engine.sock"))
        listener.listen()
        os.utime(path, (1, 1))
        assert sweep.remove_dead_sessions(place) == []
    assert sweep.remove_dead_sessions(place) == [path]


@pytest.mark.processes
@pytest.mark.parametrize("how", ["mark", "file"])
def test_a_directory_that_a_process_uses_is_left_alone(place: Path, how: str) -> None:
    path = session(place, "used")
    (path / "held").touch()
    os.utime(path, (1, 1))
    code = "import sys; f = open(sys.argv[1]) if sys.argv[1] else None; print(); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path / "held") if how == "file" else ""],
        env=os.environ | ({"SMALLHOURS_SESSION": str(path)} if how == "mark" else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert sweep.remove_dead_sessions(place) == []
        process.kill()
    assert sweep.remove_dead_sessions(place) == [path]
