"""Axes: round ticks, what their labels say, and where a value lies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

#: Steps between ticks of a time axis, in seconds.
_TIME_STEPS: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
)  # fmt: skip


class Tick(NamedTuple):
    """A value with the text that stands beside it."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values that is drawn, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1 within; NaN: it can't be drawn."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            return math.nan
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, most: int) -> list[Tick]:
        """Return at most `most` round values within the axis, with their labels."""
        if most <= 0:
            return []
        values = _log_ticks(self.low, self.high, most) if self.log else []
        if len(values) >= 2:
            return [Tick(v, f"{v:g}".replace("e-0", "e-").replace("e+0", "e")) for v in values]
        values = _linear_ticks(self.low, self.high, most)
        return [Tick(v, label) for v, label in zip(values, labels(values), strict=True)]


def axis(low: float, high: float, *, log: bool = False, most: int = 5) -> Axis:
    """Return an axis that holds a range and ends at round values.

    A logarithmic one needs values above 0, and becomes linear without them.
    """
    if log and low > 0:
        return _log_axis(low, high)
    if not high > low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = _step(low, high, most)
    return Axis(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def _log_axis(low: float, high: float) -> Axis:
    if not high > low:
        low, high = low / 2, high * 2
    if high / low > 10:
        rounded = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        # Half a decade of nothing is too much of a panel.
        low = rounded[0] if low / rounded[0] < 3 else low
        high = rounded[1] if rounded[1] / high < 3 else high
    return Axis(low, high, log=True)


def _step(low: float, high: float, most: int) -> float:
    """Return the least round step (1, 2, 2.5 or 5 times a power of ten) with few enough ticks."""
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= rough * (1 - 1e-9))


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    step = _step(low, high, most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)][: max(most, 2)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p * (1 + 1e-9)]
        values = [v for v in values if v <= high * (1 + 1e-9)]
        if len(values) <= most:
            return values
    every = -(-len(values) // most)
    return values[::every]


def labels(values: Sequence[float]) -> list[str]:
    """Return numbers as short texts, all that are near each other with as many decimals."""
    largest = max(map(abs, values), default=0.0)
    if largest and (largest >= 1e5 or largest < 1e-3):
        return [f"{v:.3g}".replace("e-0", "e-").replace("e+0", "e") for v in values]
    for decimals in range(7):
        texts = [f"{v:.{decimals}f}" for v in values]
        if all(math.isclose(float(t), v, rel_tol=1e-3, abs_tol=largest * 1e-6)
               for t, v in zip(texts, values, strict=True)):  # fmt: skip
            return ["0" if float(t) == 0 else t for t in texts]
    return [f"{v:.3g}" for v in values]


def time_ticks(since: float, until: float, most: int) -> Iterator[Tick]:
    """Yield round wall times (Unix seconds) of a range, as the reader's clocks show them."""
    span = until - since
    step = next((s for s in _TIME_STEPS if span / s <= most), _TIME_STEPS[-1])
    offset = time.localtime(since).tm_gmtoff or 0
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < _TIME_STEPS[-1] else "%d %b"
    at = math.ceil((since + offset) / step) * step - offset
    while at <= until:
        yield Tick(at, time.strftime(form, time.localtime(at)))
        at += step
