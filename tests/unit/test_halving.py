"""Successive halving in brackets, alone and against the form that waits."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from smallhours.core.spec import Goal
from smallhours.rules.halving import HalvingRule

STEPS = 30


def play(rule: HalvingRule, curves: list[list[float]], rng: random.Random) -> dict[int, int]:
    """Let the trials report in any order until each is stopped or over; return who was stopped."""
    seen: list[dict[int, float]] = [{} for _ in curves]
    stopped: dict[int, int] = {}
    running = list(range(len(curves)))
    while running:
        trial = rng.choice(running)
        step = len(seen[trial]) + 1
        seen[trial][step] = curves[trial][step - 1]
        rule.observe(trial, step, seen[trial])
        cut = rule.decide(trial, step, seen[trial]) if step < STEPS else None
        if cut is not None:
            stopped[trial] = cut.rung
        if cut is not None or step == STEPS:
            running.remove(trial)
            rule.close(trial, seen[trial], completed=cut is None)
    return stopped


def survivors(curves: list[list[float]], trials: list[int], eta: int, rungs: list[int]) -> set[int]:
    """Return who goes on to the end where everybody waits for everybody (goal: maximize)."""
    left = trials
    for rung in rungs:
        ranked = sorted((curves[trial][rung - 1] for trial in left), reverse=True)
        cutoff = ranked[max(1, len(left) // eta) - 1]
        left = [trial for trial in left if curves[trial][rung - 1] >= cutoff]
    return set(left)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), eta=st.integers(2, 4), bracket=st.integers(4, 12))
def test_nobody_is_stopped_whom_the_waiting_form_lets_go_on(seed, eta, bracket):
    """Trials that are at their end before the others came can't be stopped any more."""
    rng = random.Random(seed)
    count = rng.randrange(bracket, 2 * bracket)
    curves = [[rng.random() for _ in range(STEPS)] for _ in range(count)]
    rule = HalvingRule(Goal.MAXIMIZE, STEPS, count, eta=eta, grace=2, bracket=bracket)
    joined: list[int] = []
    observe = rule.observe

    def noted(trial, step, curve):
        if trial not in joined:
            joined.append(trial)
        observe(trial, step, curve)

    rule.observe = noted  # type: ignore[method-assign]
    stopped = play(rule, curves, rng)
    rungs = [2 * eta**n for n in range(10) if 2 * eta**n < STEPS]
    for first in range(0, count, bracket):
        kept = survivors(curves, joined[first : first + bracket], eta, rungs)
        assert not kept & set(stopped)


def test_trials_side_by_side_are_halved_as_if_they_had_waited():
    rule = HalvingRule(Goal.MINIMIZE, STEPS, 9, eta=3, grace=3, bracket=9)
    curves = [{} for _ in range(9)]
    stopped = {}
    for step in range(1, STEPS):
        for trial in range(9):
            if trial not in stopped:
                curves[trial][step] = float(trial)
                rule.observe(trial, step, curves[trial])
        for trial in range(9):
            if trial not in stopped and rule.decide(trial, step, curves[trial]):
                stopped[trial] = step
                rule.close(trial, curves[trial], completed=False)
    assert stopped == dict.fromkeys(range(3, 9), 3) | {1: 9, 2: 9}


def test_nobody_is_judged_before_the_last_of_the_bracket_has_come():
    rule = HalvingRule(Goal.MINIMIZE, STEPS, 3, eta=3, grace=3, bracket=3)
    curve = dict.fromkeys(range(1, 6), 9.0)
    rule.observe(0, 5, curve)
    rule.observe(1, 3, {3: 1.0})
    assert rule.decide(0, 5, curve) is None
    rule.observe(2, 3, {3: 2.0})
    verdict = rule.decide(0, 5, curve)
    assert verdict is not None
    assert (verdict.rank, verdict.of, verdict.cutoff, verdict.competitors) == (
        3,
        3,
        1.0,
        ((1, 1.0),),
    )


def test_a_trial_that_is_over_is_not_waited_for():
    rule = HalvingRule(Goal.MINIMIZE, STEPS, 3, eta=2, grace=3, bracket=3)
    rule.observe(0, 3, {3: 9.0})
    rule.observe(1, 3, {3: 1.0})
    rule.observe(2, 1, {1: 5.0})
    assert rule.decide(0, 3, {3: 9.0}) is None
    rule.close(2, {1: 5.0}, completed=False)
    assert rule.decide(0, 3, {3: 9.0}) is not None


def test_the_last_bracket_is_as_large_as_the_study_leaves_it():
    rule = HalvingRule(Goal.MINIMIZE, STEPS, 5, eta=2, grace=3, bracket=3)
    for trial in range(5):
        rule.observe(trial, 3, {3: float(trial)})
    assert rule.decide(4, 3, {3: 4.0}) is not None
