"""The samplers that exist and the options they take, without the library that has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from smallhours.errors import UsageError
from smallhours.hints import did_you_mean, expected

#: Names that a study may give as its sampler.
SAMPLERS: frozenset[str] = frozenset({"tpe", "random"})

#: The options that each takes, under Optuna's names: the least whole number; None: a bool.
_OPTIONS: dict[str, dict[str, int | None]] = {
    "tpe": {"n_startup_trials": 0, "n_ei_candidates": 1, "multivariate": None},
    "random": {},
}


class Sampler(Protocol):
    """A sampler as a study names it (`core.spec.Sampler`, which workers don't import)."""

    @property
    def name(self) -> str:
        """Which sampler."""
        ...

    @property
    def options(self) -> Mapping[str, object]:
        """Its options."""
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
        least = known[option]
        if least is None:
            valid, words = isinstance(value, bool), "True or False"
        else:
            valid = type(value) is int and value >= least
            words = f"a whole number, {least} or more"
        if not valid:
            return option, f"expected {words}, got {value!r}"
    return None


def check_sampler(sampler: Sampler) -> None:
    """Refuse a sampler that does not exist, or that does not take its options.

    Raises:
        UsageError: says which key is wrong and what would be right.
    """
    wrong = problem(sampler.name, sampler.options)
    if wrong is not None:
        raise UsageError(f"sampler.{wrong[0]}: {wrong[1]}")
