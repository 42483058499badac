"""What ran in a slot and when, and how that is drawn on a line of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from smallhours_tui.widgets.cells import Cell, fit, inert, width_of


@dataclass(frozen=True, slots=True)
class Span:
    """An attempt in a slot."""

    key: Hashable
    #: Wall times (Unix seconds); end None: it runs.
    start: float
    end: float | None
    label: str
    #: One cell at its end: how it ended, or that it runs.
    sign: str
    style: str = ""
    #: Drawn below it where lanes have two lines.
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """A slot: spans in the order of time, none beginning before the one before it ended."""

    key: Hashable
    title: str
    spans: Sequence[Span]
    #: Stands at the right.
    note: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A line of its own between lanes: a device, how busy it is."""

    cells: Sequence[Cell]


Row: TypeAlias = Lane | Heading
#: A character with the name of its style, and the span that it belongs to.
Painted: TypeAlias = tuple[str, str, Span | None]


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is seen, a cell after the other."""

    since: float
    cell_s: float
    cells: int
    now: float

    @property
    def until(self) -> float:
        """The end of the last cell."""
        return self.since + self.cell_s * self.cells

    def cell(self, at: float) -> int:
        """Return the cell of a time; it may lie outside."""
        return int((at - self.since) // self.cell_s)

    def extent(self, span: Span) -> tuple[int, int]:
        """Return the first cell of a span and the one after its last; at least one is between."""
        first = self.cell(span.start)
        return first, max(first, self.cell(self.now if span.end is None else span.end)) + 1


def at_time(spans: Sequence[Span], at: float) -> int | None:
    """Return the index of the span that began last before a time, or first; None: no spans."""
    if not spans:
        return None
    return max(0, bisect_right(spans, at, key=_start) - 1)


def fitting_s(spans: Sequence[Span], now: float, cells: int, label: int = 0) -> float:
    """Return the seconds that a cell stands for where all spans are to be seen at once.

    Args:
        spans: In any order.
        now: Wall time at which those end that run.
        cells: That there are.
        label: Cells that the middle one of the spans should have, though others go out of sight.
    """
    if not spans:
        return 0.0
    whole = (now - min(span.start for span in spans)) / max(1, cells - 1)
    if not label:
        return whole
    lengths = sorted((now if span.end is None else span.end) - span.start for span in spans)
    return min(whole, lengths[len(lengths) // 2] / label)


def paint(lane: Lane, window: Window, *, ascii_only: bool) -> tuple[list[Painted], list[Painted]]:
    """Return a lane's two lines: what ran, and the details of it."""
    idle = "." if ascii_only else "·"
    rule = "=" if ascii_only else "━"
    alive = min(max(window.cell(window.now) + 1, 0), window.cells)
    line: list[Painted] = [(idle, "dim", None)] * alive
    line += [(" ", "", None)] * (window.cells - alive)
    below: list[Painted] = [(" ", "", None)] * window.cells
    first = at_time(lane.spans, window.since)
    taken = 0
    for span in () if first is None else lane.spans[first:]:
        if span.start >= window.until:
            break
        start, end = window.extent(span)
        if end > taken:  # else it ended in the cell where the one before did: its sign is newer
            start = max(start, taken)
        taken = end
        seen = range(max(start, 0), min(end, window.cells))
        if not seen:
            continue
        ends_here = end <= window.cells
        room = len(seen) - ends_here
        text = _labelled(inert(span.label), room, rule)
        text += fit(inert(span.sign), 1) if ends_here else ""
        _write(line, seen, text, span)
        detail = inert(span.detail)
        _write(below, seen, fit(detail if width_of(detail) < len(seen) else "", len(seen)), span)
    return line, below


def _labelled(label: str, room: int, rule: str) -> str:
    """Return the body of a span, with its label where that fits."""
    used = width_of(label)
    if label and used + 1 <= room:
        return f"{label} " + rule * (room - used - 1)
    return rule * room


def _write(line: list[Painted], cells: range, text: str, span: Span) -> None:
    """Put a text on a line; the second cell of a wide character is empty."""
    column = cells.start
    for letter in text:
        wide = width_of(letter)
        if wide == 0 and column > cells.start:
            line[column - 1] = (line[column - 1][0] + letter, span.style, span)
            continue
        if column + wide > cells.stop:
            break
        line[column] = (letter, span.style, span)
        for extra in range(column + 1, column + wide):
            line[extra] = ("", span.style, span)
        column += wide


def _start(span: Span) -> float:
    return span.start
