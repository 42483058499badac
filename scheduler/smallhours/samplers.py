"""The samplers that exist and the options they take, without the library that has them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from smallhours.core.spec import Sampler
from smallhours.errors import UsageError

#: Names that a study may give as its sampler.
SAMPLERS: frozenset[str] = frozenset({"tpe", "random"})

#: The options that each takes, under Optuna's names: the least whole number; None: a bool.
_OPTIONS: dict[str, dict[str, int | None]] = {
    "tpe": {"n_startup_trials": 0, "n_ei_candidates": 1, "multivariate": None},
    "random": {},
}


def check_sampler(sampler: Sampler) -> None:
    """Refuse a sampler that does not exist, or that does not take its options.

    Raises:
        UsageError: says which key is wrong and what would be right.
    """
    if sampler.name not in SAMPLERS:
        raise UsageError(_unknown("sampler", sampler.name, SAMPLERS))
    known = _OPTIONS[sampler.name]
    for name, value in sampler.options.items():
        if name not in known:
            raise UsageError(_unknown(f"option of sampler {sampler.name!r}", name, known))
        least = known[name]
        if least is None:
            valid, words = isinstance(value, bool), "True or False"
        else:
            valid = type(value) is int and value >= least
            words = f"a whole number of at least {least}"
        if not valid:
            raise UsageError(f"sampler: option {name!r}: expected {words}, not {value!r}")


def _unknown(what: str, name: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(sorted(choices)) or "it takes none"
    return f"sampler: unknown {what} {name!r}{hint} (choices: {listed})"
