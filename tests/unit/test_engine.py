"""The engine's own duties: what it does when something fails, with real files and no processes."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.core import make_spec
from smallhours import exits, housekeeping, inbox
from smallhours.backends import zygotes
from smallhours.backends.base import Placed, SlotReturn
from smallhours.clock import SystemClock
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.model import Saved
from smallhours.engine import Engine
from smallhours.ledger.store import DiskFullError, open_to_read, read_all
from smallhours.paths import Home


class NoSlots:
    """A launcher that keeps what it is given."""

    name = "test"

    def __init__(self) -> None:
        self.placed: list[Placed] = []

    def open(
        self,
        slots: int,
        directory: str,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
    ) -> None:
        ready()

    def start(self, placed: Placed) -> None:
        self.placed.append(placed)

    def dead(self) -> str | None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state")
    home.prepare()
    return home


@pytest.fixture
def engine(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that starts no zygote."""
    monkeypatch.setattr(zygotes.Zygotes, "_spawn", lambda _self, _zygote: None)
    with tempfile.TemporaryDirectory() as directory:
        yield Engine(home, Path(directory), NoSlots(), SystemClock())


def add(home: Home, **changes: Any) -> str:
    """Leave the request to add a small study."""
    spec = msgspec.to_builtins(make_spec(**({"trials": 1} | changes)))
    body = {
        "spec": spec, "snapshot": "ab", "digest": "d", "source": "/x/wine.py",
        "module": "wine", "cwd": "/x",
    }  # fmt: skip
    return inbox.submit(home, "add", body)


def run(engine: Engine) -> int:
    return asyncio.run(engine.run(""))


def facts(home: Home) -> list[f.Fact]:
    db = open_to_read(home.ledger)
    try:
        return [entry.fact for entry in read_all(db)]
    finally:
        db.close()


def test_an_os_error_while_an_event_is_handled_ends_the_engine(engine, home, monkeypatch):
    """asyncio would close the connection that it came from, and say nothing."""

    def fails(_event: object) -> None:
        raise OSError(errno.EMFILE, "no descriptors left")

    add(home)
    monkeypatch.setattr(engine._machine._intake, "study_submitted", fails)
    assert run(engine) == exits.BUG


def test_a_full_disk_at_the_start_of_an_attempt_is_the_end_of_that_attempt(
    engine, home, monkeypatch
):
    real = Path.mkdir

    def full(path: Path, *args: Any, **keys: Any) -> None:
        if "attempt" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, *args, **keys)

    monkeypatch.setattr(Path, "mkdir", full)
    add(home)
    assert run(engine) == exits.DONE
    (end,) = [fact for fact in facts(home) if isinstance(fact, f.AttemptEnded)]
    assert isinstance(end.reason, r.DiskFull)
    assert end.then == "resume"
    (halted,) = [fact for fact in facts(home) if isinstance(fact, f.StudyHalted)]
    assert halted.cause == "disk"


def test_a_zygote_that_cant_be_started_is_the_end_of_its_attempts_and_halts_the_study(
    engine, home, monkeypatch
):
    def fails(_self: object, _zygote: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(zygotes.Zygotes, "_spawn", fails)
    add(home, trials=9)
    assert run(engine) == exits.DONE
    ends = [fact.reason for fact in facts(home) if isinstance(fact, f.AttemptEnded)]
    assert all(isinstance(reason, r.Crash) and reason.whose == "zygote" for reason in ends)
    assert "could not start its process" in ends[0].stderr
    (halted,) = [fact for fact in facts(home) if isinstance(fact, f.StudyHalted)]
    assert halted.cause == "same_failure"


def test_nothing_is_done_that_a_stuck_ledger_does_not_know_of(engine, home, monkeypatch):
    def stuck() -> None:
        raise DiskFullError("no room")

    begun = engine._commit

    def commit() -> None:
        if any(isinstance(x.fact, f.RequestAnswered) for x in engine._ledger._pending):
            monkeypatch.setattr(engine._ledger, "commit", stuck)
        begun()

    monkeypatch.setattr(engine, "_commit", commit)
    request = add(home)
    assert run(engine) == exits.DISK_FULL
    assert engine._launcher.placed == []
    assert [waiting.id for waiting in inbox.pending(home)] == [request], "for the next engine"


def test_a_request_that_comes_as_the_engine_leaves_waits_for_the_next_one(engine, home):
    async def leave_between() -> None:
        engine._loop = asyncio.get_running_loop()
        engine._ended = engine._loop.create_future()
        engine._end(exits.DONE)
        engine._look_into_inbox()

    request = add(home)
    asyncio.run(leave_between())
    assert [waiting.id for waiting in inbox.pending(home)] == [request]


def test_a_rule_that_no_engine_can_make_is_refused_and_not_died_of(engine, home):
    request = add(home, stopping={"rule": "hyperband", "options": {}})
    assert run(engine) == exits.DONE
    (answer,) = [fact for fact in facts(home) if isinstance(fact, f.RequestAnswered)]
    assert (answer.request, answer.ok) == (request, False)
    assert "hyperband" in answer.text
    assert inbox.pending(home) == []


def test_a_signal_before_the_backend_is_up_ends_this_session(engine, home, monkeypatch):
    async def slow(_post: object) -> None:
        engine._on_signal("sigterm")
        await asyncio.sleep(0)

    monkeypatch.setattr(engine._backend, "open", slow)
    assert run(engine) == exits.DONE
    assert [type(fact) for fact in facts(home)] == [f.SessionStarted, f.SessionEnded]


def test_leftovers_among_the_checkpoints_of_open_studies_go_and_nothing_else(home):
    from fakes.core import Night

    night = Night()
    night.begin()
    night.add(make_spec())
    state = night.machine.state
    trial = state.studies[1].trials[0]
    trial.checkpoints = [Saved(step=4, path="trials/1/0/checkpoints/4-1", attempt=1)]
    folder = home.trial(1, 0) / "checkpoints"
    keep = [
        folder / "4-1",
        folder / "mine",
        folder / "best.tmp",
        home.trial(2, 0) / "checkpoints/5-1",
    ]
    gone = [folder / "6-1", folder / "8-1.tmp"]
    for path in keep + gone:
        path.mkdir(parents=True)
        (path / "state.pt").touch()
    housekeeping.remove_leftovers(home, state)
    assert all(path.exists() for path in keep)
    assert not any(path.exists() for path in gone)
    state.studies[1].retired = True
    gone[0].mkdir()
    housekeeping.remove_leftovers(home, state)
    assert gone[0].exists()


def test_a_group_commit_that_fails_for_no_foreseen_reason_ends_the_engine(
    engine, home, monkeypatch
):
    """It runs in a timer of the loop: nobody awaits it."""
    monkeypatch.setattr("smallhours.engine._GROUP_COMMIT_S", 0.01)

    def fails() -> None:
        raise OverflowError("a number too large for SQLite")

    async def slow(_post: object) -> None:
        monkeypatch.setattr(engine._ledger, "commit", fails)
        engine._ledger.append(
            f.Reported(study=1, trial=0, attempt=1, step=1, metrics={}), at=0.0, mono=0.0
        )
        engine._carry_out([])

    monkeypatch.setattr(engine._backend, "open", slow)
    monkeypatch.setattr(engine, "_look_into_inbox", lambda: None)
    assert run(engine) == exits.BUG


def test_nobody_is_told_of_what_is_not_on_record(
    engine: Engine, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(
        engine._hooks,
        "fire",
        lambda event: told.append((event.event, engine._ledger.dirty)) if event else None,
    )
    add(home)
    inbox.submit(home, "cancel", {"study": 1, "trial": None, "by": "me"})
    assert run(engine) == exits.DONE
    assert told == [("study_done", False), ("queue_dry", False)]
