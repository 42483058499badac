"""Whole nights in virtual time: the production machine and rules on the simulated backend."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import RandomSuggester, Recorded, Simulation, Suggester
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import (
    Dies,
    Hangs,
    LosesParent,
    NeverStarts,
    Raises,
    ReportsNan,
    Script,
    Trouble,
)
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.model import Study, Trial
from smallhours.core.reasons import (
    Budget,
    Cancelled,
    Crash,
    Hung,
    Interrupted,
    Reason,
    RuleCut,
    tag,
)
from smallhours.core.spec import Dimension, Goal, Params, Stopping, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import AttemptKey, Role
from smallhours.search import PastTrial, Search
from smallhours.search_thread import history_of, past_of

SPACE = (
    Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True),
    Dimension(name="width", kind="choice", choices=(4, 8, 16)),
)
SLOTS = 2
#: What goes wrong with which attempt.
Plan = Callable[[AttemptKey], Trouble | None]


def spec(**changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "digits",
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": SPACE,
        "baseline": {"lr": 0.5, "width": 4},
        "trials": 12,
        "steps": 12,
        "stopping": Stopping(rule="median"),
        "confirm": 2,
        "hang_s": 30.0,
    }
    return StudySpec(**{**values, **changes})


def model(plan: Plan = lambda key: None, **script: Any) -> Callable[[a.Start], Script]:
    """A loss that falls to a floor set by the configuration, with noise set by the seed."""

    def write(order: a.Start) -> Script:
        floor = abs(float(order.params["lr"] or 0) - 0.1) + (order.seed % 97) / 970
        values: dict[str, Any] = {
            "curve": lambda step: {"loss": floor + 1.0 / step},
            "steps": 12,
            "checkpoint_every": 3,
            "jitter": 0.2,
            "trouble": plan(order.key),
        }
        return Script(**{**values, **script})

    return write


class StrictBackend(SimulatedBackend):
    """Sees to it that what is done to a process is on durable record before."""

    sim: Simulation

    def _durable(self, kind: type, key: AttemptKey) -> bool:
        facts = [fact for _, fact in self.sim.facts[: self.sim.durable]]
        return any(isinstance(fact, kind) and f.key_of(fact) == key for fact in facts)

    def start(self, order: a.Start) -> None:
        assert self._durable(f.AttemptStarted, order.key)
        assert {point.path for point in order.resume} <= self.sim.known_checkpoints()
        super().start(order)

    def stop(self, order: a.Stop) -> None:
        assert self._durable(f.Intended, order.key)
        super().stop(order)

    def signal(self, key: AttemptKey, signal: Any) -> None:
        assert self._durable(f.Intended, key)
        super().signal(key, signal)


class Night(Simulation):
    """One session on the production machine."""

    def __init__(
        self,
        write: Callable[[a.Start], Script],
        *,
        seed: int = 0,
        history: list[Recorded] | None = None,
        disk: set[str] | None = None,
        session: int = 1,
        now: float = 0.0,
        suggester: Suggester | None = None,
        **options: Any,
    ) -> None:
        self.before = history or []
        backend = StrictBackend(SLOTS, write, seed, timeline=Timeline(now), disk=disk)
        backend.sim = self
        super().__init__(
            Machine(rules.make),
            backend,
            suggester=suggester or RandomSuggester(seed),
            session=session,
            history=self.before,
            **options,
        )

    def known_checkpoints(self) -> set[str]:
        paths = set()
        for _, fact in [*self.before, *self.facts]:
            if isinstance(fact, f.CheckpointSaved):
                paths.add(fact.path)
            elif isinstance(fact, f.CheckpointRemoved):
                paths.discard(fact.path)
        return paths

    @property
    def study(self) -> Study:
        return self.machine.state.studies[1]

    @property
    def all_facts(self) -> list[Recorded]:
        return [*self.before, *self.facts]

    def ends(self, trial: int) -> list[Reason]:
        """Reasons of a trial's attempts, in order."""
        return [
            fact.reason
            for _, fact in self.all_facts
            if isinstance(fact, f.AttemptEnded) and fact.trial == trial
        ]


def night(study: StudySpec | None = None, plan: Plan = lambda key: None, **script: Any) -> Night:
    """Run a study to its end."""
    sim = Night(model(plan, **script))
    sim.submit(study or spec())
    assert sim.run() == "dry"
    check(sim)
    return sim


def first_attempt(trouble: Trouble, trial: int = 3) -> Plan:
    """Let it go wrong with the first attempt of one trial."""
    return lambda key: trouble if (key.trial, key.attempt) == (trial, 1) else None


def check(sim: Night) -> None:
    """Assert what must hold of every ledger of one study, whatever happened."""
    live: dict[AttemptKey, int] = {}
    attempts: Counter[int] = Counter()
    over: set[int] = set()
    ended = False
    for _, fact in sim.all_facts:
        match fact:
            case f.StudyEnded():
                assert not ended
                assert not live
                ended = True
            case f.SessionStarted():
                assert len(live) <= SLOTS
            case f.TrialCreated():
                assert not ended
            case f.AttemptStarted():
                attempts[fact.trial] += 1
                assert fact.attempt == attempts[fact.trial]
                assert fact.trial not in over, f"trial {fact.trial} is over and runs again"
                live[f.key_of(fact)] = 0
                assert len(live) <= SLOTS
                assert len({key.trial for key in live}) == len(live)
            case f.Reported():
                assert live[f.key_of(fact)] < fact.step
                live[f.key_of(fact)] = fact.step
            case f.AttemptRunning() | f.Restored() | f.CheckpointSaved() | f.Intended():
                assert f.key_of(fact) in live
            case f.AttemptEnded():
                del live[f.key_of(fact)]
                assert tag(fact.reason) != "lost"
                if fact.then == "over":
                    over.add(fact.trial)
    assert not live
    assert_same_state(sim)


def assert_same_state(sim: Night) -> None:
    """Assert that what the ledger says is what the machine had: whenever the facts happened."""
    replayed = State(rules.make)
    for at, fact in sim.all_facts:
        replayed.apply(fact, at + 1e6)
    state = sim.machine.state
    assert repr({n: study.trials for n, study in replayed.studies.items()}) == repr(
        {n: study.trials for n, study in state.studies.items()}
    )
    for number, study in replayed.studies.items():
        assert study.reasons == state.studies[number].reasons
        assert study.best == state.studies[number].best


def assert_complete(facts: list[Recorded], study: StudySpec) -> None:
    """Assert that the study got all it asked for."""
    created = [fact for _, fact in facts if isinstance(fact, f.TrialCreated)]
    assert [fact.trial for fact in created] == list(range(len(created)))
    assert created[0].role is Role.BASELINE
    assert created[0].params == study.baseline
    searched = [fact for fact in created if fact.role is not Role.CONFIRMATION]
    assert len(searched) == study.trials
    assert created[: study.trials] == searched, "confirmations come last"
    ends = [fact for _, fact in facts if isinstance(fact, f.StudyEnded)]
    assert [end.outcome for end in ends] == ["done"]
    over = {
        fact.trial for _, fact in facts if isinstance(fact, f.AttemptEnded) and fact.then == "over"
    }
    assert over == {fact.trial for fact in created}


class TestAWholeNight:
    def test_forty_trials_with_the_median_rule_end_with_confirmations(self) -> None:
        study = spec(trials=40, confirm=3)
        sim = night(study)
        assert_complete(sim.all_facts, study)
        roles = Counter(trial.role for trial in sim.study.trials.values())
        assert roles == {Role.BASELINE: 1, Role.SEARCH: 39, Role.CONFIRMATION: 6}
        assert sim.study.reasons["rule_cut"] >= 10
        assert sim.study.best is not None
        confirmed = {trial.of for trial in sim.study.trials.values() if trial.of is not None}
        assert confirmed == {0, sim.study.best}
        seeds = [t.seed for t in sim.study.trials.values() if t.role is Role.CONFIRMATION]
        assert seeds[:3] == seeds[3:], "baseline and winner are compared on the same fresh seeds"
        assert not any(
            isinstance(sim.study.trials[n].reason, RuleCut)
            for n, trial in sim.study.trials.items()
            if trial.role is not Role.SEARCH
        )

    def test_both_slots_are_busy_most_of_the_night(self) -> None:
        sim = night(spec(trials=40))
        busy = sum(trial.seconds for trial in sim.study.trials.values())
        assert busy > 0.9 * SLOTS * sim.timeline.mono()

    def test_the_same_seeds_give_the_same_facts(self) -> None:
        def plan(key: AttemptKey) -> Trouble | None:
            return Dies(step=4, signal=11) if key.trial % 4 == 1 and key.attempt == 1 else None

        assert night(plan=plan).facts == night(plan=plan).facts

    def test_two_studies_share_the_slots_and_both_end(self) -> None:
        sim = Night(model())
        sim.submit(spec(name="a"))
        sim.submit(spec(name="b"), after_s=20.0)
        assert sim.run() == "dry"
        outcomes = [fact.outcome for _, fact in sim.facts if isinstance(fact, f.StudyEnded)]
        assert outcomes == ["done", "done"]

    def test_the_rebuilt_search_proposes_what_the_living_one_does(self) -> None:
        class Twins:
            """The search as the engine keeps it, beside one rebuilt for every ask."""

            def __init__(self) -> None:
                self.living = Search(spec())

            def ask(self, study: Study, trial: int) -> Params:
                params = self.living.ask(trial)
                assert Search(study.spec, history_of(study)).ask(trial) == params
                return params

            def introduce(self, action: a.Introduce) -> None:
                self.living.add(PastTrial(trial=action.trial, params=action.params))

            def tell(self, action: a.Tell) -> None:
                self.living.tell(action.trial, action.outcome, action.value, action.step)

            def reopen(self, trial: Trial) -> None:
                self.living.add(past_of(trial))

        def plan(key: AttemptKey) -> Trouble | None:
            troubles = {2: ReportsNan(step=5), 5: Raises(step=3), 8: Dies(step=2, signal=11)}
            return troubles.get(key.trial)

        sim = Night(model(plan), suggester=Twins())
        sim.submit(spec(trials=30))
        assert sim.run() == "dry"
        assert sim.study.searched == 30


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("trouble", "tags"),
        [
            (Raises(step=4), ["exception"]),
            (Raises(step=1), ["exception"]),
            (Raises(step=4, type="MemoryError"), ["host_oom", "completed"]),
            (Dies(step=4, signal=11), ["crash", "completed"]),
            (Dies(step=1, exit_code=3), ["crash", "completed"]),
            (Dies(step=4, signal=9), ["crash", "completed"]),
            (Dies(step=4, signal=9, kernel_oom_kills=1), ["host_oom", "completed"]),
            (Hangs(step=4), ["hung", "completed"]),
            (Hangs(step=1), ["hung", "completed"]),
            (Hangs(step=4, deaf=True), ["hung", "completed"]),
            (ReportsNan(step=4), ["diverged"]),
            (LosesParent(step=8, parent="slot"), ["interrupted", "completed"]),
            (LosesParent(step=8, parent="zygote"), ["interrupted", "completed"]),
            (LosesParent(step=8, parent="raylet"), ["interrupted", "completed"]),
            (NeverStarts(), ["crash", "completed"]),
        ],
        ids=repr,
    )
    def test_each_cause_is_told_apart(self, trouble: Trouble, tags: list[str]) -> None:
        study = spec(stopping=Stopping(rule="none"))
        sim = night(study, first_attempt(trouble))
        assert [tag(reason) for reason in sim.ends(3)] == tags
        assert_complete(sim.all_facts, study)

    def test_a_crash_carries_exit_code_and_signal(self) -> None:
        (crash, _) = night(plan=first_attempt(Dies(step=2, exit_code=3))).ends(3)
        assert isinstance(crash, Crash)
        assert (crash.exit_code, crash.signal, crash.whose) == (3, None, "process")
        (crash, _) = night(plan=first_attempt(NeverStarts(signal=11))).ends(3)
        assert isinstance(crash, Crash)
        assert (crash.exit_code, crash.signal, crash.whose) == (None, 11, "zygote")

    def test_a_retry_goes_on_from_the_checkpoint(self) -> None:
        sim = night(plan=first_attempt(Dies(step=8, signal=11)))
        starts = [
            fact.resume_step
            for _, fact in sim.facts
            if isinstance(fact, f.AttemptStarted) and fact.trial == 3
        ]
        assert starts == [0, 6]

    def test_retries_run_out(self) -> None:
        sim = night(plan=lambda key: Dies(step=2, signal=11) if key.trial == 3 else None)
        assert [tag(reason) for reason in sim.ends(3)] == ["crash", "crash"]

    @pytest.mark.parametrize(
        ("deaf", "deeds"), [(False, ["SIGTERM"]), (True, ["SIGTERM", "SIGKILL"])]
    )
    def test_a_hang_carries_stacks_and_escalation(self, deaf: bool, deeds: list[str]) -> None:
        (hung, _) = night(plan=first_attempt(Hangs(step=4, deaf=deaf))).ends(3)
        assert isinstance(hung, Hung)
        assert hung.silent_s > 30.0
        assert hung.last_step == 3
        assert hung.stack
        assert hung.process_state == "S"
        assert hung.cpu_s is not None
        assert hung.cpu_s < 1.5, "a step of work, then it sat still"
        assert [deed for _, deed in hung.escalation] == deeds

    def test_a_trial_that_grows_beyond_its_limit_is_killed(self) -> None:
        study = spec(memory_bytes=500_000_000, trials=2, confirm=0)
        sim = night(study, growth_bytes=100_000_000)
        assert {tag(reason) for reason in sim.ends(0)} == {"host_oom"}

    def test_a_trial_that_deafens_itself_to_the_order_is_killed_but_keeps_its_reason(self) -> None:
        sim = night(spec(trials=30), ignores_stop_s=1e9, step_s=5.0, unwind_s=1e9)
        cut = [t for t in sim.study.trials.values() if isinstance(t.reason, RuleCut)]
        assert cut

    def test_a_trial_has_its_time(self) -> None:
        sim = night(spec(trial_time_s=6.0, trials=3, confirm=0))
        for trial in range(3):
            (reason,) = sim.ends(trial)
            assert isinstance(reason, Budget)
            assert reason.budget == "trial_time_s"

    def test_a_study_has_its_time(self) -> None:
        sim = Night(model())
        sim.submit(spec(study_time_s=60.0))
        assert sim.run() == "dry"
        ended = [fact for _, fact in sim.facts if isinstance(fact, f.StudyEnded)]
        assert [fact.outcome for fact in ended] == ["budget"]
        assert sim.study.seconds < 75.0

    def test_one_bug_halts_its_study_and_not_the_other(self) -> None:
        sim = Night(model(lambda key: Raises(step=2) if key.study == 1 else None))
        sim.submit(spec(name="broken"))
        sim.submit(spec(name="good"))
        assert sim.run() == "dry"
        halts = [fact for _, fact in sim.facts if isinstance(fact, f.StudyHalted)]
        assert [(fact.study, fact.cause) for fact in halts] == [(1, "same_failure")]
        assert sim.machine.state.studies[1].searched <= 4
        assert sim.machine.state.studies[2].ended is not None

    def test_a_full_disk_halts_the_study_and_its_trials_wait(self) -> None:
        full = Raises(step=4, type="OSError", errno=errno.ENOSPC)
        sim = Night(model(first_attempt(full)))
        sim.submit(spec())
        assert sim.run() == "dry"
        assert [tag(reason) for reason in sim.ends(3)] == ["disk"]
        assert sim.study.halted is not None
        again = Night(model(), history=sim.all_facts, disk=sim.backend.disk, session=2)
        again.request(lambda at, request: e.ReleaseRequested(at=at, request=request, study=None))
        assert again.run() == "dry"
        check(again)
        assert_complete(again.all_facts, spec())

    def test_nothing_has_room_for_a_neighbour(self) -> None:
        """Each trial needs more than half of the memory: they run one after the other."""
        sim = Night(model(resident_bytes=3 * 2**30), total_bytes=5 * 2**30)
        sim.submit(spec())
        assert sim.run() == "dry"
        check(sim)
        assert sim.study.ended is not None


class TestRequests:
    def test_a_cancelled_trial_keeps_its_checkpoint(self) -> None:
        sim = Night(model())
        sim.submit(spec())
        sim.request(
            lambda at, request: e.CancelRequested(
                at=at, request=request, by="me", study=1, trial=0
            ),
            after_s=8.0,
        )
        assert sim.run() == "dry"
        (reason,) = sim.ends(0)
        assert isinstance(reason, Cancelled)
        assert reason.checkpoint in sim.backend.disk

    def test_a_cancelled_study_ends(self) -> None:
        sim = Night(model())
        sim.submit(spec())
        sim.request(
            lambda at, request: e.CancelRequested(
                at=at, request=request, by="me", study=1, trial=None
            ),
            after_s=8.0,
        )
        assert sim.run() == "dry"
        check_ends = [fact for _, fact in sim.facts if isinstance(fact, f.StudyEnded)]
        assert [fact.outcome for fact in check_ends] == ["cancelled"]

    def test_a_shutdown_saves_and_the_next_session_goes_on(self) -> None:
        sim = Night(model())
        sim.submit(spec())
        sim.request(
            lambda at, request: e.ShutdownRequested(at=at, cause="ctrl-c", request=request),
            after_s=8.0,
        )
        assert sim.run() == "ctrl-c"
        (reason,) = sim.ends(0)
        assert isinstance(reason, Interrupted)
        assert (reason.cause, reason.steps_lost) == ("ctrl-c", 0)
        again = Night(model(), history=sim.all_facts, disk=sim.backend.disk, session=2)
        assert again.run() == "dry"
        check(again)
        assert_complete(again.all_facts, spec())

    def test_raised_trials_go_on_after_the_end(self) -> None:
        sim = night()
        again = Night(model(), history=sim.all_facts, disk=sim.backend.disk, session=2)
        again.submit(spec(trials=15))
        assert again.run() == "dry"
        assert again.study.searched == 15


def trouble_of(key: AttemptKey, seed: int) -> Trouble | None:
    """Let an eighth of the first attempts go wrong, each in some way."""
    rng = random.Random(f"{seed}/{key}")
    if key.attempt > 2 or rng.random() > 0.125:
        return None
    step = rng.randint(1, 12)
    return rng.choice(
        [
            Raises(step=step, type=f"Error{key.trial}"),
            Dies(step=step, signal=11),
            Dies(step=step, exit_code=3),
            Hangs(step=step, deaf=rng.random() < 0.5),
            ReportsNan(step=step),
            LosesParent(step=step),
            NeverStarts(),
        ]
    )


class TestKills:
    @pytest.mark.parametrize("block", range(8))
    def test_whenever_the_engine_is_killed_the_night_comes_to_its_end(self, block: int) -> None:
        for seed in range(10 * block, 10 * (block + 1)):
            self.one_night(seed)

    @staticmethod
    def one_night(seed: int) -> None:
        rng, study = random.Random(seed), spec()
        write = model(lambda key: trouble_of(key, seed))
        disk: set[str] = set()
        history: list[Recorded] = []
        for session in range(1, 9):
            sim = Night(
                write,
                seed=seed,
                history=history,
                disk=disk,
                session=session,
                now=rng.uniform(0.0, 1e6),
            )
            sim.submit(study)
            kill = rng.randint(1, 400) if session < 8 else float("inf")
            finished = sim.run(actions=kill)
            if finished is not None:
                history = sim.all_facts
                break
            # What was not committed is lost, from some point on.
            kept = rng.randint(sim.durable, len(sim.facts))
            history = [*history, *sim.facts[:kept]]
            if disk and rng.random() < 0.2:
                disk.discard(rng.choice(sorted(disk)))
        assert finished == "dry"
        check(sim)
        if not any(isinstance(fact, f.StudyHalted) for _, fact in history):
            assert_complete(history, study)
        again = Night(write, seed=seed, history=history, disk=disk, session=99)
        assert again.run() == "dry"
        kinds = [type(fact) for _, fact in again.facts]
        assert kinds == [f.SessionStarted, f.SessionEnded], "a second resume changes nothing"
