from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from smallhours import (
    After,
    AllOf,
    AnyOf,
    Asha,
    Choice,
    Extrapolate,
    Float,
    Halving,
    Int,
    Median,
    Patience,
    Study,
    Threshold,
    Wilcoxon,
    rules,
)  # fmt: skip
from smallhours.core.spec import Priority, StudySpec
from smallhours.errors import StudyFileError
from smallhours.rules.asha import AshaRule
from smallhours.rules.extrapolate import ExtrapolateRule
from smallhours.rules.halving import HalvingRule
from smallhours.rules.patience import PatienceRule
from smallhours.rules.threshold import ThresholdRule
from smallhours.rules.wilcoxon import WilcoxonRule
from smallhours.study import PRIORITIES


def _study(**changes: Any) -> Study:
    keys: dict[str, Any] = {
        "metric": "loss", "goal": "minimize", "space": {"lr": Float(1e-4, 1.0, log=True)},
        "baseline": {"lr": 0.1}, "trials": 4, "steps": 9, **changes,
    }  # fmt: skip
    return Study(keys.pop("name", "digits"), **keys)


def test_the_spec_is_what_the_core_reads() -> None:
    study = _study(
        question="q", hypothesis="h", score="best", stopping=Median(warmup=2, startup=3), seed=3,
        sampler={"name": "tpe", "n_startup_trials": 5}, confirm=2, hang_s=60, memory_bytes="2 GiB",
        space={"lr": Float(1e-4, 1.0, log=True), "width": Int(4, 64, step=4),
               "kind": Choice(["a", None, True, 2, 0.5])},
        baseline={"lr": 1, "width": 8, "kind": None}, diverged_at=10, trial_time_s=5,
    )  # fmt: skip
    spec = msgspec.convert(study.spec(), StudySpec, strict=True)
    assert spec.space is not None
    assert [(d.name, d.kind, d.low, d.high, d.log, d.step) for d in spec.space] == [
        ("lr", "float", 1e-4, 1.0, True, None),
        ("width", "int", 4.0, 64.0, False, 4.0),
        ("kind", "choice", None, None, False, None),
    ]
    assert spec.space[2].choices == ("a", None, True, 2, 0.5)
    assert spec.baseline == {"lr": 1.0, "width": 8, "kind": None}
    assert spec.stopping.options == {"warmup": 2, "startup": 3, "noise": 1}
    assert spec.sampler.name == "tpe"
    assert spec.sampler.options == {"n_startup_trials": 5}
    assert (spec.memory_bytes, spec.hang_s, spec.diverged_at) == (2 * 2**30, 60.0, 10.0)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=StudySpec) == spec


def test_a_place_in_the_queue_is_read() -> None:
    study = _study(priority="urgent", weight=3, hours=["22:00-07:00", "sat-sun 00:00-24:00"])
    spec = msgspec.convert(study.spec(), StudySpec, strict=True)
    assert (spec.priority, spec.weight) == (Priority.URGENT, 3.0)
    assert spec.hours == ("22:00-07:00", "sat-sun 00:00-24:00")


def test_a_single_window_needs_no_list() -> None:
    assert _study(hours="22:00-07:00").spec()["hours"] == ["22:00-07:00"]


def test_the_priorities_are_those_of_the_core() -> None:
    for priority in Priority:
        assert _study(priority=priority.value).spec()["priority"] == priority
    assert set(PRIORITIES) == set(Priority)


@pytest.mark.parametrize(
    ("stopping", "options"),
    [
        ("asha", {"eta": 3.0, "grace": 3.0, "ranked": 0.0}),
        (Asha(eta=4, grace=1, cutoff="rank"), {"eta": 4.0, "grace": 1.0, "ranked": 1.0}),
    ],
)
def test_the_core_makes_the_asha_rule_that_the_study_asks_for(
    stopping: Any, options: dict[str, float]
) -> None:
    spec = msgspec.convert(_study(stopping=stopping).spec(), StudySpec, strict=True)
    assert (spec.stopping.rule, spec.stopping.options) == ("asha", options)
    assert isinstance(rules.make(spec), AshaRule)


RULES = {
    "halving": (Halving(bracket=5), HalvingRule, {"eta": 3.0, "grace": 3.0, "bracket": 5.0}),
    "extrapolate": (Extrapolate(caution=0.5, warmup=2), ExtrapolateRule,
                    {"caution": 0.5, "warmup": 2.0}),
    "patience": (Patience(steps=4), PatienceRule, {"steps": 4.0, "min_delta": 0.0, "warmup": 5.0}),
    "threshold": (Threshold(0.5, warmup=2), ThresholdRule, {"limit": 0.5, "warmup": 2.0}),
    "wilcoxon": (Wilcoxon(reports="mean"), WilcoxonRule,
                 {"p": 0.1, "startup": 2.0, "running_mean": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_core_makes_each_rule_that_a_study_can_ask_for(name: str) -> None:
    asked, kind, options = RULES[name]
    spec = msgspec.convert(_study(stopping=asked).spec(), StudySpec, strict=True)
    assert (spec.stopping.rule, spec.stopping.options) == (name, options)
    assert isinstance(rules.make(spec), kind)


def test_rules_of_rules_are_read_with_their_parts() -> None:
    asked = AnyOf(After(4, "median"), AllOf(Patience(), Threshold(0.5)))
    spec = msgspec.convert(_study(stopping=asked).spec(), StudySpec, strict=True)
    assert [part.rule for part in spec.stopping.parts] == ["after", "all"]
    assert msgspec.json.decode(msgspec.json.encode(spec), type=StudySpec) == spec
    assert dict(rules.make(spec).versions) == {"median": 3, "patience": 2, "threshold": 1}


def test_a_study_of_few_steps_needs_no_other_rule() -> None:
    spec = msgspec.convert(_study(steps=1).spec(), StudySpec, strict=True)
    assert spec.stopping.rule == "extrapolate"


def test_every_key_of_the_core_s_spec_is_given_and_defaults_agree() -> None:
    spec = _study().spec()
    assert set(spec) == set(StudySpec.__struct_fields__)
    read = msgspec.convert(spec, StudySpec, strict=True)
    bare = msgspec.convert(
        {key: spec[key] for key in StudySpec.__struct_fields__
         if key in {"name", "metric", "goal", "space", "baseline", "trials", "steps", "stopping"}},
        StudySpec,
    )  # fmt: skip
    assert read == bare


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"trails": 3}, "digits.trails", "did you mean 'trials'?"),
        ({"zzz": 3}, "digits.zzz", "there is no such key"),
        ({"goal": "min"}, "digits.goal", "got 'min'; did you mean 'minimize'?"),
        ({"goal": "max"}, "digits.goal", "did you mean 'maximize'?"),
        ({"score": "lst"}, "digits.score", "did you mean 'last'?"),
        ({"metric": ""}, "digits.metric", "the name of a reported metric"),
        ({"metric": "step"}, "digits.metric", "first argument"),
        ({"priority": "urgnt"}, "digits.priority", "got 'urgnt'; did you mean 'urgent'?"),
        ({"priority": 1}, "digits.priority", 'expected "low" or "normal" or "urgent", got 1'),
        ({"weight": 0}, "digits.weight", "above 0, 1000 at most, got 0"),
        ({"weight": 1e4}, "digits.weight", "1000 at most"),
        ({"weight": float("nan")}, "digits.weight", "a finite number"),
        ({"weight": None}, "digits.weight", "got None"),
        ({"hours": ["22-07"]}, "digits.hours", "got '22-07'"),
        ({"hours": ["22:00-07:00", 7]}, "digits.hours", "got 7"),
        ({"hours": "mon-xyz 22:00-07:00"}, "digits.hours", "there is no day 'xyz'"),
        ({"hours": 22}, "digits.hours", "got 22"),
        ({"trials": 0}, "digits.trials", "1 or more"),
        ({"trials": 2.0}, "digits.trials", "1 or more"),
        ({"steps": True}, "digits.steps", "1 or more"),
        ({"seed": -1}, "digits.seed", "0 or more"),
        ({"hang_s": 0}, "digits.hang_s", "seconds above 0"),
        ({"checkpoint_every_s": None}, "digits.checkpoint_every_s", "0 or more"),
        ({"diverged_at": float("nan")}, "digits.diverged_at", "finite"),
        ({"memory_bytes": "2 gallons"}, "digits.memory_bytes", "2 GiB"),
        ({"stopping": "hyperband"}, "digits.stopping", '"halving" or "median" or "none"'),
        ({"stopping": Median(warmup=-1)}, "digits.stopping.warmup", "0 or more"),
        ({"stopping": Asha(eta=1)}, "digits.stopping.eta", "2 or more"),
        ({"stopping": Asha(eta=2.5)}, "digits.stopping.eta", "a whole number"),
        ({"stopping": Asha(grace=0)}, "digits.stopping.grace", "1 or more"),
        ({"stopping": Asha(grace=9)}, "digits.stopping.grace", "less than the study's 9 steps"),
        ({"stopping": "asha", "steps": 3}, "digits.stopping.grace", "nothing would ever"),
        ({"stopping": Asha(cutoff="rnk")}, "digits.stopping.cutoff", "did you mean 'rank'?"),
        ({"stopping": Asha}, "digits.stopping", "write Asha()"),
        ({"stopping": 3}, "digits.stopping", "or a rule such as Median(warmup=5), got 3"),
        ({"stopping": Halving(bracket=2)}, "digits.stopping.bracket", "3 or more"),
        ({"stopping": Extrapolate(caution=-1)}, "digits.stopping.caution", "0 or more"),
        ({"stopping": Patience(steps=0)}, "digits.stopping.steps", "1 or more"),
        ({"stopping": Threshold(float("nan"))}, "digits.stopping.limit", "a finite number"),
        ({"stopping": Threshold(1.0, warmup=9)}, "digits.stopping.warmup", "less than the study's"),
        ({"stopping": Wilcoxon(p=1.0)}, "digits.stopping.p", "below 1"),
        ({"stopping": Wilcoxon(reports="means")}, "digits.stopping.reports", "did you mean 'mean'"),
        ({"stopping": AnyOf("asha")}, "digits.stopping", "two rules or more in AnyOf"),
        ({"stopping": AllOf("asha", "none")}, "digits.stopping[1]", "a rule that stops trials"),
        ({"stopping": AnyOf("asha", Median(startup=0))}, "digits.stopping[1].startup", "1 or more"),
        ({"stopping": After(9, "asha")}, "digits.stopping.step", "less than the study's 9 steps"),
        ({"stopping": After(3, "ahsa")}, "digits.stopping.rule", "did you mean 'asha'?"),
        ({"sampler": "random_"}, "digits.sampler", "did you mean 'random'?"),
        ({"sampler": {"n": 1}}, "digits.sampler", '"name"'),
        ({"sampler": {"name": "tpe", "gamma": max}}, "digits.sampler.gamma", "no such option"),
        ({"sampler": {"name": "tpe", "n_startup": 1}}, "digits.sampler.n_startup", "did you mean"),
        (
            {"sampler": {"name": "tpe", "n_ei_candidates": 0}},
            "digits.sampler.n_ei_candidates",
            "1 or more",
        ),
        ({"question": 3}, "digits.question", "expected text"),
        ({"space": {}}, "digits.space", "a dict"),
        ({"space": {"lr": 3}}, "digits.space.lr", "Float, Int or Choice"),
        ({"space": {"lr": Float(1, 0)}}, "digits.space.lr", "low is above high"),
        ({"space": {"lr": Choice([])}}, "digits.space.lr", "nothing to choose"),
        ({"baseline": {"lr": 2.0}}, "digits.baseline.lr", "from 0.0001 to 1"),
        ({"baseline": {}}, "digits.baseline.lr", "missing"),
        ({"baseline": {"lr": 0.1, "x": 1}}, "digits.baseline.x", "no such parameter"),
        ({"baseline": 3}, "digits.baseline", "a dict"),
        ({"name": "a..b"}, "Study.name", "no '..'"),
        ({"name": "../x"}, "Study.name", "letters, digits"),
        ({"name": "a" * 65}, "Study.name", "up to 64"),
    ],
)
def test_a_wrong_value_is_told_with_file_key_and_what_was_expected(
    changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(StudyFileError) as caught:
        _study(**changes)
    assert caught.value.file == __file__
    assert caught.value.key == key
    assert words in caught.value.message


def test_a_missing_key_is_told_and_a_typo_before_it() -> None:
    with pytest.raises(StudyFileError, match=r"digits\.goal: it is missing"):
        Study("digits", metric="loss")  # type: ignore[call-arg]
    with pytest.raises(StudyFileError, match=r"digits\.metrc: .*did you mean 'metric'"):
        Study("digits", metrc="loss")  # type: ignore[call-arg]
    with pytest.raises(StudyFileError, match="key=value"):
        Study("digits", "why?")  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("2 GiB", 2 * 2**30), ("512MB", 512 * 10**6), ("1.5 kib", 1536), ("100", 100), (7, 7)],
)
def test_memory_is_read_with_its_unit(text: str | int, size_bytes: int) -> None:
    assert _study(memory_bytes=text).spec()["memory_bytes"] == size_bytes


def test_a_training_function_takes_the_trial_and_there_is_one() -> None:
    study = _study()
    with pytest.raises(StudyFileError, match=r"digits\.train: there is no training function"):
        study.check()
    with pytest.raises(StudyFileError, match="must take one argument"):
        study.train(lambda: None)

    @study.train
    def train(trial: object) -> None: ...

    assert study.train_function is train
    study.check()
    with pytest.raises(StudyFileError, match=r"two functions under @study\.train"):
        study.train(train)
    with pytest.raises(StudyFileError, match="must take no arguments"):
        study.prepare(train)


def _space(trial: Any) -> None:
    if trial.suggest_categorical("kind", ["sgd", "adam"]) == "adam":
        trial.suggest_float("beta", 0, 1)
    trial.suggest_float("lr", 1e-3, 1, log=True)


@pytest.mark.parametrize(
    ("baseline", "key", "words"),
    [
        ({"kind": "sgd"}, "digits.baseline.lr", "it is missing"),
        ({"kind": "adam", "lr": 0.1}, "digits.baseline.beta", "it is missing"),
        ({"kind": "sgd", "lr": 2.0}, "digits.baseline.lr", "from 0.001 to 1"),
        ({"kind": "sgd", "lr": 0.1, "beta": 0.1}, "digits.baseline.beta", "doesn't ask for it"),
        ({"kind": "sdg", "lr": 0.1}, "digits.baseline.kind", "did you mean 'sgd'?"),
    ],
)
def test_a_space_function_is_walked_with_the_baseline(
    baseline: dict[str, Any], key: str, words: str
) -> None:
    study = _study(space=_space, baseline=baseline)
    study.train(lambda trial: None)
    with pytest.raises(StudyFileError) as caught:
        study.check()
    assert caught.value.key == key
    assert words in caught.value.message


def test_a_space_function_that_fits_leaves_the_space_open() -> None:
    study = _study(space=_space, baseline={"kind": "adam", "beta": 1, "lr": 0.1})
    study.train(lambda trial: None)
    study.check()
    spec = msgspec.convert(study.spec(), StudySpec, strict=True)
    assert spec.space is None
    assert spec.baseline == {"kind": "adam", "beta": 1.0, "lr": 0.1}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import smallhours, sys; assert 'smallhours.study' not in sys.modules;"
        "smallhours.Study, smallhours.TrialStopped;"
        "import smallhours.worker.zygote, smallhours.worker.loader;"
        "heavy = {'torch', 'numpy', 'msgspec', 'optuna', 'ray', 'smallhours.core'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
