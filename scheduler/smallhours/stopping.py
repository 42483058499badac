"""Stopping rules as the user writes them in a study; standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from smallhours.hints import expected

#: Rules that a study may name by a word (`rules.RULES` has all, which workers don't import).
NAMES = ("asha", "extrapolate", "halving", "median", "none")


class StoppingError(ValueError):
    """A rule can't be what the study says; `key` is where, as in ``stopping.eta``."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key, self.message = key, message


@dataclass(frozen=True, slots=True)
class Median:
    """Stop a trial that is worse than the median of the completed ones at the same step.

    Attributes:
        warmup: Steps of every trial in which nothing is stopped.
        startup: Completed trials before anything is stopped.
        noise: It must be worse by more than so many times the study's noise.
    """

    warmup: int = 5
    startup: int = 5
    noise: float = 1.0


@dataclass(frozen=True, slots=True)
class Asha:
    """Stop a trial at a rung where it is not among the best 1/`eta` of those that came there.

    The rungs are at steps `grace`, `grace * eta`, `grace * eta**2` and so on. Fast, and riskier
    than the median: `docs/rules.md` has the measured risk.

    Attributes:
        eta: One in so many goes on, and each rung is so many times as far as the one before.
        grace: The first rung: nothing is stopped before this step.
        cutoff: How the value to reach is found: ``"quantile"``, as Ray Tune does it, or
            ``"rank"``, as Optuna does it.
    """

    eta: int = 3
    grace: int = 3
    cutoff: Literal["quantile", "rank"] = "quantile"


@dataclass(frozen=True, slots=True)
class Halving:
    """Stop all but the best 1/`eta` of a bracket of trials, once all of it came to a rung.

    Attributes:
        eta: One in so many goes on, and each rung is so many times as far as the one before.
        grace: The first rung: nothing is stopped before this step.
        bracket: Trials that are compared with each other.
    """

    eta: int = 3
    grace: int = 3
    bracket: int = 9


@dataclass(frozen=True, slots=True)
class Extrapolate:
    """Stop a trial whose optimistic forecast stays behind what the best one has already.

    Attributes:
        caution: How optimistic the forecast is: less stops more, and is wrong more often.
        warmup: Steps of every trial in which nothing is stopped (5 % of them at least).
    """

    caution: float = 1.0
    warmup: int = 6


@dataclass(frozen=True, slots=True)
class Patience:
    """Stop a trial that no longer gets better and is behind the best completed one.

    Attributes:
        steps: For so many steps its best value has not become better.
        min_delta: A gain of no more than this is none.
        warmup: Steps of every trial in which nothing is stopped.
    """

    steps: int = 10
    min_delta: float = 0.0
    warmup: int = 5


@dataclass(frozen=True, slots=True)
class Threshold:
    """Stop a trial whose best value is still worse than `limit` after `warmup` steps.

    Attributes:
        limit: The value to reach.
        warmup: Steps of every trial in which nothing is stopped.
    """

    limit: float
    warmup: int = 5


@dataclass(frozen=True, slots=True)
class Wilcoxon:
    """Stop a trial that is significantly worse than the best one, fold by fold.

    For studies whose steps are folds, or data sets, and not further training.

    Attributes:
        p: Significance below which a trial is stopped.
        startup: Folds of every trial in which nothing is stopped.
        reports: What a trial reports: each ``"fold"`` by itself, or the ``"mean"`` of the folds
            so far, which makes its last report the mean of all, as its score should be.
    """

    p: float = 0.1
    startup: int = 2
    reports: Literal["fold", "mean"] = "fold"


class AnyOf:
    """Stop a trial as soon as one of the rules would."""

    def __init__(self, *rules: StoppingRule) -> None:
        self.rules = rules

    def __repr__(self) -> str:
        return f"AnyOf({', '.join(map(repr, self.rules))})"


class AllOf:
    """Stop a trial at a report at which each of the rules would."""

    def __init__(self, *rules: StoppingRule) -> None:
        self.rules = rules

    def __repr__(self) -> str:
        return f"AllOf({', '.join(map(repr, self.rules))})"


@dataclass(frozen=True, slots=True)
class After:
    """Let a rule stop trials from a step on.

    Attributes:
        step: The first step at which it may.
        rule: The rule; it takes note of everything before, too.
    """

    step: int
    rule: StoppingRule


StoppingRule: TypeAlias = (
    "Literal['asha', 'extrapolate', 'halving', 'median', 'none'] | Median | Asha | Halving"
    " | Extrapolate | Patience | Threshold | Wilcoxon | AnyOf | AllOf | After"
)

_BY_NAME: dict[str, Callable[[], Any]] = {
    "asha": Asha,
    "extrapolate": Extrapolate,
    "halving": Halving,
    "median": Median,
}


def as_data(value: object, steps: int, key: str = "stopping") -> dict[str, Any]:
    """Return a rule as `core.spec.Stopping` holds it.

    Args:
        value: What the study says.
        steps: Steps of a whole trial.
        key: Where it says so.

    Raises:
        StoppingError: it is no rule, or an option has a value that it can't have.
    """
    match value:
        case "none":
            return {"rule": "none", "options": {}}
        case str() if value in _BY_NAME:
            return as_data(_BY_NAME[value](), steps, key)
        case str():
            raise StoppingError(key, expected(value, NAMES))
        case Median():
            options = {
                "warmup": _whole(f"{key}.warmup", value.warmup, 0),
                "startup": _whole(f"{key}.startup", value.startup, 1),
                "noise": _number(f"{key}.noise", value.noise, 0.0),
            }
            return {"rule": "median", "options": options}
        case Asha():
            cutoff = _one_of(f"{key}.cutoff", value.cutoff, ("quantile", "rank"))
            options = _rungs(key, value, steps) | {"ranked": float(cutoff == "rank")}
            return {"rule": "asha", "options": options}
        case Halving():
            options = _rungs(key, value, steps)
            options["bracket"] = _whole(f"{key}.bracket", value.bracket, value.eta)
            return {"rule": "halving", "options": options}
        case Extrapolate():
            options = {
                "caution": _number(f"{key}.caution", value.caution, 0.0),
                "warmup": _whole(f"{key}.warmup", value.warmup, 0),
            }
            return {"rule": "extrapolate", "options": options}
        case Patience():
            options = {
                "steps": _whole(f"{key}.steps", value.steps, 1),
                "min_delta": _number(f"{key}.min_delta", value.min_delta, 0.0),
                "warmup": _warmup(key, value.warmup, steps),
            }
            return {"rule": "patience", "options": options}
        case Threshold():
            options = {
                "limit": _number(f"{key}.limit", value.limit, None),
                "warmup": _warmup(key, value.warmup, steps),
            }
            return {"rule": "threshold", "options": options}
        case Wilcoxon():
            reports = _one_of(f"{key}.reports", value.reports, ("fold", "mean"))
            p = _number(f"{key}.p", value.p, 0.0)
            if not 0 < p < 1:
                raise StoppingError(f"{key}.p", f"expected a number above 0 and below 1, got {p:g}")
            options = {
                "p": p,
                "startup": _whole(f"{key}.startup", value.startup, 2),
                "running_mean": float(reports == "mean"),
            }
            return {"rule": "wilcoxon", "options": options}
        case AnyOf() | AllOf() | After():
            return _combined(value, steps, key)
        case type() if value.__module__ == __name__:
            raise StoppingError(key, f"expected a rule, got the class: write {value.__name__}()")
        case _:
            names = ", ".join(f'"{name}"' for name in NAMES)
            raise StoppingError(
                key, f"expected {names} or a rule such as Median(warmup=5), got {value!r}"
            )


def _combined(value: AnyOf | AllOf | After, steps: int, key: str) -> dict[str, Any]:
    if isinstance(value, After):
        at = _warmup(key, value.step, steps, "step")
        return {
            "rule": "after",
            "options": {"step": at},
            "parts": [_part(value.rule, steps, f"{key}.rule")],
        }
    rule = "any" if isinstance(value, AnyOf) else "all"
    if len(value.rules) < 2:
        raise StoppingError(key, f"expected two rules or more in {type(value).__name__}(...)")
    parts = [_part(part, steps, f"{key}[{i}]") for i, part in enumerate(value.rules)]
    return {"rule": rule, "options": {}, "parts": parts}


def _part(value: object, steps: int, key: str) -> dict[str, Any]:
    data = as_data(value, steps, key)
    if data["rule"] == "none":
        raise StoppingError(key, 'expected a rule that stops trials, got "none"')
    return data


def _rungs(key: str, value: Asha | Halving, steps: int) -> dict[str, float]:
    eta = _whole(f"{key}.eta", value.eta, 2)
    grace = _whole(f"{key}.grace", value.grace, 1)
    return {"eta": eta, "grace": _before_the_end(f"{key}.grace", grace, steps)}


def _warmup(key: str, value: object, steps: int, name: str = "warmup") -> float:
    where = f"{key}.{name}"
    return _before_the_end(where, _whole(where, value, 0), steps)


def _before_the_end(key: str, value: float, steps: int) -> float:
    if value >= steps:
        raise StoppingError(
            key,
            f"expected less than the study's {steps} steps, got {value:g}: nothing would ever be"
            " stopped",
        )
    return value


def _whole(key: str, value: object, least: int) -> float:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**53:
        raise StoppingError(key, f"expected a whole number, {least} or more, got {value!r}")
    return float(value)


def _number(key: str, value: object, least: float | None) -> float:
    bad = isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    if bad or (least is not None and value < least):  # type: ignore[operator]
        floor = "" if least is None else f", {least:g} or more"
        raise StoppingError(key, f"expected a finite number{floor}, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def _one_of(key: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise StoppingError(key, expected(value, known))
    return value
