"""The grid: every combination once, in an order that is balanced wherever the night ends.

After any number of points, every value of a parameter has been used equally often, to within one.
A shuffled grid has this only on average, a nested loop not at all. The order goes along diagonals:
from one point to the next each parameter takes its next value, and a diagonal comes back to its
beginning after as many points as the least common multiple of the parameters' counts. The diagonals
are the cosets of that walk in the product of cyclic groups, so that together they hold each point
once. The study's seed shuffles the values of each parameter and the order of the diagonals.

Standard library only: the loader counts points with it.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Iterable, Mapping, Sequence

from smallhours.hints import did_you_mean
from smallhours.sampling import axes
from smallhours.sampling.axes import Axis
from smallhours.space import Params, ParamValue

#: A grid of more points is a mistake: it would not be finished in a year of nights.
LARGEST = 1_000_000

#: How many points an axis has: for all that need to be told, or by parameter.
Points = int | Mapping[str, int] | None


class GridError(ValueError):
    """The space is no grid; the message says why and what to do."""


class Grid:
    """All combinations of some values of each parameter."""

    def __init__(self, space: Sequence[Axis], points: Points = None, seed: int = 0) -> None:
        """Lay the grid out.

        Args:
            space: Its parameters.
            points: How many values a parameter without steps has: one number for all of them, or
                by parameter (then also of those that have steps, to take fewer). Both ends of the
                range are among them.
            seed: Shuffles the order.

        Raises:
            GridError: a parameter has no end of values, `points` doesn't fit, or it is too large.
        """
        _check_names(space, points)
        counts = {axis.name: _count(axis, points) for axis in space}
        self.size = math.prod(counts.values())
        if self.size > LARGEST:
            shape = " × ".join(f"{name} {number}" for name, number in counts.items())
            raise GridError(
                f"a grid of {self.size} points ({shape}) is more than {LARGEST}: "
                "give it steps or points=..., or take another sampler"
            )
        self.axes = {axis.name: _values(axis, counts[axis.name]) for axis in space}
        self._places = {
            name: {(type(value), value): place for place, value in enumerate(values)}
            for name, values in self.axes.items()
        }
        #: Parameters whose values may be off by a rounding error: what they have, rising.
        self._inexact = {
            axis.name: [float(value or 0.0) for value in self.axes[axis.name]]
            for axis in space
            if axis.kind == "float"
        }
        shuffle = random.Random(f"{seed}/grid").shuffle
        #: By parameter: its positions in the order in which a diagonal takes them.
        self._orders: dict[str, list[int]] = {}
        #: How many diagonals start apart in each parameter.
        self._apart: list[int] = []
        self._diagonal = 1
        for name, values in self.axes.items():
            self._orders[name] = list(range(len(values)))
            shuffle(self._orders[name])
            self._apart.append(math.gcd(self._diagonal, len(values)))
            self._diagonal = math.lcm(self._diagonal, len(values))
        self._starts = list(range(self.size // self._diagonal))
        shuffle(self._starts)

    def point(self, index: int) -> Params:
        """Return the configuration that comes at a place of the order, from 0 to `size` - 1."""
        start, along = self._starts[index // self._diagonal], index % self._diagonal
        params: Params = {}
        for (name, values), apart in zip(self.axes.items(), self._apart, strict=True):
            start, offset = divmod(start, apart)
            params[name] = values[self._orders[name][(along + offset) % len(values)]]
        return params

    def position(self, params: Params) -> tuple[int, ...] | None:
        """Return where in the grid a configuration lies; None: it is no point of it."""
        found = []
        for name, places in self._places.items():
            value = params.get(name)
            place = places.get((type(value), value))
            if place is None and name in self._inexact and isinstance(value, float):
                place = _nearest(self._inexact[name], value)
            if place is None:
                return None
            found.append(place)
        return tuple(found)

    def first_free(self, taken: Iterable[Params]) -> Params:
        """Return the first configuration of the order that is not taken.

        Raises:
            GridError: all are.
        """
        places = {self.position(params) for params in taken}
        for index in range(self.size):
            params = self.point(index)
            if self.position(params) not in places:
                return params
        raise GridError(f"all {self.size} points of the grid are taken")

    def shape(self) -> str:
        """Return the number of values of each parameter, in words."""
        return " × ".join(f"{name} {len(values)}" for name, values in self.axes.items())


def _check_names(space: Sequence[Axis], points: Points) -> None:
    if not isinstance(points, Mapping):
        return
    known = {axis.name: axis for axis in space}
    for name in points:
        if name not in known:
            raise GridError(f"the space has no parameter {name!r}{did_you_mean(name, known)}")
        if known[name].kind == "choice":
            raise GridError(f"{name!r} is a Choice: the grid takes all of its values")


def _count(axis: Axis, points: Points) -> int:
    """Return how many values the grid takes of a parameter."""
    there = axes.count(axis)
    if isinstance(points, Mapping) and axis.name in points:
        return points[axis.name] if there is None else min(there, points[axis.name])
    if there is not None and not (axis.kind == "int" and axis.log):
        return there
    if not isinstance(points, int):
        what = "has a log scale" if axis.log and there is not None else "is continuous"
        raise GridError(
            f'{axis.name!r} {what}: say how many values to take, as in {{"name": "grid", '
            f'"points": {{"{axis.name}": 5}}}}, or "points": 5 for all such parameters'
        )
    return points if there is None else min(there, points)


def _values(axis: Axis, number: int) -> tuple[ParamValue, ...]:
    there = axes.count(axis)
    if there is not None and number >= there:
        return tuple(axes.nth(axis, index) for index in range(there))
    shares = [index / (number - 1) for index in range(number)]
    if there is None:
        return tuple(_round(axis, axes.between(axis, share)) for share in shares)
    if axis.log:
        spread = (round(axes.between(axis, share)) for share in shares)
        return _distinct(spread, int(axis.low or 0))
    return tuple(axes.nth(axis, round(share * (there - 1))) for share in shares)


def _distinct(numbers: Iterable[int], least: int) -> tuple[int, ...]:
    """Return rising whole numbers with repetitions moved up to the next free one."""
    taken: list[int] = []
    for number in numbers:
        taken.append(max(number, taken[-1] + 1 if taken else least))
    return tuple(taken)


def _round(axis: Axis, value: float) -> float:
    """Return the value without the noise of the arithmetic, inside the bounds."""
    low, high = axes.bounds(axis)
    return min(max(float(f"{value:.12g}"), low), high)


def _nearest(rising: list[float], value: float) -> int | None:
    """Return the place of a value up to a rounding error; None: it isn't there."""
    right = bisect.bisect_left(rising, value)
    near_zero = 1e-12 * (rising[-1] - rising[0])
    for place in (right - 1, right):
        if 0 <= place < len(rising) and math.isclose(
            rising[place], value, rel_tol=1e-9, abs_tol=near_zero
        ):
            return place
    return None
