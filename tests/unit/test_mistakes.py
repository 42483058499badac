"""Repeats, known mistakes and the search's own end, as the machine decides them."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from fakes.core import Night, check_invariants, make_spec
from smallhours import rules
from smallhours.core import actions as a
from smallhours.core import classify, enough
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.death import DeathNote
from smallhours.core.failures import KINDS
from smallhours.core.reasons import TAGS
from smallhours.core.spec import Dimension, Stopping
from smallhours.core.waiting import Why
from smallhours.ledger import checks
from smallhours.ledger.store import Ledger


@pytest.fixture
def night():
    night = Night(slots=1)
    night.begin()
    yield night
    check_invariants(night)


def add(night, **changes):
    night.add(make_spec(**{"trials": 40, "steps": 2, "stopping": Stopping(rule="none")} | changes))
    finish(night, night.key(1, 0), 0.5)
    return night.machine.state.studies[1]


def finish(night, key, loss):
    night.whole_trial(key, [loss + 0.1, loss])


def tries(night, loss=0.5, **params):
    """Answer the open ask, and run the trial to its end if it is started."""
    (number,) = night.machine.asked[1]
    night.suggest(**params)
    if 1 in night.machine.state.studies and number in night.machine.state.studies[1].living:
        finish(night, night.key(1, number), loss)
    return number


def diverges(night, **params):
    (number,) = night.machine.asked[1]
    night.suggest(**params)
    key = night.key(1, number)
    night.run(key)
    night.report(key, 1, float("nan"))
    night.exit(key, exit_code=0)
    return number


def raises(night, **params):
    (number,) = night.machine.asked[1]
    night.suggest(**params)
    key = night.key(1, number)
    night.run(key)
    note = DeathNote(
        type="ValueError", message="no", fingerprint="f1", where="w.py:3 in train",
        traceback="...", phase="train",
    )  # fmt: skip
    night.exit(key, exit_code=1, note=note)
    return number


def wall(night):
    """Trials below 0.5 work and those above diverge, until a region is known."""
    study = add(night, baseline={"x": 0.1})
    for n in range(12):
        tries(night, x=0.11 + n / 100)
    for n in range(5):
        diverges(night, x=0.6 + n / 20)
        tries(night, x=0.3 + n / 100)
    return study


def facts(night, kind):
    return [fact for fact in night.facts if isinstance(fact, kind)]


def test_every_reason_is_of_one_kind():
    assert set(KINDS) == set(TAGS)


class TestRepeats:
    def test_the_same_configuration_again_is_refused_and_not_counted(self, night):
        study = add(night)
        before = study.searched
        number = tries(night, x=0.5)
        end = night.ends[-1]
        assert end.trial == number
        assert end.reason == r.Refused(why="duplicate", duplicate_of=0)
        assert study.searched == before
        assert number + 1 in night.machine.asked[1]

    def test_the_search_is_told_that_a_repeat_ranks_behind_all_others(self, night):
        study = add(night)
        number = tries(night, x=0.5)
        assert classify.for_search(study, study.trials[number]) == ("worst", None, None)
        assert [d.outcome for d in night.actions if isinstance(d, a.Tell)][-1] == "worst"

    def test_confirmations_are_no_repeats(self, night):
        add(night, trials=1, confirm=2)
        created = facts(night, f.TrialCreated)
        assert [fact.of for fact in created] == [None, 0, 0]
        assert len(night.machine.state.live) == 1

    def test_fifty_repeats_in_a_row_end_the_search_as_exhausted(self, night):
        study = add(night)
        for _ in range(49):
            tries(night, x=0.5)
        assert study.search_ended is None
        tries(night, x=0.5)
        (ended,) = facts(night, f.SearchEnded)
        assert ended.outcome == "exhausted"
        assert "50 proposals in a row" in ended.sentence
        assert facts(night, f.StudyEnded)[0].outcome == "exhausted"

    def test_one_that_is_new_begins_the_count_again(self, night):
        study = add(night)
        for _ in range(49):
            tries(night, x=0.5)
        tries(night, x=0.4)
        tries(night, x=0.5)
        assert study.search_ended is None
        assert study.repeated == 1

    def test_a_space_of_which_all_was_tried_ends_with_the_first_repeat(self, night):
        space = (Dimension(name="x", kind="choice", choices=(1, 2)),)
        add(night, space=space, baseline={"x": 1})
        tries(night, x=2)
        tries(night, x=1)
        assert facts(night, f.SearchEnded)[0].sentence.startswith("all 2 configurations")
        assert facts(night, f.StudyEnded)[0].outcome == "exhausted"

    def test_what_a_fault_of_the_machine_ended_may_be_tried_again(self, night):
        study = add(night)
        number = tries_and_is_lost(night)
        assert isinstance(study.trials[number].reason, r.Lost)
        again = tries(night, x=0.7)
        assert isinstance(study.trials[again].reason, r.Completed)

    def test_whoever_asks_for_more_has_the_search_go_on(self, night):
        study = add(night)
        for _ in range(50):
            tries(night, x=0.5)
        night.add(make_spec(trials=41, steps=2, stopping=Stopping(rule="none")))
        assert study.search_ended is None
        assert night.machine.asked[1]


def tries_and_is_lost(night):
    (number,) = night.machine.asked[1]
    night.suggest(x=0.7)
    for _ in range(2):  # it is tried once more
        key = night.key(1, number)
        night.run(key)
        night.exit(key)
    return number


class TestKnownMistakes:
    def test_a_configuration_among_failures_only_waits_and_the_search_goes_on(self, night):
        study = wall(night)
        number = tries(night, x=0.7001)
        (held,) = facts(night, f.TrialHeld)
        assert held.trial == number
        assert held.region.holds({"x": 0.7001})
        assert len(held.like) == 5
        assert night.machine.waits[1, number][0] is Why.KNOWN_MISTAKE
        assert study.searched == 24
        assert tries(night, x=0.45) in study.trials
        assert not study.trials[number].attempts

    def test_between_what_works_and_the_first_failure_nothing_is_held(self, night):
        wall(night)
        tries(night, x=0.55)
        assert not facts(night, f.TrialHeld)

    def test_a_released_trial_runs_next(self, night):
        study = wall(night)
        number = tries(night, x=0.7001)
        tries(night, x=0.45)
        night.tell(e.ReleaseRequested(at=night.now, request="r", study=1, trial=number, by="ada"))
        assert not study.held
        (released,) = (x for x in night.facts if isinstance(x, f.TrialReleased))
        assert released.by == "ada"
        tries(night, x=0.46)
        assert study.trials[number].state in ("starting", "ended")

    def test_releasing_what_is_not_held_is_refused(self, night):
        wall(night)
        deeds = night.tell(e.ReleaseRequested(at=night.now, request="r", study=1, trial=0))
        assert [d.ok for d in deeds if isinstance(d, a.Answer)] == [False]

    def test_a_study_with_nothing_but_known_mistakes_left_says_so_and_halts(self, night):
        study = wall(night)
        for n in range(study.unproposed):
            tries(night, x=0.7001 + n / 1000)
        assert study.halted.cause == "known_mistakes"
        assert "wine/23" in study.halted.sentence
        assert night.machine.over == "dry"
        assert not study.ended

    def test_resume_of_that_study_runs_them(self, night):
        study = wall(night)
        for n in range(study.unproposed):
            tries(night, x=0.7001 + n / 1000)
        night.tell(e.ReleaseRequested(at=night.now, request="r", study=1))
        assert not study.halted
        assert not study.held
        assert len(study.living) == 1

    def test_resume_of_everything_runs_none_of_them(self, night):
        study = wall(night)
        number = tries(night, x=0.7001)
        night.tell(e.ReleaseRequested(at=night.now, request="r", study=None))
        assert number in study.held

    @pytest.mark.parametrize("trial", [None, 23])
    def test_releasing_known_mistakes_does_not_take_back_a_pause(self, night, trial):
        study = wall(night)
        for n in range(study.unproposed):
            tries(night, x=0.7001 + n / 1000)
        night.tell(e.PauseRequested(at=night.now, request="p", study=1, by="me"))
        night.tell(
            e.ReleaseRequested(at=night.now, request="r", study=1, trial=trial, only_held=True)
        )
        assert 23 not in study.held
        assert not study.halted
        assert study.paused.by == "me"
        assert not study.living

    def test_where_nothing_waits_as_a_known_mistake_that_is_the_answer(self, night):
        study = add(night)
        night.tell(e.PauseRequested(at=night.now, request="p", study=1, by="me"))
        night.tell(e.ReleaseRequested(at=night.now, request="r", study=1, only_held=True))
        assert study.paused
        answered = facts(night, f.RequestAnswered)[-1]
        assert answered.text == "nothing of it waits as a known mistake"

    def test_a_study_whose_known_mistakes_are_dropped_is_done(self, night):
        study = wall(night)
        for n in range(study.unproposed):
            tries(night, x=0.7001 + n / 1000)
        for number in list(study.held):
            assert not study.ended
            cancel = e.CancelRequested(
                at=night.now, request=f"c{number}", study=1, trial=number, by="me"
            )
            night.tell(cancel)
        assert study.ended.outcome == "done"

    def test_a_failure_of_the_code_at_one_end_is_a_region_too(self, night):
        study = add(night, baseline={"x": 0.1})
        for n in range(12):
            tries(night, x=0.11 + n / 100)
        for n in range(5):
            raises(night, x=0.6 + n / 20)
            tries(night, x=0.3 + n / 100)
        number = tries(night, x=0.9)
        assert number in study.held

    def test_a_restart_knows_the_same_mistakes(self, night):
        wall(night)
        number = tries(night, x=0.7001)
        again = Night(slots=1, facts=night.facts)
        study = again.machine.state.studies[1]
        assert list(study.held) == [number]
        assert study.mistakes.region_of({"x": 0.7001}) is not None
        assert study.tried == night.machine.state.studies[1].tried


class TestWhatFailuresShare:
    def test_a_halt_says_what_sets_the_failures_apart(self, night):
        study = add(night, baseline={"x": 0.1})
        for n in range(15):
            tries(night, x=0.11 + n / 100)
        for n in range(5):
            raises(night, x=0.6 + n / 20)
        assert study.halted.cause == "same_failure"
        assert "w.py:3 in train" in study.halted.sentence
        assert "5 of 5 trials with x >= 0.6 failed so, 0 of 16 below" in study.halted.sentence

    def test_failures_from_the_start_point_at_the_code(self, night):
        night.add(make_spec(trials=40, steps=2))
        key = night.key(1, 0)
        night.run(key)
        note = DeathNote(
            type="ValueError", message="no", fingerprint="f1", where="w.py:3 in train",
            traceback="...", phase="train",
        )  # fmt: skip
        night.exit(key, exit_code=1, note=note)
        raises(night, x=0.2)
        raises(night, x=0.3)
        assert "no trial has done better" in night.machine.state.studies[1].halted.sentence


class TestEnough:
    def noisy(self, night, trials=100, count=60, **changes):
        """The best comes early; then all are alike, and their curves jitter."""
        study = add(night, trials=trials, steps=8, baseline={"x": 0.1}, **changes)
        for n in range(count):
            if study.search_ended:
                break
            (number,) = night.machine.asked[1]
            night.suggest(x=0.2 + n / 1000)
            base = 0.3 if n == 1 else 0.31
            jitter = (0.05, -0.05)
            losses = [base + jitter[step % 2] for step in range(7)] + [base + n / 1e5]
            night.whole_trial(night.key(1, number), losses)
        return study

    def test_a_search_with_little_left_to_gain_ends_with_its_evidence(self, night):
        study = self.noisy(night)
        (ended,) = facts(night, f.SearchEnded)
        assert ended.outcome == "enough"
        assert ended.evidence.gain < 0.5 * ended.evidence.noise
        assert ended.evidence.best == study.best
        assert study.ended.outcome == "enough"

    def test_small_studies_run_all_their_trials(self, night):
        study = self.noisy(night, trials=enough.LEAST_TRIALS - 1)
        assert study.search_ended is None

    def test_a_study_may_want_all_its_trials(self, night):
        study = self.noisy(night, enough=False)
        assert study.search_ended is None

    def test_a_best_that_is_new_keeps_the_search_going(self, night):
        study = add(night, trials=100, steps=8)
        for n in range(60):
            (number,) = night.machine.asked[1]
            night.suggest(x=0.2 + n / 1000)
            losses = [0.49 - n / 200 + (-1) ** step * 0.05 for step in range(8)]
            night.whole_trial(night.key(1, number), losses)
        assert study.search_ended is None

    @pytest.mark.parametrize("tampered", [False, True])
    def test_verify_derives_the_end_of_the_search_again(self, night, tmp_path, tampered):
        self.noisy(night)
        ledger = Ledger(tmp_path / "ledger.db", tmp_path / "engine.lock", reserve=False)
        for second, fact in enumerate(night.facts):
            told = fact
            if tampered and isinstance(fact, f.SearchEnded):
                evidence = msgspec.structs.replace(fact.evidence, noise=2 * fact.evidence.noise)
                told = msgspec.structs.replace(fact, evidence=evidence)
            ledger.append(told, at=float(second), mono=float(second))
        ledger.close()
        db = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        report = checks.check(db, rules.make, running=True)
        db.close()
        assert report.good is not tampered
        assert report.stops == (0 if tampered else 1)
