"""ASHA, alone and decision for decision against Ray Tune's and Optuna's."""

from __future__ import annotations

import math
import random
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol

import optuna
import pytest

from smallhours.core.reasons import RungCut
from smallhours.core.spec import Goal
from smallhours.rules.asha import AshaRule

#: Streams that each peer is given, in blocks that are tests of their own.
BLOCKS, STREAMS = 5, 400


class Run:
    """One trial that reports to a rule."""

    def __init__(self, rule: AshaRule, trial: int) -> None:
        self.rule, self.trial = rule, trial
        self.curve: dict[int, float] = {}

    def report(self, step: int, value: float) -> RungCut | None:
        self.curve[step] = value
        self.rule.observe(self.trial, step, self.curve)
        return self.rule.decide(self.trial, step, self.curve)


def fill(rule: AshaRule, step: int, values: list[float]) -> None:
    """Let trials 0, 1, 2 ... have these values at a step, whatever the rule says of them."""
    for trial, value in enumerate(values):
        Run(rule, trial).report(step, value)


# --- against the peers ----------------------------------------------------------------------


@dataclass
class Setting:
    goal: Goal
    eta: int
    grace: int
    steps: int

    def rungs(self) -> list[int]:
        out, at = [], self.grace
        while at < self.steps:
            out.append(at)
            at *= self.eta
        return out


class Peer(Protocol):
    def add(self, trial: int) -> None: ...

    def report(self, trial: int, step: int, value: float) -> bool: ...


class Tune:
    """Ray Tune's scheduler with one bracket."""

    def __init__(self, at: Setting, *, stop_last_trials: bool) -> None:
        # Not above: Ray reads its settings once, and other tests start it with settings of ours.
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self.scheduler = AsyncHyperBandScheduler(
            metric="loss",
            mode={"minimize": "min", "maximize": "max"}[at.goal.value],
            max_t=at.steps,
            grace_period=at.grace,
            reduction_factor=at.eta,
            brackets=1,
            stop_last_trials=stop_last_trials,
        )

    def add(self, trial: int) -> None:
        self.scheduler.on_trial_add(None, SimpleNamespace(trial_id=trial))

    def report(self, trial: int, step: int, value: float) -> bool:
        result = {"training_iteration": step, "loss": value}
        decision = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=trial), result)
        return decision == self.scheduler.STOP


class Optuna:
    """Optuna's pruner, asked after each report."""

    def __init__(self, at: Setting) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=at.grace, reduction_factor=at.eta
        )
        self.study = optuna.create_study(direction=at.goal.value, pruner=pruner)
        self.trials: dict[int, optuna.Trial] = {}

    def add(self, trial: int) -> None:
        self.trials[trial] = self.study.ask()

    def report(self, trial: int, step: int, value: float) -> bool:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The reported value is ignored", UserWarning)
            self.trials[trial].report(value, step)
        return self.trials[trial].should_prune()


class Life:
    """A trial of a random stream: at which steps it reports, and what."""

    def __init__(self, rng: random.Random, at: Setting, number: int, *, leaps: bool) -> None:
        every = rng.choice([1, 1, 2, 3, 4])
        steps = set(range(rng.randint(1, every), at.steps, every)) | {at.steps}
        if rng.random() < 0.3:
            steps = set(rng.sample(range(1, at.steps + 1), rng.randint(1, at.steps)))
        if not leaps:
            rungs = at.rungs()
            for here, after in zip(rungs, [*rungs[1:], at.steps], strict=True):
                steps.add(rng.randrange(here, after))
        self.number = number
        self.steps = sorted(steps)
        self.next = 0
        kind = rng.choice(["fine", "coarse", "wide"])
        draw = {
            "fine": lambda: rng.gauss(0, 1),
            "coarse": lambda: float(rng.randint(-2, 2)),
            "wide": lambda: rng.choice([-1, 1]) * 10 ** rng.uniform(-150, 150),
        }[kind]
        self.values = {step: draw() for step in self.steps}
        #: Its verdicts are not carried out (as those of a baseline).
        self.spared = rng.random() < 0.15
        self.curve: dict[int, float] = {}


def play(rng: random.Random, at: Setting, rule: AshaRule, peer: Peer, *, leaps: bool) -> int:
    """Give a random stream to both, and assert that they decide alike; returns the stops."""
    unborn = [Life(rng, at, number, leaps=leaps) for number in range(rng.randint(2, 16))][::-1]
    running: list[Life] = []
    slots, stops = rng.randint(1, 5), 0
    while running or unborn:
        while unborn and len(running) < slots:
            running.append(unborn.pop())
            peer.add(running[-1].number)
        life = rng.choice(running)
        step = life.steps[life.next]
        value = life.curve[step] = life.values[step]
        life.next += 1
        rule.observe(life.number, step, life.curve)
        cut = rule.decide(life.number, step, life.curve)
        theirs = peer.report(life.number, step, value)
        if step == at.steps:
            assert cut is None
        else:
            assert (cut is not None) == theirs, (at, life.number, step, value, cut)
        stops += cut is not None
        stopped = cut is not None and not life.spared
        if stopped or life.next == len(life.steps) or rng.random() < 0.02:
            rule.close(life.number, life.curve, completed=not stopped)
            running.remove(life)
        elif rng.random() < 0.1 and not (life.spared and leaps):
            # Interrupted, it goes on from a checkpoint. Not one that leapt to a rung where it was
            # to stop, and did not: Optuna would go on judging it by its furthest step.
            life.next = rng.randint(0, life.next)
    return stops


def settings(rng: random.Random) -> Setting:
    return Setting(
        goal=rng.choice(list(Goal)),
        eta=rng.choice([2, 3, 3, 4, 5]),
        grace=rng.choice([1, 2, 3, 4]),
        steps=rng.choice([9, 16, 27, 30]),
    )


@pytest.mark.parametrize("block", range(BLOCKS))
def test_it_decides_as_ray_tunes_scheduler_does(block: int) -> None:
    """Reports may leap over rungs: Tune counts those at the highest only without this option."""
    stops = 0
    for seed in range(block * STREAMS, (block + 1) * STREAMS):
        rng = random.Random(seed)
        at = settings(rng)
        rule = AshaRule(at.goal, at.steps, eta=at.eta, grace=at.grace)
        peer = Tune(at, stop_last_trials=False)
        stops += play(rng, at, rule, peer, leaps=True)
    assert stops > STREAMS


@pytest.mark.parametrize("block", range(BLOCKS))
def test_it_decides_as_ray_tunes_scheduler_does_with_its_defaults(block: int) -> None:
    stops = 0
    for seed in range(block * STREAMS, (block + 1) * STREAMS):
        rng = random.Random(seed)
        at = settings(rng)
        rule = AshaRule(at.goal, at.steps, eta=at.eta, grace=at.grace)
        peer = Tune(at, stop_last_trials=True)
        stops += play(rng, at, rule, peer, leaps=False)
    assert stops > STREAMS


@pytest.mark.parametrize("block", range(BLOCKS))
def test_ranked_it_decides_as_optunas_pruner_does(block: int) -> None:
    stops = 0
    for seed in range(block * STREAMS, (block + 1) * STREAMS):
        rng = random.Random(seed)
        at = settings(rng)
        rule = AshaRule(at.goal, at.steps, eta=at.eta, grace=at.grace, ranked=1)
        stops += play(rng, at, rule, Optuna(at), leaps=True)
    assert stops > STREAMS


def test_the_cutoff_is_numpys_to_the_last_bit() -> None:
    rng = random.Random(5)
    for _ in range(500):
        eta, count = rng.randint(2, 6), rng.randint(1, 40)
        at = Setting(Goal.MAXIMIZE, eta, 1, 100)
        rule, peer = AshaRule(at.goal, at.steps, eta=eta, grace=1), Tune(at, stop_last_trials=True)
        values = [rng.gauss(0, 10 ** rng.randint(-9, 9)) for _ in range(count)]
        fill(rule, 1, values)
        _, recorded = peer.scheduler._brackets[0]._rungs[-1]
        recorded.update(enumerate(values))
        cut = Run(rule, count).report(1, -1e300)
        assert cut is not None
        assert cut.cutoff == peer.scheduler._brackets[0].cutoff(recorded)


# --- the rule by itself ---------------------------------------------------------------------


def test_the_first_at_a_rung_goes_on() -> None:
    for ranked in (0, 1):
        assert Run(AshaRule(Goal.MINIMIZE, 27, ranked=ranked), 0).report(3, 1e9) is None


def test_nothing_is_stopped_between_rungs_or_before_the_first() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    for step in range(1, 28):
        fill(rule, step, [0.1, 0.2, 0.3])
    bad = Run(rule, 9)
    stopped_at = [step for step in range(1, 28) if bad.report(step, 9.0) is not None]
    assert stopped_at == [3, 9], "the last step is no stop"


def test_an_equal_value_goes_on() -> None:
    for ranked in (0, 1):
        rule = AshaRule(Goal.MAXIMIZE, 27, ranked=ranked)
        fill(rule, 3, [0.5, 0.5, 0.5])
        assert Run(rule, 3).report(3, 0.5) is None


def test_the_two_cutoffs_differ_between_two_neighbours() -> None:
    verdicts = {}
    for ranked in (0, 1):
        rule = AshaRule(Goal.MAXIMIZE, 27, eta=3, grace=3, ranked=ranked)
        fill(rule, 3, [0.0, 0.9])
        verdicts[ranked] = Run(rule, 2).report(3, 0.7)
    assert verdicts[0] is None, "two thirds of the way from 0.0 to 0.9 is 0.6"
    assert verdicts[1] is not None
    assert verdicts[1].cutoff == 0.9


@pytest.mark.parametrize("goal", Goal)
def test_the_verdict_carries_its_evidence_best_first(goal: Goal) -> None:
    sign = 1 if goal is Goal.MAXIMIZE else -1
    rule = AshaRule(goal, 27, eta=3, grace=3)
    fill(rule, 9, [sign * value for value in (0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6, 0.5, 1.0)])
    cut = Run(rule, 10).report(9, sign * 0.55)
    assert cut is not None
    assert (cut.rule, cut.version, cut.goal) == ("asha", 1, goal.value)
    assert (cut.step, cut.rung, cut.value) == (9, 2, sign * 0.55)
    assert (cut.rank, cut.of) == (6, 11)
    assert cut.cutoff == pytest.approx(sign * 0.7)
    best_first = [(9, 1.0), (1, 0.9), (3, 0.8), (5, 0.7), (7, 0.6), (8, 0.5), (6, 0.4)]
    assert cut.competitors in (
        tuple((trial, sign * value) for trial, value in best_first[start : start + 6])
        for start in (0, 1)
    )


def test_ranked_the_cutoff_is_the_last_competitor_that_goes_on() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3, ranked=1)
    fill(rule, 3, [0.5, 0.1, 0.4, 0.2, 0.3])
    cut = Run(rule, 5).report(3, 0.25)
    assert cut is not None
    assert (cut.rank, cut.of, cut.cutoff) == (3, 6, 0.2)
    assert cut.competitors == ((1, 0.1), (3, 0.2), (4, 0.3), (2, 0.4), (0, 0.5))


def test_a_report_after_a_rung_it_skipped_counts_at_that_rung() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    fill(rule, 3, [0.1, 0.2])
    coarse = Run(rule, 5)
    assert coarse.report(1, 9.0) is None
    cut = coarse.report(4, 9.0)
    assert cut is not None
    assert (cut.step, cut.rung, cut.of) == (4, 1, 3)


def test_a_leap_over_two_rungs_counts_at_the_highest_or_ranked_at_each() -> None:
    for ranked, of in ((0, 1), (1, 2)):
        rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3, ranked=ranked)
        Run(rule, 0).report(10, 0.5)
        cut = Run(rule, 1).report(3, 9.0)
        assert (cut.of if cut is not None else 1) == of


def test_a_rung_at_the_last_step_keeps_the_end_out_of_the_rung_before() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    leaper = Run(rule, 0)
    leaper.report(1, 0.5)
    leaper.report(27, 0.1)
    assert Run(rule, 1).report(9, 0.2) is None


def test_a_rung_that_is_reached_again_counts_once_with_its_later_value() -> None:
    for ranked in (0, 1):
        rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3, ranked=ranked)
        fill(rule, 3, [0.1, 0.2])
        twice = Run(rule, 2)
        assert twice.report(3, 0.05) is None
        twice.report(4, 0.05)
        assert twice.report(3, 9.0) is None, "it is judged there once"
        assert twice.report(4, 9.0) is None
        cut = Run(rule, 3).report(3, 5.0)
        assert cut is not None
        assert (cut.rank, cut.of) == (3, 4)
        assert dict(cut.competitors)[2] == 9.0


def test_steps_past_a_rung_do_not_change_what_counts_there() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    other = Run(rule, 0)
    other.report(3, 0.5)
    other.report(4, 0.1)
    assert Run(rule, 1).report(3, 0.4) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_counts_nowhere(value: float) -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    fill(rule, 3, [0.5, value, 0.4])
    assert Run(rule, 7).report(3, value) is None
    cut = Run(rule, 8).report(3, 0.6)
    assert cut is not None
    assert cut.of == 3


def test_trials_that_are_over_go_on_counting() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    for trial, completed in ((0, True), (1, False)):
        run = Run(rule, trial)
        run.report(3, 0.1)
        rule.close(trial, run.curve, completed=completed)
    cut = Run(rule, 2).report(3, 0.2)
    assert cut is not None
    assert cut.of == 3


def test_huge_values_give_a_finite_cutoff() -> None:
    rule = AshaRule(Goal.MINIMIZE, 27, eta=3, grace=3)
    fill(rule, 3, [1.7e308, -1.7e308])
    cut = Run(rule, 2).report(3, 1.79e308)
    assert cut is not None
    assert math.isfinite(cut.cutoff)


def test_asking_changes_nothing() -> None:
    """A restarted engine was never asked about the reports that it reads, and decides alike."""
    for seed in range(40):
        rng = random.Random(seed)
        at = settings(rng)
        options = {"eta": at.eta, "grace": at.grace, "ranked": rng.randint(0, 1)}
        asked, fresh = (AshaRule(at.goal, at.steps, **options) for _ in range(2))
        for trial in range(12):
            curve: dict[int, float] = {}
            for step in sorted(rng.sample(range(1, at.steps), rng.randint(1, at.steps - 1))):
                curve[step] = round(rng.random(), 1)
                asked.observe(trial, step, curve)
                fresh.observe(trial, step, curve)
                verdict = asked.decide(trial, step, curve)
                assert asked.decide(trial, step, curve) == verdict
                if trial == 11:
                    assert fresh.decide(trial, step, curve) == verdict
