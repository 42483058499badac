"""How the rows of a table are drawn: in columns, or as cards where there is no room for columns."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from smallhours_tui.widgets.cells import Cell, ellipsis, fit, inert, width_of
from smallhours_tui.widgets.columns import Column, lay_out, widths

#: Lines of a row that is drawn as a card, each of them cells side by side.
Card: TypeAlias = Sequence[Sequence[Cell]]

#: Cells at the left that show the cursor and the mark.
GUTTER: Final = 1
#: Rows whose lines are kept; a page has fewer.
_KEPT = 512
_NULL = Style.null()


class Rows:
    """Draws rows, without cursor and background, and keeps what it drew."""

    def __init__(self, named: Callable[[str], Style], marked: Container[Hashable]) -> None:
        """Draw nothing yet.

        Args:
            named: Says what a style name looks like.
            marked: Keys of the rows that are drawn with a mark.
        """
        self._named, self._marked = named, marked
        self._drawn: dict[Hashable, tuple[Strip, ...]] = {}
        self._width = 0
        self._ascii = False
        #: Lines of a card; 0: rows are drawn in columns.
        self.card_lines = 0
        self.columns: Sequence[Column] = ()
        #: Key of the column that the rows are sorted by, and whether descending.
        self.sort: tuple[str, bool] | None = None
        self.render: Callable[[Hashable], Sequence[Cell]] = lambda _: ()
        self.render_card: Callable[[Hashable], Card] = lambda _: ()

    @property
    def height(self) -> int:
        """Lines of a row."""
        return self.card_lines or 1

    def shape(self, width: int, card_lines: int, ascii_only: bool) -> None:
        """Take the room there is and the way to draw; what was drawn otherwise is forgotten."""
        shape = (width, card_lines, ascii_only)
        if shape != (self._width, self.card_lines, self._ascii):
            self._width, self.card_lines, self._ascii = shape
            self._drawn.clear()

    def forget(self) -> None:
        """Draw all rows again when they are asked for."""
        self._drawn.clear()

    def drop(self, keys: Iterable[Hashable]) -> Iterator[Hashable]:
        """Draw some rows again when they are asked for; yields those that had been drawn."""
        for key in keys:
            if self._drawn.pop(key, None) is not None:
                yield key

    def strips(self, key: Hashable) -> tuple[Strip, ...]:
        """Return the lines of a row."""
        strips = self._drawn.get(key)
        if strips is None:
            if len(self._drawn) >= _KEPT:
                self._drawn.clear()
            strips = self._drawn[key] = tuple(self._draw(key))
        return strips

    def titles(self, style: Style) -> Strip:
        """Return the line of titles."""
        cells = [(column.title + self._arrow(column), "") for column in self.columns]
        segments = lay_out(cells, self.columns, self.given(), self._named, self._cut)
        text = " " * GUTTER + "".join(segment.text for segment in segments)
        return Strip([Segment(fit(text.rstrip(), self._width, cut=self._cut), style)], self._width)

    def line(self, gutter: str, cells: Sequence[Cell]) -> Strip:
        """Return cells side by side, cut where the line is full."""
        room = self._width - len(gutter)
        segments = [Segment(gutter, _NULL)]
        for raw, style in cells:
            text = inert(raw)
            used = width_of(text)
            if used > room:
                text, used = fit(text, room, cut=self._cut), room
            segments.append(Segment(text, self._named(style)))
            room -= used
            if room <= 0:
                break
        return Strip(segments).adjust_cell_length(self._width, _NULL)

    def given(self) -> list[int]:
        """Return the cells that each column has."""
        return widths(self.columns, self._width - GUTTER)

    @property
    def _cut(self) -> str:
        return ellipsis(self._ascii)

    def _draw(self, key: Hashable) -> Iterator[Strip]:
        mark = "*" if key in self._marked else " "
        if not self.card_lines:
            segments = lay_out(self.render(key), self.columns, self.given(), self._named, self._cut)
            strip = Strip([Segment(mark, _NULL), *segments])
            yield strip.adjust_cell_length(self._width, _NULL)
            return
        lines = self.render_card(key)
        for part in range(self.card_lines):
            yield self.line(mark if part == 0 else " ", lines[part] if part < len(lines) else ())

    def _arrow(self, column: Column) -> str:
        if self.sort is None or self.sort[0] != column.key:
            return ""
        if self._ascii:
            return "v" if self.sort[1] else "^"
        return "▾" if self.sort[1] else "▴"


def nearest(index: Mapping[Hashable, int], old: Sequence[Hashable], at: int) -> int:
    """Return where a row is now that was at `at`, or else the one that was nearest.

    Args:
        index: Where each row is now.
        old: The rows as they were.
        at: Which of them.
    """
    order = chain(range(at, len(old)), range(at - 1, -1, -1))
    return next((index[old[i]] for i in order if old[i] in index), 0)
