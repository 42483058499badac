from __future__ import annotations

import pytest

from smallhours import Choice, Float, Int
from smallhours.space import Dimension, FixedTrial, SpaceError, check_params, did_you_mean


@pytest.mark.parametrize(
    ("dimension", "words"),
    [
        (Float(1.0, 0.0), "low is above high"),
        (Float(0.0, 1.0, log=True), "needs low > 0"),
        (Float(-1.0, 1.0, log=True), "needs low > 0"),
        (Float(0.1, 1.0, log=True, step=0.1), "no step"),
        (Float(0.0, 1.0, step=0.3), "whole number of steps"),
        (Float(0.0, 1.0, step=0.0), "step must be above 0"),
        (Float(0.0, float("inf")), "high must be a finite number"),
        (Float("a", 1.0), "low must be a finite number"),  # type: ignore[arg-type]
        (Float(0.0, 1.0, log="yes"), "log must be True or False"),  # type: ignore[arg-type]
        (Int(0, 8, log=True), "needs low > 0"),
        (Int(1, 8, step=2), "whole number of steps"),
        (Int(1.5, 8), "low must be a whole number"),  # type: ignore[arg-type]
        (Int(True, 8), "low must be a whole number"),
        (Choice([]), "nothing to choose from"),
        (Choice("abc"), "expected a list"),
        (Choice([1, [2]]), "a choice must be"),  # type: ignore[list-item]
        (Choice(["a", "a"]), "twice"),
        (Choice([float("nan")]), "finite"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_told(dimension: Dimension, words: str) -> None:
    problem = dimension.problem()
    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    "dimension",
    [Float(0, 1), Float(1e-4, 1, log=True), Float(0, 1, step=0.1), Int(1, 1), Int(1, 9, step=4),
     Int(1, 64, log=True), Choice([1, True, 1.0, None, "a"]), Choice(range(3))],
)  # fmt: skip
def test_a_sound_dimension_has_no_problem(dimension: Dimension) -> None:
    assert dimension.problem() is None


@pytest.mark.parametrize(
    ("dimension", "value", "taken"),
    [
        (Float(0, 1), 1, 1.0),
        (Float(0, 1, step=0.1), 0.3, 0.3),
        (Int(1, 9, step=4), 5, 5),
        (Choice([1, True]), True, True),
        (Choice(["a", None]), None, None),
    ],
)
def test_a_value_inside_is_taken_in_the_dimension_s_type(
    dimension: Dimension, value: object, taken: object
) -> None:
    assert dimension.take(value) == taken
    assert type(dimension.take(value)) is type(taken)


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Float(0, 1), 1.1), (Float(0, 1), float("nan")), (Float(0, 1), True), (Float(0, 1), "1"),
        (Float(0, 1, step=0.1), 0.25), (Int(1, 9), 2.0), (Int(1, 9, step=4), 4),
        (Choice([1, 2]), True), (Choice(["adam"]), "adma"),
    ],
)  # fmt: skip
def test_a_value_outside_is_refused(dimension: Dimension, value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        dimension.take(value)


def test_a_configuration_has_all_keys_of_the_space_and_only_those() -> None:
    space: dict[str, Dimension] = {"lr": Float(0, 1), "width": Int(1, 9)}
    assert check_params(space, {"width": 2, "lr": 1}) == {"lr": 1.0, "width": 2}
    with pytest.raises(SpaceError, match=r"wdith: .*did you mean 'width'"):
        check_params(space, {"lr": 0.1, "wdith": 2})
    with pytest.raises(SpaceError, match="width: it is missing"):
        check_params(space, {"lr": 0.1})


def test_a_fixed_trial_answers_as_optuna_would() -> None:
    trial = FixedTrial({"lr": 0.1, "depth": 2, "kind": "a"})
    assert trial.suggest_float("lr", 1e-3, 1, log=True) == 0.1
    assert trial.suggest_float("lr", 1e-3, 1, log=True) == 0.1
    assert trial.suggest_int("depth", 1, 3) == 2
    assert trial.suggest_categorical("kind", ["a", "b"]) == "a"
    assert trial.params == {"lr": 0.1, "depth": 2, "kind": "a"}
    with pytest.raises(SpaceError, match="asked for twice"):
        trial.suggest_int("depth", 1, 4)
    with pytest.raises(SpaceError, match="it is missing; did you mean 'depth'"):
        trial.suggest_int("dept", 1, 4)


def test_near_words_and_beginnings_are_proposed() -> None:
    assert did_you_mean("min", ("minimize", "maximize")) == "; did you mean 'minimize'?"
    assert did_you_mean("trails", ("trials", "steps")) == "; did you mean 'trials'?"
    assert did_you_mean("zzz", ("trials", "steps")) == ""
