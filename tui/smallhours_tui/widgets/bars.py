"""Bars and curves made of text, one line high and in one colour: cheap to send."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS: Final = "_.-:=+*#"


def bar(share: float | None, width: int, ascii: bool = False) -> str:  # noqa: A002
    """Return a bar that is filled to a share, `width` cells wide.

    Args:
        share: 0 to 1, what is beyond is drawn as the nearest; None or NaN: not known.
        width: Cells; in ASCII two of them are the brackets.
        ascii: Draw with ASCII only.
    """
    inside = max(0, width - 2) if ascii else max(0, width)
    if share is None or math.isnan(share):
        body = ("?" if ascii else "┄") * inside
    else:
        share = min(1.0, max(0.0, share))
        body = _ascii_fill(share, inside) if ascii else _fill(share, inside)
    return f"[{body}]"[:width] if ascii else body


def _ascii_fill(share: float, width: int) -> str:
    return ("#" * _full(share, width)).ljust(width, ".")


def _full(share: float, width: int) -> int:
    """Return the cells that are filled: none only of nothing, all only of all."""
    full = round(share * width)
    if 0 < share < 1 and width > 1:
        full = min(max(full, 1), width - 1)
    return full


def _fill(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if 0 < share < 1 and width:
        eighths = min(max(eighths, 1), width * 8 - 1)
    full, rest = divmod(eighths, 8)
    body = "█" * full + (_EIGHTHS[rest] if rest else "")
    return body.ljust(width, "░")


def sparkline(
    values: Sequence[float | None],
    width: int,
    ascii: bool = False,  # noqa: A002
    *,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Return values as one line of bars; where one is not known or not finite, there is a gap.

    Args:
        values: In the order of time; more than `width` are averaged, fewer stand at the right.
        width: Cells.
        ascii: Draw with ASCII only.
        low: Drawn as the lowest bar; None: the lowest value.
        high: Drawn as the highest bar; None: the highest value.
    """
    if width <= 0:
        return ""
    means = list(values) if len(values) <= width else _averaged(values, width)
    known = [v for v in means if v is not None and math.isfinite(v)]
    least = min(known, default=0.0) if low is None else low
    most = max(known, default=0.0) if high is None else high
    levels = _ASCII_LEVELS if ascii else _LEVELS
    return "".join(_level(v, least, most, levels) for v in means).rjust(width)


def _averaged(values: Sequence[float | None], width: int) -> list[float | None]:
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means: list[float | None] = []
    for start, end in pairwise(edges):
        known = [v for v in values[start:end] if v is not None and math.isfinite(v)]
        means.append(math.fsum(known) / len(known) if known else None)
    return means


def _level(value: float | None, low: float, high: float, levels: str) -> str:
    if value is None or not math.isfinite(value):
        return " "
    if not high > low:
        return levels[len(levels) // 2]
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return levels[min(len(levels) - 1, int(share * len(levels)))]
