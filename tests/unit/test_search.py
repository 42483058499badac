"""The search: proposals, and that a rebuilt search goes on as the unbroken one would."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Goal, Params, Sampler, StudySpec
from smallhours.errors import UsageError
from smallhours.search import Asking, PastTrial, Search

LR = Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True)
DROP = Dimension(name="drop", kind="float", low=0.0, high=0.55, step=0.1)
DEPTH = Dimension(name="depth", kind="int", low=1, high=6, step=2)
ACT = Dimension(name="act", kind="choice", choices=("relu", None, 3, False))
SPACE = (LR, DROP, DEPTH, ACT)
BASELINE: Params = {"lr": 0.05, "drop": 0.1, "depth": 3, "act": "relu"}
QUICK_TPE = Sampler(name="tpe", options={"n_startup_trials": 3})
RANDOM = Sampler(name="random")


def spec(**changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "s",
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": SPACE,
        "baseline": BASELINE,
        "trials": 40,
        "steps": 9,
        "sampler": QUICK_TPE,
    }
    return StudySpec(**{**values, **changes})


class Twin:
    """An unbroken search beside the history that a rebuilt one would be given."""

    def __init__(self, study: StudySpec) -> None:
        self.spec = study
        self.unbroken = Search(study)
        self.history: dict[int, PastTrial] = {}
        self.add(PastTrial(trial=0, params=BASELINE))

    def add(self, past: PastTrial) -> None:
        self.unbroken.add(past)
        self.history[past.trial] = past

    def ask(self, trial: int) -> Params:
        """Ask both, and keep what the unbroken one says."""
        rebuilt = Search(self.spec, reversed(list(self.history.values())))
        if self.spec.space is not None:
            params, dimensions = self.unbroken.ask(trial), None
            assert rebuilt.ask(trial) == params
        else:
            params, dimensions = self.unbroken.ask_with(trial, by_run)
            assert rebuilt.ask_with(trial, by_run) == (params, dimensions)
        self.history[trial] = PastTrial(trial=trial, params=params, dimensions=dimensions)
        return params

    def tell(self, trial: int, outcome: Outcome, value: float | None, step: int | None) -> None:
        self.unbroken.tell(trial, outcome, value, step)
        before = self.history[trial]
        self.history[trial] = replace(before, outcome=outcome, value=value, step=step)


def by_run(asking: Asking, trial: int) -> Params:
    """A space with a branch: which values are asked for depends on one of them."""
    act = asking.suggest("choice", "act", {"choices": ["relu", "gelu"]})
    width = asking.suggest("int", "log2_width", {"low": 2, "high": 6})
    params: Params = {"act": act, "width": 2 ** int(width or 0)}
    if act == "gelu" or trial % 3 == 0:
        params["lr"] = asking.suggest("float", "lr", {"low": 1e-4, "high": 1.0, "log": True})
    return params


VALUES = st.one_of(
    st.floats(min_value=0.0, max_value=10.0), st.sampled_from([math.nan, math.inf, -math.inf])
)
ENDS = st.one_of(
    st.tuples(st.just("complete"), VALUES, st.just(9)),
    st.tuples(st.just("pruned"), VALUES, st.integers(1, 8)),
    st.tuples(st.just("pruned"), st.none(), st.none()),
    st.tuples(st.sampled_from(["fail", "worst"]), st.none(), st.none()),
)
#: What may happen after each ask: tell one of the trials (again), skip a number (a confirmation).
MOVES = st.lists(
    st.lists(st.one_of(st.tuples(st.integers(0, 30), ENDS), st.just("skip")), max_size=3),
    min_size=1,
    max_size=9,
)


def play(study: StudySpec, moves: list[list[Any]]) -> None:
    twin, number = Twin(study), 0
    for after in moves:
        number += 1
        twin.ask(number)
        for move in after:
            if move == "skip":
                number += 1
                continue
            which, (outcome, value, step) = move
            known = sorted(twin.history)
            twin.tell(known[which % len(known)], outcome, value, step)
    twin.ask(number + 1)


class TestRebuilding:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(moves=MOVES, goal=st.sampled_from(Goal))
    def test_a_rebuilt_tpe_search_proposes_what_the_unbroken_one_does(
        self, moves: list[list[Any]], goal: Goal
    ) -> None:
        play(spec(goal=goal), moves)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(moves=MOVES)
    def test_a_rebuilt_define_by_run_search_proposes_what_the_unbroken_one_does(
        self, moves: list[list[Any]]
    ) -> None:
        play(spec(space=None), moves)

    @settings(max_examples=15, deadline=None)
    @given(moves=MOVES)
    def test_a_rebuilt_random_search_proposes_what_the_unbroken_one_does(
        self, moves: list[list[Any]]
    ) -> None:
        play(spec(sampler=RANDOM), moves)

    def test_history_matters_to_tpe_so_that_the_equalities_above_mean_something(self) -> None:
        good = [_told(n, "complete", abs(n - 7.0)) for n in range(12)]
        bad = [_told(n, "complete", -abs(n - 7.0)) for n in range(12)]
        assert Search(spec(), good).ask(12) != Search(spec(), bad).ask(12)

    def test_a_running_trial_counts(self) -> None:
        known = [_told(n, "complete", float(n)) for n in range(8)]
        running = [PastTrial(trial=n, params=_params(n)) for n in range(8, 20)]
        with_liar = {str(Search(spec(seed=s), known + running).ask(20)) for s in range(4)}
        without = {str(Search(spec(seed=s), known).ask(20)) for s in range(4)}
        assert with_liar != without

    def test_values_that_nobody_asked_for_do_not_count(self) -> None:
        """Trials 4 to 9 run without `y`, which all ended ones have: TPE draws one for them."""

        def define(asking: Asking, trial: int) -> None:
            asking.suggest("float", "x", {"low": 0.0, "high": 1.0})
            if trial < 4 or trial > 9:
                asking.suggest("float", "y", {"low": 0.0, "high": 1.0})

        unbroken, history = Search(spec(space=None)), []
        for trial in range(10):
            params, dimensions = unbroken.ask_with(trial, define)
            past = PastTrial(trial=trial, params=params, dimensions=dimensions)
            if trial < 4:
                unbroken.tell(trial, "complete", float(trial))
                past = replace(past, outcome="complete", value=float(trial))
            history.append(past)
        rebuilt = Search(spec(space=None), history)
        assert rebuilt.ask_with(10, define) == unbroken.ask_with(10, define)

    def test_an_earlier_number_that_failed_to_be_proposed_is_asked_again(self) -> None:
        twin = Twin(spec(space=None))

        def broken(asking: Asking, trial: int) -> Params:
            asking.suggest("int", "log2_width", {"low": 2, "high": 6})
            raise UsageError("no such file")

        with pytest.raises(UsageError, match="no such file"):
            twin.unbroken.ask_with(1, broken)
        twin.ask(2)
        twin.ask(1)
        twin.tell(1, "complete", 0.5, 9)
        twin.ask(3)


def _params(number: int) -> Params:
    return {"lr": 0.01 * (number + 1), "drop": 0.1, "depth": 1 + 2 * (number % 3), "act": None}


def _told(number: int, outcome: Outcome, value: float | None, step: int = 9) -> PastTrial:
    params = _params(number)
    return PastTrial(trial=number, params=params, outcome=outcome, value=value, step=step)


def standing(search: Search) -> list[tuple[str, float | None, dict[int, float]]]:
    """What Optuna holds of each trial."""
    return (search._mirror or search._mirrored()).standing()


class TestTelling:
    def make(self, goal: Goal = Goal.MINIMIZE) -> Search:
        return Search(spec(goal=goal), [PastTrial(trial=n, params=_params(n)) for n in range(4)])

    def test_worst_is_stopped_without_a_value_once_another_trial_has_one(self) -> None:
        search = self.make()
        search.tell(0, "worst", None)
        search.tell(1, "complete", math.nan)
        assert standing(search)[:2] == [("FAIL", None, {})] * 2
        search.tell(2, "pruned", 7.0, 3)
        assert standing(search)[:2] == [("PRUNED", None, {})] * 2
        search.tell(3, "worst", None)
        assert standing(search)[2:] == [("PRUNED", 7.0, {3: 7.0}), ("PRUNED", None, {})]
        search.tell(2, "fail", None)
        assert standing(search) == [("FAIL", None, {})] * 4

    @pytest.mark.parametrize(("goal", "worst"), [(Goal.MINIMIZE, 7.0), (Goal.MAXIMIZE, 0.5)])
    def test_a_gaussian_process_is_shown_worst_as_the_worst_value(
        self, goal: Goal, worst: float
    ) -> None:
        study = spec(goal=goal, sampler=Sampler(name="gp"))
        search = Search(study, [PastTrial(trial=n, params=_params(n)) for n in range(3)])
        search.tell(0, "worst", None)
        assert standing(search)[0] == ("FAIL", None, {})
        search.tell(1, "complete", 0.5)
        search.tell(2, "pruned", 7.0, 3)
        assert standing(search)[0] == ("COMPLETE", worst, {})

    def test_a_complete_trial_without_a_finite_value_counts_as_worst(self) -> None:
        search = self.make()
        for trial, value in enumerate([2.0, math.nan, math.inf, -math.inf]):
            search.tell(trial, "complete", value)
        assert standing(search) == [("COMPLETE", 2.0, {})] + [("PRUNED", None, {})] * 3

    def test_a_pruned_nan_ranks_last_at_its_step(self) -> None:
        search = self.make()
        search.tell(0, "pruned", math.nan, 4)
        state, value, steps = standing(search)[0]
        assert (state, value) == ("PRUNED", None)
        assert list(steps) == [4]
        assert math.isnan(steps[4])

    def test_a_trial_may_be_told_again(self) -> None:
        search = self.make()
        search.tell(0, "pruned", 0.9, 3)
        search.tell(0, "complete", 0.2, 9)
        assert standing(search)[0] == ("COMPLETE", 0.2, {})

    def test_telling_the_same_twice_changes_nothing(self) -> None:
        search = self.make()
        search.tell(0, "complete", 0.2, 9)
        search.tell(0, "complete", 0.2, 9)
        assert search._mirror is not None

    def test_a_live_tell_and_a_rebuild_hold_the_same(self) -> None:
        search = self.make()
        history = []
        ends: list[tuple[Outcome, float | None]] = [
            ("complete", 0.5), ("pruned", 0.7), ("fail", None), ("worst", None)
        ]  # fmt: skip
        for trial, (outcome, value) in enumerate(ends):
            search.tell(trial, outcome, value, 5)
            history.append(_told(trial, outcome, value, 5))
        assert search._mirror is not None, "otherwise this test compares a rebuild with itself"
        assert standing(search) == standing(Search(spec(), history))


class TestAsking:
    def test_every_value_lies_in_its_dimension(self) -> None:
        search = Search(spec(sampler=Sampler(name="random")))
        for trial in range(60):
            params = search.ask(trial)
            assert list(params) == ["lr", "drop", "depth", "act"]
            assert 1e-4 <= float(params["lr"] or 0) <= 1.0
            assert params["drop"] in (0.0, 0.1, 0.2, pytest.approx(0.3), 0.4, 0.5)
            assert params["depth"] in (1, 3, 5)
            assert isinstance(params["depth"], int)
            assert params["act"] in ("relu", None, 3, False)

    def test_seeds_differ_by_study_and_by_trial(self) -> None:
        seen = {str(Search(spec(seed=seed)).ask(trial)) for seed in (0, 1) for trial in (1, 2)}
        assert len(seen) == 4

    def test_tpe_finds_the_better_half(self) -> None:
        search = Search(spec(sampler=Sampler()))
        lrs = []
        for trial in range(50):
            lr = float(search.ask(trial)["lr"] or 0)
            lrs.append(abs(math.log10(lr) + 2))
            search.tell(trial, "complete", lrs[-1])
        assert sum(lrs[-15:]) < 0.5 * sum(lrs[:15])

    def test_a_running_trial_asked_for_again_gets_the_same_proposal(self) -> None:
        search = Search(spec())
        first = search.ask(3)
        search.ask(4)
        assert search.ask(3) == first

    def test_a_name_asked_twice_gives_one_value(self) -> None:
        def define(asking: Asking, trial: int) -> None:
            options = {"low": 0.0, "high": 1.0, "step": None}
            assert asking.suggest("float", "x", options) == asking.suggest("float", "x", options)
            with pytest.raises(UsageError, match=r"'x'.*twice"):
                asking.suggest("float", "x", {"low": 0.0, "high": 2.0})

        params, dimensions = Search(spec(space=None)).ask_with(0, define)
        assert list(params) == ["x"]
        assert [d.name for d in dimensions] == ["x"]

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("float", {"low": 2.0, "high": 1.0}),
            ("float", {"low": 0.0, "high": 1.0, "log": True}),
            ("float", {"low": 0.0}),
            ("float", {"low": 0.0, "high": 1.0, "step": 0.0}),
            ("float", {"low": 0.0, "high": 1.0, "stpe": 0.1}),
            ("int", {"low": "a", "high": 3}),
            ("choice", {"choices": []}),
            ("enum", {"choices": [1]}),
        ],
    )
    def test_a_wrong_dimension_is_refused_by_name(self, kind: str, options: dict[str, Any]) -> None:
        def define(asking: Asking, trial: int) -> None:
            asking.suggest(kind, "width", options)

        with pytest.raises(UsageError, match="parameter 'width'"):
            Search(spec(space=None)).ask_with(0, define)

    def test_changing_choices_between_trials_are_refused_by_name(self) -> None:
        def define(asking: Asking, trial: int) -> None:
            asking.suggest("choice", "act", {"choices": list(range(trial + 1))})

        search = Search(spec(space=None))
        search.ask_with(0, define)
        with pytest.raises(UsageError, match="parameter 'act'"):
            search.ask_with(1, define)

    def test_what_is_derived_from_a_suggestion_needs_its_own_name(self) -> None:
        def define(asking: Asking, trial: int) -> Params:
            return {"width": 2 ** int(asking.suggest("int", "width", {"low": 2, "high": 6}) or 0)}

        with pytest.raises(UsageError, match="a name of its own"):
            Search(spec(space=None)).ask_with(0, define)

    def test_a_baseline_of_unknown_dimensions_is_left_out(self) -> None:
        search = Search(spec(space=None))
        search.add(PastTrial(trial=0, params={"act": "relu", "width": 16}))
        search.tell(0, "complete", 0.5)
        assert standing(search) == [("FAIL", None, {})]
        search.ask_with(1, by_run)


def test_importing_the_search_imports_no_library_that_searches() -> None:
    heavy = "{'optuna', 'scipy', 'cmaes', 'numpy', 'torch'}"
    code = f"import sys, smallhours.search_thread; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_thousand_trials_rebuild_quickly() -> None:
    past = [_told(n, "complete", n / 1000) for n in range(50)]
    history = [
        PastTrial(trial=n, params=past[n % 50].params, outcome="complete", value=n / 1000)
        for n in range(1000)
    ]
    start = time.perf_counter()
    Search(spec(), history)
    assert time.perf_counter() - start < 2.0, "measured: 0.1 s"
