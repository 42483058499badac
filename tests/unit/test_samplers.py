"""The samplers: which studies each takes, and that a rebuilt search goes on as the unbroken one."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallhours import Choice, Float, Study
from smallhours.core import facts as f
from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Goal, Params, Sampler, StudySpec
from smallhours.core.trial import Role
from smallhours.errors import StudyFileError, UsageError
from smallhours.sampling import axes
from smallhours.sampling.grid import Grid, GridError
from smallhours.sampling.sequence import spread
from smallhours.search import PastTrial, Search

LR = Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True)
DROP = Dimension(name="drop", kind="float", low=0.0, high=0.5, step=0.1)
DEPTH = Dimension(name="depth", kind="int", low=1, high=7, step=2)
WIDTH = Dimension(name="width", kind="int", low=4, high=512, log=True)
DECAY = Dimension(name="decay", kind="float", low=-1.0, high=1.0)
ACT = Dimension(name="act", kind="choice", choices=("relu", None, 3, False))
ONLY = Dimension(name="only", kind="choice", choices=("sgd",))
NUMBERS = (LR, DROP, DEPTH, WIDTH, DECAY, ONLY)
BASELINE: Params = {
    "lr": 0.05, "drop": 0.1, "depth": 3, "width": 64, "decay": 0.25, "only": "sgd", "act": "relu",
}  # fmt: skip


def spec(name: str, space: tuple[Dimension, ...] | None = None, **changes: Any) -> StudySpec:
    options = changes.pop("options", {})
    if space is None:
        space = NUMBERS if name == "cmaes" else (*NUMBERS, ACT)
    values: dict[str, Any] = {
        "name": "s",
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": space,
        "baseline": {axis.name: BASELINE[axis.name] for axis in space},
        "trials": 40,
        "steps": 9,
        "sampler": Sampler(name=name, options=options),
    }
    return StudySpec(**{**values, **changes})


def by_run(name: str) -> StudySpec:
    """A study whose space is a function."""
    return msgspec.structs.replace(spec("tpe"), space=None, sampler=Sampler(name=name))


def through_the_ledger(past: PastTrial) -> PastTrial:
    """What a later engine reads of a trial."""
    fact = f.TrialCreated(
        study=1, trial=past.trial, params=past.params, seed=0, role=Role.SEARCH,
        attrs=dict(past.attrs),
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(fact), type=f.TrialCreated)
    return replace(past, params=read.params, attrs=read.attrs)


@dataclass
class Night:
    """A study whose trials end in an order and in ways of their own, a few running at a time."""

    study: StudySpec
    seed: int = 0
    slots: int = 3
    #: How often trials end complete, stopped, failed, diverged.
    ends: tuple[int, int, int, int] = (6, 4, 1, 1)
    history: dict[int, PastTrial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.search = Search(self.study)
        self.search.add(PastTrial(trial=0, params=self.study.baseline))
        self.history[0] = PastTrial(trial=0, params=self.study.baseline)

    def rebuilt(self) -> Search:
        """The search that an engine would build that was started just now."""
        kept = [through_the_ledger(past) for past in self.history.values()]
        self.chance.shuffle(kept)
        return Search(self.study, kept)

    def ask(self, number: int) -> PastTrial:
        params = self.search.ask(number)
        past = PastTrial(trial=number, params=params, attrs=self.search.attrs(number))
        self.history[number] = past
        return past

    def end_one(self, value_of: Any) -> None:
        """Let one of the running trials end, mostly well."""
        running = [past.trial for past in self.history.values() if past.outcome is None]
        trial = self.chance.choice(running)
        outcome: Outcome = self.chance.choices(("complete", "pruned", "fail", "worst"), self.ends)[
            0
        ]
        step = 9 if outcome == "complete" else self.chance.randint(1, 8)
        value = value_of(self.history[trial].params) if outcome in ("complete", "pruned") else None
        if value is not None and self.chance.random() < 0.05:
            value = math.nan
        self.search.tell(trial, outcome, value, step)
        past = self.history[trial]
        self.history[trial] = replace(past, outcome=outcome, value=value, step=step)

    def numbers(self, count: int, value_of: Any) -> Iterator[int]:
        """Trial numbers one after the other; between them trials end as slots are needed."""
        for number in range(1, count + 1):
            running = sum(past.outcome is None for past in self.history.values())
            for _ in range(running - self.slots + 1):
                self.end_one(value_of)
            yield number


def loss(params: Params) -> float:
    """Best at lr 0.01, depth 5, decay -0.5."""
    lr, depth, decay = (float(params[name] or 0) for name in ("lr", "depth", "decay"))
    return (math.log10(lr) + 2) ** 2 + (depth - 5) ** 2 / 4 + (decay + 0.5) ** 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "options", "goal"),
    [
        ("qmc", {}, Goal.MINIMIZE),
        ("qmc", {"qmc_type": "halton", "scramble": False}, Goal.MINIMIZE),
        ("cmaes", {}, Goal.MINIMIZE),
        ("cmaes", {"popsize": 4, "sigma0": 0.4}, Goal.MAXIMIZE),
        ("grid", {"points": 4}, Goal.MINIMIZE),
        ("tpe", {"n_startup_trials": 4}, Goal.MINIMIZE),
        ("random", {}, Goal.MINIMIZE),
    ],
)
def test_a_rebuilt_search_goes_on_as_the_unbroken_one_at_every_point(
    name: str, options: dict[str, Any], goal: Goal, seed: int
) -> None:
    night = Night(spec(name, options=options, goal=goal, seed=seed), seed)
    for number in night.numbers(36, loss):
        rebuilt = night.rebuilt()
        asked = night.ask(number)
        assert rebuilt.ask(number) == asked.params
        assert rebuilt.attrs(number) == asked.attrs
        # The trial after next, with one more running: asked of both in the same order.
        if number % 7 == 0:
            assert rebuilt.ask(number + 1) == Search(
                night.study, night.history.values()
            ).ask(number + 1)  # fmt: skip


REBUILD = """
import sys, msgspec
from smallhours.core.spec import StudySpec
from smallhours.search import PastTrial, Search
spec, history = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[StudySpec, list[PastTrial]])
search = Search(spec, history)
asked = [(search.ask(number), dict(search.attrs(number))) for number in (31, 32, 33)]
sys.stdout.buffer.write(msgspec.json.encode(asked))
"""


@pytest.mark.processes
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["qmc", "cmaes", "grid", "tpe"])
def test_a_search_rebuilt_in_a_fresh_process_proposes_the_same(name: str) -> None:
    night = Night(spec(name, options={"points": 4} if name == "grid" else {}))
    for number in night.numbers(30, lambda params: round(loss(params), 6)):
        night.ask(number)
    history = [replace(past, value=finite(past.value)) for past in night.history.values()]
    unbroken = Search(night.study, history)
    asked = [(unbroken.ask(number), dict(unbroken.attrs(number))) for number in (31, 32, 33)]
    child = subprocess.run(
        [sys.executable, "-c", REBUILD],
        input=msgspec.json.encode((night.study, history)),
        capture_output=True,
        check=True,
    )
    assert msgspec.json.decode(child.stdout, type=list[tuple[Params, dict[str, Any]]]) == asked


def finite(value: float | None) -> float | None:
    """The value as JSON can have it."""
    return None if value is None or math.isnan(value) else value


@pytest.mark.parametrize("name", ["cmaes", "tpe"])
def test_what_was_told_matters_so_that_the_equalities_above_mean_something(name: str) -> None:
    ends = []
    for sign in (1, -1):
        night = Night(spec(name, options={} if name == "cmaes" else {"n_startup_trials": 4}))
        for number in night.numbers(30, lambda params, sign=sign: sign * loss(params)):
            night.ask(number)
        ends.append(night.search.ask(31))
    assert ends[0] != ends[1]


@pytest.mark.parametrize("name", ["qmc", "cmaes", "grid", "gp"])
def test_every_value_lies_in_its_dimension(name: str) -> None:
    night = Night(spec(name, options={"points": 4} if name == "grid" else {}))
    for number in night.numbers(30 if name != "gp" else 3, loss):
        params = night.ask(number).params
        assert list(params) == [axis.name for axis in night.study.space or ()]
        assert 1e-4 <= float(params["lr"] or 0) <= 1.0
        assert params["drop"] in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
        assert (type(params["depth"]), params["depth"] in (1, 3, 5, 7)) == (int, True)
        assert isinstance(params["width"], int)
        assert 4 <= params["width"] <= 512
        assert -1.0 <= float(params["decay"] or 0) <= 1.0
        assert params["only"] == "sgd"
        assert params.get("act") in ("relu", None, 3, False)


@pytest.mark.parametrize("name", ["qmc", "cmaes", "grid"])
def test_the_study_s_seed_counts(name: str) -> None:
    options = {"points": 4} if name == "grid" else {}
    asked = [Search(spec(name, options=options, seed=seed)).ask(1) for seed in range(4)]
    assert len({str(params) for params in asked}) > 1


class TestEvolution:
    def test_it_finds_the_better_part_of_the_space(self) -> None:
        night = Night(spec("cmaes"), slots=4, ends=(1, 0, 0, 0))
        losses = [loss(night.ask(number).params) for number in night.numbers(120, loss)]
        assert sum(losses[-20:]) < 0.5 * sum(losses[:20])

    def test_a_trial_that_ended_otherwise_later_is_learned_from_anew(self) -> None:
        """Taken up again, a stopped trial of the first generation turns out to be the best."""
        night = Night(spec("cmaes", options={"popsize": 4}), slots=1)
        for number in night.numbers(12, loss):
            night.ask(number)
        told = next(past.attrs["told"] for past in night.history.values() if "told" in past.attrs)
        before = night.rebuilt().ask(13)
        for trial in told[-1:]:
            night.search.tell(trial, "complete", -100.0, 9)
            past = night.history[trial]
            night.history[trial] = replace(past, outcome="complete", value=-100.0, step=9)
        after = night.search.ask(13)
        assert after == night.rebuilt().ask(13)
        assert after != before

    def test_stopped_trials_rank_behind_complete_ones_by_how_far_they_came(self) -> None:
        search = Search(spec("cmaes", options={"popsize": 4}))
        for trial in range(1, 5):
            search.ask(trial)
        search.tell(1, "pruned", 0.0, 2)
        search.tell(2, "complete", 5.0, 9)
        search.tell(3, "worst", None)
        search.tell(4, "pruned", 9.0, 7)
        search.ask(5)
        assert search.attrs(5)["generation"] == 1
        learned = search._own._cached[1]  # type: ignore[union-attr]
        assert learned == [[search.attrs(trial)["x"] for trial in (2, 4, 1, 3)]]

    def test_a_failed_trial_doesn_t_count_for_its_generation(self) -> None:
        search = Search(spec("cmaes", options={"popsize": 4}))
        for trial in range(1, 6):
            search.ask(trial)
            search.tell(trial, "fail" if trial == 2 else "complete", float(trial), 9)
        search.ask(6)
        assert search.attrs(6)["told"] == [1, 3, 4, 5]

    def test_what_the_ledger_keeps_of_a_trial_is_small(self) -> None:
        night = Night(spec("cmaes"))
        for number in night.numbers(100, loss):
            night.ask(number)
        sizes = [len(msgspec.json.encode(past.attrs)) for past in night.history.values()]
        assert sum(sizes) / len(sizes) < 120, "measured: 86 bytes with five parameters"

    @pytest.mark.parametrize("axis", [DEPTH, LR, WIDTH])
    def test_one_parameter_is_enough(self, axis: Dimension) -> None:
        search = Search(spec("cmaes", space=(axis,), trials=40))
        for trial in range(1, 30):
            params = search.ask(trial)
            search.tell(trial, "complete", float(params[axis.name] or 0), 9)


class TestQuasiRandom:
    def test_it_covers_each_parameter_more_evenly_than_chance(self) -> None:
        search = Search(spec("qmc", space=(DECAY, LR)))
        for name, place in (
            ("decay", lambda value: (value + 1) / 2),
            ("lr", lambda value: math.log10(value) / 4 + 1),
        ):
            shares = [place(search.ask(trial)[name]) for trial in range(1, 17)]
            assert sorted(int(share * 16) for share in shares) == list(range(16))

    @pytest.mark.parametrize("axis", [DROP, DEPTH, ACT])
    def test_all_values_of_an_axis_have_the_same_room(self, axis: Dimension) -> None:
        number = axes.count(axis)
        assert number is not None
        values = Counter(repr(spread(axis, share / 1200)) for share in range(1200))
        assert set(values.values()) == {1200 // number}


SMALL = st.lists(st.integers(1, 6), min_size=1, max_size=4)


class TestGrid:
    @settings(max_examples=60, deadline=None)
    @given(counts=SMALL, seed=st.integers(0, 99))
    def test_each_point_comes_once_and_every_prefix_is_balanced(
        self, counts: list[int], seed: int
    ) -> None:
        space = [
            Dimension(name=f"p{index}", kind="choice", choices=tuple(range(number)))
            for index, number in enumerate(counts)
        ]
        grid = Grid(space, seed=seed)
        used: list[Counter[Any]] = [Counter(dict.fromkeys(range(n), 0)) for n in counts]
        seen = set()
        for index in range(grid.size):
            values = tuple(grid.point(index).values())
            seen.add(values)
            for counter, value in zip(used, values, strict=True):
                counter[value] += 1
                assert max(counter.values()) - min(counter.values()) <= 1
        assert len(seen) == grid.size == math.prod(counts)

    def test_the_baseline_is_not_repeated_up_to_rounding(self) -> None:
        drop = 0.1 * 3
        assert drop != 0.3, "or there is nothing to be rounded"
        study = spec("grid", space=(DROP, DEPTH), trials=24, baseline={"drop": drop, "depth": 5})
        night = Night(study)
        asked = [night.ask(number).params for number in night.numbers(23, lambda params: 0.0)]
        assert len({str(params) for params in asked}) == 23
        assert {"drop": 0.3, "depth": 5} not in asked
        with pytest.raises(UsageError, match="all 24 points"):
            night.search.ask(24)

    def test_values_are_what_a_person_would_write(self) -> None:
        grid = Grid((LR, DECAY, DROP, WIDTH), {"lr": 5, "decay": 3, "width": 8, "drop": 2})
        assert grid.axes == {
            "lr": (0.0001, 0.001, 0.01, 0.1, 1.0),
            "decay": (-1.0, 0.0, 1.0),
            "drop": (0.0, 0.5),
            "width": (4, 8, 16, 32, 64, 128, 256, 512),
        }
        assert grid.size == 240

    def test_no_more_values_are_taken_than_there_are(self) -> None:
        few = Dimension(name="few", kind="int", low=1, high=6, log=True)
        for points in range(2, 9):
            values = Grid((few,), points).axes["few"]
            assert len(set(values)) == len(values) == min(points, 6)
            assert (values[0], values[-1]) == (1, 6)

    @pytest.mark.parametrize(
        ("space", "points", "words"),
        [
            ((LR,), None, r"'lr' is continuous: say how many values.*\"points\": 5"),
            ((WIDTH,), None, "'width' has a log scale"),
            ((LR, DECAY), {"lr": 3}, "'decay' is continuous"),
            ((LR,), {"lrr": 3}, "no parameter 'lrr'; did you mean 'lr'"),
            ((ACT,), {"act": 3}, "'act' is a Choice"),
            ((LR, DECAY), 2000, r"4000000 points \(lr 2000 × decay 2000\)"),
        ],
    )
    def test_what_is_no_grid_is_refused_with_what_to_do(
        self, space: tuple[Dimension, ...], points: Any, words: str
    ) -> None:
        with pytest.raises(GridError, match=words):
            Grid(space, points)


class TestGaussianProcess:
    SPACE = (LR, DECAY, ACT)

    @pytest.mark.timeout(120)  # the first proposal imports torch
    def test_it_goes_on_from_all_that_is_known(self) -> None:
        study = spec("gp", space=self.SPACE, options={"n_startup_trials": 3})
        ends: list[Outcome | None] = ["complete", "pruned", "fail", "complete", "worst", None, None]
        history = []
        for trial, outcome in enumerate(ends):
            params: Params = {"lr": 0.01 * (trial + 1), "decay": trial / 10, "act": "relu"}
            value = trial / 10 if outcome in ("complete", "pruned") else None
            history.append(
                PastTrial(trial=trial, params=params, outcome=outcome, value=value, step=9)
            )
        rebuilt = Search(study, history)
        params = rebuilt.ask(7)
        assert 1e-4 <= float(params["lr"] or 0) <= 1.0
        assert -1.0 <= float(params["decay"] or 0) <= 1.0
        assert params["act"] in ("relu", None, 3, False)
        assert rebuilt._mirror is not None
        assert [state for state, _, _ in rebuilt._mirror.standing()] == [
            "COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "RUNNING", "RUNNING", "RUNNING",
        ]  # fmt: skip

    @pytest.mark.parametrize(("goal", "stand_in"), [(Goal.MINIMIZE, 3.0), (Goal.MAXIMIZE, 0.5)])
    def test_stopped_trials_count_and_are_no_better_than_the_median(
        self, goal: Goal, stand_in: float
    ) -> None:
        study = spec("gp", space=self.SPACE, goal=goal)
        history = [PastTrial(trial=n, params=study.baseline) for n in range(6)]
        search = Search(study, history)
        for trial, value in enumerate([1.0, 3.0, 3.0]):
            search.tell(trial, "complete", value, 9)
        search.tell(3, "pruned", 0.5, 2)
        search.tell(4, "pruned", math.nan, 2)
        mirror = search._mirrored()
        assert [(state, value) for state, value, _ in mirror.standing()[3:]] == [
            ("COMPLETE", stand_in), ("PRUNED", None), ("RUNNING", None),
        ]  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize(
        ("study", "words"),
        [
            (spec("tbe"), r'expected "cmaes" or .* or "tpe", got .tbe.; did you mean .tpe.'),
            (spec("tpe", options={"n_startup": 1}), "did you mean 'n_startup_trials'"),
            (spec("random", options={"seed": 1}), "it has none"),
            (spec("tpe", options={"n_ei_candidates": 0}), "1 or more, got 0"),
            (spec("tpe", options={"multivariate": 1}), "True or False, got 1"),
            (spec("qmc", options={"qmc_type": "sobel"}), 'expected "sobol" or "halton"'),
            (spec("cmaes", options={"popsize": 3}), "popsize: expected a whole number, 4 or more"),
            (spec("cmaes", options={"sigma0": 0}), "above 0, at most 1, got 0"),
            (spec("gp", options={"n_startup_trials": 0}), "1 or more, got 0"),
            (spec("grid", options={"points": {"lr": 1}}), "2 or more, or a dict"),
            (spec("cmaes", space=(LR, ACT)), "space.act: .*a Choice has no order"),
            (spec("cmaes", space=(ONLY,)), "more than one value"),
            (spec("grid", space=(LR,)), "sampler: 'lr' is continuous"),
            (spec("grid", options={"points": {"lrr": 3}}), "sampler.points: .*did you mean 'lr'"),
            (
                spec("grid", space=(DROP, DEPTH), trials=25),
                r"24 points \(drop 6 × depth 4\) and the baseline is one of them: .*24, got 25",
            ),
            (
                spec("grid", space=(LR, ACT), options={"points": 3}, trials=14),
                "12 points .* the baseline is not among them: expected at most 13, got 14",
            ),
            *(
                (by_run(name), f"sampler: '{name}' needs to know the whole space")
                for name in ("qmc", "cmaes", "gp", "grid")
            ),
        ],
    )  # fmt: skip
    def test_a_sampler_that_can_t_do_it_is_refused_with_what_to_do(
        self, study: StudySpec, words: str
    ) -> None:
        with pytest.raises(UsageError, match=words):
            Search(study)

    @pytest.mark.parametrize(
        ("keys", "key", "words"),
        [
            ({"sampler": {"name": "grid", "points": 3}, "trials": 4}, "s.trials", "at most 3"),
            ({"sampler": "grid"}, "s.sampler", "'lr' is continuous"),
            ({"sampler": {"name": "grid", "points": 1}}, "s.sampler.points", "2 or more"),
            ({"sampler": "gp", "space": lambda trial: {}}, "s.sampler", "this one is a function"),
            (
                {"sampler": "cmaes", "space": {"act": Choice([1, 2])}, "baseline": {"act": 1}},
                "s.space.act",
                "no order",
            ),
        ],
    )
    def test_a_study_file_is_told_the_key(self, keys: dict[str, Any], key: str, words: str) -> None:
        usual: dict[str, Any] = {
            "metric": "loss", "goal": "minimize", "trials": 2, "steps": 9,
            "space": {"lr": Float(0.0, 1.0)}, "baseline": {"lr": 0.5},
        }  # fmt: skip
        with pytest.raises(StudyFileError, match=words) as caught:
            Study("s", **{**usual, **keys})
        assert caught.value.key == key

    def test_a_grid_may_have_as_many_trials_as_points(self) -> None:
        Search(spec("grid", space=(DROP, DEPTH), trials=24))
        Search(spec("grid", space=(LR, ACT), options={"points": 3}, trials=13))
