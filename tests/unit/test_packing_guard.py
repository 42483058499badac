"""The guard and the learned compute, fed by hand."""

from __future__ import annotations

import math

import pytest

from smallhours.packing.guard import Guard, Verdict
from smallhours.packing.load import (
    FEARED,
    HOPED,
    SPARED,
    Alone,
    Demand,
    Load,
    Loads,
    slowdowns,
)


def step(guard: Guard, paces: dict[str, float], since: float, until: float) -> None:
    """Let trials report at steady paces."""
    due = sorted(
        (since + pace * n, name)
        for name, pace in paces.items()
        for n in range(1, int((until - since) / pace) + 1)
    )
    for at, name in due:
        guard.reported(name, at)


def judged(before_s: float, beside_s: float, own_s: float, scatter: float = 0.01) -> Verdict | None:
    guard = Guard()
    guard.came("old", 0.0)
    step(guard, {"old": before_s}, 0.0, 100.0)
    guard.came("new", 100.0)
    step(guard, {"old": beside_s, "new": own_s}, 100.0, 225.0)
    alone = {"old": Alone(math.log(before_s), scatter), "new": Alone(math.log(5.0), scatter)}
    return guard.judge(225.0, alone)


def test_a_newcomer_that_adds_progress_is_kept():
    verdict = judged(5.0, 6.0, 6.0)
    assert verdict is not None
    assert verdict.newcomer == "new"
    assert verdict.before == pytest.approx(1.0)
    assert verdict.after == pytest.approx(10 / 6)
    assert not verdict.fell


def test_a_newcomer_that_costs_more_than_it_brings_is_not():
    verdict = judged(5.0, 15.0, 15.0)
    assert verdict is not None
    assert verdict.fell


def test_what_noise_explains_is_no_fall():
    verdict = judged(5.0, 10.2, 10.2, scatter=0.1)
    assert verdict is not None
    assert verdict.after < verdict.before
    assert not verdict.fell


def test_there_is_no_verdict_before_three_steps_of_each():
    guard = Guard()
    guard.came("old", 0.0)
    step(guard, {"old": 5.0}, 0.0, 40.0)
    guard.came("new", 40.0)
    step(guard, {"old": 10.0, "new": 10.0}, 40.0, 60.0)
    alone = {"old": Alone(math.log(5.0), 0.01), "new": Alone(math.log(5.0), 0.01)}
    assert guard.judge(60.0, alone) is None
    assert guard.waiting_for == "new"


def test_slow_steps_are_not_waited_for_longer_than_two_minutes():
    guard = Guard()
    guard.came("old", 0.0)
    step(guard, {"old": 5.0}, 0.0, 40.0)
    guard.came("new", 40.0)
    step(guard, {"old": 50.0, "new": 50.0}, 40.0, 165.0)
    alone = {"old": Alone(math.log(5.0), 0.01), "new": Alone(math.log(5.0), 0.01)}
    verdict = guard.judge(165.0, alone)
    assert verdict is not None
    assert verdict.fell


def test_the_first_trial_on_a_card_is_not_judged():
    guard = Guard()
    guard.came("only", 0.0)
    step(guard, {"only": 1.0}, 0.0, 10.0)
    assert guard.judge(10.0, {"only": Alone(0.0, 0.1)}) is None


def test_one_that_left_is_not_judged_any_more():
    guard = Guard()
    guard.came("old", 0.0)
    step(guard, {"old": 1.0}, 0.0, 10.0)
    guard.came("new", 10.0)
    guard.went("new", 11.0)
    assert guard.waiting_for is None


def test_saturating_trials_that_take_turns_add_nothing():
    assert sum(1 / s for s in slowdowns([Demand(1.0, 1.0)] * 4)) < 1.0


def test_trials_that_leave_the_card_idle_add_up():
    progress = sum(1 / s for s in slowdowns([Demand(0.25, 1.0)] * 3))
    assert 2.0 < progress < 3.0


@pytest.mark.parametrize("true_weight", [0.15, 0.4, 0.9, 1.4])
def test_a_weight_is_learned_from_how_trials_slow_each_other_down(true_weight):
    loads = Loads("mps")
    loads.probed("a", 0.7)
    truth = [Demand(0.7, true_weight)] * 6
    alone = [Alone(0.0, 0.02) for _ in truth]
    for count in (2, 3, 4, 5, 6):
        slow = slowdowns(truth[:count])
        for index in range(count):
            loads.learn(["a"] * count, index, alone[index], math.log(slow[index]), 0.02)
    if true_weight < 0.2:  # six of them do not fill the card: no more can be known
        assert loads.demand("a").weight < 0.35
    else:
        assert loads.demand("a").weight == pytest.approx(true_weight, rel=0.2)


def test_a_trial_alone_teaches_its_own_pace_only():
    loads = Loads("mps")
    loads.probed("a", 0.7)
    before, alone = loads.demand("a"), Alone(1.0, 3.0)
    loads.learn(["a"], 0, alone, math.log(5.0), 0.02)
    assert loads.demand("a") == before
    assert alone.step_s == pytest.approx(5.0, rel=0.01)


def test_hope_ends_where_nothing_can_be_learned_any_more():
    learned = Loads("mps", {"a": Load(busy=0.9, log_weight=math.log(0.8), sd=0.1)})
    guessed = Loads("mps")
    guessed.probed("a", 0.9)
    assert guessed.demand("a", HOPED).weight < 0.7 * guessed.demand("a").weight
    assert learned.demand("a", HOPED) == learned.demand("a")
    # Its trials differ all the same: those that are there are spared, and newcomers are feared.
    assert learned.demand("a", SPARED).weight < learned.demand("a").weight
    assert learned.demand("a", FEARED).weight > learned.demand("a").weight
