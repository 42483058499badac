"""A study as the user writes it: one question, a search space, a metric, a training function."""

from __future__ import annotations

import copy
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias, TypeVar

from smallhours import samplers
from smallhours import stopping as stopping_rules
from smallhours.errors import StudyFileError
from smallhours.hints import did_you_mean, study_name_problem
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
from smallhours.stopping import StoppingRule
from smallhours.study_keys import Keys

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
#: Priorities that a study may name (`core.spec.Priority`, which workers don't import).
PRIORITIES = ("urgent", "normal", "low")
#: Samplers that a study may name (`samplers.SAMPLERS`).
SamplerName: TypeAlias = Literal["tpe", "random", "qmc", "cmaes", "gp", "grid"]
#: Numbers the studies of a file in the order they are written.
_POSITIONS = itertools.count()

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Study(Keys):
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
        enough: Whether the search ends once the trials that are left could be expected to gain
            little beside what another seed changes; fewer than 100 trials all run.
        confirm: On how many fresh seeds baseline and winner are repeated at the end.
        recheck: Share of the trials that the rule stops which are run to their end once nothing
            else is left to do, to measure how often stopping was wrong.
        hang_s: Seconds without a report before a trial counts as hung; None: 10 times its usual
            gap, at least 300 s.
        checkpoint_every_s: Seconds between checkpoints, at least.
        trial_time_s: Seconds that one trial may run in all; None: no limit.
        study_time_s: Seconds that all trials together may run; None: no limit.
        memory_bytes: Host memory of one trial, in bytes or as ``"2 GiB"``; None: what there is.
        diverged_at: A metric beyond this (in the worse direction) is divergence; None: only NaN
            and infinity are.
        retries: How often a crashed, hung or lost trial is tried again.
        priority: ``"urgent"`` goes before all others, which are paused for it; ``"low"`` runs
            where nobody else wants the place.
        weight: Its share of the machine, beside the others of its priority.
        device: ``"gpu"``, ``"cpu"``, or ``"auto"``: a GPU where there is one.
        hours: When it may run, local time: ``"22:00-07:00"``, ``"mon-fri 18:00-08:00"``, or
            several; empty: always.

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
        stopping: StoppingRule = "extrapolate",
        sampler: SamplerName | Mapping[str, Any] = "tpe",
        seed: int = 0,
        enough: bool = True,
        confirm: int = 0,
        recheck: float = 0.0,
        hang_s: float | None = None,
        checkpoint_every_s: float = 30.0,
        trial_time_s: float | None = None,
        study_time_s: float | None = None,
        memory_bytes: int | str | None = None,
        diverged_at: float | None = None,
        retries: int = 1,
        priority: Literal["urgent", "normal", "low"] = "normal",
        weight: float = 1.0,
        hours: str | Sequence[str] = (),
        device: Literal["auto", "cpu", "gpu"] = "auto",
    ) -> None:
        super().__init__(sys._getframe(1).f_code.co_filename, name)
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
            "stopping": self._stopping(stopping, steps),
            "sampler": self._sampler(sampler, dimensions, trials),
            "seed": self._whole("seed", seed, 0),
            "enough": self._flag("enough", enough),
            "confirm": self._whole("confirm", confirm, 0),
            "recheck": self._share("recheck", recheck),
            "hang_s": self._seconds("hang_s", hang_s),
            "checkpoint_every_s": self._interval("checkpoint_every_s", checkpoint_every_s),
            "trial_time_s": self._seconds("trial_time_s", trial_time_s),
            "study_time_s": self._seconds("study_time_s", study_time_s),
            "memory_bytes": self._bytes(memory_bytes),
            "diverged_at": self._limit("diverged_at", diverged_at),
            "retries": self._whole("retries", retries, 0),
            "priority": self._one_of("priority", priority, PRIORITIES),
            "weight": self._weight(weight),
            "hours": self._hours(hours),
            "device": self._one_of("device", device, ("auto", "cpu", "gpu")),
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

    def _stopping(self, value: object, steps: int) -> dict[str, Any]:
        try:
            return stopping_rules.as_data(value, steps)
        except stopping_rules.StoppingError as error:
            raise self.error(error.key, error.message) from None

    def _sampler(
        self, value: object, space: list[dict[str, Any]] | None, trials: int
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            value = {"name": self._one_of("sampler", value, samplers.SAMPLERS)}
        if "name" not in value:
            raise self.error("sampler", 'a dict needs the key "name" beside the options')
        options = {key: option for key, option in value.items() if key != "name"}
        wrong = samplers.problem(value["name"], options)
        if wrong is not None:
            raise self.error(f"sampler.{wrong[0]}", wrong[1])
        axes = None if space is None else [samplers.plain(data) for data in space]
        wrong = samplers.misfit(value["name"], options, axes, self._baseline, trials)
        if wrong is not None:
            raise self.error(*wrong)
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
