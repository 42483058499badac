"""The Wilcoxon rule, alone and against Optuna's and SciPy's."""

from __future__ import annotations

import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from smallhours.core.reasons import RuleCut
from smallhours.core.spec import Goal
from smallhours.rules.wilcoxon import WilcoxonRule, one_sided_p

#: Coarse enough for ties and zeros.
coarse = st.integers(-6, 6).map(lambda n: n / 4)
fine = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 6))


def run(rule: WilcoxonRule, trial: int, values: list[float]) -> list[RuleCut | None]:
    """Report folds to their end, whatever the rule says."""
    curve: dict[int, float] = {}
    said = []
    for step, value in enumerate(values, start=1):
        curve[step] = value
        rule.observe(trial, step, curve)
        said.append(rule.decide(trial, step, curve))
    rule.close(trial, curve, completed=True)
    return said


@pytest.mark.timeout(120)  # SciPy goes through all signs where there are ties
@settings(max_examples=120, deadline=None)
@given(st.lists(coarse, min_size=2, max_size=20) | st.lists(fine, min_size=2, max_size=60))
def test_p_is_as_scipy_has_it(differences):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = stats.wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
    assert one_sided_p(differences) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.timeout(60)  # SciPy goes through all signs where there are ties
@settings(max_examples=40, deadline=None)
@given(
    trials=st.lists(
        st.lists(coarse, min_size=8, max_size=8) | st.lists(fine, min_size=8, max_size=8),
        min_size=2,
        max_size=6,
    ),
    goal=st.sampled_from(Goal),
    p=st.sampled_from([0.05, 0.1, 0.3]),
    startup=st.integers(2, 5),
)
def test_it_decides_as_optunas_pruner_does(trials, goal, p, startup):
    """Fold for fold; a trial that is stopped tells its score to neither."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=p, n_startup_steps=startup)
    study = optuna.create_study(direction=goal.value, pruner=pruner)
    rule = WilcoxonRule(goal, p=p, startup=startup)
    for number, values in enumerate(trials):
        theirs = study.ask()
        curve: dict[int, float] = {}
        stopped = False
        for step, value in enumerate(values, start=1):
            theirs.report(value, step)
            curve[step] = value
            rule.observe(number, step, curve)
            stopped = rule.decide(number, step, curve) is not None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert stopped == theirs.should_prune(), (number, step)
            if stopped:
                break
        rule.close(number, curve, completed=not stopped)
        state = optuna.trial.TrialState.PRUNED if stopped else optuna.trial.TrialState.COMPLETE
        study.tell(theirs, None if stopped else sum(values) / len(values), state)


def test_a_clearly_worse_trial_is_stopped_with_its_evidence():
    rule = WilcoxonRule(Goal.MAXIMIZE, p=0.1)
    run(rule, 0, [0.9, 0.8, 0.7, 0.6])
    verdict = run(rule, 1, [0.8, 0.7, 0.6, 0.5])[3]
    assert verdict is not None
    assert verdict.competitors == ((0, pytest.approx(0.75)),)
    assert verdict.measures == {"p": 1 / 16}
    assert (verdict.compared, verdict.step) == (4, 4)


def test_running_means_are_taken_apart_into_folds():
    folds, means = WilcoxonRule(Goal.MINIMIZE), WilcoxonRule(Goal.MINIMIZE, running_mean=1)
    for trial, values in enumerate(([1.0, 2.0, 4.0, 8.0, 3.0], [1.5, 2.75, 5.0, 9.5, 4.25])):
        so_far = [sum(values[:n]) / n for n in range(1, len(values) + 1)]
        by_folds, by_means = run(folds, trial, values), run(means, trial, so_far)
        assert [cut is None for cut in by_folds] == [cut is None for cut in by_means]
    assert by_means[-1] is not None


def test_a_fold_that_is_no_number_stops_nothing():
    rule = WilcoxonRule(Goal.MINIMIZE)
    run(rule, 0, [1.0, 1.0, 1.0, 1.0, 1.0])
    assert run(rule, 1, [float("nan"), 9.0, 9.0, 9.0, 9.0]) == [None] * 5
