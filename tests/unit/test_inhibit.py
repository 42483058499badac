"""The lock against suspend: held while it should be, gone with whoever holds it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smallhours.inhibit import Inhibitor

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

#: Says with which words it was called, does as `systemd-inhibit` does, and says when it is over.
FAKE = """#!/bin/sh
echo "begun $*" >> "$0.log"
shift 4
"$@"
echo over >> "$0.log"
"""
REFUSES = """#!/bin/sh
echo "begun" >> "$0.log"
echo "Failed to inhibit: Access denied" >&2
exit 1
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "systemd-inhibit"
    path.write_text(FAKE)
    path.chmod(0o700)
    return path


def lines(program: Path) -> list[str]:
    log = program.with_name(program.name + ".log")
    return log.read_text().splitlines() if log.exists() else []


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_is_held_until_it_is_released(program: Path) -> None:
    inhibitor = Inhibitor("two trials")
    inhibitor.hold()
    wait(lambda: lines(program))
    assert lines(program) == [
        "begun --what=sleep:idle --who=smallhours --why=two trials --mode=block cat"
    ]
    inhibitor.release()
    wait(lambda: "over" in lines(program))


def test_holding_and_releasing_again_changes_nothing(program: Path) -> None:
    inhibitor = Inhibitor()
    inhibitor.release()
    inhibitor.hold()
    wait(lambda: lines(program))
    inhibitor.hold()
    inhibitor.release()
    inhibitor.release()
    wait(lambda: "over" in lines(program))
    assert len(lines(program)) == 2
    inhibitor.hold()
    wait(lambda: len(lines(program)) == 3)
    inhibitor.release()


def test_it_ends_with_a_holder_that_is_killed(program: Path) -> None:
    code = f"""
import os, signal, time
from smallhours.inhibit import Inhibitor
inhibitor = Inhibitor()
inhibitor.hold()
while not os.path.exists({str(program) + ".log"!r}):
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""
    holder = subprocess.Popen([sys.executable, "-c", code])
    holder.wait()
    wait(lambda: "over" in lines(program))


def test_a_refusal_is_logged_once_and_not_asked_for_again(
    program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program.write_text(REFUSES)
    inhibitor = Inhibitor()

    def refused() -> bool:
        inhibitor.hold()
        return bool(caplog.records)

    with caplog.at_level(logging.WARNING):
        wait(refused)
        for _ in range(3):
            inhibitor.hold()
    assert [record.message for record in caplog.records] == [
        "the machine may go to sleep while trials run: Failed to inhibit: Access denied"
    ]
    assert lines(program) == ["begun"]
    inhibitor.release()


def test_without_the_program_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    inhibitor = Inhibitor()
    with caplog.at_level(logging.WARNING):
        inhibitor.hold()
        inhibitor.hold()
    assert [record.message for record in caplog.records] == [
        "the machine may go to sleep while trials run: systemd-inhibit is not there"
    ]
