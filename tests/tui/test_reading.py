"""Following a ledger, ordering trials, saying it in plain text: what needs no terminal."""

from __future__ import annotations

import io
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from fakes.ledgers import EVENING, Recording, record_small_night
from fakes.sample_night import SampleNight
from smallhours import when
from smallhours.core import reasons as r
from smallhours.core.spec import Goal
from smallhours.core.trial import Role, TrialState
from smallhours.errors import UsageError
from smallhours.snapshot import Snapshot
from smallhours.snapshot.following import Following
from smallhours.snapshot.influence import influences
from smallhours.snapshot.lines import TrialLine
from smallhours_tui import plain
from smallhours_tui.feed import Feed
from smallhours_tui.order import Order, arranged, of_param


def line(number: int, **changes: object) -> TrialLine:
    keys: dict[str, object] = {
        "number": number, "role": Role.SEARCH, "of": None, "params": {"lr": 0.1 * number},
        "seed": number, "state": TrialState.ENDED, "reason": "completed",
        "value": 1.0 / (number + 1), "step": 10,
    }  # fmt: skip
    return TrialLine(**(keys | changes))  # type: ignore[arg-type]


def order(lines: list[TrialLine], **wanted: object) -> list[int]:
    return arranged(lines, Order(**wanted), Goal.MINIMIZE, engine_runs=True)  # type: ignore[arg-type]


@pytest.fixture
def growing(tmp_path: Path) -> Recording:
    recording = record_small_night(tmp_path / "state")
    recording.engine_lives(os.getpid())
    return recording


def assert_as_read_anew(following: Following, recording: Recording) -> None:
    """What was followed must equal what somebody reads who comes now."""
    following.follow()
    with Snapshot(recording.home, recording.clock) as fresh:
        for run, other in zip(following.runs(), fresh.running(), strict=True):
            assert (run.trial, run.step, run.value, run.state) == (
                other.trial, other.step, other.value, other.state
            )  # fmt: skip
    again = Following(recording.home, recording.clock)
    for head in following.heads():
        assert dict(following.trials(head.id)) == dict(again.trials(head.id))
    assert following.news == again.news
    again.close()


def test_what_is_followed_equals_what_is_read_anew(growing: Recording) -> None:
    following = Following(growing.home, growing.clock)
    following.trials(1)
    growing.start(5)
    assert_as_read_anew(following, growing)
    growing.report(5, {1: 0.7, 2: 0.6})
    assert_as_read_anew(following, growing)
    growing.end(5, r.Completed(steps=10, metrics={}), score=0.6, last_step=10)
    growing.complete(6, 0.2)
    assert_as_read_anew(following, growing)
    growing.study(2, "digits")
    growing.complete(0, 0.3, study=2)
    assert_as_read_anew(following, growing)
    assert following.study(2).ranking == (0,)
    following.close()
    growing.close()


def test_a_curve_that_is_kept_grows(growing: Recording) -> None:
    following = Following(growing.home, growing.clock)
    assert dict(following.curve(1, 4)) == {1: 0.8, 2: 0.7, 3: 0.61, 4: 0.55}
    growing.report(4, {5: 0.5}, attempt=2)
    changed = following.follow()
    assert changed.trials == {1: frozenset({4})}
    assert following.curve(1, 4)[5] == 0.5
    following.close()
    growing.close()


def test_nothing_new_is_nothing(growing: Recording) -> None:
    following = Following(growing.home, growing.clock)
    assert not following.follow()
    following.close()
    growing.close()


def test_another_ledger_in_its_place_is_noticed(growing: Recording, tmp_path: Path) -> None:
    feed = Feed(growing.home, clock=growing.clock)
    other = Recording(tmp_path / "other")
    other.session()
    other.study(1, "walnut")
    other.close()
    growing.close()
    for end in ("-wal", "-shm"):
        Path(f"{growing.home.ledger}{end}").unlink(missing_ok=True)
    shutil.copy(other.home.ledger, tmp_path / "moved.db")
    (tmp_path / "moved.db").replace(growing.home.ledger)
    assert feed.poll().replaced
    assert [view.name for view in feed.night.studies] == ["walnut"]
    feed.close()


def test_readers_hold_no_transaction(growing: Recording) -> None:
    feed = Feed(growing.home, clock=growing.clock)
    feed.poll()
    assert feed.ledger is not None
    assert not feed.ledger._source._db.in_transaction
    feed.close()
    growing.close()


@pytest.mark.parametrize(("seconds", "trials"), [(0.0, 0), (4.0, 1), (1e9, 6)])
def test_a_moment_gone_by_has_what_was_recorded_by_then(
    growing: Recording, seconds: float, trials: int
) -> None:
    with Following(growing.home, at=EVENING + seconds) as then:
        assert sum(len(then.trials(head.id)) for head in then.heads()) == trials
        assert not then.follow()
    growing.close()


def test_unfinished_trials_come_last_either_way() -> None:
    lines = [line(0), line(1, state=TrialState.RUNNING, value=0.0), line(2), line(3, value=None)]
    assert order(lines, sort="score") == [2, 0, 1, 3]
    assert order(lines, sort="score", reverse=True) == [0, 2, 1, 3]


def test_what_runs_comes_first_in_the_usual_order() -> None:
    failed = line(0, reason="exception", value=None)
    running = line(2, state=TrialState.RUNNING, since=1.0, reason=None)
    assert order([failed, line(1), running]) == [2, 1, 0]


def test_a_parameter_may_be_called_like_a_column() -> None:
    lines = [line(n, params={"step": 9.0 - n}) for n in range(3)]
    assert order(lines, sort=of_param("step")) == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("lr<0.15", [0, 1]), ("lr>=0.2 step=10", [2, 3]), ("state:failed", [3]),
     ("!failed", [0, 1, 2]), ("why:exception", [3]), ("act=gelu", [2]), ("gelu", [2]),
     ("baseline", [0]), ("!lr<0.15", [2, 3]), ("3", [3]), ("nothing", [])],
)  # fmt: skip
def test_filters(text: str, kept: list[int]) -> None:
    lines = [
        line(0, role=Role.BASELINE), line(1), line(2, params={"lr": 0.2, "act": "gelu"}),
        line(3, reason="exception"),
    ]  # fmt: skip
    assert order(lines, sort="number", filter=text) == kept


def test_only_the_parameter_that_matters_has_influence() -> None:
    lines = [
        line(n, value=abs(n - 20.0), params={"lr": float(n), "seed": (n * 7919) % 41, "same": 1})
        for n in range(40)
    ]
    found = {item.parameter: item.share for item in influences(lines)}
    assert found["lr"] > 0.8
    assert found["seed"] < 0.2
    assert "same" not in found


def test_a_few_trials_have_no_influences() -> None:
    assert influences([line(n) for n in range(11)]) == []


def test_once_says_everything_and_notices_a_halted_study(night: SampleNight) -> None:
    out = io.StringIO()
    assert plain.once(Feed(night.home, clock=night.clock), out, ascii_only=False) == 1
    said = out.getvalue()
    assert "engine up" in said
    assert "2 running" in said
    assert "digits/20" in said
    assert "gru was halted" in said
    assert "\x1b" not in said


def test_once_without_a_ledger_says_how_to_begin(tmp_path: Path) -> None:
    from smallhours.paths import Home

    out = io.StringIO()
    assert plain.once(Feed(Home(tmp_path)), out, ascii_only=True) == 0
    assert "smallhours add" in out.getvalue()


NOON = datetime.fromisoformat("2026-11-24 12:00").astimezone()


@pytest.mark.parametrize(
    ("text", "then"),
    [("02:41", "2026-11-24 02:41"), ("13:00", "2026-11-23 13:00"), ("3h", "2026-11-24 09:00"),
     ("2026-11-20 01:02", "2026-11-20 01:02")],
)  # fmt: skip
def test_times_gone_by_are_read(text: str, then: str) -> None:
    expected = datetime.fromisoformat(then).astimezone().timestamp()
    assert when.parse_past(text, NOON) == expected


@pytest.mark.parametrize("text", ["2026-11-25 01:02", "soon", "2026-11-20", "5"])
def test_times_that_are_none_or_lie_ahead_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        when.parse_past(text, NOON)
