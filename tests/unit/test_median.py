"""The median rule, alone and against Optuna's."""

from __future__ import annotations

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from smallhours.core.spec import Goal
from smallhours.rules.median import MedianRule

finite = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 2))


def feed(rule: MedianRule, trial: int, values: list[float], *, completed: bool = True) -> None:
    curve: dict[int, float] = {}
    for step, value in enumerate(values, start=1):
        curve[step] = value
        rule.observe(trial, step, curve)
    rule.close(trial, curve, completed=completed)


def decide(rule: MedianRule, trial: int, values: list[float]):
    curve: dict[int, float] = {}
    verdict = None
    for step, value in enumerate(values, start=1):
        curve[step] = value
        rule.observe(trial, step, curve)
        verdict = rule.decide(trial, step, curve)
    return verdict


def test_nothing_is_stopped_before_enough_trials_completed():
    rule = MedianRule(Goal.MINIMIZE, warmup=0, startup=3)
    feed(rule, 0, [0.1])
    feed(rule, 1, [0.1])
    feed(rule, 2, [0.1], completed=False)
    assert decide(rule, 3, [9.0]) is None
    feed(rule, 4, [0.1])
    assert decide(rule, 5, [9.0]) is not None


def test_nothing_is_stopped_during_the_warm_up():
    rule = MedianRule(Goal.MINIMIZE, warmup=2, startup=1)
    feed(rule, 0, [0.1, 0.1, 0.1])
    assert decide(rule, 1, [9.0, 9.0]) is None
    assert decide(rule, 2, [9.0, 9.0, 9.0]) is not None


def test_an_equal_value_goes_on():
    rule = MedianRule(Goal.MAXIMIZE, warmup=0, startup=1)
    feed(rule, 0, [0.5])
    assert decide(rule, 1, [0.5]) is None


def test_a_good_value_earlier_on_keeps_a_trial():
    rule = MedianRule(Goal.MINIMIZE, warmup=0, startup=1)
    feed(rule, 0, [0.5, 0.4])
    assert decide(rule, 1, [0.3, 9.0]) is None


def test_after_going_back_to_a_checkpoint_later_values_do_not_count():
    rule = MedianRule(Goal.MINIMIZE, warmup=0, startup=1)
    feed(rule, 0, [0.5, 0.4, 0.3])
    curve = {1: 0.9, 2: 0.8, 3: 0.1}
    for step in (1, 2, 3):
        rule.observe(1, step, {s: curve[s] for s in curve if s <= step})
    # The second attempt goes on from step 1; step 3 of the first one was good.
    curve[2] = 0.8
    rule.observe(1, 2, curve)
    verdict = rule.decide(1, 2, curve)
    assert verdict is not None
    assert verdict.value == 0.8


def test_the_verdict_names_its_neighbours_best_first():
    rule = MedianRule(Goal.MAXIMIZE, warmup=0, startup=1)
    for trial, value in enumerate([0.1, 0.5, 0.9]):
        feed(rule, trial, [value])
    verdict = decide(rule, 3, [0.2])
    assert (verdict.value, verdict.threshold, verdict.compared) == (0.2, 0.5, 3)
    assert verdict.competitors == ((2, 0.9), (1, 0.5), (0, 0.1))


@settings(max_examples=150, deadline=None)
@given(
    curves=st.lists(st.lists(finite, min_size=1, max_size=6), min_size=1, max_size=9),
    outcomes=st.lists(st.booleans(), min_size=9, max_size=9),
    goal=st.sampled_from(Goal),
    warmup=st.integers(0, 3),
    startup=st.integers(1, 4),
)
def test_it_decides_as_optunas_pruner_does(curves, outcomes, goal, warmup, startup):
    """Step for step, on streams of trials that end complete or pruned."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)
    study = optuna.create_study(direction=goal.value, pruner=pruner)
    rule = MedianRule(goal, warmup=warmup, startup=startup, noise=0)
    for number, (values, completes) in enumerate(zip(curves, outcomes, strict=False)):
        theirs = study.ask()
        curve: dict[int, float] = {}
        for step, value in enumerate(values, start=1):
            theirs.report(value, step)
            curve[step] = value
            rule.observe(number, step, curve)
            stopped = rule.decide(number, step, curve) is not None
            assert stopped == theirs.should_prune(), (number, step)
        rule.close(number, curve, completed=completes)
        state = optuna.trial.TrialState.COMPLETE if completes else optuna.trial.TrialState.PRUNED
        study.tell(theirs, values[-1] if completes else None, state)


def test_huge_and_infinite_values_give_a_finite_threshold():
    for values in ([1e308, -1e308], [1e308, 1.7e308], [float("inf"), 0.5, 0.25]):
        rule = MedianRule(Goal.MINIMIZE, warmup=0, startup=2)
        for number, value in enumerate(values):
            feed(rule, number, [value])
        verdict = decide(rule, 9, [1.79e308])
        assert verdict is not None
        assert abs(verdict.threshold) < float("inf")
