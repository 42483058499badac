"""A study as the user writes it: one question, a search space, a metric, a training function."""

from __future__ import annotations

import copy
import inspect
import itertools
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

from smallhours import samplers
from smallhours.errors import StudyFileError
from smallhours.hints import did_you_mean, expected, study_name_problem
from smallhours.space import (
    Choice,
    Dimension,
    FixedTrial,
    Float,
    Int,
    Params,
    ParamValue,
    SpaceError,
    SpaceTrial,
    check_params,
    name_problem,
)

_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B)?\s*", re.IGNORECASE)
_UNITS = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
#: What a key that must be given may look like.
_EXAMPLES = {
    "name": '"wine"',
    "metric": '"val_loss"',
    "goal": '"minimize"',
    "space": '{"lr": Float(1e-4, 1.0, log=True)}',
    "baseline": '{"lr": 0.05}, a configuration to be compared with',
    "trials": "40",
    "steps": "40, how often a whole trial reports",
}
_GOALS = ("minimize", "maximize")
#: Rules that a study may name (`rules.RULES`, which workers don't import).
STOPPING = ("median", "none")
#: Numbers the studies of a file in the order they are written.
_POSITIONS = itertools.count()

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Median:
    """Stop a trial that is worse than the median of the completed ones at the same step.

    Attributes:
        warmup: Steps of every trial in which nothing is stopped.
        startup: Completed trials before anything is stopped.
    """

    warmup: int = 5
    startup: int = 5


class Study:
    """One question, with everything that is needed to answer it overnight.

    Args:
        name: What it is called: up to 64 letters, digits, ``.``, ``_`` and ``-``.
        question: What you want to know, for the report.
        hypothesis: What you expect, for the report.
        metric: The reported metric that is optimised.
        goal: Which direction is better.
        score: Which report of a trial counts: its last, or its best (then the best step's
            checkpoint is kept).
        space: The parameters by name, or a function that asks for them (define-by-run).
        baseline: A configuration inside the space: always the first trial.
        trials: Configurations in all, the baseline included, also after a resume.
        steps: Steps (reports) of a whole trial.
        stopping: The rule that stops hopeless trials.
        sampler: What proposes configurations: a name, or a dict with ``name`` and its options.
        seed: Seed of everything that is random.
        confirm: On how many fresh seeds baseline and winner are repeated at the end.
        hang_s: Seconds without a report before a trial counts as hung; None: 10 times its usual
            gap, at least 300 s.
        checkpoint_every_s: Seconds between checkpoints, at least.
        trial_time_s: Seconds that one trial may run in all; None: no limit.
        study_time_s: Seconds that all trials together may run; None: no limit.
        memory_bytes: Host memory of one trial, in bytes or as ``"2 GiB"``; None: what there is.
        diverged_at: A metric beyond this (in the worse direction) is divergence; None: only NaN
            and infinity are.
        retries: How often a crashed, hung or lost trial is tried again.

    Raises:
        StudyFileError: a key is unknown, missing, or has a value that it can't have.
    """

    def __new__(cls, *args: object, **keys: object) -> Self:
        """Check the keys' names before Python does, whose message would name no file."""
        _check_keys(cls, sys._getframe(1).f_code.co_filename, args, keys)
        return super().__new__(cls)

    def __init__(
        self,
        name: str,
        *,
        question: str = "",
        hypothesis: str = "",
        metric: str,
        goal: Literal["minimize", "maximize"],
        score: Literal["last", "best"] = "last",
        space: Mapping[str, Float | Int | Choice] | Callable[[Any], object],
        baseline: Mapping[str, ParamValue],
        trials: int,
        steps: int,
        stopping: Literal["median", "none"] | Median = "median",
        sampler: Literal["tpe", "random"] | Mapping[str, Any] = "tpe",
        seed: int = 0,
        confirm: int = 0,
        hang_s: float | None = None,
        checkpoint_every_s: float = 30.0,
        trial_time_s: float | None = None,
        study_time_s: float | None = None,
        memory_bytes: int | str | None = None,
        diverged_at: float | None = None,
        retries: int = 1,
    ) -> None:
        self.file = sys._getframe(1).f_code.co_filename
        self.name = name
        self.position = next(_POSITIONS)
        self.train_function: Callable[[Any], object] | None = None
        self.prepare_function: Callable[[], object] | None = None
        self.space_function: Callable[[Any], object] | None = None
        self._check_name(name)
        self._baseline = self._plain_dict("baseline", baseline)
        dimensions = self._read_space(space)
        self._spec: dict[str, Any] = {
            "name": name,
            "question": self._text("question", question),
            "hypothesis": self._text("hypothesis", hypothesis),
            "metric": self._metric(metric),
            "goal": self._one_of("goal", goal, _GOALS),
            "score": self._one_of("score", score, ("last", "best")),
            "space": dimensions,
            "baseline": dict(self._baseline),
            "trials": self._whole("trials", trials, 1),
            "steps": self._whole("steps", steps, 1),
            "stopping": self._stopping(stopping),
            "sampler": self._sampler(sampler),
            "seed": self._whole("seed", seed, 0),
            "confirm": self._whole("confirm", confirm, 0),
            "hang_s": self._seconds("hang_s", hang_s),
            "checkpoint_every_s": self._interval("checkpoint_every_s", checkpoint_every_s),
            "trial_time_s": self._seconds("trial_time_s", trial_time_s),
            "study_time_s": self._seconds("study_time_s", study_time_s),
            "memory_bytes": self._bytes(memory_bytes),
            "diverged_at": self._limit("diverged_at", diverged_at),
            "retries": self._whole("retries", retries, 0),
        }

    def __repr__(self) -> str:
        return f"Study({self.name!r})"

    def train(self, function: _Function) -> _Function:
        """Take the function under ``@study.train``: it trains one trial."""
        if self.train_function is not None:
            raise self.error("train", "there are two functions under @study.train")
        self._check_call("train", function, 1, "one argument, the trial: def train(trial)")
        self.train_function = function
        return function

    def prepare(self, function: _Function) -> _Function:
        """Take the function under ``@study.prepare``: run once, its result is ``trial.data``."""
        if self.prepare_function is not None:
            raise self.error("prepare", "there are two functions under @study.prepare")
        self._check_call("prepare", function, 0, "no arguments: def prepare()")
        self.prepare_function = function
        return function

    def spec(self) -> dict[str, Any]:
        """Return the study as data, all values checked."""
        return copy.deepcopy(self._spec)

    def check(self) -> None:
        """Check what can be checked only once the whole file was run.

        Raises:
            StudyFileError: there is no training function, or the space function and the baseline
                don't fit.
        """
        if self.train_function is None:
            raise self.error(
                "train", "there is no training function: put @study.train above def train(trial)"
            )
        if self.space_function is not None:
            self._baseline = self._walk_space(self.space_function)
            self._spec["baseline"] = dict(self._baseline)

    def configuration(self, params: Mapping[str, ParamValue]) -> Params:
        """Return the baseline with some parameters replaced, checked against the space.

        Raises:
            StudyFileError: a parameter is unknown or its value outside.
        """
        merged = {**self._baseline, **params}
        if self.space_function is not None:
            return merged
        try:
            return check_params(self._dimensions, merged)
        except SpaceError as error:
            raise self.error(f"params.{error.key}", error.message) from None

    def error(self, key: str, message: str) -> StudyFileError:
        """Return the error that says what is wrong with one key of this study."""
        return StudyFileError(self.file, f"{self.name}.{key}", message)

    def _check_name(self, name: object) -> None:
        problem = study_name_problem(name)
        if problem:
            raise StudyFileError(self.file, "Study.name", problem)

    def _check_call(self, key: str, function: object, count: int, expected: str) -> None:
        if not callable(function):
            raise self.error(key, f"expected a function, got {function!r}")
        try:
            inspect.signature(function).bind(*range(count))
        except TypeError:
            raise self.error(key, f"the function must take {expected}") from None
        except ValueError:
            return  # a builtin without a signature

    def _plain_dict(self, key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self.error(key, f"expected a dict from parameter to value, got {value!r}")
        for name in value:
            problem = name_problem(name)
            if problem:
                raise self.error(key, f"{problem}, got {name!r}")
        return dict(value)

    def _read_space(self, space: object) -> list[dict[str, Any]] | None:
        self._dimensions: dict[str, Dimension] = {}
        if callable(space) and not isinstance(space, Mapping):
            self._check_call("space", space, 1, "one argument, the trial: def space(trial)")
            self.space_function = space
            self._check_values()
            return None
        if not isinstance(space, Mapping) or not space:
            raise self.error(
                "space", f"expected a dict from parameter to Float, Int or Choice, got {space!r}"
            )
        self._dimensions = self._plain_dict("space", space)
        for name, dimension in self._dimensions.items():
            if not isinstance(dimension, Float | Int | Choice):
                raise self.error(
                    f"space.{name}", f"expected Float, Int or Choice, got {dimension!r}"
                )
            problem = dimension.problem()
            if problem:
                raise self.error(f"space.{name}", problem)
        try:
            self._baseline = check_params(self._dimensions, self._baseline)
        except SpaceError as error:
            raise self.error(f"baseline.{error.key}", error.message) from None
        return [dimension.as_data(name) for name, dimension in self._dimensions.items()]

    def _check_values(self) -> None:
        for name, value in self._baseline.items():
            problem = Choice([value]).problem()
            if problem:
                raise self.error(f"baseline.{name}", problem)

    def _walk_space(self, function: Callable[[SpaceTrial], object]) -> Params:
        """Run a define-by-run space once, answered with the baseline; returns what it took."""
        trial = FixedTrial(self._baseline)
        try:
            function(trial)
        except SpaceError as error:
            raise self.error(f"baseline.{error.key}", error.message) from None
        for name in self._baseline:
            if name not in trial.params:
                hint = did_you_mean(name, trial.params)
                raise self.error(
                    f"baseline.{name}", f"the space function doesn't ask for it here{hint}"
                )
        if not trial.params:
            raise self.error("space", "the function asks for nothing: call trial.suggest_float ...")
        return trial.params

    def _metric(self, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable() or len(value) > 64:
            raise self.error("metric", f"expected the name of a reported metric, got {value!r}")
        if value == "step":
            raise self.error("metric", "'step' is the first argument of trial.report()")
        return value

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(key, f"expected text, got {value!r}")
        return value

    def _one_of(self, key: str, value: object, known: Collection[str]) -> str:
        if not isinstance(value, str) or value not in known:
            raise self.error(key, expected(value, known))
        return value

    def _whole(self, key: str, value: object, least: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
            raise self.error(key, f"expected a whole number, {least} or more, got {value!r}")
        return value

    def _limit(self, key: str, value: object) -> float | None:
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.error(key, f"expected a finite number or None, got {value!r}")
        return float(value)

    def _seconds(self, key: str, value: object) -> float | None:
        seconds = self._limit(key, value)
        if seconds is not None and seconds <= 0:
            raise self.error(key, f"expected seconds above 0, or None, got {value!r}")
        return seconds

    def _interval(self, key: str, value: object) -> float:
        seconds = self._limit(key, value)
        if seconds is None or seconds < 0:
            raise self.error(key, f"expected seconds, 0 or more, got {value!r}")
        return seconds

    def _bytes(self, value: object) -> int | None:
        if value is None:
            return None
        match = _BYTES.fullmatch(value) if isinstance(value, str) else None
        if match:
            value = int(float(match[1]) * _UNITS[(match[2] or "B").lower()])
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error("memory_bytes", f'expected bytes or text like "2 GiB", got {value!r}')
        return value

    def _stopping(self, value: object) -> dict[str, Any]:
        if isinstance(value, Median):
            self._whole("stopping.warmup", value.warmup, 0)
            self._whole("stopping.startup", value.startup, 1)
            return {
                "rule": "median",
                "options": {"warmup": float(value.warmup), "startup": float(value.startup)},
            }
        if not isinstance(value, str):
            raise self.error("stopping", f'expected "median", "none" or Median(...), got {value!r}')
        rule = self._one_of("stopping", value, STOPPING)
        return self._stopping(Median()) if rule == "median" else {"rule": rule, "options": {}}

    def _sampler(self, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return {"name": self._one_of("sampler", value, samplers.SAMPLERS), "options": {}}
        if "name" not in value:
            raise self.error("sampler", 'a dict needs the key "name" beside the options')
        options = {key: option for key, option in value.items() if key != "name"}
        wrong = samplers.problem(value["name"], options)
        if wrong is not None:
            raise self.error(f"sampler.{wrong[0]}", wrong[1])
        return {"name": value["name"], "options": options}


def _check_keys(
    cls: type[Study], file: str, args: tuple[object, ...], keys: dict[str, object]
) -> None:
    """Refuse unknown and missing keys of a study, with the nearest known one."""
    known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    label = args[0] if args else keys.get("name", "Study")
    if len(args) > 1:
        raise StudyFileError(file, f"{label}", "everything but the name is given as key=value")
    for key in keys:
        if key not in known:
            raise StudyFileError(
                file, f"{label}.{key}", f"there is no such key{did_you_mean(key, known)}"
            )
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        given = name in keys or (name == "name" and args) or name == "self"
        if parameter.default is parameter.empty and not given:
            raise StudyFileError(
                file, f"{label}.{name}", f"it is missing: add {name}={_EXAMPLES[name]}"
            )
