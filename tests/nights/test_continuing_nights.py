"""Nights in which stopped trials are taken up again: by somebody, or to recheck the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import RandomSuggester, Recorded, Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import recheck
from smallhours.core.machine import Machine
from smallhours.core.model import Study, Trial
from smallhours.core.reasons import Cancelled, Completed, RuleCut
from smallhours.core.settings import Settings
from smallhours.core.spec import Dimension, Goal, Params, Stopping, StudySpec
from smallhours.core.trial import AttemptKey, Role
from smallhours.ledger import checks, parts
from smallhours.ledger.store import Ledger, open_to_read
from smallhours.search import PastTrial, Search
from smallhours.search_thread import history_of, past_of

STEPS = 10
MEDIAN = Stopping(rule="median", options={"warmup": 2.0, "startup": 2.0, "noise": 0.0})
#: A Monday, 22:00.
BEGAN = e.WallTime(unix=1_000_000.0, week_minute=22 * 60.0)


def spec(name: str = "wine", **changes: Any) -> StudySpec:
    keys: dict[str, Any] = {
        "name": name,
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": (Dimension(name="x", kind="float", low=0.0, high=1.0),),
        "baseline": {"x": 0.5},
        "trials": 16,
        "steps": STEPS,
        "stopping": MEDIAN,
        "seed": 3,
    }
    return StudySpec(**(keys | changes))


def late_bloomer(order: a.Start) -> Script:
    """Losses by the configuration; those from 0.7 on are the worst first, and the best at last."""
    x = float(order.params["x"] or 0.0)

    def curve(step: int) -> dict[str, float]:
        if x >= 0.7:
            return {"loss": 3.0 - x if step < 8 else 0.1 * (1.0 - x)}
        return {"loss": x + 1.0 / step}

    return Script(curve=curve, steps=STEPS, step_s=5.0, checkpoint_every=2)


class Night(Simulation):
    """A session; another may follow with what it left."""

    def __init__(
        self, *specs: StudySpec, before: Night | None = None, wall: bool = False, **options: Any
    ) -> None:
        self.past: list[Recorded] = [] if before is None else before.kept
        disk = None if before is None else before.backend.disk
        now = 0.0 if before is None else before.timeline.mono() + 100.0
        super().__init__(
            Machine(rules.make),
            SimulatedBackend(2, late_bloomer, timeline=Timeline(now), disk=disk),
            session=1 if before is None else before._session + 1,
            history=self.past,
            began=BEGAN if wall else None,
            **{"suggester": RandomSuggester(), **options},
        )
        for one in specs:
            self.submit(one)

    @property
    def kept(self) -> list[Recorded]:
        return [*self.past, *self.facts]

    @property
    def study(self) -> Study:
        return self.machine.state.studies[1]

    def take_up(self, trial: int, after_s: float = 0.0, study: int = 1) -> None:
        self.request(
            lambda at, r: e.ContinueRequested(at=at, request=r, by="ada", study=study, trial=trial),
            after_s=after_s,
        )

    def cancel(self, trial: int | None, after_s: float = 0.0) -> None:
        self.request(
            lambda at, r: e.CancelRequested(at=at, request=r, by="ada", study=1, trial=trial),
            after_s=after_s,
        )

    def stopped(self, study: int = 1) -> list[int]:
        found = self.machine.state.studies.get(study)
        trials = found.trials.values() if found is not None else ()
        return [trial.number for trial in trials if isinstance(trial.reason, RuleCut)]

    def of(self, kind: type) -> list[Any]:
        return [fact for _, fact in self.facts if isinstance(fact, kind)]


def proven(night: Night, folder: Path) -> checks.Report:
    """Write everything into a ledger and let `verify` derive it again; all must be well."""
    ledger = Ledger(folder / "ledger.db", folder / "lock", reserve=False)
    for at, fact in night.kept:
        ledger.append(fact, at=at, mono=at)
    ledger.close()
    db = open_to_read(folder / "ledger.db")
    try:
        report = checks.check(db, rules.make, running=False)
    finally:
        db.close()
    assert report.good, report.findings
    return report


def first_night(**changes: Any) -> Night:
    night = Night(spec(**changes))
    assert night.run() == "dry"
    return night


def bloomer(night: Night) -> int:
    """Return a stopped trial that would have been better than all that came to their end."""
    found = [n for n in night.stopped() if float(night.study.trials[n].params["x"] or 0) >= 0.7]
    assert found
    return max(found, key=lambda n: float(night.study.trials[n].params["x"] or 0))


class TestContinue:
    def test_a_stopped_trial_goes_on_from_its_checkpoint_to_its_end(self, tmp_path: Path) -> None:
        before = first_night()
        number = bloomer(before)
        step = before.study.trials[number].resume_points()[0].step
        night = Night(before=before)
        night.take_up(number)
        assert night.run() == "dry"
        (start,) = night.of(f.AttemptStarted)
        assert (start.trial, start.attempt, start.resume_step) == (number, 2, step)
        (end,) = night.of(f.AttemptEnded)
        assert isinstance(end.reason, Completed)
        assert night.of(f.Intended) == [], "no rule stops it any more"
        assert [x.step for x in night.of(f.Reported)] == list(range(step + 1, STEPS + 1))
        assert proven(night, tmp_path).stops >= 1

    def test_the_study_opens_again_and_ends_with_another_winner(self) -> None:
        before = first_night()
        number, was = bloomer(before), before.study.best
        night = Night(before=before)
        night.take_up(number)
        night.run()
        (end,) = night.of(f.StudyEnded)
        assert (end.outcome, end.winner) == ("done", number)
        assert was != number
        assert night.of(f.TrialCreated) == [], "it wants no more trials than before"

    def test_a_new_winner_is_confirmed_as_the_old_one_was(self) -> None:
        before = first_night(confirm=2)
        number = bloomer(before)
        night = Night(before=before)
        night.take_up(number)
        night.run()
        assert [created.of for created in night.of(f.TrialCreated)] == [number, number]

    def test_it_is_taken_up_in_the_night_itself_too(self, tmp_path: Path) -> None:
        night = Night(spec(trials=40))
        while not night.stopped():
            night.timeline.step()
        number = night.stopped()[0]
        night.take_up(number)
        assert night.run() == "dry"
        assert isinstance(night.study.trials[number].reason, Completed)
        assert len(night.of(f.StudyEnded)) == 1
        proven(night, tmp_path)

    def test_a_rule_neither_judges_it_nor_compares_others_with_it(self) -> None:
        night = Night(spec(trials=40))
        while not night.stopped():
            night.timeline.step()
        number = night.stopped()[0]
        night.take_up(number)
        night.run()
        assert isinstance(night.study.trials[number].reason, Completed)
        later = [fact for fact in night.of(f.Intended) if fact.trial > number]
        assert later
        for fact in later:
            assert number not in dict(fact.reason.competitors)

    def test_without_its_checkpoint_it_begins_again(self, tmp_path: Path) -> None:
        before = first_night()
        number = bloomer(before)
        lost = {s.path for s in before.study.trials[number].checkpoints}
        assert lost
        before.backend.disk -= lost
        night = Night(before=before)
        night.take_up(number)
        assert night.run() == "dry"
        (restored,) = night.of(f.Restored)
        assert (restored.step, {path for path, _ in restored.rejected}) == (0, lost)
        assert isinstance(night.study.trials[number].reason, Completed)
        proven(night, tmp_path)

    def test_an_engine_that_dies_on_the_way_goes_on_with_it(self, tmp_path: Path) -> None:
        before = first_night()
        number = bloomer(before)
        cut = Night(before=before)
        cut.take_up(number)
        cut.run(until=cut.timeline.mono() + 8.0)
        assert cut.machine.state.live
        after = Night(before=cut)
        assert after.run() == "dry"
        assert isinstance(after.study.trials[number].reason, Completed)
        assert after.study.ended is not None
        proven(after, tmp_path)

    def test_a_trial_of_a_cancelled_study_goes_on_alone(self) -> None:
        before = Night(spec(trials=40))
        while len(before.stopped()) < 3:
            before.timeline.step()
        before.cancel(None)
        before.run()
        number = before.stopped()[0]
        night = Night(before=before)
        night.take_up(number)
        assert night.run() == "dry"
        assert {start.trial for start in night.of(f.AttemptStarted)} == {number}
        assert [end.outcome for end in night.of(f.StudyEnded)] == ["cancelled"]

    def test_a_cancelled_trial_goes_on(self) -> None:
        before = Night(spec(stopping=Stopping(rule="none")))
        before.cancel(1, after_s=20.0)
        before.run()
        assert isinstance(before.study.trials[1].reason, Cancelled)
        night = Night(before=before)
        night.take_up(1)
        night.run()
        assert isinstance(night.study.trials[1].reason, Completed)

    def test_its_own_time_counts_anew(self) -> None:
        before = first_night(stopping=Stopping(rule="none"), trial_time_s=30.0)
        assert before.study.trials[1].reason.budget == "trial_time_s"  # type: ignore[union-attr]
        night = Night(before=before)
        night.take_up(1)
        night.run()
        assert isinstance(night.study.trials[1].reason, Completed)

    @pytest.mark.parametrize(
        ("number", "told"),
        [(0, "ran to its end"), (99, "there is no such trial")],
    )
    def test_what_can_not_go_on_is_refused_with_a_reason(self, number: int, told: str) -> None:
        night = Night(before=first_night())
        night.take_up(number)
        night.run()
        assert not night.answers[0].ok
        assert told in night.answers[0].text

    def test_a_search_that_lived_on_proposes_what_a_rebuilt_one_does(self) -> None:
        class Twins:
            def __init__(self) -> None:
                self.living = Search(spec(trials=40))
                self.reopened = 0

            def ask(self, study: Study, trial: int) -> Params:
                params = self.living.ask(trial)
                assert Search(study.spec, history_of(study)).ask(trial) == params
                return params

            def introduce(self, action: a.Introduce) -> None:
                self.living.add(PastTrial(trial=action.trial, params=action.params))

            def tell(self, action: a.Tell) -> None:
                self.living.tell(action.trial, action.outcome, action.value, action.step)

            def reopen(self, trial: Trial) -> None:
                self.reopened += 1
                self.living.add(past_of(trial))

        twins = Twins()
        night = Night(spec(trials=40), suggester=twins)
        while not night.stopped():
            night.timeline.step()
        night.take_up(night.stopped()[0])
        assert night.run() == "dry"
        assert twins.reopened == 1


class TestRecheck:
    def test_the_coin_depends_on_seed_and_number_alone(self) -> None:
        tossed = [recheck.drawn(spec(recheck=0.03), n) for n in range(20_000)]
        assert tossed == [recheck.drawn(spec("other", recheck=0.03), n) for n in range(20_000)]
        assert sum(tossed) == pytest.approx(600, abs=100)
        assert not any(recheck.drawn(spec(), n) for n in range(100))
        assert all(recheck.drawn(spec(recheck=1.0), n) for n in range(100))

    def test_drawn_trials_run_to_their_end_after_the_study(self, tmp_path: Path) -> None:
        night = first_night(recheck=0.5)
        drawn = [fact.trial for fact in night.of(f.RecheckDrawn)]
        assert drawn
        assert night.stopped(), "some stops were not drawn"
        assert all(isinstance(night.study.trials[n].reason, Completed) for n in drawn)
        kinds = [fact for _, fact in night.facts]
        first_end = next(i for i, fact in enumerate(kinds) if isinstance(fact, f.StudyEnded))
        again = [i for i, fact in enumerate(kinds) if isinstance(fact, f.TrialContinued)]
        assert min(again) > first_end
        assert [end.outcome for end in night.of(f.StudyEnded)] == ["done", "done"]
        proven(night, tmp_path)

    def test_a_drawn_trial_saves_where_it_was_stopped(self) -> None:
        night = first_night(recheck=1.0)
        cut = {fact.trial: fact.last_step for fact in night.of(f.AttemptEnded) if fact.attempt == 1}
        for start in night.of(f.AttemptStarted):
            if start.attempt == 2:
                assert start.resume_step == cut[start.trial]

    def test_other_studies_go_first(self) -> None:
        night = Night(spec(recheck=1.0))
        night.submit(spec("other", trials=30), after_s=100.0)
        assert night.run() == "dry"
        last = max(at for at, fact in night.facts if isinstance(fact, f.TrialCreated))
        again = [at for at, fact in night.facts if isinstance(fact, f.TrialContinued)]
        assert again
        assert min(again) >= last

    def test_a_study_that_comes_in_between_goes_before_those_that_wait(self) -> None:
        night = Night(spec(recheck=1.0, trials=30))
        while not night.of(f.TrialContinued):
            night.timeline.step()
        night.submit(spec("other", trials=6))
        assert night.run() == "dry"
        order = [(fact.study, fact.attempt) for fact in night.of(f.AttemptStarted)]
        first = order.index((2, 1))
        assert (1, 2) in order[first:], "some rechecks still waited"
        last = max(i for i, key in enumerate(order) if key == (2, 1))
        between = [key for key in order[first:last] if key == (1, 2)]
        assert between == []

    def test_what_the_deadline_cuts_off_is_left_for_another_night(self, tmp_path: Path) -> None:
        night = Night(spec(recheck=1.0), wall=True)
        while not night.of(f.StudyEnded):
            night.timeline.step()
        night.request(
            lambda at, r: e.DeadlineRequested(
                at=at, request=r, by="ada", until=BEGAN.unix + at + 20.0
            )
        )
        assert night.run() == "deadline"
        left = [t for t in night.study.trials.values() if recheck.waits(t) and t.state == "queued"]
        assert left
        after = Night(before=night)
        assert after.run() == "dry"
        assert not after.stopped()
        proven(after, tmp_path)

    def test_an_engine_reads_a_closed_study_that_has_rechecks_left(self, tmp_path: Path) -> None:
        night = Night(spec(recheck=1.0))
        while not night.of(f.StudyEnded):
            night.timeline.step()
        upto = next(i for i, (_, x) in enumerate(night.facts) if isinstance(x, f.StudyEnded))
        ledger = Ledger(tmp_path / "ledger.db", tmp_path / "lock", reserve=False)
        for at, fact in night.facts[: upto + 1]:
            ledger.append(fact, at=at, mono=at)
        ledger.commit()
        db = open_to_read(tmp_path / "ledger.db")
        assert parts.closed(db) == frozenset()
        for at, fact in night.facts[upto + 1 :]:
            ledger.append(fact, at=at, mono=at)
        ledger.commit()
        assert parts.closed(db) == frozenset(), "it is open"
        seen = len(night.facts)
        night.run()
        for at, fact in night.facts[seen:]:
            ledger.append(fact, at=at, mono=at)
        ledger.commit()
        assert parts.closed(db) == {1}
        db.close()
        ledger.close()

    def test_a_coin_that_was_not_obeyed_is_found_by_verify(self, tmp_path: Path) -> None:
        night = first_night(recheck=0.5)
        night.facts = [x for x in night.facts if not isinstance(x[1], f.RecheckDrawn)]
        with pytest.raises(AssertionError, match="it was not drawn"):
            proven(night, tmp_path)

    def test_the_budget_for_checkpoints_spares_what_is_to_be_rechecked(self) -> None:
        night = Night(spec(recheck=0.5, trials=30))
        night.timeline.after(
            0.0, lambda: night.feed(e.SettingsRead(at=0.0, settings=Settings(checkpoint_bytes=1)))
        )
        assert night.run() == "dry"
        drawn = {fact.trial for fact in night.of(f.RecheckDrawn)}
        again = [x for x in night.of(f.AttemptStarted) if x.attempt == 2]
        assert {x.trial for x in again} == drawn
        assert all(x.resume_step > 0 for x in again)

    def test_confirmations_and_the_baseline_are_never_drawn(self) -> None:
        night = first_night(recheck=1.0, confirm=2)
        roles = {night.study.trials[fact.trial].role for fact in night.of(f.RecheckDrawn)}
        assert roles == {Role.SEARCH}


def test_the_key_of_an_attempt_goes_on_counting() -> None:
    before = first_night()
    number = bloomer(before)
    night = Night(before=before)
    night.take_up(number)
    night.run()
    assert f.key_of(night.of(f.AttemptEnded)[0]) == AttemptKey(1, number, 2)
