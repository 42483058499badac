"""Threshold, patience, and rules made of rules."""

from __future__ import annotations

import pytest

from fakes.core import make_spec
from smallhours import rules
from smallhours.core.rule import Rule
from smallhours.core.spec import Goal, Stopping
from smallhours.rules.patience import PatienceRule
from smallhours.rules.threshold import ThresholdRule

LOW = Stopping(rule="threshold", options={"limit": 0.5, "warmup": 1.0})
LOWER = Stopping(rule="threshold", options={"limit": 0.3, "warmup": 3.0})


def made(stopping: Stopping) -> Rule:
    return rules.make(make_spec(stopping=stopping))


def stops(rule: Rule, values: list[float], trial: int = 0) -> list[int]:
    """Return the steps at which the rule would stop the trial."""
    curve: dict[int, float] = {}
    said = []
    for step, value in enumerate(values, start=1):
        curve[step] = value
        rule.observe(trial, step, curve)
        if rule.decide(trial, step, curve) is not None:
            said.append(step)
    return said


def finish(rule: Rule, trial: int, values: list[float]) -> None:
    curve = dict(enumerate(values, start=1))
    rule.observe(trial, len(values), curve)
    rule.close(trial, curve, completed=True)


def test_the_threshold_wants_one_value_as_good_as_the_limit():
    rule = ThresholdRule(Goal.MINIMIZE, limit=0.5, warmup=2)
    assert stops(rule, [0.9, 0.8, 0.7, 0.5, 0.9]) == [3]
    verdict = rule.decide(0, 3, {1: 0.9, 2: 0.8, 3: 0.7})
    assert (verdict.value, verdict.threshold) == (0.7, 0.5)


def test_a_plateau_is_no_reason_to_stop_the_best():
    rule = PatienceRule(Goal.MINIMIZE, steps=3, warmup=0)
    assert stops(rule, [0.5] * 9) == []
    finish(rule, 1, [0.9, 0.7, 0.6])
    assert stops(rule, [0.5] * 9, trial=2) == []


def test_a_plateau_behind_a_completed_trial_is_a_stop():
    rule = PatienceRule(Goal.MAXIMIZE, steps=3, warmup=0)
    finish(rule, 0, [0.5, 0.7, 0.9])
    assert stops(rule, [0.5, 0.6, 0.6, 0.6, 0.6], trial=1) == [5]
    assert stops(rule, [0.5, 0.6, 0.6, 0.7, 0.7], trial=2) == []


def test_a_gain_within_min_delta_is_none():
    rule = PatienceRule(Goal.MAXIMIZE, steps=3, min_delta=0.1, warmup=0)
    finish(rule, 0, [0.5, 0.7, 0.9])
    assert stops(rule, [0.5, 0.55, 0.58, 0.6], trial=1) == [4]


def test_small_gains_add_up():
    rule = PatienceRule(Goal.MAXIMIZE, steps=3, min_delta=0.1, warmup=0)
    finish(rule, 0, [0.5, 0.7, 5.0])
    assert stops(rule, [0.5 + 0.06 * n for n in range(8)], trial=1) == []


def test_a_plateau_within_the_noise_of_the_best_goes_on():
    jitter = [0.9 + 0.1 * (-1) ** n for n in range(30)]
    rule = PatienceRule(Goal.MAXIMIZE, steps=3, warmup=0)
    finish(rule, 0, jitter)
    last = jitter[-1]
    assert stops(rule, [last - 0.05] * 6, trial=1) == []
    assert stops(rule, [last - 0.5] * 6, trial=2) != []


def test_any_of_the_rules_stops_a_trial():
    assert stops(made(Stopping(rule="any", parts=(LOWER, LOW))), [0.4] * 5) == [4, 5]
    assert stops(made(Stopping(rule="any", parts=(LOWER, LOW))), [0.6] * 5) == [2, 3, 4, 5]


def test_all_of_the_rules_must_agree_and_all_sign():
    rule = made(Stopping(rule="all", parts=(LOW, LOWER)))
    assert stops(rule, [0.4] * 5) == []
    assert stops(rule, [0.6] * 5) == [4, 5]
    verdict = rule.decide(0, 4, {4: 0.6})
    assert verdict.threshold == 0.5
    assert [other.threshold for other in verdict.agreed] == [0.3]


def test_a_rule_may_begin_later():
    rule = made(Stopping(rule="after", options={"step": 4.0}, parts=(LOW,)))
    assert stops(rule, [0.6] * 5) == [4, 5]


@pytest.mark.parametrize("name", ["any", "all", "after"])
def test_a_combination_of_nothing_is_refused(name):
    with pytest.raises((TypeError, ValueError)):
        made(Stopping(rule=name))


def test_a_combination_knows_whose_verdicts_it_may_give():
    asha = Stopping(rule="asha")
    rule = made(Stopping(rule="all", parts=(Stopping(rule="any", parts=(LOW, asha)), LOWER)))
    assert dict(rule.versions) == {"threshold": 1, "asha": 1}
