"""Curves to be drawn: smoothed, thinned to the dots there are, and many folded into a band."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from smallhours_tui.widgets.axes import Axis
from smallhours_tui.widgets.braille import Canvas

Layer: TypeAlias = Literal["dim", "normal", "bright"]
Points: TypeAlias = Sequence[tuple[float, float]]
LAYERS: Final[Sequence[Layer]] = ("dim", "normal", "bright")

_LOW, _HIGH = 0.1, 0.9
#: A value further from the middle four fifths than this many times their span is left out of sight.
_FENCE = 10.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points; x rises, a y that is not finite is a gap.

    The points must not change later: a curve that has grown is another `Curve` of the same key.
    """

    key: Hashable
    points: Points
    style: str = ""
    layer: Layer = "normal"
    #: Named in the legend if it is not empty.
    label: str = ""
    #: One cell that is drawn at the curve's end and in the legend.
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """A shaded range of values: x, low, high; x rises."""

    points: Sequence[tuple[float, float, float]]
    style: str = "dim"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A sign at a point; without y an upright line, without x a level one."""

    x: float | None
    y: float | None
    style: str = ""
    #: One cell; used at a point.
    sign: str = "+"
    #: Stands beside it where there is room.
    text: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of the plane, and on how many cells."""

    x: Axis
    y: Axis
    width: int
    height: int

    def dot(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the dot of a point; None: it can't be drawn."""
        across, up = self.x.share(x), self.y.share(y)
        if not (math.isfinite(across) and math.isfinite(up)):
            return None
        lines = 4 * self.height
        down = (1.0 - min(2.0, max(-1.0, up))) * (lines - 1)
        return round(across * (2 * self.width - 1)), round(down)

    def cell(self, x: float, y: float) -> tuple[int, int] | None:
        """Return the cell of a point; None: it is not seen."""
        dot = self.dot(x, y)
        if dot is None:
            return None
        column, line = dot[0] >> 1, dot[1] >> 2
        seen = 0 <= column < self.width and 0 <= line < self.height
        return (column, line) if seen else None


def smoothed(points: Points, weight: float) -> Points:
    """Return a moving average with exponential weights, corrected for where it began.

    Args:
        points: Gaps stay gaps and count for nothing.
        weight: Of what was before, 0 (as they are) to below 1.
    """
    if weight <= 0:
        return points
    mean, known, out = 0.0, 1.0, []
    for x, y in points:
        if math.isfinite(y):
            mean = weight * mean + (1 - weight) * y
            known *= weight
            out.append((x, mean / (1 - known)))
        else:
            out.append((x, y))
    return out


class Traced:
    """A curve with all that is computed from it, each thing once."""

    def __init__(self, curve: Curve, weight: float) -> None:
        """Take a curve that is smoothed by `weight`."""
        self.curve, self.weight = curve, weight
        self.points = smoothed(curve.points, weight)
        finite = [(x, y) for x, y in self.points if math.isfinite(y)]
        self._finite = finite
        self._x = [x for x, _ in finite]
        ordered = sorted(y for _, y in finite)
        self.known = bool(ordered)
        if ordered:
            self.first_x, self.last_x = self._x[0], self._x[-1]
            self.low, self.high = ordered[0], ordered[-1]
            above = bisect_right(ordered, 0.0)
            #: The lowest value that a logarithmic axis can show.
            self.positive = ordered[above] if above < len(ordered) else None
            self.low_fence, self.high_fence = _quantile(ordered, _LOW), _quantile(ordered, _HIGH)
        self._picture: tuple[View, int] | None = None
        self._samples: tuple[Axis, int, list[float | None]] | None = None

    def same(self, curve: Curve, weight: float) -> bool:
        """Say whether nothing has to be computed again for `curve`."""
        mine = self.curve.points
        return weight == self.weight and (mine is curve.points or mine == curve.points)

    def last(self) -> tuple[float, float] | None:
        """Return the last point that can be drawn."""
        return self._finite[-1] if self.known else None

    def picture(self, view: View) -> int:
        """Return the curve as dots."""
        if self._picture is None or self._picture[0] != view:
            canvas = Canvas(view.width, view.height)
            canvas.line(self._dots(view))
            self._picture = view, canvas.picture()
        return self._picture[1]

    def samples(self, axis: Axis, columns: int) -> list[float | None]:
        """Return its value in each column of cells; None where it has not begun, or is over."""
        if self._samples is None or self._samples[:2] != (axis, columns):
            self._samples = axis, columns, list(self._sampled(axis, columns))
        return self._samples[2]

    def _sampled(self, axis: Axis, columns: int) -> Iterable[float | None]:
        for at in _places(axis, columns):
            i = bisect_right(self._x, at)
            inside = i > 0 and at <= self.last_x
            yield self._finite[i - 1][1] if inside else None

    def _dots(self, view: View) -> Iterable[tuple[int, int] | None]:
        if len(self.points) <= 4 * view.width:
            return [view.dot(x, y) for x, y in self.points]
        return self._thinned(view)

    def _thinned(self, view: View) -> Iterable[tuple[int, int] | None]:
        """Yield no more than the extremes of each column of dots."""
        points, columns = self.points, 2 * view.width
        xs = [x for x, _ in points]
        start = bisect_left(xs, view.x.low)
        for at in _places(view.x, columns):
            end = bisect_right(xs, at)
            if end - start <= 2:
                yield from (view.dot(x, y) for x, y in points[start:end])
            else:
                part = points[start:end]
                ys = [y for _, y in part]
                if all(map(math.isfinite, ys)):
                    first, last = part[0][0], part[-1][0]
                    low, high = min(ys), max(ys)
                    falls = ys.index(high) < ys.index(low)
                    yield view.dot(first, high if falls else low)
                    yield view.dot(last, low if falls else high)
                else:
                    yield from (view.dot(x, y) for x, y in part)
            start = end


def _places(axis: Axis, columns: int) -> list[float]:
    """Return the x at the right end of each column."""
    step = (axis.high - axis.low) / columns
    return [axis.low + step * (i + 1) for i in range(columns)]


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)]


def fold(traces: Sequence[Traced], axis: Axis, columns: int) -> list[tuple[float, float] | None]:
    """Return the 10th and 90th percentile of curves in each column; None: fewer than two curves."""
    ranges: list[tuple[float, float] | None] = []
    for column in zip(*(trace.samples(axis, columns) for trace in traces), strict=True):
        values = sorted([v for v in column if v is not None])
        enough = len(values) >= 2
        ranges.append((_quantile(values, _LOW), _quantile(values, _HIGH)) if enough else None)
    return ranges


def range_of(
    traces: Iterable[Traced], others: Iterable[float], *, log: bool
) -> tuple[float, float] | None:
    """Return the values that an axis must hold; None: there are none.

    A few values far off all others (a curve that blew up) do not press the rest flat.
    """
    seen = [trace for trace in traces if trace.known and not (log and trace.positive is None)]
    lows = [trace.positive if log else trace.low for trace in seen]
    highs = [trace.high for trace in seen]
    if seen and not log:
        low_fence = min(trace.low_fence for trace in seen)
        high_fence = max(trace.high_fence for trace in seen)
        reach = _FENCE * (high_fence - low_fence)
        if math.isfinite(reach) and reach > 0:
            lows = [max(low_fence - reach, min(t.low for t in seen))]
            highs = [min(high_fence + reach, max(highs))]
    also = [v for v in others if math.isfinite(v) and (v > 0 or not log)]
    values = [v for v in (*lows, *highs, *also) if v is not None]
    return (min(values), max(values)) if values else None
