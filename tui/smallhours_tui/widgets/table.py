"""A table that draws only the lines it shows, whatever number of rows it has.

The caller owns rows, order and filter: the table is given keys and a function that renders one of
them. A row is asked for again only when the caller says that it changed, and a line is painted
again only when it looks different.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import ClassVar, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from smallhours_tui.widgets import table_messages
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.columns import Column, column_at
from smallhours_tui.widgets.rows import GUTTER, Card, Rows, nearest
from smallhours_tui.widgets.styled import Styled

__all__ = ["Card", "Cell", "Column", "LineTable"]


class LineTable(ScrollView, Styled, can_focus=True):
    """Rows of cells with a cursor, marks and a line of titles.

    The cursor belongs to a key: it stays with it, on the same line of the screen, when the order
    changes. When its row is filtered out it goes to the nearest row that is left. Until somebody
    has moved it, it stays on the first row.
    """

    DEFAULT_CSS = """
    LineTable {
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        & > .line-table--header { text-style: bold; color: $text-muted; }
        & > .line-table--cursor {
            background: $block-cursor-background;
            color: $block-cursor-foreground;
            text-style: $block-cursor-text-style;
        }
        & > .line-table--blurred {
            background: $block-cursor-blurred-background;
            color: $block-cursor-blurred-foreground;
            text-style: $block-cursor-blurred-text-style;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "line-table--header",
        "line-table--cursor",
        "line-table--blurred",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "step(1)", "Down", show=False, id="table.down"),
        Binding("up,k", "step(-1)", "Up", show=False, id="table.up"),
        Binding("home,g", "edge(-1)", "First", show=False, id="table.first"),
        Binding("end,G", "edge(1)", "Last", show=False, id="table.last"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="table.half_down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="table.half_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("enter", "open", "Open", key_display="⏎", id="table.open"),
        Binding("space", "mark", "Mark", show=False, id="table.mark"),
        Binding("asterisk", "mark_all", "Mark all shown", show=False, id="table.mark_all"),
    ]

    #: Draw nothing but ASCII besides what the cells hold.
    ascii = var(False)

    Moved: TypeAlias = table_messages.Moved
    Opened: TypeAlias = table_messages.Opened
    SortRequested: TypeAlias = table_messages.SortRequested
    MarksChanged: TypeAlias = table_messages.MarksChanged

    def __init__(
        self,
        *,
        ascii: bool = False,  # noqa: A002 - the name that all widgets have for it
        cards_below: int = 80,
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """Make a table without columns and rows.

        Args:
            ascii: See the attribute.
            cards_below: Draw cards where the app has fewer columns than this, if `set_cards` said
                how.
            name: Of the widget.
            id: Of the widget.
            classes: Of the widget.
        """
        super().__init__(name=name, id=id, classes=classes)
        self.set_reactive(LineTable.ascii, ascii)
        #: Keys of the rows that are marked, those not shown now among them; say `changed` after
        #: putting others in.
        self.marked: set[Hashable] = set()
        self._rows = Rows(self.named, self.marked)
        self._card_lines, self._cards_below = 0, cards_below
        #: Whether there is more of a row to be opened.
        self.opens = True
        self._keys: Sequence[Hashable] = ()
        self._index: dict[Hashable, int] = {}
        self._empty: Card = ()
        self._cursor = 0
        self._moved = False
        self._painted: dict[int, Strip] = {}
        self._base = Style.null()
        self._room = Size(0, 0)

    # -- what the caller says

    def set_columns(self, columns: Sequence[Column], sort: tuple[str, bool] | None = None) -> None:
        """Take columns, and say in the titles what the rows are sorted by: key, descending."""
        if (columns, sort) != (self._rows.columns, self._rows.sort):
            self._rows.columns, self._rows.sort = columns, sort
            self._rows.forget()
            self._repaint()

    def set_source(
        self, keys: Sequence[Hashable], render: Callable[[Hashable], Sequence[Cell]]
    ) -> None:
        """Take rows in the order they are shown in, and how to render one.

        `render` is called for rows that are seen only, here again for each of them. It must return
        a cell a column. `keys` must not change later.
        """
        self._measure()
        old, old_cursor, old_top = self._keys, self._cursor, self._top
        before = self.cursor_key
        self._keys, self._rows.render = keys, render
        self._index = {key: i for i, key in enumerate(keys)}
        self._cursor = nearest(self._index, old, old_cursor) if self._moved else 0
        self._rows.forget()
        self._fit_height()
        if self._moved and old:
            seen = old_top <= old_cursor < old_top + self._page
            anchor = old_cursor if seen else min(old_top, len(old) - 1)
            self._scroll(nearest(self._index, old, anchor) - (anchor - old_top))
        self._repaint()
        if self.cursor_key != before:
            self.post_message(self.Moved(self, self.cursor_key))

    def set_cards(self, lines: int, render: Callable[[Hashable], Card]) -> None:
        """Say how a row is drawn on `lines` lines where the app is too narrow for columns."""
        self._card_lines, self._rows.render_card = lines, render
        self._rows.forget()
        self._fit_height()
        self._repaint()

    def set_empty(self, lines: Card) -> None:
        """Take what is shown where there are no rows."""
        self._empty = lines
        self._repaint()

    def changed(self, keys: Iterable[Hashable]) -> None:
        """Say which rows look different now; only those that are seen cost anything."""
        places = [self._index.get(key, -1) for key in self._rows.drop(keys)]
        if places:
            self._measure()
            self._repaint([y for row in places for y in self._lines_of(row)])

    @property
    def cursor_key(self) -> Hashable | None:
        """Key of the row that the cursor is on; None: there are no rows."""
        return self._keys[self._cursor] if self._keys else None

    @cursor_key.setter
    def cursor_key(self, key: Hashable) -> None:
        if key in self._index:
            self._move(self._index[key])

    def holds(self, key: Hashable) -> bool:
        """Say whether a row is shown, wherever it is."""
        return key in self._index

    @property
    def keys(self) -> Sequence[Hashable]:
        """All rows, in the order they are shown in."""
        return self._keys

    @property
    def cards(self) -> bool:
        """Whether rows are drawn as cards now."""
        return bool(self._card_lines) and self.app.size.width < self._cards_below

    # -- what the user does

    def action_step(self, rows: int) -> None:
        """Move the cursor by rows."""
        self._move(self._cursor + rows)

    def action_edge(self, direction: int) -> None:
        """Move the cursor to the first or the last row."""
        self._move(0 if direction < 0 else len(self._keys) - 1)

    def action_page(self, pages: float) -> None:
        """Move cursor and view by pages, so that the cursor stays on its line."""
        self._measure()
        rows = max(1, int(abs(pages) * self._page)) * (1 if pages > 0 else -1)
        if self._sees(self._cursor):
            self._scroll(self._top + rows)
        self._move(self._cursor + rows)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave out the key that opens where there is nothing to open."""
        if action == "open" and not self.opens:
            return False
        return super().check_action(action, parameters)

    def action_open(self) -> None:
        """Ask for more of the row under the cursor."""
        if self._keys:
            self.post_message(self.Opened(self, self._keys[self._cursor]))

    def action_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        if not self._keys:
            return
        key = self._keys[self._cursor]
        (self.marked.discard if key in self.marked else self.marked.add)(key)
        self.changed([key])
        self.post_message(self.MarksChanged(self))
        self._move(self._cursor + 1)

    def action_mark_all(self) -> None:
        """Mark all rows of the present filter; where all are marked, take the marks away."""
        if self.marked.issuperset(self._keys):
            self.marked.difference_update(self._keys)
        else:
            self.marked.update(self._keys)
        self._rows.forget()
        self._repaint()
        self.post_message(self.MarksChanged(self))

    def on_click(self, event: events.Click) -> None:
        """Move to the clicked row and open it at the second click; ask for sorting at a title."""
        place = event.get_content_offset(self)
        if place is None:
            return
        event.stop()
        self._measure()
        row = self._row_at(place.y)[0]
        if place.y < self._header:
            column = column_at(self._rows.columns, self._rows.given(), place.x - GUTTER)
            if column is not None:
                self.post_message(self.SortRequested(self, column.key))
        elif row < len(self._keys):
            self._move(row)
            if event.chain >= 2 and self.opens:
                self.action_open()

    # -- where things are

    def _measure(self) -> None:
        """Look once how much room there is and what the background is: asking costs 0.1 ms."""
        self._base = self.rich_style
        self._room = self.scrollable_content_region.size
        self._rows.shape(self._room.width, self._card_lines if self.cards else 0, self.ascii)

    @property
    def _header(self) -> int:
        """Lines of titles."""
        return 0 if self._rows.card_lines else 1

    @property
    def _page(self) -> int:
        """Rows that are seen whole."""
        return max(1, (self._room.height - self._header) // self._rows.height)

    @property
    def _top(self) -> int:
        """The first row that is seen."""
        return round(self.scroll_y) // self._rows.height

    def _sees(self, row: int) -> bool:
        return self._top <= row < self._top + self._page

    def _row_at(self, y: int) -> tuple[int, int]:
        """Return the row at a line of the screen, and which of its lines that is."""
        return divmod(y - self._header + round(self.scroll_y), self._rows.height)

    def _lines_of(self, row: int) -> range:
        """Return the lines of the screen that a row is on."""
        first = row * self._rows.height + self._header - round(self.scroll_y)
        return range(max(first, self._header), min(first + self._rows.height, self._room.height))

    def _move(self, row: int) -> None:
        """Put the cursor on a row; scroll by half a page where that is not seen."""
        self._moved = True
        row = max(0, min(row, len(self._keys) - 1))
        before, self._cursor = self._cursor, row
        self._measure()
        if not self._sees(row):
            self._scroll(row - self._page // 2)
        if row != before:
            self._repaint([*self._lines_of(before), *self._lines_of(row)])
            self.post_message(self.Moved(self, self.cursor_key))

    def _scroll(self, top: int) -> None:
        # A key that comes before the next frame must find the view where it will be.
        self.scroll_to(y=top * self._rows.height, animate=False, force=True, immediate=True)

    # -- painting

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw lines of the screen."""
        self._measure()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw a line of the screen."""
        strip = self._painted[y] = self._line(y)
        return strip

    def _line(self, y: int) -> Strip:
        if y < self._header:
            style = self._base + self.get_component_rich_style("line-table--header")
            return self._rows.titles(style)
        row, part = self._row_at(y)
        if row >= len(self._keys):
            return self._blank(y - self._header)
        strip = self._rows.strips(self._keys[row])[part]
        if row == self._cursor:
            return self._under_cursor(strip, first=part == 0)
        return strip.apply_style(self._base)

    def _blank(self, line: int) -> Strip:
        """Return a line below the last row; of an empty table what it has to say."""
        if self._keys or not 1 <= line <= len(self._empty):
            return Strip.blank(self._room.width, self._base)
        return self._rows.line("  ", self._empty[line - 1]).apply_style(self._base)

    def _under_cursor(self, strip: Strip, *, first: bool) -> Strip:
        """Return a line as a bar of one colour: hues do not stand out on every background."""
        name = "line-table--cursor" if self.has_focus else "line-table--blurred"
        style = self.get_component_rich_style(name)
        if self.app.no_color:
            style += Style(reverse=self.has_focus, underline=not self.has_focus)
        text = strip.text
        if first and self.has_focus and text.startswith(" "):
            text = ">" + text[1:]
        return Strip([Segment(text, style)], strip.cell_length)

    def _repaint(self, lines: Iterable[int] | None = None) -> None:
        """Paint those of some lines, or of all, that look different from what is on the screen."""
        if lines is None:
            self._measure()
            lines = range(self._room.height)
        for y in lines:
            if self._painted.get(y) != self._line(y):
                self.refresh(Region(0, y, self._room.width, 1))

    def _fit_height(self) -> None:
        """Tell the scrollbar how many lines there are."""
        if not self.is_mounted:
            return
        self._measure()
        lines = len(self._keys) * self._rows.height + self._header
        if self.virtual_size.height != lines:
            self.virtual_size = Size(0, lines)

    # -- what Textual says

    def restyled(self) -> None:
        """Draw rows again with the styles of now."""
        self._rows.forget()

    def watch_ascii(self) -> None:
        """Draw with other characters."""
        self._repaint()

    def on_mount(self) -> None:
        """Take up rows that were given before."""
        self._fit_height()

    def on_resize(self) -> None:
        """Lay rows out for another width, and keep the cursor in sight."""
        self._painted.clear()
        self._fit_height()
        if self._keys and self._moved and not self._sees(self._cursor):
            self._scroll(self._cursor - self._page // 2)
        self.refresh()

    @on(events.Focus)
    @on(events.Blur)
    def show_focus(self) -> None:
        """Show whether keys go here."""
        self._repaint(self._lines_of(self._cursor))
