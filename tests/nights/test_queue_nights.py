"""Nights of several studies: priorities, hours, yields, deadlines, as people would use them."""

from __future__ import annotations

from collections.abc import Callable
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
from smallhours.core import hours, standby
from smallhours.core.events import WallTime
from smallhours.core.machine import Machine
from smallhours.core.reasons import Interrupted, Paused
from smallhours.core.settings import Settings
from smallhours.core.spec import Dimension, Goal, Priority, Stopping, StudySpec
from smallhours.core.trial import AttemptKey
from smallhours.core.waiting import Why

MINUTE, HOUR = 60.0, 3600.0
#: A Monday, 22:00.
BEGAN = WallTime(unix=1_000_000.0, week_minute=22 * 60.0)


def spec(name: str, **changes: Any) -> StudySpec:
    """Return a study of six trials of ten steps that nothing stops."""
    keys: dict[str, Any] = {
        "name": name,
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": (Dimension(name="x", kind="float", low=0.0, high=1.0),),
        "baseline": {"x": 0.5},
        "trials": 6,
        "enough": False,
        "steps": 10,
        "stopping": Stopping(rule="none"),
    }
    return StudySpec(**(keys | changes))


class Evening(Simulation):
    """A session that begins on a Monday at 22:00, or goes on from an earlier one."""

    def __init__(
        self,
        *specs: StudySpec,
        step_s: float = 6.0,
        slots: int = 2,
        before: Evening | None = None,
        after_s: float = 0.0,
        stay: bool = False,
        **script: Any,
    ) -> None:
        keys = {"checkpoint_every": 1, "step_s": step_s, "steps": 10} | script

        def write(order: a.Start) -> Script:
            return Script(curve=lambda step: {"loss": 1.0 / step}, **keys)

        now = 0.0 if before is None else before.timeline.mono() + after_s
        self.past: list[Recorded] = [] if before is None else before.kept
        super().__init__(
            Machine(rules.make),
            SimulatedBackend(
                slots,
                write,
                timeline=Timeline(now),
                disk=None if before is None else before.backend.disk,
            ),
            suggester=RandomSuggester(),
            session=1 if before is None else 2,
            history=self.past,
            began=BEGAN,
            stay=stay,
        )
        for one in specs:
            self.submit(one)

    @property
    def kept(self) -> list[Recorded]:
        """What the ledger is sure to hold."""
        return [*self.past, *self.facts[: self.durable]]

    def ask(self, make: type[e.Event], after_s: float = 0.0, **keys: Any) -> None:
        """Have somebody ask for something."""
        if make is not e.ReleaseRequested:
            keys["by"] = "ada"
        self.request(lambda at, r: make(at=at, request=r, **keys), after_s=after_s)  # type: ignore[call-arg]

    def until(self, seconds: float | None, after_s: float = 0.0) -> None:
        """Have somebody set the deadline, in seconds of this timeline."""
        wall = None if seconds is None else BEGAN.unix + seconds
        self.ask(e.DeadlineRequested, after_s, until=wall)

    def yielded(self, at: float, for_s: float) -> None:
        """Have somebody take the machine for a while."""
        self.ask(e.YieldRequested, at, until=BEGAN.unix + at + for_s)

    def spans(self, study: int | None = None) -> list[tuple[float, float, AttemptKey]]:
        """Return begin and end of the attempts, one that lives to the present."""
        began: dict[AttemptKey, float] = {}
        found = []
        for at, fact in self.facts:
            if isinstance(fact, f.AttemptStarted):
                began[f.key_of(fact)] = at
            elif isinstance(fact, f.AttemptEnded) and f.key_of(fact) in began:
                found.append((began.pop(f.key_of(fact)), at, f.key_of(fact)))
        found += [(at, self.timeline.mono(), key) for key, at in began.items()]
        return sorted(span for span in found if study in (None, span[2].study))

    def running(self, begin: float, end: float, study: int | None = None) -> list[AttemptKey]:
        """Return what ran at some time of a span."""
        return [key for since, till, key in self.spans(study) if since < end and till > begin]

    def of(self, kind: type) -> list[Any]:
        """Return the facts of a kind."""
        return [fact for _, fact in self.facts if isinstance(fact, kind)]

    def outcomes(self) -> dict[int, str]:
        """Return how the studies ended."""
        ended = {n: study.ended for n, study in self.machine.state.studies.items()}
        return {number: fact.outcome for number, fact in ended.items() if fact is not None}


class TestTheQueue:
    def test_three_studies_run_in_the_order_of_their_priorities(self) -> None:
        night = Evening(
            spec("low", priority=Priority.LOW),
            spec("normal"),
            spec("urgent", priority=Priority.URGENT),
        )
        assert night.run() == "dry"
        first = {number: night.spans(number)[0][0] for number in (1, 2, 3)}
        last = {number: night.spans(number)[-1][0] for number in (1, 2, 3)}
        # The baseline of the first study to arrive had its place already; it makes room.
        assert last[3] < first[2] or first[2] < 2.0
        assert max(begin for begin, _, _ in night.spans(2)) < night.spans(1)[-1][0]
        assert night.outcomes() == {1: "done", 2: "done", 3: "done"}

    def test_two_studies_share_the_evening_by_weight(self) -> None:
        night = Evening(spec("one", trials=999), spec("three", trials=999, weight=3.0), step_s=0.2)
        night.run(until=600.0)
        used = [sum(till - since for since, till, _ in night.spans(number)) for number in (1, 2)]
        assert used[1] / used[0] == pytest.approx(3.0, rel=0.15)

    def test_an_urgent_study_takes_a_place_and_its_victim_goes_on_from_its_checkpoint(self) -> None:
        night = Evening(spec("long", trials=4), step_s=30.0)
        night.submit(spec("urgent", priority=Priority.URGENT, trials=1), after_s=100.0)
        assert night.run() == "dry"
        begin, _, _ = night.spans(2)[0]
        assert begin - 100.0 <= 4.1, "a step takes half a minute: it is not waited for"
        victims = [end for end in night.of(f.AttemptEnded) if isinstance(end.reason, Paused)]
        assert [end.reason.why for end in victims] == ["an urgent study goes first"]
        again = [start for start in night.of(f.AttemptStarted) if start.attempt == 2]
        assert [(start.trial, start.resume_step) for start in again] == [(victims[0].trial, 3)]

    def test_a_moved_study_goes_first_from_then_on(self) -> None:
        night = Evening(spec("a", trials=30), spec("b", trials=30), slots=1, step_s=1.0)
        night.ask(e.MoveRequested, 65.0, study=2, priority=Priority.URGENT)
        assert night.run() == "dry"
        done = [fact.study for fact in night.of(f.StudyEnded)]
        assert done == [2, 1]

    def test_a_paused_study_waits_while_the_other_has_all_places(self) -> None:
        night = Evening(spec("a", trials=40), spec("b", trials=40), step_s=1.0)
        night.ask(e.PauseRequested, 50.0, study=1)
        night.ask(e.ReleaseRequested, 150.0, study=1)
        night.run(until=149.0)
        assert night.machine.waits[1, None][0] is Why.PAUSED
        assert len(night.machine.state.live) == 2
        assert not night.running(55.0, 149.0, 1)
        assert night.run() == "dry"
        assert night.outcomes() == {1: "done", 2: "done"}

    def test_a_paused_study_is_given_the_time_to_save(self) -> None:
        night = Evening(spec("slow", trials=2), step_s=100.0)
        night.ask(e.PauseRequested, 250.0, study=1)
        night.run(until=310.0)
        ends = night.of(f.AttemptEnded)
        assert [(end.last_step, end.reason.steps_repeated) for end in ends] == [(3, 0), (3, 0)]


class TestHours:
    def test_quiet_hours_in_the_middle_of_the_night_stop_everything_and_it_goes_on_after(
        self,
    ) -> None:
        night = Evening(spec("digits", trials=12), spec("wine", trials=12), step_s=60.0)
        quiet = Settings(quiet={"cpu": (hours.parse("22:30-23:00"),)})
        night.timeline.after(
            1.0, lambda: night.feed(e.SettingsRead(at=night.timeline.mono(), settings=quiet))
        )
        assert night.run() == "dry"
        assert not night.running(30 * MINUTE + 0.5, 60 * MINUTE)
        assert night.running(60 * MINUTE, 60 * MINUTE + 10)
        assert night.outcomes() == {1: "done", 2: "done"}

    def test_a_study_with_hours_leaves_the_machine_to_the_others_outside_of_them(self) -> None:
        night = Evening(
            spec("daily", trials=999), spec("nightly", trials=999, hours=("22:10-22:20",))
        )
        night.run(until=0.5 * HOUR)
        inside, outside = (10 * MINUTE, 20 * MINUTE), (21 * MINUTE, 30 * MINUTE)
        assert night.running(*inside, 2)
        assert not night.running(0.0, inside[0], 2)
        assert not night.running(*outside, 2)
        assert night.machine.waits[2, None][0] is Why.HOURS
        # Ten minutes before it did nothing, which it does not make up for.
        mine = sum(till - since for since, till, _ in night.spans(2))
        assert mine == pytest.approx(10 * MINUTE, rel=0.25)

    def test_the_machine_rests_until_the_window_opens(self) -> None:
        night = Evening(spec("late", hours=("23:00-07:00",)))
        night.submit(spec("now", trials=2))
        night.run(until=0.9 * HOUR)
        assert night.machine.night.backend == "closed"
        assert night.machine.waits[1, None][0] is Why.HOURS
        assert night.run() == "dry"
        begin = night.spans(1)[0][0]
        assert HOUR <= begin <= HOUR + 5.0


class TestYield:
    def test_all_is_paused_at_once_and_goes_on_by_itself(self) -> None:
        night = Evening(spec("digits"), spec("wine"), step_s=5.0)
        night.yielded(62.0, 2 * HOUR)
        night.run(until=80.0)
        assert not night.machine.state.live
        assert night.machine.night.backend == "closed", "its memory is given back too"
        assert {why for why, _ in night.machine.waits.values()} == {Why.YIELDED}
        assert night.run() == "dry"
        assert not night.running(62.0 + 15.0, 62.0 + 2 * HOUR)
        paused = [end for end in night.of(f.AttemptEnded) if isinstance(end.reason, Paused)]
        assert len(paused) == 2
        assert all(end.reason.steps_repeated == 0 for end in paused)

    def test_a_paused_study_that_takes_its_time_gives_the_machine_back_too(self) -> None:
        night = Evening(spec("slow", trials=2), step_s=100.0)
        night.ask(e.PauseRequested, 250.0, study=1)
        night.yielded(252.0, HOUR)
        night.run(until=251.0)
        assert night.machine.state.live
        night.run(until=252.0 + 15.0)
        assert not night.machine.state.live

    def test_what_was_told_long_before_a_deadline_is_gone_at_once_for_a_yield(self) -> None:
        night = Evening(spec("slow", trials=2, hang_s=HOUR), step_s=500.0)
        night.until(2000.0)
        night.yielded(1300.0, HOUR)
        night.run(until=1299.0)
        lives = [trial.live for trial in night.machine.state.live.values()]
        assert all(live is not None and live.intent is not None for live in lives)
        assert lives
        night.run(until=1300.0 + 15.0)
        assert not night.machine.state.live

    def test_taken_back_early_it_goes_on_at_once(self) -> None:
        night = Evening(spec("digits", trials=4))
        night.yielded(30.0, 2 * HOUR)
        night.ask(e.YieldRequested, 100.0, until=None)
        assert night.run() == "dry"
        assert night.running(100.0, 110.0)

    @pytest.mark.parametrize("actions", range(60, 120, 7))
    def test_an_engine_killed_in_the_middle_of_a_yield_keeps_the_yield(self, actions: int) -> None:
        first = Evening(spec("digits", trials=8))
        first.yielded(20.0, HOUR)
        first.run(until=25.0, actions=actions)
        second = Evening(before=first, after_s=10.0)
        assert second.run(until=3 * HOUR) == "dry"
        if any(isinstance(fact, f.Yielded) for _, fact in first.kept):
            assert not second.running(0.0, 20.0 + HOUR)
        interrupted = [e for e in second.of(f.AttemptEnded) if isinstance(e.reason, Interrupted)]
        assert len(interrupted) <= 2
        assert second.outcomes() == {1: "done"}


class TestDeadline:
    def test_nothing_runs_after_it_and_another_night_resumes(self) -> None:
        first = Evening(spec("digits", trials=20), step_s=60.0)
        first.until(35 * MINUTE)
        assert first.run() == "deadline"
        assert max(till for _, till, _ in first.spans()) <= 35 * MINUTE
        second = Evening(before=first, step_s=60.0, after_s=14 * HOUR)
        assert second.run() == "dry"
        assert second.outcomes() == {1: "done"}
        assert second.machine.state.deadline is None

    def test_what_would_not_end_says_so_in_advance(self) -> None:
        night = Evening(spec("digits", trials=20), step_s=60.0)
        night.until(35 * MINUTE)
        night.run(until=31 * MINUTE)
        assert night.machine.waits[1, None][0] is Why.TOO_LATE

    def test_a_trial_longer_than_any_night_is_paused_with_its_checkpoint(self) -> None:
        night = Evening(spec("long", trials=2, hang_s=HOUR), step_s=600.0)
        night.until(HOUR)
        assert night.run() == "deadline"
        ends = night.of(f.AttemptEnded)
        assert all(isinstance(end.reason, Paused) for end in ends)
        assert all(end.last_step >= 4 for end in ends)
        assert len(ends) == 2, "what has left for the deadline is not started again"

    def test_one_that_passed_while_no_engine_ran_holds_nobody_up(self) -> None:
        first = Evening(spec("digits", trials=20), step_s=60.0)
        first.until(HOUR)
        first.run(until=20 * MINUTE)
        second = Evening(before=first, step_s=60.0, after_s=2 * HOUR)
        assert second.run() == "dry"
        assert second.outcomes() == {1: "done"}

    def test_an_engine_that_stays_waits_for_a_new_one(self) -> None:
        night = Evening(spec("digits", trials=20), step_s=60.0, stay=True)
        night.until(HOUR)
        night.until(5 * HOUR, after_s=2 * HOUR)
        night.run(until=2 * HOUR - 1.0)
        assert night.machine.over == "deadline"
        assert {why for why, _ in night.machine.waits.values()} == {Why.DEADLINE}
        night.run(until=5 * HOUR)
        assert night.outcomes() == {1: "done"}
        assert night.finished is None


class TestTheLifeOfTheBackend:
    def test_it_is_renewed_between_trials_and_the_queue_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(standby, "RENEW_AFTER", 10)
        night = Evening(spec("a", trials=25), spec("b", trials=25), step_s=0.5)
        renewals = _counted(night, "renew")
        assert night.run() == "dry"
        assert len(renewals) == 4
        assert night.outcomes() == {1: "done", 2: "done"}

    def test_it_rests_after_five_idle_minutes_and_wakes_when_the_window_opens(self) -> None:
        night = Evening(spec("a", trials=2), spec("b", trials=2, hours=("23:00-07:00",)))
        rests, wakes = _counted(night, "rest"), _counted(night, "wake")
        assert night.run() == "dry"
        done = max(till for _, till, _ in night.spans(1))
        assert 5 * MINUTE <= rests[0] - done <= 5 * MINUTE + 5.0
        assert len(wakes) == 2
        assert HOUR <= wakes[1] <= HOUR + 2.0

    def test_an_engine_that_stays_takes_the_next_study_when_it_comes(self) -> None:
        night = Evening(spec("a", trials=2), stay=True)
        night.submit(spec("b", trials=2), after_s=HOUR)
        night.run(until=2 * HOUR)
        assert night.outcomes() == {1: "done", 2: "done"}
        assert night.finished is None

    def test_without_stay_the_engine_leaves_when_the_queue_is_dry(self) -> None:
        night = Evening(spec("a", trials=2))
        assert night.run() == "dry"


def _counted(night: Evening, name: str) -> list[float]:
    """Note when the backend is asked for something."""
    times: list[float] = []
    real: Callable[[], None] = getattr(night.backend, name)

    def call() -> None:
        times.append(night.timeline.mono())
        real()

    setattr(night.backend, name, call)
    return times
