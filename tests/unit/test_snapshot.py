from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.ledgers import EVENING, Recording, record_small_night
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Goal, ScoreKind
from smallhours.core.trial import TrialState
from smallhours.errors import LedgerError, NotFoundError, UsageError
from smallhours.paths import Home
from smallhours.snapshot import Snapshot, Spread
from smallhours.snapshot.compare import difference

CRASH = r.Crash(exit_code=3, signal=None, whose="process", stderr="", fault="")


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Recording]:
    recording = record_small_night(tmp_path / "state")
    yield recording
    recording.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "state")
    recording.session()
    yield recording
    recording.close()


def look(night: Recording) -> Snapshot:
    return Snapshot(night.home, night.clock)


def test_without_a_ledger_one_is_told_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no study has been run yet"):
        Snapshot(Home(tmp_path))


def test_an_empty_ledger_is_told_like_none(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "ledger.db").execute("VACUUM").connection.close()
    with pytest.raises(UsageError, match="no study has been run yet"):
        Snapshot(Home(tmp_path))


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(LedgerError, match="can't be read"):
        Snapshot(Home(tmp_path))


def test_a_ledger_of_another_version_is_refused(night: Recording) -> None:
    night.close()
    db = sqlite3.connect(night.home.ledger)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="version 99"):
        look(night)
    night.__init__(night.home.root.with_name("other"))  # type: ignore[misc]


def test_readers_can_not_write_and_hold_no_transaction(night: Recording) -> None:
    with look(night) as snapshot:
        snapshot.studies()
        with pytest.raises(LedgerError):
            snapshot._source.rows("DELETE FROM event")
        assert not snapshot._source._db.in_transaction


def test_what_is_recorded_later_is_seen_after_a_refresh_only(night: Recording) -> None:
    with look(night) as snapshot:
        before = snapshot.study(1)
        night.complete(6, 0.1)
        assert snapshot.study(1) == before
        assert snapshot.refresh()
        assert snapshot.study(1).ranking == (6, 1, 0)
        assert not snapshot.refresh()


@pytest.mark.parametrize(
    ("text", "study", "trial"),
    [("wine", 1, None), ("wine@1", 1, None), ("wi", 1, None), ("wine/3", 1, 3), ("w/0", 1, 0),
     ("digits", 3, None), ("digits@2", 2, None), ("digits@2/0", 2, 0), ("digits/0", 3, 0),
     ("digits-x", 4, None)],
)  # fmt: skip
def test_names_and_their_beginnings_are_found(
    night: Recording, text: str, study: int, trial: int | None
) -> None:
    night.study(2, "digits")
    night.create(0, study=2)
    night.add(f.StudyRetired(study=2))
    night.study(3, "digits")
    night.create(0, study=3)
    night.study(4, "digits-x")
    with look(night) as snapshot:
        assert snapshot.resolve(text) == (study, trial)


@pytest.mark.parametrize(
    ("text", "said"),
    [("wien", "did you mean 'wine'"), ("zzz", "there are: walnut, water and wine"),
     ("wa", "could be walnut and water"), ("wine/99", "has no trial 99; it has 6 trials"),
     ("wine/x", "names no trial"), ("wine@9", "there is no study"), ("", "there is no study"),
     ("water/0", "it has none"), ("\x1b[2J", "there is no study `�\\[2J`")],
)  # fmt: skip
def test_unknown_names_get_a_hint(night: Recording, text: str, said: str) -> None:
    night.study(2, "walnut")
    night.study(3, "water")
    with look(night) as snapshot, pytest.raises(NotFoundError, match=said):
        snapshot.resolve(text)


def test_a_study_is_counted_by_state_and_reason(night: Recording) -> None:
    night.engine_lives(os.getpid())
    with look(night) as snapshot:
        study = snapshot.study(1)
        effort = snapshot.effort(study)
    assert study.state == "running"
    assert study.states == {TrialState.QUEUED: 1, TrialState.RUNNING: 1, TrialState.ENDED: 4}
    assert study.reasons == {"completed": (0, 1), "rule_cut": (2,), "exception": (3,)}
    assert study.open == (4, 5)
    assert study.ranking == (1, 0)
    assert (study.ended, study.spec.trials) == (4, 6)
    assert study.best is not None
    assert (study.best.trial, study.best.score, study.best.fresh) == (1, 0.25, None)
    assert effort.steps_run == 10 + 10 + 7 + 0 + 4
    assert effort.steps_saved == 3
    assert effort.seconds == pytest.approx(2 + 2 + 1.4 + 0.1 + 0.9 + 4.0)


def test_a_study_agrees_with_the_rows_of_its_trials(night: Recording) -> None:
    with look(night) as snapshot:
        study, rows = snapshot.study(1), snapshot.rows(1)
        trials = [snapshot.trial(1, row.number) for row in rows]
    assert [row.number for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row.number for row in rows if row.reason is None] == list(study.open)
    for row, trial in zip(rows, trials, strict=True):
        assert (row.role, row.params, row.seed) == (trial.role, trial.params, trial.seed)
        if row.reason is not None:
            assert trial.reason is not None
            assert row.reason == r.tag(trial.reason)
            assert (row.score, row.last_step) == (trial.score, trial.last_step)


def test_a_trial_is_told_with_all_its_attempts(night: Recording) -> None:
    night.engine_lives(os.getpid())
    with look(night) as snapshot:
        trial = snapshot.trial(1, 4)
    assert trial.state is TrialState.RUNNING
    assert trial.curve == {1: 0.8, 2: 0.7, 3: 0.61, 4: 0.55}
    assert (trial.score, trial.last_step) == (0.55, 4)
    assert [(a.resume_step, a.last_step) for a in trial.attempts] == [(0, 3), (2, 4)]
    assert trial.steps_run == 5
    assert [c.path.is_dir() for c in trial.checkpoints] == [True]
    assert trial.attempts[1].started_at == EVENING + 55


def test_without_an_engine_nothing_runs(night: Recording) -> None:
    with look(night) as snapshot:
        study, trial = snapshot.study(1), snapshot.trial(1, 4)
        assert not snapshot.engine().running
    assert study.state == "waiting"
    assert study.states[TrialState.QUEUED] == 2
    assert trial.state is TrialState.QUEUED
    assert trial.waiting is not None
    assert (trial.waiting.why, trial.waiting.to, trial.waiting.from_step) == (
        "engine_down",
        "resume",
        2,
    )


def test_a_pid_that_was_given_to_another_process_is_no_engine(night: Recording) -> None:
    night.engine_lives(os.getpid())
    with look(night) as snapshot:
        assert snapshot.engine().running
    text = night.home.owner.read_text(encoding="utf-8")
    night.home.owner.write_text(text.replace('"pid_started": ', '"pid_started": 1'))
    with look(night) as snapshot:
        assert not snapshot.engine().running


def test_the_end_of_a_session_is_told_with_its_cause(night: Recording) -> None:
    with look(night) as snapshot:
        assert snapshot.engine().ended is None
        assert snapshot.engine().session == 2
        night.add(f.SessionEnded(session=2, cause="stop"))
        snapshot.refresh()
        assert snapshot.engine().ended == "stop"


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        (f.StudyHalted(study=1, cause="same_failure", sentence="It fails."), "study_halted"),
        (f.StudyRetired(study=1), "study_over"),
        (f.SessionEnded(session=1, cause="x"), "place"),
    ],
)
def test_a_waiting_trial_says_why(empty: Recording, fact: f.Fact, why: str) -> None:
    empty.engine_lives(os.getpid())
    empty.study()
    empty.create(0)
    empty.add(fact)
    with look(empty) as snapshot:
        waiting = snapshot.trial(1, 0).waiting
    assert waiting is not None
    assert (waiting.why, waiting.to) == (why, "start")


def test_a_trial_that_ran_out_of_memory_waits_to_run_alone(empty: Recording) -> None:
    empty.engine_lives(os.getpid())
    empty.study()
    empty.create(0)
    empty.start(0)
    oom = r.HostOom(killer="kernel", resident=(), limit_bytes=None, available_bytes=None)
    empty.end(0, oom, then="retry")
    with look(empty) as snapshot:
        waiting = snapshot.trial(1, 0).waiting
        assert snapshot.study(1).open == (0,)
    assert waiting is not None
    assert (waiting.why, waiting.to) == ("alone", "retry")


def test_a_crash_counts_only_once_it_is_not_tried_again(empty: Recording) -> None:
    empty.study()
    empty.create(0)
    empty.start(0)
    empty.end(0, CRASH, then="retry")
    with look(empty) as snapshot:
        assert snapshot.study(1).reasons == {}
        empty.start(0, 2)
        empty.end(0, CRASH, 2)
        snapshot.refresh()
        assert snapshot.study(1).reasons == {"crash": (0,)}


def test_a_stopped_trial_that_is_taken_up_again_is_not_over(night: Recording) -> None:
    night.engine_lives(os.getpid())
    night.start(2, 2, resume=5)
    with look(night) as snapshot:
        study, trial = snapshot.study(1), snapshot.trial(1, 2)
    assert study.open == (2, 4, 5)
    assert "rule_cut" not in study.reasons
    assert trial.state is TrialState.RUNNING


def test_of_equal_scores_the_earlier_is_the_better_and_nan_has_no_rank(empty: Recording) -> None:
    empty.study()
    for trial, score in enumerate([0.5, float("nan"), 0.2, 0.2]):
        empty.complete(trial, score)
    with look(empty) as snapshot:
        assert snapshot.study(1).ranking == (2, 3, 0)


def test_where_more_is_better_the_largest_is_first(empty: Recording) -> None:
    empty.study(goal=Goal.MAXIMIZE, score=ScoreKind.BEST)
    for trial, score in enumerate([0.5, 0.9, 0.7]):
        empty.complete(trial, score)
    with look(empty) as snapshot:
        assert snapshot.study(1).ranking == (1, 2, 0)


def confirmed(night: Recording, baseline: list[float], winner: list[float]) -> None:
    night.study(trials=2, confirm=len(baseline))
    night.complete(0, 0.5)
    night.complete(1, 0.2)
    for number, score in enumerate(baseline, 2):
        night.complete(number, score, of=0)
    for number, score in enumerate(winner, 2 + len(baseline)):
        night.complete(number, score, of=1)


def test_confirmations_give_the_spread_and_no_rank(empty: Recording) -> None:
    confirmed(empty, [0.4, 0.6], [0.1, 0.3])
    with look(empty) as snapshot:
        study = snapshot.study(1)
    assert study.ranking == (1, 0)
    assert (study.ended, study.confirmed, study.confirmations) == (2, 4, 4)
    assert study.best is not None
    assert study.best.fresh == Spread(n=2, mean=0.2, sd=pytest.approx(0.02**0.5))
    assert study.best.seeds is not None
    assert study.best.seeds.n == 3


def test_a_parameter_that_looks_like_a_role_makes_no_confirmation(empty: Recording) -> None:
    empty.study(trials=1, confirm=1)
    empty.create(0, {"role": "confirmation"})
    empty.create(1, {"role": "confirmation"})
    with look(empty) as snapshot:
        assert snapshot.study(1).confirmations == 0


def test_the_difference_is_welchs_interval_over_fresh_seeds(empty: Recording) -> None:
    confirmed(empty, [0.50, 0.52, 0.54], [0.20, 0.21, 0.22])
    with look(empty) as snapshot:
        gain = difference(snapshot.study(1))
    assert gain is not None
    # By hand: se² = 0.0004/3 + 0.0001/3; df = 2.94, so t = 4.303.
    assert gain.of == "fresh seeds"
    assert gain.gain == pytest.approx(0.31)
    assert gain.low == pytest.approx(0.31 - 4.303 * (0.0005 / 3) ** 0.5)
    assert gain.high == pytest.approx(0.31 + 4.303 * (0.0005 / 3) ** 0.5)
    assert gain.stands_out


def test_noise_does_not_stand_out(empty: Recording) -> None:
    confirmed(empty, [0.2, 0.5, 0.8], [0.1, 0.4, 0.9])
    with look(empty) as snapshot:
        gain = difference(snapshot.study(1))
    assert gain is not None
    assert gain.stands_out is False


def test_one_fresh_seed_has_no_interval(empty: Recording) -> None:
    confirmed(empty, [0.5], [0.2])
    with look(empty) as snapshot:
        gain = difference(snapshot.study(1))
    assert gain is not None
    assert (gain.of, gain.low, gain.stands_out) == ("fresh seeds", None, None)


def test_trials_that_failed_alike_are_grouped(night: Recording) -> None:
    failure = r.Failure(
        type="ValueError", message="bad width", fingerprint="f1", where="", traceback="",
        phase="train",
    )  # fmt: skip
    night.create(6)
    night.start(6)
    night.end(6, failure)
    with look(night) as snapshot:
        (group,) = snapshot.failures(1)
    assert group.trials == (3, 6)


def test_a_checkpoint_that_was_bad_or_removed_is_gone(night: Recording) -> None:
    night.checkpoint(4, 4, 2)
    ids = {"study": 1, "trial": 4}
    night.add(f.CheckpointRemoved(**ids, path="trials/1/4/checkpoints/2-1"))
    night.add(
        f.Restored(
            **ids, attempt=2, step=0, path=None, rejected=(("trials/1/4/checkpoints/4-2", "crc"),)
        )
    )
    with look(night) as snapshot:
        trial = snapshot.trial(1, 4)
    assert trial.checkpoints == ()
    assert trial.attempts[1].rejected == (("trials/1/4/checkpoints/4-2", "crc"),)
    assert trial.attempts[1].resume_step == 0


def test_more_trials_open_an_ended_study_again(empty: Recording) -> None:
    spec = empty.study()
    empty.add(f.StudyEnded(study=1, outcome="done", winner=None))
    with look(empty) as snapshot:
        assert snapshot.study(1).outcome == "done"
        empty.add(f.StudyAmended(study=1, spec=spec))
        snapshot.refresh()
        assert snapshot.study(1).outcome is None
        assert snapshot.study(1).state == "waiting"


def test_what_a_trial_is_compared_with_had_completed_by_then(night: Recording) -> None:
    night.complete(6, 0.1)
    with look(night) as snapshot:
        study = snapshot.study(1)
        assert snapshot.rivals(study, 0, 5).values == ()
        assert snapshot.rivals(study, 1, 5).values == (1.0,)
        assert sorted(snapshot.rivals(study, 6, 5).values) == [0.75, 1.0]


@pytest.mark.parametrize("halt_only", [True, False])
def test_a_release_of_the_halt_alone_leaves_a_pause(night: Recording, halt_only: bool) -> None:
    night.add(
        f.StudyHalted(study=1, cause="known_mistakes", sentence="only known mistakes are left"),
        f.StudyPaused(study=1, by="ada"),
        f.StudyReleased(study=1, halt_only=halt_only),
    )
    with Snapshot(night.home) as snapshot:
        head = snapshot.head(1)
    assert head.halted is None
    assert (head.paused is not None) is halt_only
