"""Lanes: which trial ran in which slot and when, with a cursor on one of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import ClassVar, Final, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.reactive import var
from textual.strip import Strip

from smallhours_tui.widgets import lanes_messages
from smallhours_tui.widgets.axes import time_ticks
from smallhours_tui.widgets.cells import fit, inert, width_of
from smallhours_tui.widgets.painted import PaintedWidget
from smallhours_tui.widgets.spans import (
    Heading,
    Lane,
    Painted,
    Row,
    Span,
    Window,
    at_time,
    fitting_s,
    paint,
)

__all__ = ["Heading", "Lane", "LanesChart", "Row", "Span"]

#: Seconds that a cell may stand for.
_ZOOMS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
#: The most that titles and notes get.
_TITLE, _NOTE = 18, 22
_NULL = Style.null()


class LanesChart(PaintedWidget, can_focus=True):
    """Time from left to right, a lane a slot, headings between them, and an axis below.

    The view follows the present until somebody goes back in time.
    """

    DEFAULT_CSS = """
    LanesChart {
        height: 1fr;
        & > .lanes-chart--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lanes-chart--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "along(-1)", "Trial before", show=False, id="lanes.before"),
        Binding("right,l", "along(1)", "Trial after", show=False, id="lanes.after"),
        Binding("up,k", "across(-1)", "Lane above", show=False, id="lanes.above"),
        Binding("down,j", "across(1)", "Lane below", show=False, id="lanes.below"),
        Binding("plus,equals_sign", "zoom(-1)", "Nearer", key_display="+", id="lanes.nearer"),
        Binding("minus", "zoom(1)", "Farther", key_display="-", id="lanes.farther"),
        Binding("0", "fit", "All", id="lanes.all"),
        Binding("pageup,ctrl+left", "pan(-0.5)", "Earlier", show=False, id="lanes.earlier"),
        Binding("pagedown,ctrl+right", "pan(0.5)", "Later", show=False, id="lanes.later"),
        Binding("home,g", "begin", "Begin", show=False, id="lanes.begin"),
        Binding("end,G", "now", "Now", show=False, id="lanes.now"),
        Binding("enter", "open", "Open trial", id="lanes.open"),
    ]

    #: Draw with ASCII only.
    ascii = var(False)
    #: Two lines a lane: what ran, and the details below.
    tall = var(False)

    Moved: TypeAlias = lanes_messages.Moved
    Opened: TypeAlias = lanes_messages.Opened

    def __init__(
        self,
        *,
        ascii: bool = False,  # noqa: A002 - the name that all widgets have for it
        empty: str = "nothing has run yet",
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """Make a chart without lanes; `empty` is said where nothing ran."""
        super().__init__(name=name, id=id, classes=classes)
        self.set_reactive(LanesChart.ascii, ascii)
        self._empty = empty
        self._rows: Sequence[Row] = ()
        self._now = 0.0
        #: Right end of the view; None: the present.
        self._until: float | None = None
        self._zoom = _ZOOMS.index(60)
        self._cursor: Hashable | None = None
        self._lane: Hashable | None = None
        self._top = 0
        self._drawn: list[list[Painted]] = []

    def show(self, rows: Sequence[Row], now: float) -> None:
        """Draw lanes and headings as they are at `now` (Unix seconds)."""
        self._rows, self._now = rows, now
        if self._selected() is None:
            self._lane, self._cursor = next(
                ((lane.key, lane.spans[-1].key) for lane in self._lanes() if lane.spans),
                (None, None),
            )
        self.draw_again()

    @property
    def cursor_key(self) -> Hashable | None:
        """Key of the span that the cursor is on; None: nothing has run."""
        return self._cursor

    @cursor_key.setter
    def cursor_key(self, key: Hashable) -> None:
        for lane in self._lanes():
            for span in reversed(lane.spans):
                if span.key == key:
                    self._select(lane, span)
                    return

    @property
    def lane_key(self) -> Hashable | None:
        """Key of the lane that the cursor is in; None: nothing has run."""
        return self._lane

    @property
    def cell_s(self) -> int:
        """Seconds that a cell stands for."""
        return _ZOOMS[self._zoom]

    @property
    def follows(self) -> bool:
        """Whether the view goes on with the time."""
        return self._until is None

    # -- what the user does

    def action_along(self, spans: int) -> None:
        """Go to a span before or after in the lane."""
        selected = self._selected()
        if selected is not None:
            lane, index = selected
            index = max(0, min(index + spans, len(lane.spans) - 1))
            self._select(lane, lane.spans[index])

    def action_across(self, lanes: int) -> None:
        """Go to what ran at the same time in another lane."""
        selected = self._selected()
        used = [lane for lane in self._lanes() if lane.spans]
        if selected is None:
            return
        lane, index = selected
        place = next(i for i, each in enumerate(used) if each.key == lane.key)
        other = used[max(0, min(place + lanes, len(used) - 1))]
        window = self._window()
        span = lane.spans[index]
        seen_from = max(span.start, window.since)
        seen_to = min(self._now if span.end is None else span.end, window.until)
        found = at_time(other.spans, (seen_from + seen_to) / 2)
        if found is not None and other is not lane:
            self._select(other, other.spans[found])

    def action_zoom(self, steps: int) -> None:
        """Let a cell stand for more or less time; what the cursor is on stays in sight."""
        zoom = max(0, min(self._zoom + steps, len(_ZOOMS) - 1))
        if zoom != self._zoom:
            self._zoom = zoom
            selected = self._selected()
            if selected is not None:
                self._reveal(selected[0].spans[selected[1]])
            self.draw_again()

    def action_fit(self, label: int = 0) -> None:
        """Choose what a cell stands for so that everything is seen.

        Args:
            label: Look nearer where the middle one of the spans would have fewer cells than this.
        """
        title, note = self._sides()
        spans = [span for lane in self._lanes() for span in lane.spans]
        wanted = fitting_s(spans, self._now, max(1, self.size.width - title - note), label)
        longer = (i for i, cell_s in enumerate(_ZOOMS) if cell_s >= wanted)
        self._zoom, self._until = next(longer, len(_ZOOMS) - 1), None
        self.draw_again()

    def action_pan(self, windows: float) -> None:
        """Look at another time."""
        window = self._window()
        self._look_until(window.until + windows * window.cells * window.cell_s)
        self.draw_again()

    def action_begin(self) -> None:
        """Look at when the first span began."""
        starts = [lane.spans[0].start for lane in self._lanes() if lane.spans]
        if starts:
            window = self._window()
            self._look_until(min(starts) + window.cells * window.cell_s)
            self.draw_again()

    def action_now(self) -> None:
        """Look at the present, and stay with it."""
        self._until = None
        self.draw_again()

    def action_open(self) -> None:
        """Ask for more of the span under the cursor."""
        if self._cursor is not None:
            self.post_message(self.Opened(self, self._cursor))

    def on_click(self, event: events.Click) -> None:
        """Go to the span that was clicked; open it at the second click."""
        place = event.get_content_offset(self)
        if place is None or place.y >= len(self._drawn):
            return
        x = place.x - self._sides()[0]
        painted = self._drawn[place.y]
        span = painted[x][2] if 0 <= x < len(painted) else None
        if span is not None:
            event.stop()
            self.cursor_key = span.key
            if event.chain >= 2:
                self.action_open()

    # -- where things are

    def _lanes(self) -> Iterator[Lane]:
        return (row for row in self._rows if isinstance(row, Lane))

    def _selected(self) -> tuple[Lane, int] | None:
        """Return the lane of the cursor and the index of its span there."""
        for lane in self._lanes():
            if lane.key == self._lane:
                found = (i for i, span in enumerate(lane.spans) if span.key == self._cursor)
                index = next(found, None)
                return None if index is None else (lane, index)
        return None

    def _select(self, lane: Lane, span: Span) -> None:
        moved = span.key != self._cursor
        self._lane, self._cursor = lane.key, span.key
        self._reveal(span)
        self.draw_again()
        if moved:
            self.post_message(self.Moved(self, span.key))

    def _reveal(self, span: Span) -> None:
        """Look where a span is, if it is not seen."""
        window = self._window()
        first, after = window.extent(span)
        if after <= 0 or first >= window.cells:
            end = self._now if span.end is None else span.end
            middle = (max(span.start, end - window.cells * window.cell_s) + end) / 2
            self._look_until(middle + window.cells * window.cell_s / 2)

    def _look_until(self, until: float) -> None:
        self._until = None if until >= self._now else until

    def _sides(self) -> tuple[int, int]:
        """Return the cells that titles and notes take."""
        lanes = list(self._lanes())
        title = max((width_of(inert(lane.title)) for lane in lanes), default=0)
        note = max((width_of(inert(lane.note)) for lane in lanes), default=0)
        return min(title, _TITLE) + 1, min(note + 1, _NOTE) if note else 0

    def _window(self) -> Window:
        """Return the time that is seen; its cells begin at whole multiples, so nothing flickers."""
        title, note = self._sides()
        cells = max(1, self.size.width - title - note)
        until = self._now if self._until is None else self._until
        last = until // self.cell_s
        return Window((last + 1 - cells) * self.cell_s, self.cell_s, cells, self._now)

    # -- painting

    def draw(self) -> list[Strip]:
        """Return all lines."""
        width, height = self.size
        if not any(lane.spans for lane in self._lanes()):
            said = Segment(fit(" " + self._empty, width), self.named("dim"))
            self._drawn = []
            return [Strip([said], width)]
        window = self._window()
        lines: list[tuple[Strip, list[Painted]]] = []
        selected_line = 0
        for row in self._rows:
            if isinstance(row, Lane) and row.key == self._lane:
                selected_line = len(lines)
            lines += self._drawn_row(row, window)
        room = max(1, height - 1)
        self._top = self._scrolled(selected_line, room, len(lines))
        seen = lines[self._top : self._top + room]
        self._drawn = [painted for _, painted in seen]
        return [*(strip for strip, _ in seen), self._axis(window)]

    def _scrolled(self, line: int, room: int, lines: int) -> int:
        """Return the first line that is seen, so that `line` is, and what stands over it."""
        top = max(0, min(self._top, lines - room))
        if not top < line + 1 + self.tall <= top + room:
            top = max(0, min(line - room // 2, lines - room))
        return top

    def _drawn_row(self, row: Row, window: Window) -> Iterator[tuple[Strip, list[Painted]]]:
        width = self.size.width
        if isinstance(row, Heading):
            segments = [Segment(inert(text), self.named(style)) for text, style in row.cells]
            yield Strip(segments).adjust_cell_length(width, _NULL), []
            return
        title, note = self._sides()
        both = paint(row, window, ascii_only=self.ascii)
        for painted in both if self.tall else both[:1]:
            first = painted is both[0]
            left = fit(inert(row.title) if first else "", title - 1) + " "
            right = fit(inert(row.note) if first else "", note, "right")
            segments = [
                Segment(left, self.named("bold")),
                *self._merged(painted, row),
                Segment(right, self.named("dim")),
            ]
            yield Strip(segments).adjust_cell_length(width, _NULL), painted

    def _merged(self, painted: Sequence[Painted], lane: Lane) -> Iterator[Segment]:
        """Yield a lane's cells, those of one style in one segment, the cursor's as a bar."""
        text, last = "", _NULL
        for sign, name, span in painted:
            chosen = span is not None and span.key == self._cursor and lane.key == self._lane
            style = self._cursor_style() if chosen else self.named(name)
            if style != last:
                if text:
                    yield Segment(text, last)
                text, last = "", style
            text += sign
        yield Segment(text, last)

    def _cursor_style(self) -> Style:
        style = self.get_component_rich_style("lanes-chart--cursor")
        return style + Style(reverse=True) if self.app.no_color else style

    def _axis(self, window: Window) -> Strip:
        """Return the line of times."""
        title, _ = self._sides()
        text = ""
        for tick in time_ticks(window.since, window.until, max(2, window.cells // 12)):
            at = window.cell(tick.value)
            if at >= len(text) + bool(text) and at + len(tick.label) <= window.cells:
                text = text.ljust(at) + tick.label
        line = Segment(" " * title + text, self.named("dim"))
        return Strip([line]).adjust_cell_length(self.size.width, _NULL)

    # -- what Textual says

    def watch_ascii(self) -> None:
        """Draw with other characters."""
        self.draw_again()

    def watch_tall(self) -> None:
        """Draw one line a lane, or two."""
        self.draw_again()
