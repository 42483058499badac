"""The user's command: what it is told, and that nothing it does harms the night."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smallhours import hooks, rules
from smallhours.core import facts as f
from smallhours.core.reasons import Completed
from smallhours.core.spec import Goal, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import Role
from smallhours.hooks import Event, Hooks
from smallhours.paths import Home

processes = pytest.mark.processes
pytestmark = pytest.mark.timeout(90)
DRY = Event(event="queue_dry", sentence="the queue is dry")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state")
    home.prepare()
    return home


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    def make(text: str) -> tuple[str, ...]:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return str(path), str(tmp_path / "out")

    return make


Script = Callable[[str], tuple[str, ...]]


def state_of(*facts: f.Fact) -> State:
    state = State(rules.make)
    spec = StudySpec(
        name="wine",
        metric="loss",
        goal=Goal.MINIMIZE,
        space=None,
        baseline={"lr": 0.1},
        trials=1,
        steps=2,
    )
    added = f.StudyAdded(
        study=1, spec=spec, snapshot="s", digest="d", source="/w.py", module="w", cwd="/"
    )
    for fact in (added, *facts):
        state.apply(fact, 0.0)
    return state


def finished_trial() -> list[f.Fact]:
    key = {"study": 1, "trial": 0, "attempt": 1}
    return [
        f.TrialCreated(study=1, trial=0, params={"lr": 0.1}, seed=1, role=Role.BASELINE),
        f.AttemptStarted(**key, device="cpu", resume_step=0),
        f.AttemptRunning(**key, pid=1, pid_started=1),
        f.Reported(**key, step=2, metrics={"loss": 0.25}),
        f.AttemptEnded(
            **key,
            reason=Completed(steps=2, metrics={"loss": 0.25}),
            seconds=1.0,
            last_step=2,
            score=0.25,
            then="over",
        ),
    ]


def test_the_end_of_a_study_is_told_with_its_best_trial() -> None:
    ended = f.StudyEnded(study=1, outcome="done", winner=0)
    event = hooks.event_of(ended, state_of(*finished_trial(), ended))
    assert event is not None
    assert (event.event, event.study, event.study_id, event.outcome) == (
        "study_done",
        "wine",
        1,
        "done",
    )
    assert event.best == hooks.Best(
        trial="wine/0", metric="loss", goal=Goal.MINIMIZE, score=0.25, params={"lr": 0.1}
    )
    assert event.sentence == "wine is done; the best is wine/0 with loss 0.25"


def test_the_end_of_a_study_without_a_winner_is_told() -> None:
    ended = f.StudyEnded(study=1, outcome="cancelled", winner=None)
    event = hooks.event_of(ended, state_of(ended))
    assert event is not None
    assert (event.best, event.sentence) == (None, "wine was cancelled")


def test_a_halted_study_is_told_on_one_line_without_what_a_terminal_obeys() -> None:
    halted = f.StudyHalted(study=1, cause="same_failure", sentence="5 in a row:\n\x1b[31mboom")
    event = hooks.event_of(halted, state_of(halted))
    assert event is not None
    assert (event.event, event.cause) == ("study_halted", "same_failure")
    assert event.sentence == "wine is halted: 5 in a row: \N{REPLACEMENT CHARACTER}[31mboom"


@pytest.mark.parametrize(
    ("cause", "kind"), [("dry", "queue_dry"), ("deadline", "deadline"), ("stop", None)]
)
def test_the_end_of_a_session_is_told_where_nobody_ordered_it(cause: str, kind: str | None) -> None:
    event = hooks.event_of(f.SessionEnded(session=1, cause=cause), state_of())
    assert (None if event is None else event.event) == kind
    if event is not None:
        assert event.sentence.endswith("; 1 study is not done")


def test_what_else_happens_is_not_told() -> None:
    paused = f.StudyPaused(study=1, by="me")
    assert hooks.event_of(paused, state_of(paused)) is None


@processes
def test_the_command_is_told_what_happened(
    home: Home, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    command = script('(cat; echo "$SMALLHOURS_EVENT $SMALLHOURS_HOME $RAY_AUTH_TOKEN.") > "$1"')
    event = Event(event="study_halted", sentence="oh", study="wine", study_id=1, cause="disk")
    hooks.call(command, event, home)
    told, environment = Path(command[1]).read_text().splitlines()
    assert environment == f"study_halted {home.root} ."
    data = json.loads(told)
    assert data.pop("time").startswith("20")
    assert data == {
        "event": "study_halted",
        "sentence": "oh",
        "study": "wine",
        "study_id": 1,
        "outcome": None,
        "best": None,
        "cause": "disk",
        "home": str(home.root),
    }


@processes
@pytest.mark.parametrize(
    ("text", "words"),
    [("exit 3", "ended with exit 3 on queue_dry"), ("kill -9 $$", "ended with signal 9")],
)
def test_a_command_that_fails_is_logged(
    home: Home, script: Script, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    with caplog.at_level(logging.ERROR):
        hooks.call(script(text), DRY, home)
    assert words in caplog.text


def test_a_command_that_is_not_there_is_logged(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        hooks.call(("/nowhere/notify",), DRY, home)
    assert "/nowhere/notify can't be started" in caplog.text


@processes
def test_a_command_that_takes_too_long_is_killed_with_its_children(
    home: Home, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    command = script('sleep 600 & echo $! > "$1"; wait')
    with caplog.at_level(logging.ERROR):
        hooks.call(command, DRY, home, limit_s=1.0)
    assert "was killed after 1 s" in caplog.text
    written = Path(command[1]).read_text()
    if written:  # it came so far within its second
        deadline = time.monotonic() + 30
        while Path(f"/proc/{int(written)}").exists() and not _is_zombie(int(written)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@processes
def test_events_are_told_one_after_the_other_and_the_last_before_the_end(
    home: Home, script: Script
) -> None:
    command = script('echo "begin $SMALLHOURS_EVENT" >> "$1"; echo end >> "$1"')

    async def night() -> None:
        caller = Hooks(home, command)
        for kind in ("study_done", "study_halted", "queue_dry"):
            caller.fire(Event(event=kind, sentence=""))  # type: ignore[arg-type]
        caller.fire(None)
        await caller.close(limit_s=60)
        caller.fire(DRY)

    asyncio.run(night())
    assert Path(command[1]).read_text().splitlines() == [
        "begin study_done",
        "end",
        "begin study_halted",
        "end",
        "begin queue_dry",
        "end",
    ]


def wait_until_written(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@processes
def test_a_command_that_hangs_does_not_hold_up_the_engine(
    home: Home, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    command = script('echo $$ > "$1"; exec sleep 600')
    loop_was_free: list[bool] = []

    async def night() -> None:
        caller = Hooks(home, command)
        caller.fire(DRY)
        await asyncio.to_thread(wait_until_written, Path(command[1]))
        loop_was_free.append(True)
        with caplog.at_level(logging.WARNING):
            await caller.close(limit_s=0.1)

    asyncio.run(night())
    os.kill(int(Path(command[1]).read_text()), 9)
    for thread in threading.enumerate():
        if thread.name == "hooks":
            thread.join()
    assert loop_was_free
    assert "the engine leaves before the command is done" in caplog.text


def test_without_a_command_nothing_is_called(home: Home) -> None:
    caller = Hooks(home)
    caller.fire(DRY)
    asyncio.run(caller.close())
