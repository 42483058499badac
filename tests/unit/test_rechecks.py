"""What the ledger's readers make of trials that were taken up again, and of rechecks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fakes.ledgers import Recording
from smallhours import inbox
from smallhours.commands import continuing, read
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.trial import TrialState
from smallhours.errors import UsageError
from smallhours.inbox import lying
from smallhours.snapshot import Snapshot
from smallhours.snapshot.following import Following
from smallhours.snapshot.rechecks import Rate, interval


def cut(step: int, value: float) -> r.RuleCut:
    return r.RuleCut(
        rule="median", version=1, options={"warmup": 5, "startup": 2}, step=step, value=value,
        threshold=0.675, goal="minimize", compared=2, competitors=((1, 0.55), (0, 0.8)),
    )  # fmt: skip


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Recording]:
    """A study of two completed and two stopped trials, one with a checkpoint, that is done."""
    night = Recording(tmp_path / "state")
    night.session()
    night.study(trials=4, confirm=3, recheck=0.5)
    night.complete(0, 0.5)
    night.complete(1, 0.25)
    for number in (2, 3):
        night.create(number)
        night.start(number)
        night.report(number, dict.fromkeys(range(1, 8), 0.9))
        if number == 2:
            night.checkpoint(number, 6)
        night.end(number, cut(7, 0.9), score=0.9, last_step=7)
        night.add(f.RecheckDrawn(study=1, trial=number))
    for number, score in enumerate((0.25, 0.26, 0.27), start=4):
        night.complete(number, score, of=1)
    night.add(f.StudyEnded(study=1, outcome="done", winner=1))
    yield night
    night.close()


def again(night: Recording, trial: int, score: float, resume: int = 0) -> None:
    """Take a trial up again and let it run to its end."""
    night.add(f.TrialContinued(study=1, trial=trial, cause="recheck"))
    night.start(trial, 2, resume=resume)
    night.report(trial, dict.fromkeys(range(resume + 1, 11), score), 2)
    end = r.Completed(steps=10, metrics={"val_loss": score})
    night.end(trial, end, 2, score=score, last_step=10)


def printed(night: Recording, target: str, **options: Any) -> str:
    out = io.StringIO()
    read.why(night.home, target=target, as_json=False, out=out, clock=night.clock, **options)
    return " ".join(out.getvalue().split())


def document(night: Recording, target: str, **options: Any) -> dict[str, Any]:
    out = io.StringIO()
    read.why(night.home, target=target, as_json=True, out=out, clock=night.clock, **options)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_interval_is_the_exact_one(false: int, more: int) -> None:
    if false + more == 0:
        assert interval(0, 0) == (0.0, 1.0)
        return
    exact = binomtest(false, false + more).proportion_ci(0.9, method="exact")
    assert interval(false, false + more) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_with_a_hundred_rechecked_and_few_false_the_interval_is_narrow_enough() -> None:
    for false in range(13):
        rate = Rate.of([(false, 100)])
        assert (rate.high - rate.low) / 2 <= 0.06


def test_studies_that_scatter_more_than_chance_make_the_interval_wider() -> None:
    even = Rate.of([(1, 5)] * 20)
    uneven = Rate.of([(5, 5)] * 4 + [(0, 5)] * 16)
    assert (even.false, even.n) == (uneven.false, uneven.n) == (20, 100)
    assert (even.low, even.high) == interval(20, 100)
    assert uneven.low < even.low
    assert uneven.high > even.high


class TestTakenUpAgain:
    def test_a_trial_that_waits_is_not_over_any_more_and_its_study_is_open(
        self, night: Recording
    ) -> None:
        night.add(f.TrialContinued(study=1, trial=2, cause="operator", by="ada@pts/1"))
        with Snapshot(night.home, night.clock) as snapshot:
            study, trial = snapshot.study(1), snapshot.trial(1, 2)
            assert (study.state, study.open, study.ended) == ("waiting", (2,), 3)
            assert study.reasons["rule_cut"] == (3,)
            assert trial.state is TrialState.QUEUED
            assert trial.waiting is not None
            assert trial.waiting.from_step == 6
            assert snapshot.rows(1)[2].reason is None
            assert snapshot.effort(study).steps_saved == 3

    def test_the_lines_of_the_dashboard_follow_it(self, night: Recording) -> None:
        with Following(night.home, night.clock) as following:
            lines = following.trials(1)
            assert lines[2].over
            night.add(f.TrialContinued(study=1, trial=2, cause="operator", by="ada"))
            following.follow()
            assert following.trials(1)[2].state is TrialState.QUEUED
            assert not following.head(1).over
        with Following(night.home, night.clock) as fresh:
            assert fresh.trials(1)[2].state is TrialState.QUEUED

    def test_why_tells_its_history_and_the_change_of_winner(self, night: Recording) -> None:
        again(night, 2, 0.1, resume=6)
        night.add(f.StudyEnded(study=1, outcome="done", winner=2))
        told = printed(night, "wine/2")
        assert "It was drawn to be rechecked, and taken up again" in told
        assert "(2) from step 6 to step 10, completed" in told
        told = printed(night, "wine")
        assert "before, it was wine/1, now it is wine/2" in told

    def test_rows_that_were_read_before_it_was_taken_up_do_not_change(
        self, night: Recording
    ) -> None:
        with Snapshot(night.home, night.clock) as snapshot:
            night.add(f.TrialContinued(study=1, trial=2, cause="operator", by="ada"))
            assert snapshot.study(1).state == "ended"


class TestRate:
    def test_a_stop_is_false_where_the_end_beats_the_pick_by_more_than_twice_the_noise(
        self, night: Recording
    ) -> None:
        again(night, 2, 0.22)
        again(night, 3, 0.24)
        with Snapshot(night.home, night.clock) as snapshot:
            found = snapshot.rechecks(snapshot.study(1))
        assert found.pick == 1, "what was taken up again is no pick"
        assert found.seed_sd == pytest.approx(0.01)
        assert (found.drawn, found.finished, found.false) == ((2, 3), (2, 3), (2,))
        assert (found.pooled.false, found.pooled.n, found.own) == (1, 2, None)

    def test_what_did_not_come_to_its_end_is_censored(self, night: Recording) -> None:
        again(night, 2, 0.4)
        told = printed(night, "wine")
        assert "1 did not, or not yet (censored)" in told
        shown = document(night, "wine")["recheck"]
        assert (shown["unfinished"], shown["finished"], shown["false"]) == (1, [2], [])
        assert shown["pooled"]["n"] == 1

    def test_without_confirmations_nobody_can_say(self, tmp_path: Path) -> None:
        night = Recording(tmp_path / "state")
        night.session()
        night.study(trials=3, recheck=0.5)
        night.complete(0, 0.5)
        night.create(1)
        night.start(1)
        night.report(1, {1: 0.9})
        night.end(1, cut(1, 0.9), score=0.9, last_step=1)
        night.add(f.RecheckDrawn(study=1, trial=1))
        again(night, 1, 0.1)
        assert "what another seed changes is not known" in printed(night, "wine")
        assert document(night, "wine")["recheck"]["pooled"]["n"] == 0
        night.close()

    def test_rates_are_pooled_over_the_studies_of_a_rule(self, night: Recording) -> None:
        again(night, 2, 0.22)
        night.study(2, "beer", trials=4, confirm=2)
        night.complete(0, 0.5, study=2)
        with Snapshot(night.home, night.clock) as snapshot:
            found = snapshot.rechecks(snapshot.study(2))
        assert found.drawn == ()
        assert (found.pooled.false, found.pooled.n, found.studies) == (1, 1, 1)

    def test_show_has_a_line_of_it(self, night: Recording) -> None:
        again(night, 2, 0.22)
        out = io.StringIO()
        read.show(night.home, target="wine", as_json=False, out=out, clock=night.clock)
        assert "1 of 2 rechecked trials came to their end, 1 false stop" in out.getvalue()


class TestAgainst:
    def test_two_trials_are_laid_side_by_side(self, night: Recording) -> None:
        told = printed(night, "wine/1", against="wine/0")
        assert "wine/1 has the better val_loss: 0.25 against 0.5" in told
        assert "wine/1 was ahead at all of the 10 steps that both reported" in told
        assert "lr 0.2 0.1" in told

    def test_it_tells_who_was_ahead_when(self, night: Recording) -> None:
        again(night, 2, 0.1, resume=6)
        shown = document(night, "wine/1", against="wine/2")
        assert shown["spans"] == [
            {"from": 1, "to": 3, "ahead": "wine/2"},
            {"from": 4, "to": 6, "ahead": "wine/1"},
            {"from": 7, "to": 10, "ahead": "wine/2"},
        ]
        assert shown["scores"] == [0.25, 0.1]
        assert [reason["reason"] for reason in shown["reasons"]] == ["completed", "completed"]
        assert [p["name"] for p in shown["params"]] == ["lr"]

    def test_pages_keep_to_eighty_columns(self, night: Recording) -> None:
        out = io.StringIO()
        read.why(night.home, target="wine/1", against="wine/2", as_json=False, out=out)
        assert max(map(len, out.getvalue().splitlines())) <= 80

    @pytest.mark.parametrize(
        ("one", "other", "told"),
        [
            ("wine/1", "wine/1", "one trial"),
            ("wine/1", "wine", "wine is a study"),
            ("wine/1", "beer/0", "can't be compared: goal is minimize for the one and maximize"),
        ],
    )
    def test_what_makes_no_pair_is_refused(
        self, night: Recording, one: str, other: str, told: str
    ) -> None:
        night.study(2, "beer", goal="maximize")
        night.create(0, study=2)
        with pytest.raises(UsageError, match=told):
            printed(night, one, against=other)


class TestCommand:
    def test_it_asks_for_the_trial(
        self, night: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert continuing.continue_(night.home, "wine/2") == 0
        (request,) = lying(night.home)
        body = {"study": 1, "trial": 2, "by": inbox.who()}
        assert (request.verb, request.body) == ("continue", body)
        assert "wine/2 will go on from step 6: it waits in the inbox" in capsys.readouterr().out

    def test_it_says_before_that_there_is_no_checkpoint(
        self, night: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        continuing.continue_(night.home, "wine/3")
        told = capsys.readouterr().out
        assert told.startswith(
            "wine/3 has no checkpoint any more: it begins again, and runs 7 steps a second time"
        )

    def test_a_study_and_what_is_done_are_not_continued(
        self, night: Recording, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(UsageError, match="smallhours resume wine"):
            continuing.continue_(night.home, "wine")
        assert continuing.continue_(night.home, "wine/1") == 0
        assert "nothing to continue" in capsys.readouterr().out
        assert lying(night.home) == []
