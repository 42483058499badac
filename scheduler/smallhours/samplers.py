"""The samplers that exist, their options, and which spaces they can search.

Standard library only: the loader reads studies with it, without the libraries that search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from smallhours.errors import UsageError
from smallhours.hints import did_you_mean, expected
from smallhours.sampling import axes
from smallhours.sampling.axes import Axis, plain
from smallhours.sampling.grid import Grid, GridError
from smallhours.space import Params

__all__ = ["SAMPLERS", "SLOW", "check_study", "misfit", "plain", "problem"]

#: Says what an option should have been; None: it is right.
_Check = Callable[[object], str | None]


def _whole(least: int) -> _Check:
    def check(value: object) -> str | None:
        valid = type(value) is int and value >= least
        return None if valid else f"a whole number, {least} or more"

    return check


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "True or False"


def _share(value: object) -> str | None:
    valid = type(value) in (int, float) and 0 < value <= 1  # type: ignore[operator]
    return None if valid else "a number above 0, at most 1"


def _one_of(*words: str) -> _Check:
    return lambda value: None if value in words else " or ".join(f'"{word}"' for word in words)


def _points(value: object) -> str | None:
    numbers = list(value.values()) if isinstance(value, Mapping) else [value]
    if all(type(number) is int and number >= 2 for number in numbers):
        return None
    return "a whole number, 2 or more, or a dict from parameter to such a number"


#: The options that each takes: under Optuna's names where Optuna has them.
_OPTIONS: dict[str, dict[str, _Check]] = {
    "tpe": {"n_startup_trials": _whole(0), "n_ei_candidates": _whole(1), "multivariate": _flag},
    "random": {},
    "qmc": {"qmc_type": _one_of("sobol", "halton"), "scramble": _flag},
    "cmaes": {"popsize": _whole(4), "sigma0": _share},
    "gp": {"n_startup_trials": _whole(1)},
    "grid": {"points": _points},
}

#: Names that a study may give as its sampler.
SAMPLERS: frozenset[str] = frozenset(_OPTIONS)

#: Those that can do with a space that is a function.
_BY_RUN = ("tpe", "random")

#: Those that may take seconds to propose something.
SLOW: frozenset[str] = frozenset({"gp"})


class Sampler(Protocol):
    """A sampler as a study names it (`core.spec.Sampler`, which workers don't import)."""

    @property
    def name(self) -> str:
        """Which sampler."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options."""
        ...


class Study(Protocol):
    """What matters here of a `core.spec.StudySpec`."""

    @property
    def sampler(self) -> Sampler:
        """Which sampler, with its options."""
        ...

    @property
    def space(self) -> Sequence[Axis] | None:
        """What is searched; None: a function says."""
        ...

    @property
    def baseline(self) -> Params:
        """The configuration of the first trial."""
        ...

    @property
    def trials(self) -> int:
        """Configurations in all, baseline included."""
        ...


def problem(name: object, options: Mapping[str, object]) -> tuple[str, str] | None:
    """Say what is wrong with a sampler; None: nothing.

    Returns:
        The key below ``sampler`` (``name`` or an option's) and what was expected there.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        return "name", expected(name, SAMPLERS)
    known = _OPTIONS[name]
    for option, value in options.items():
        if option not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has none"
            hint = did_you_mean(str(option), known)
            return str(option), f"sampler {name!r} has no such option ({listed}){hint}"
        words = known[option](value)
        if words is not None:
            return option, f"expected {words}, got {value!r}"
    return None


def misfit(
    name: str,
    options: Mapping[str, Any],
    space: Sequence[Axis] | None,
    baseline: Params,
    trials: int,
) -> tuple[str, str] | None:
    """Say why a sampler that is right in itself can't search a space; None: it can.

    Returns:
        The key of the study and what was expected there.
    """
    if space is None:
        if name in _BY_RUN:
            return None
        return "sampler", (
            f"{name!r} needs to know the whole space beforehand, and this one is a function: "
            'take "tpe" or "random", or write the space as a dict of Float, Int and Choice'
        )
    if name == "cmaes":
        return _misfit_of_evolution(space)
    return _misfit_of_grid(options, space, baseline, trials) if name == "grid" else None


def check_study(study: Study) -> None:
    """Refuse a sampler that does not exist, does not take its options, or can't search the space.

    Raises:
        UsageError: says which key is wrong and what would be right.
    """
    sampler = study.sampler
    wrong = problem(sampler.name, sampler.options)
    if wrong is not None:
        raise UsageError(f"sampler.{wrong[0]}: {wrong[1]}")
    wrong = misfit(sampler.name, sampler.options, study.space, study.baseline, study.trials)
    if wrong is not None:
        raise UsageError(f"{wrong[0]}: {wrong[1]}")


def _misfit_of_evolution(space: Sequence[Axis]) -> tuple[str, str] | None:
    moving = [axis for axis in space if axes.count(axis) != 1]
    for axis in moving:
        if axis.kind == "choice":
            return f"space.{axis.name}", (
                '"cmaes" moves along numbers, and a Choice has no order: make it an Int or Float, '
                'or take another sampler ("tpe")'
            )
    return None if moving else ("space", '"cmaes" needs a parameter with more than one value')


def _misfit_of_grid(
    options: Mapping[str, Any], space: Sequence[Axis], baseline: Params, trials: int
) -> tuple[str, str] | None:
    try:
        grid = Grid(space, options.get("points"))
    except GridError as error:
        return "sampler.points" if "points" in options else "sampler", str(error)
    on_it = grid.position(baseline) is not None
    most = grid.size if on_it else grid.size + 1
    if trials <= most:
        return None
    where = "the baseline is one of them" if on_it else "the baseline is not among them"
    return "trials", (
        f"the grid has {grid.size} points ({grid.shape()}) and {where}: "
        f"expected at most {most}, got {trials}"
    )
