"""The queue under random studies, wishes and hours: nothing starves, no shut gate is passed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fakes.core import Night, make_spec
from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import RandomSuggester, Simulation
from smallhours.backends.workload import Dies, Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import hours
from smallhours.core.events import WallTime
from smallhours.core.machine import Machine
from smallhours.core.reasons import Paused
from smallhours.core.settings import Settings
from smallhours.core.shares import ROUND_S
from smallhours.core.spec import Priority, Stopping, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import AttemptKey
from smallhours.core.waiting import Why

#: A Monday, 22:00.
BEGAN = WallTime(unix=1_000_000.0, week_minute=22 * 60.0)
A_TICK_BEFORE = WallTime(unix=BEGAN.unix - 1.01, week_minute=BEGAN.week_minute - 1.01 / 60.0)
GIB = 2**30
#: What is left of a process may take this long to go once its gate is shut: nine seconds to save,
#: a second to the next tick, and to die.
GONE_S = 10.5
PRIORITIES = (Priority.URGENT, Priority.NORMAL, Priority.LOW)
FAST = settings(max_examples=15, deadline=None)

#: Many nights in a test: seconds here, many more on a machine that is busy.
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Kind:
    """A study and how its trials go."""

    priority: Priority = Priority.NORMAL
    weight: float = 1.0
    trials: int = 4
    steps: int = 5
    step_s: float = 1.0
    saves: bool = True
    resident: int = GIB
    #: The kernel kills the first attempt of every so many trials: it is tried again alone.
    killed_every: int = 0
    hours: tuple[str, ...] = ()

    @property
    def longest_s(self) -> float:
        """Seconds of the longest trial, with jitter and start."""
        return self.steps * self.step_s * 1.2 + 1.0

    def spec(self, name: str) -> StudySpec:
        """The study as the core sees it."""
        return make_spec(
            name,
            trials=self.trials,
            steps=self.steps,
            priority=self.priority,
            weight=self.weight,
            hours=self.hours,
            stopping=Stopping(rule="none"),
            retries=3,
        )

    def script(self, key: AttemptKey) -> Script:
        """Return how an attempt goes."""
        killed = self.killed_every and key.trial % self.killed_every == 1 and key.attempt == 1
        return Script(
            curve=lambda step: {"loss": 1.0 / step},
            steps=self.steps,
            step_s=self.step_s,
            jitter=0.2,
            checkpoint_every=1 if self.saves else None,
            resident_bytes=self.resident,
            trouble=Dies(step=2, signal=9, kernel_oom_kills=1) if killed else None,
        )


@dataclass
class Waits:
    """How long trials waited for a place, by study."""

    longest: dict[int, float] = field(default_factory=dict)
    since: dict[tuple[int, int], float] = field(default_factory=dict)

    def take(self, at: float, fact: f.Fact) -> None:
        """Take a fact in."""
        if isinstance(fact, f.TrialCreated):
            self.since[fact.study, fact.trial] = at
        elif isinstance(fact, f.AttemptStarted):
            self._over(fact.study, at - self.since.pop((fact.study, fact.trial)))
        elif isinstance(fact, f.AttemptEnded) and fact.then != "over":
            self.since[fact.study, fact.trial] = at

    def close(self, at: float) -> None:
        """Count what waits yet."""
        for (study, _), since in self.since.items():
            self._over(study, at - since)

    def _over(self, study: int, seconds: float) -> None:
        self.longest[study] = max(self.longest.get(study, 0.0), seconds)


class Watched(Simulation):
    """A session in which every promise of the queue is checked as it goes."""

    def __init__(self, kinds: list[Kind], slots: int, seed: int = 0, total: int = 64 * GIB) -> None:
        backend = SimulatedBackend(
            slots, lambda order: kinds[order.key.study - 1].script(order.key), seed
        )
        self.kinds = kinds
        self.slots = slots
        self.trial_waits = Waits()
        self._shut_since: dict[AttemptKey, float] = {}
        super().__init__(
            Machine(rules.make),
            backend,
            suggester=RandomSuggester(seed),
            total_bytes=total,
            began=BEGAN,
            sink=self._see,
        )
        for number, kind in enumerate(kinds, start=1):
            self.submit(kind.spec(f"s{number}"))

    def feed(self, event: e.Event) -> None:
        """Hand an event to the machine, then look at what it made of it."""
        super().feed(event)
        state = self.machine.state
        assert len(state.live) <= self.slots
        if isinstance(event, e.Tick) and self.finished is None:
            self._look_at_gates()
            self._look_at_waits()

    def shut(self, number: int) -> bool:
        """Say whether a study may not run now, worked out anew."""
        state, wall = self.machine.state, self.wall
        assert wall is not None
        study = state.studies[number]
        minute = wall.week_minute

        def inside(texts: tuple[str, ...]) -> bool:
            return any(hours.parse(text).left(minute) > 0 for text in texts)

        deadline = state.deadline
        over = deadline is not None and deadline.until is not None and wall.unix >= deadline.until
        quiet = self.machine.night.settings.quiet.get("cpu", ())
        return bool(
            study.paused
            or study.halted
            or state.yielded
            or over
            or (study.standing.hours and not inside(study.standing.hours))
            or any(window.left(minute) > 0 for window in quiet)
        )

    def _see(self, at: float, fact: f.Fact) -> None:
        self.trial_waits.take(at, fact)
        if isinstance(fact, f.AttemptStarted) and fact.device:
            study = self.machine.state.studies[fact.study]
            saved = [point.step for point in study.trials[fact.trial].checkpoints]
            assert fact.resume_step == max(saved, default=0)

    def _do(self, action: a.Action) -> None:
        if isinstance(action, a.Start):
            # What the core knows of the clock is a tick old at most.
            assert not self.shut(action.key.study) or self._just_shut(action.key.study)
        super()._do(action)

    def _just_shut(self, number: int) -> bool:
        now, self._began_wall = self._began_wall, A_TICK_BEFORE
        try:
            return not self.shut(number)
        finally:
            self._began_wall = now

    def _look_at_gates(self) -> None:
        now = self.timeline.mono()
        live = self.machine.state.live
        shut = {key for key in live if self.shut(key.study)}
        self._shut_since = {key: self._shut_since.get(key, now) for key in shut}
        for key, since in self._shut_since.items():
            only_halted = not self.machine.state.studies[key.study].paused
            assert not only_halted or now - since <= GONE_S, f"{key} runs though its gate is shut"

    def _look_at_waits(self) -> None:
        """Assert that whatever waits says why."""
        machine = self.machine
        for study in machine.state.studies.values():
            if study.ended or study.retired:
                continue
            for number in study.waiting:
                assert (study.id, number) in machine.waits
            for number in study.held:
                assert machine.waits[study.id, number][0] is Why.KNOWN_MISTAKE
            if study.unproposed:
                assert (study.id, None) in machine.waits
        for study_id, trial in machine.waits:
            study = machine.state.studies[study_id]
            assert trial is None or trial in study.waiting or trial in study.held
        for _, since in machine.waits.values():
            assert 0.0 <= since <= self.timeline.mono()

    def assert_replay_gives_the_state(self) -> None:
        """Assert that the facts alone give what the machine had."""
        state = State(rules.make)
        for at, fact in self.facts:
            state.apply(fact, at)
        there = self.machine.state
        assert (state.yielded, state.deadline) == (there.yielded, there.deadline)
        for number, study in state.studies.items():
            known = there.studies[number]
            assert repr(study.trials) == repr(known.trials)
            assert (study.standing, study.paused, study.halted, study.ended) == (
                known.standing, known.paused, known.halted, known.ended
            )  # fmt: skip
            assert study.paces == known.paces


kinds = st.builds(
    Kind,
    priority=st.sampled_from(PRIORITIES),
    weight=st.floats(0.1, 10.0),
    trials=st.integers(1, 5),
    steps=st.integers(1, 8),
    step_s=st.floats(0.5, 12.0),
    saves=st.booleans(),
    resident=st.sampled_from([GIB, 3 * GIB, 5 * GIB]),
    killed_every=st.sampled_from([0, 0, 2, 3]),
    hours=st.sampled_from([(), (), ("22:05-21:50",), ("22:00-22:04", "22:09-22:00")]),
)


@dataclass(frozen=True)
class Wish:
    """Something that somebody asks for, and after how long it is taken back."""

    verb: str
    at: float
    study: int
    for_s: float
    priority: Priority

    def ask(self, night: Watched) -> None:
        """Ask for it, and take it back later."""
        ids = {"by": "ada"}
        match self.verb:
            case "pause":
                night.request(
                    lambda at, r: e.PauseRequested(at=at, request=r, study=self.study, **ids),
                    after_s=self.at,
                )
                night.request(
                    lambda at, r: e.ReleaseRequested(at=at, request=r, study=None),
                    after_s=self.at + self.for_s,
                )
            case "yield":
                until = BEGAN.unix + self.at + self.for_s
                night.request(
                    lambda at, r: e.YieldRequested(at=at, request=r, until=until, **ids),
                    after_s=self.at,
                )
            case _:
                night.request(
                    lambda at, r: e.MoveRequested(
                        at=at, request=r, study=self.study, priority=self.priority, **ids
                    ),
                    after_s=self.at,
                )


wishes = st.builds(
    Wish,
    verb=st.sampled_from(["pause", "yield", "move"]),
    at=st.floats(0.0, 400.0),
    study=st.integers(1, 4),
    for_s=st.floats(1.0, 200.0),
    priority=st.sampled_from(PRIORITIES),
)


class TestEverything:
    @FAST
    @given(
        st.lists(kinds, min_size=1, max_size=5),
        st.lists(wishes, max_size=4),
        st.integers(1, 3),
        st.booleans(),
        st.integers(0, 99),
    )
    def test_every_trial_ends_however_the_night_goes(
        self, chosen: list[Kind], wanted: list[Wish], slots: int, quiet: bool, seed: int
    ) -> None:
        """A queue that ends does so in the time that all its work takes in one slot.

        What is added to that: the time that gates are shut, what is lost where one shuts or
        something urgent goes first, and a minute of patience for whatever waits for room.
        """
        night = Watched(chosen, slots, seed, total=8 * GIB)
        if quiet:
            told = Settings(quiet={"cpu": (hours.parse("22:06-22:08"),)})
            night.timeline.after(
                5.0, lambda: night.feed(e.SettingsRead(at=night.timeline.mono(), settings=told))
            )
        for wish in wanted:
            wish.ask(night)
        work = sum(kind.trials * kind.longest_s for kind in chosen)
        trials = sum(kind.trials for kind in chosen)
        shut = 1500.0 + sum(wish.for_s + 30.0 for wish in wanted)
        bound = shut + 3.0 * work + 70.0 * trials
        assert night.run(until=bound) == "dry"
        night.assert_replay_gives_the_state()
        for number, kind in enumerate(chosen, start=1):
            study = night.machine.state.studies[number]
            assert study.ended is not None
            assert study.searched == kind.trials
            assert not study.waiting

    @FAST
    @given(
        st.lists(kinds, min_size=1, max_size=3),
        st.integers(1, 3),
        st.floats(5.0, 100.0),
        st.integers(0, 99),
    )
    def test_after_a_yield_all_goes_on_from_where_it_was(
        self, chosen: list[Kind], slots: int, at: float, seed: int
    ) -> None:
        chosen = [
            Kind(trials=k.trials, steps=k.steps, step_s=min(k.step_s, 4.0), weight=k.weight)
            for k in chosen
        ]
        night = Watched(chosen, slots, seed)
        Wish("yield", at, 1, 60.0, Priority.NORMAL).ask(night)
        assert night.run(until=10_000.0) == "dry"
        paused = [
            fact
            for _, fact in night.facts
            if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, Paused)
        ]
        for fact in paused:
            assert isinstance(fact.reason, Paused)
            assert fact.reason.steps_repeated == 0 or fact.last_step == 0
        # The facts end at the yield where all was done before it.
        done = night.facts[-1][0]
        work = sum(kind.trials * kind.longest_s for kind in chosen)
        assert done <= max(at, 62.0 + GONE_S + work + 5.0 * len(paused) + 10.0) + 1.0


class TestNothingStarves:
    @settings(max_examples=6, deadline=None)
    @example(
        [
            Kind(trials=2000, steps=1, saves=False, killed_every=3),
            Kind(trials=2000, steps=1, resident=3 * GIB),
        ],
        2,
        0,
    )
    @given(
        st.lists(
            st.builds(
                Kind,
                weight=st.floats(0.3, 3.0),
                trials=st.just(2000),
                steps=st.integers(1, 6),
                step_s=st.floats(0.5, 5.0),
                saves=st.booleans(),
                resident=st.sampled_from([GIB, 3 * GIB, 5 * GIB]),
                killed_every=st.sampled_from([0, 3, 7]),
            ),
            min_size=1,
            max_size=4,
        ),
        st.integers(1, 3),
        st.integers(0, 99),
    )
    def test_a_trial_among_endless_others_starts_in_bounded_time(
        self, chosen: list[Kind], slots: int, seed: int
    ) -> None:
        """No trial waits longer than the others take to have their share.

        A study may be ahead of its like by a round and by what its own trials take beyond it, all
        of that over its weight. Until the others have had as much, over theirs, it waits; should
        room be scarce, one trial runs at a time. Then it waits for the room that it needs: a
        minute of patience and the longest trials that run.
        """
        night = Watched(chosen, slots, seed, total=8 * GIB)
        horizon = 900.0
        night.run(until=horizon)
        night.trial_waits.close(night.timeline.mono())
        longest = max(kind.longest_s for kind in chosen)
        all_weights = sum(kind.weight for kind in chosen)
        a_round = ROUND_S * (1 if len(chosen) <= 3 else 2 * (len(chosen) - 2))
        for number, kind in enumerate(chosen, start=1):
            ahead = 2.0 * a_round + slots * longest / kind.weight
            others = all_weights - kind.weight
            bound = ahead * others + (len(chosen) + 1) * slots * (60.0 + 3.0 * longest)
            assert night.trial_waits.longest.get(number, horizon) <= bound

    def test_a_trial_that_must_run_alone_gets_the_machine_from_a_busy_heavier_study(self) -> None:
        heavy = Kind(weight=10.0, trials=2000, step_s=4.0)
        night = Watched([Kind(weight=0.1, trials=2, killed_every=2), heavy], 3)
        night.run(until=3600.0)
        study = night.machine.state.studies[1]
        assert study.ended is not None
        assert study.trials[1].retries == 1

    @FAST
    @given(st.integers(1, 4), st.integers(1, 12), st.floats(0.3, 3.0), st.integers(0, 99))
    def test_low_priority_runs_once_the_others_have_nothing_to_start(
        self, slots: int, trials: int, step_s: float, seed: int
    ) -> None:
        normal = Kind(trials=trials, step_s=step_s)
        low = Kind(priority=Priority.LOW, trials=3)
        night = Watched([low, normal], slots, seed)
        assert night.run(until=5000.0) == "dry"
        starts = [fact.study for _, fact in night.facts if isinstance(fact, f.AttemptStarted)]
        if trials > slots:
            assert starts.index(1) >= trials - 1
        assert starts.count(1) == 3


class TestUrgent:
    @FAST
    @given(
        st.lists(
            st.builds(
                Kind,
                priority=st.sampled_from([Priority.NORMAL, Priority.LOW]),
                trials=st.just(500),
                steps=st.integers(3, 90),
                step_s=st.floats(0.2, 0.83),
                saves=st.booleans(),
                killed_every=st.sampled_from([0, 2]),
            ),
            min_size=1,
            max_size=3,
        ),
        st.integers(1, 4),
        st.floats(5.0, 150.0),
        st.integers(0, 99),
    )
    def test_its_first_trial_starts_within_five_seconds_on_a_full_machine(
        self, chosen: list[Kind], slots: int, at: float, seed: int
    ) -> None:
        urgent = Kind(priority=Priority.URGENT, trials=3)
        night = Watched([*chosen, urgent], slots, seed)
        number = len(chosen) + 1
        night.request(lambda when, r: e.PauseRequested(at=when, request=r, by="ada", study=number))
        night.request(
            lambda when, r: e.ReleaseRequested(at=when, request=r, study=number), after_s=at
        )
        night.run(until=at + 10.0)
        released = next(t for t, fact in night.facts if isinstance(fact, f.StudyReleased))
        spoke = [
            t
            for t, fact in night.facts
            if isinstance(fact, f.AttemptRunning) and fact.study == number
        ]
        assert spoke
        assert spoke[0] - released <= 5.0

    def test_even_one_that_runs_alone_makes_room(self) -> None:
        night = Watched([Kind(trials=2, steps=60, step_s=0.8, killed_every=2)], 2)
        night.run(until=70.0)
        assert [trial.alone for trial in night.machine.state.live.values()] == [True]
        night.kinds.append(Kind(priority=Priority.URGENT, trials=1))
        night.submit(night.kinds[1].spec("urgent"))
        night.run(until=75.0)
        assert {key.study for key in night.machine.state.live} == {2}


class TestPlaces:
    @given(
        st.lists(
            st.tuples(
                st.integers(1, 5), st.sampled_from(["first", "last", "before"]), st.integers(1, 5)
            ),
            max_size=20,
        )
    )
    def test_moves_reorder_the_queue_as_they_would_a_list(
        self, moves: list[tuple[int, str, int]]
    ) -> None:
        night = Night(1)
        night.begin()
        for number in range(1, 6):
            night.add(make_spec(f"s{number}"))
        order = [1, 2, 3, 4, 5]
        for n, (study, where, other) in enumerate(moves):
            if where == "before" and study == other:
                continue
            night.tell(
                e.MoveRequested(
                    at=night.now,
                    request=f"m{n}",
                    by="ada",
                    study=study,
                    to=None if where == "before" else where,  # type: ignore[arg-type]
                    before=other if where == "before" else None,
                )
            )
            order.remove(study)
            index = {"first": 0, "last": len(order)}.get(where)
            order.insert(order.index(other) if index is None else index, study)
        studies = night.machine.state.studies
        assert sorted(studies, key=lambda number: studies[number].standing.place) == order
        answers = [fact for fact in night.facts if isinstance(fact, f.RequestAnswered)]
        assert all(answer.ok for answer in answers)

    def test_a_study_put_before_another_takes_its_priority(self) -> None:
        night = Night(1)
        night.begin()
        night.add(make_spec("a", priority=Priority.URGENT))
        night.add(make_spec("b"))
        night.tell(e.MoveRequested(at=1.0, request="m", by="ada", study=2, before=1))
        assert night.machine.state.studies[2].standing.priority is Priority.URGENT


def test_random_nights_repeat_themselves() -> None:
    """The same queue and seed give the same facts: a failure found above can be found again."""
    rng = random.Random(5)
    chosen = [Kind(weight=rng.uniform(0.1, 10.0), steps=rng.randint(1, 8)) for _ in range(3)]
    nights = [Watched(chosen, 2, 7) for _ in range(2)]
    for night in nights:
        assert night.run(until=1000.0) == "dry"
    assert nights[0].facts == nights[1].facts
