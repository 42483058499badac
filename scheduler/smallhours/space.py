"""What a study searches: its dimensions, what each of them allows, and define-by-run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias, TypeGuard

from smallhours.hints import did_you_mean

#: What a parameter may be (the same type as in ``core.spec``, which workers don't import).
ParamValue: TypeAlias = bool | int | float | str | None
Params: TypeAlias = dict[str, ParamValue]

#: Integers beyond this don't survive as floating point numbers.
_LARGEST_INT = 2**53


class SpaceError(ValueError):
    """A parameter or its value is wrong: which parameter, and what was expected."""

    def __init__(self, key: str, message: str) -> None:
        self.key, self.message = key, message
        super().__init__(f"{key}: {message}" if key else message)


@dataclass(frozen=True, slots=True)
class Float:
    """A real number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Search the logarithm: every order of magnitude counts the same.
        step: Distance of neighbouring values; None: continuous.
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None

    def problem(self) -> str | None:
        """Say what is wrong with the dimension itself; None: nothing."""
        for word, value in (("low", self.low), ("high", self.high), ("step", self.step)):
            if value is not None and not (_is_real(value) and math.isfinite(value)):
                return f"{word} must be a finite number, got {value!r}"
        if self.step is not None and self.log:
            return "a log scale has no step: leave one of them out"
        return _bounds_problem(self.low, self.high, self.log, self.step)

    def take(self, value: object) -> float:
        """Return the value as this dimension holds it.

        Raises:
            ValueError: it lies outside; the message says what was expected.
        """
        if not _is_real(value) or not self.low <= value <= self.high:
            raise ValueError(f"expected a number from {self.low:g} to {self.high:g}, got {value!r}")
        if self.step is not None and not _on_grid(value, self.low, self.step):
            raise ValueError(f"expected {self.low:g} plus steps of {self.step:g}, got {value!r}")
        return float(value)

    def as_data(self, name: str) -> dict[str, Any]:
        """Return the dimension as the scheduler reads it."""
        step = None if self.step is None else float(self.step)
        return _data(name, "float", float(self.low), float(self.high), log=self.log, step=step)


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number between two bounds, both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Search the logarithm: every doubling counts the same.
        step: Distance of neighbouring values.
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1

    def problem(self) -> str | None:
        """Say what is wrong with the dimension itself; None: nothing."""
        for word, value in (("low", self.low), ("high", self.high), ("step", self.step)):
            if not _is_int(value) or abs(value) > _LARGEST_INT:
                return f"{word} must be a whole number, got {value!r}"
        if self.step != 1 and self.log:
            return "a log scale has no step: leave one of them out"
        return _bounds_problem(self.low, self.high, self.log, self.step)

    def take(self, value: object) -> int:
        """Return the value as this dimension holds it.

        Raises:
            ValueError: it lies outside; the message says what was expected.
        """
        if not _is_int(value) or not self.low <= value <= self.high:
            raise ValueError(
                f"expected a whole number from {self.low} to {self.high}, got {value!r}"
            )
        if (value - self.low) % self.step:
            raise ValueError(f"expected {self.low} plus steps of {self.step}, got {value!r}")
        return value

    def as_data(self, name: str) -> dict[str, Any]:
        """Return the dimension as the scheduler reads it."""
        low, high = float(self.low), float(self.high)
        step = None if self.step == 1 else float(self.step)
        return _data(name, "int", low, high, log=self.log, step=step)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values without an order: str, int, float, bool or None.

    Attributes:
        choices: The values.
    """

    choices: Sequence[ParamValue]

    def __post_init__(self) -> None:
        if isinstance(self.choices, list | tuple | range):
            object.__setattr__(self, "choices", tuple(self.choices))

    def problem(self) -> str | None:
        """Say what is wrong with the dimension itself; None: nothing."""
        if not isinstance(self.choices, tuple):
            return f"expected a list of values, got {self.choices!r}"
        if not self.choices:
            return "there is nothing to choose from"
        for value in self.choices:
            if value is not None and not isinstance(value, str | int | float):
                return f"a choice must be str, int, float, bool or None, got {value!r}"
            if isinstance(value, int) and abs(value) > _LARGEST_INT:
                return f"{value!r} is too large"
            if isinstance(value, float) and not math.isfinite(value):
                return f"a choice must be finite, got {value!r}"
        seen = {(type(value), value) for value in self.choices}
        return "the same value is there twice" if len(seen) < len(self.choices) else None

    def take(self, value: object) -> ParamValue:
        """Return the value as this dimension holds it.

        Raises:
            ValueError: it is none of the choices; the message says what was expected.
        """
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        words = (choice for choice in self.choices if isinstance(choice, str))
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise ValueError(f"expected one of {list(self.choices)}, got {value!r}{hint}")

    def as_data(self, name: str) -> dict[str, Any]:
        """Return the dimension as the scheduler reads it."""
        return _data(name, "choice", None, None, choices=list(self.choices))


Dimension: TypeAlias = Float | Int | Choice


class SpaceTrial:
    """What a space function is given: it asks for values, as with Optuna.

    Attributes:
        number: The number of the trial in its study.
        params: What was asked for so far.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.params: Params = {}
        self._asked: dict[str, Dimension] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a real number between two bounds."""
        value = self._ask(name, Float(low, high, log=log, step=step))
        assert isinstance(value, float)
        return value

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Return a whole number between two bounds."""
        value = self._ask(name, Int(low, high, log=log, step=step))
        assert isinstance(value, int)
        return value

    def suggest_categorical(self, name: str, choices: Sequence[ParamValue]) -> Any:
        """Return one of some values."""
        return self._ask(name, Choice(choices))

    def _ask(self, name: str, dimension: Dimension) -> ParamValue:
        problem = name_problem(name) or dimension.problem()
        if problem:
            raise SpaceError(str(name), problem)
        if name in self._asked:
            if self._asked[name] != dimension:
                raise SpaceError(name, "it is asked for twice, with different bounds")
            return self.params[name]
        try:
            value = dimension.take(self._answer(name, dimension))
        except SpaceError:
            raise
        except ValueError as error:
            raise SpaceError(name, str(error)) from None
        self._asked[name] = dimension
        self.params[name] = value
        return value

    def _answer(self, name: str, dimension: Dimension) -> object:
        """Return the value for a dimension that is asked for the first time."""
        raise NotImplementedError


class FixedTrial(SpaceTrial):
    """Answers with given values, and so checks them: one that is missing or outside raises."""

    def __init__(self, params: Params) -> None:
        super().__init__(0)
        self._given = params

    def _answer(self, name: str, dimension: Dimension) -> object:
        if name not in self._given:
            hint = did_you_mean(name, self._given)
            raise SpaceError(name, f"the space asks for it, and it is missing{hint}")
        return self._given[name]


def name_problem(name: object) -> str | None:
    """Say why a parameter can't be called so; None: it can."""
    if not isinstance(name, str) or not name or len(name) > 64 or not name.isprintable():
        return "a parameter's name must be a printable string of up to 64 characters"
    return None


def check_params(space: dict[str, Dimension], params: Params) -> Params:
    """Return a configuration as the space holds it: all of its keys, and only those.

    Raises:
        SpaceError: a key is missing or unknown, or its value lies outside.
    """
    for key in params:
        if key not in space:
            raise SpaceError(key, f"the space has no such parameter{did_you_mean(key, space)}")
    taken: Params = {}
    for key, dimension in space.items():
        if key not in params:
            raise SpaceError(key, "it is missing: every parameter of the space needs a value")
        try:
            taken[key] = dimension.take(params[key])
        except ValueError as error:
            raise SpaceError(key, str(error)) from None
    return taken


def _data(
    name: str,
    kind: str,
    low: float | None,
    high: float | None,
    *,
    log: bool = False,
    step: float | None = None,
    choices: Sequence[ParamValue] = (),
) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "low": low, "high": high, "log": log, "step": step,
        "choices": list(choices),
    }  # fmt: skip


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounds_problem(low: float, high: float, log: bool, step: float | None) -> str | None:
    if not isinstance(log, bool):
        return f"log must be True or False, got {log!r}"
    if low > high:
        return f"low is above high: {low!r} > {high!r}"
    if log and low <= 0:
        return f"a log scale needs low > 0, got {low!r}"
    if step is not None and step <= 0:
        return f"step must be above 0, got {step!r}"
    if step is not None and not _on_grid(high, low, step):
        return f"high must be low plus a whole number of steps of {step!r}, got {high!r}"
    return None


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) < 1e-8 * max(1.0, abs(steps))
