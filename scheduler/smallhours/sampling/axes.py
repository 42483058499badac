"""The values of one parameter, in order. Standard library only: the loader counts grids with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from smallhours.space import ParamValue


class Axis(Protocol):
    """A dimension as `core.spec.Dimension` describes it (which workers don't import)."""

    @property
    def name(self) -> str:
        """The parameter."""
        ...

    @property
    def kind(self) -> str:
        """``float``, ``int`` or ``choice``."""
        ...

    @property
    def low(self) -> float | None:
        """Smallest value; None for a choice."""
        ...

    @property
    def high(self) -> float | None:
        """Largest value; None for a choice."""
        ...

    @property
    def log(self) -> bool:
        """Whether every order of magnitude counts the same."""
        ...

    @property
    def step(self) -> float | None:
        """Distance of neighbouring values; None means continuous (float) or 1 (int)."""
        ...

    @property
    def choices(self) -> Sequence[ParamValue]:
        """The values of a choice, else empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainAxis:
    """An axis made of what `space.Dimension.as_data` returns."""

    name: str
    kind: str
    low: float | None
    high: float | None
    log: bool
    step: float | None
    choices: Sequence[ParamValue]


def plain(data: Mapping[str, Any]) -> Axis:
    """Return the axis that the data describes."""
    return PlainAxis(**data)


def bounds(axis: Axis) -> tuple[float, float]:
    """Return the bounds, the upper one brought down to a whole number of steps.

    Raises:
        ValueError: there are none.
    """
    low, high = axis.low, axis.high
    if low is None or high is None:
        raise ValueError("low and high are needed")
    if axis.step is None or not axis.step > 0 or high < low:
        return low, high
    exact_low, exact_step = Decimal(str(low)), Decimal(str(axis.step))
    steps = (Decimal(str(high)) - exact_low) // exact_step
    return low, float(exact_low + steps * exact_step)


def count(axis: Axis) -> int | None:
    """Return how many values it has; None: a continuum."""
    if axis.kind == "choice":
        return len(axis.choices)
    low, high = bounds(axis)
    if low == high:
        return 1
    if axis.kind == "float" and axis.step is None:
        return None
    return round((high - low) / (axis.step or 1)) + 1


def nth(axis: Axis, index: int) -> ParamValue:
    """Return a value of an axis that has a `count`, the lowest being number 0."""
    if axis.kind == "choice":
        return axis.choices[index]
    low, _ = bounds(axis)
    # In decimals: 0.1 times 3 is 0.3 for whoever wrote the space.
    value = Decimal(str(low)) + index * Decimal(str(axis.step or 1))
    return int(value) if axis.kind == "int" else float(value)


def between(axis: Axis, share: float) -> float:
    """Return the number at a share of the way from the lowest to the highest, logs heeded."""
    low, high = bounds(axis)
    if axis.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return min(max(value, low), high)
