"""Columns of a table: who gets how many cells, and a row laid out in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from smallhours_tui.widgets.cells import Align, Cell, fit, inert

#: Free cells between two columns.
_GAP = 1


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    key: str
    title: str
    #: Cells; of a flexible column the least that it gets.
    width: int
    align: Align = "left"
    #: Takes what the others leave, shared evenly with other flexible ones.
    flexible: bool = False


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return the cells that each column gets of `room`; columns without room get 0.

    Where there is not enough, the columns at the right are cut, then left out.
    """
    gaps = _GAP * max(0, len(columns) - 1)
    spare = max(0, room - gaps - sum(column.width for column in columns))
    flexible = sum(column.flexible for column in columns)
    given, left, shared = [], room, 0
    for column in columns:
        width = column.width
        if column.flexible:
            shared += 1
            width += spare * shared // flexible - spare * (shared - 1) // flexible
        width = max(0, min(width, left))
        given.append(width)
        left -= width + _GAP
    return given


def column_at(columns: Sequence[Column], given: Sequence[int], x: int) -> Column | None:
    """Return the column that is drawn at cell `x`; None: there is none."""
    end = 0
    for column, width in zip(columns, given, strict=True):
        end += width + _GAP
        if width and x < end:
            return column
    return None


def lay_out(
    cells: Sequence[Cell],
    columns: Sequence[Column],
    given: Sequence[int],
    named: Callable[[str], Style],
    cut: str,
) -> list[Segment]:
    """Return a row's cells as segments, those of one style after another in one segment."""
    segments: list[Segment] = []
    text, style = "", ""
    for cell, column, width in zip(cells, columns, given, strict=False):
        if not width:
            continue
        if cell[1] != style:
            if text:
                segments.append(Segment(text, named(style)))
            text, style = "", cell[1]
        text += fit(inert(cell[0]), width, column.align, cut) + " " * _GAP
    if text:
        segments.append(Segment(text, named(style)))
    return segments
