"""Optimistic extrapolation: what stops a trial, what keeps it, and what the verdict says."""

from __future__ import annotations

import math
import random

import pytest

from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal
from smallhours.rules.extrapolate import ExtrapolateRule

STEPS = 40


def saturating(end: float, pace: float = 5.0, steps: int = STEPS) -> list[float]:
    """A curve that rises to `end` and levels out."""
    return [end * (1 - math.exp(-step / pace)) for step in range(1, steps + 1)]


def run(rule: ExtrapolateRule, trial: int, values: list[float]) -> RuleCut | None:
    """Report until the rule stops the trial or the values end; close it if it was whole."""
    curve: dict[int, float] = {}
    for step, value in enumerate(values, start=1):
        curve[step] = value
        rule.observe(trial, step, curve)
        cut = rule.decide(trial, step, curve) if step < STEPS else None
        if cut is not None:
            rule.close(trial, curve, completed=False)
            return cut
    rule.close(trial, curve, completed=len(values) == STEPS)
    return None


def rule_with_a_field(goal: Goal = Goal.MAXIMIZE, **options: float) -> ExtrapolateRule:
    """A rule that has seen one trial at 0.9 to its end, and two that are over."""
    sign = 1 if goal is Goal.MAXIMIZE else -1
    rule = ExtrapolateRule(goal, STEPS, **options)
    for trial, end in enumerate((0.9, 0.8, 0.7)):
        run(rule, trial, [sign * value for value in saturating(end)])
    return rule


@pytest.mark.parametrize("goal", Goal)
def test_a_trial_that_levels_out_far_below_the_best_is_stopped_early(goal):
    sign = 1 if goal is Goal.MAXIMIZE else -1
    cut = run(rule_with_a_field(goal), 9, [sign * value for value in saturating(0.2, 2.0)])
    assert cut is not None
    assert cut.step < STEPS / 2
    assert cut.threshold == pytest.approx(sign * saturating(0.9)[-1])
    assert cut.competitors[0] == (0, cut.threshold)
    assert goal.better(cut.threshold, cut.value)
    assert goal.better(cut.value, cut.measures["now"]) or cut.value == cut.measures["now"]
    assert cut.rank == cut.of == 4


def test_the_best_trial_is_never_stopped():
    assert run(rule_with_a_field(), 9, saturating(0.95)) is None


def test_nothing_is_stopped_while_there_is_nobody_to_catch_up_with():
    assert run(ExtrapolateRule(Goal.MAXIMIZE, STEPS), 0, [0.1] * STEPS) is None


def test_a_rise_that_quickens_keeps_a_trial():
    late = [0.001 * 1.16**step for step in range(1, STEPS + 1)]
    assert run(rule_with_a_field(), 9, late[:-1]) is None


def test_a_trial_that_could_still_come_there_goes_on():
    steady = [0.024 * step for step in range(1, STEPS + 1)]
    assert run(rule_with_a_field(), 9, steady[:-1]) is None


def test_a_trial_that_jitters_widely_is_given_more_time():
    rng = random.Random(1)
    calm = [0.6 + rng.gauss(0, 0.001) for _ in range(STEPS)]
    wild = [0.6 + rng.gauss(0, 0.15) for _ in range(STEPS)]
    calm_cut = run(rule_with_a_field(warmup=12), 9, calm)
    wild_cut = run(rule_with_a_field(warmup=12), 9, wild)
    assert calm_cut is not None
    assert wild_cut is None or wild_cut.step > calm_cut.step


def test_a_difference_within_the_noise_stops_nothing():
    rng = random.Random(2)
    noisy = [0.5 + rng.gauss(0, 0.05) for _ in range(STEPS)]
    rule = ExtrapolateRule(Goal.MAXIMIZE, STEPS)
    for trial in range(3):
        run(rule, trial, noisy)
    assert run(rule, 9, [noisy[-1] - 0.01] * (STEPS - 1)) is None
    assert run(rule, 10, [noisy[-1] - 0.5] * (STEPS - 1)) is not None


def test_who_is_among_the_best_third_at_a_step_goes_on():
    """Its forecast is far below the leader's end, but all others have been worse so far."""
    rule = ExtrapolateRule(Goal.MAXIMIZE, STEPS)
    late = [0.0] * 20 + [0.05 * step for step in range(1, 21)]
    for trial in range(4):
        run(rule, trial, late)
    assert run(rule, 9, [0.1] * 20) is None


def test_nothing_is_stopped_in_the_warm_up():
    cut = run(rule_with_a_field(warmup=20), 9, [0.0] * STEPS)
    assert cut is not None
    assert cut.step == 21
    long = ExtrapolateRule(Goal.MAXIMIZE, 1000, warmup=0)
    values = dict.fromkeys(range(1, 1001), 1.0)
    long.observe(0, 1000, values)
    long.close(0, values, completed=True)
    for trial in (1, 2, 3):
        curve: dict[int, float] = {}
        for step in range(1, 52):
            curve[step] = 0.0
            long.observe(trial, step, curve)
            assert (long.decide(trial, step, curve) is None) == (step <= 50)


def test_a_running_trial_that_is_ahead_is_one_to_catch_up_with():
    rule = ExtrapolateRule(Goal.MAXIMIZE, STEPS)
    ahead: dict[int, float] = {}
    for step in range(1, 21):
        ahead[step] = saturating(0.9)[step - 1]
        rule.observe(0, step, ahead)
    run(rule, 1, saturating(0.5)[:10])
    cut = run(rule, 2, [0.05] * 30)
    assert cut is not None
    assert cut.competitors[0][0] == 0


def test_a_leader_of_another_length_is_compared_at_the_same_share_of_its_own():
    """At its half, step 10, the short leader had 0.45; at step 20 it had ended with 0.9."""
    rule = ExtrapolateRule(Goal.MAXIMIZE, STEPS)
    short: Curve = {step: 0.045 * step for step in range(1, 21)}
    rule.observe(0, 20, short)
    rule.close(0, short, completed=True)
    for trial in (1, 2):
        run(rule, trial, [0.7] * 30)
    curve: dict[int, float] = {}
    for step in range(1, 21):
        curve[step] = 0.5
        rule.observe(9, step, curve)
    assert rule.decide(9, 20, curve) is None
    for trial in (1, 2):
        run(rule, trial + 10, [0.7] * 30)
    curve = {}
    for step in range(1, 21):
        curve[step] = 0.3
        rule.observe(10, step, curve)
    cut = rule.decide(10, 20, curve)
    assert cut is not None
    assert cut.measures["leader then"] < 0.5


def test_reports_of_later_steps_do_not_count_after_going_back():
    straight, back = rule_with_a_field(), rule_with_a_field()
    curve: dict[int, float] = {}
    for step in range(1, 16):
        curve[step] = 0.3 if step < 9 else 0.89
        back.observe(9, step, curve)
    for step in range(8, 16):
        curve[step] = 0.3
        back.observe(9, step, curve)
    plain = dict.fromkeys(range(1, 16), 0.3)
    for step in plain:
        straight.observe(9, step, dict.fromkeys(range(1, step + 1), 0.3))
    assert back.decide(9, 15, curve) == straight.decide(9, 15, plain) is not None


def test_the_best_value_counts_where_it_is_the_score():
    fallen = [0.95] + [0.2] * (STEPS - 2)
    by_last, by_best = rule_with_a_field(), ExtrapolateRule(Goal.MAXIMIZE, STEPS, best_counts=True)
    for trial, end in enumerate((0.9, 0.8, 0.7)):
        run(by_best, trial, saturating(end))
    assert run(by_last, 9, fallen) is not None
    assert run(by_best, 9, fallen) is None


def test_huge_values_stop_nothing_and_break_nothing():
    rule = rule_with_a_field()
    assert run(rule, 9, [(-1) ** n * 1.7e308 for n in range(STEPS - 1)]) is None


def test_values_that_are_no_numbers_count_nowhere():
    """Diverged trials, one of which was the best, change neither the field nor a verdict."""
    plain, among_diverged = rule_with_a_field(), rule_with_a_field()
    for trial, bad in enumerate((math.nan, math.inf, -math.inf), start=4):
        curve = {1: bad}
        among_diverged.observe(trial, 1, curve)
        assert among_diverged.decide(trial, 1, curve) is None
        among_diverged.close(trial, curve, completed=False)
    curve = {}
    for step, value in enumerate([0.1] * 9 + [math.nan], start=1):
        curve[step] = value
        among_diverged.observe(7, step, curve)
    assert among_diverged.decide(7, 10, curve) is None
    among_diverged.close(7, curve, completed=False)
    assert run(plain, 7, [0.1] * 9) is not None
    cut = run(among_diverged, 9, [0.2] * STEPS)
    assert cut is not None
    assert cut == run(plain, 9, [0.2] * STEPS)
    assert (cut.rank, cut.of) == (4, 5)
    numbers = [cut.value, cut.threshold, *(value for _, value in cut.competitors)]
    assert all(map(math.isfinite, numbers))


def test_a_trial_goes_on_from_a_checkpoint_after_it_diverged():
    rule = rule_with_a_field()
    curve = {1: 0.1, 2: 0.1, 3: math.nan}
    for step in curve:
        rule.observe(9, step, {at: curve[at] for at in range(1, step + 1)})
    for step in range(2, 20):
        curve[step] = 0.1
        rule.observe(9, step, curve)
    assert rule.decide(9, 19, curve) is not None


def test_what_seeds_change_stops_nothing_once_it_is_known():
    wide = rule_with_a_field()
    wide.observe_noise(1.0)
    assert run(rule_with_a_field(), 9, [0.2] * (STEPS - 1)) is not None
    assert run(wide, 9, [0.2] * (STEPS - 1)) is None


def test_less_caution_stops_sooner():
    slow = [0.6 * math.log(1 + step) / math.log(1 + STEPS) for step in range(1, STEPS + 1)]
    rng = random.Random(3)
    slow = [value + rng.gauss(0, 0.05) for value in slow]
    steps = []
    for caution in (2.0, 1.0, 0.25):
        cut = run(rule_with_a_field(caution=caution), 9, slow)
        steps.append(STEPS if cut is None else cut.step)
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > steps[-1]
