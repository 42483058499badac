"""Text between the tables: lines that are cut to the width, and paragraphs that are wrapped."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.geometry import Size
from textual.widget import Widget

from smallhours_tui.widgets.cells import Cell, fit, width_of
from smallhours_tui.widgets.styled import Styled


class Lines(Styled, Widget):
    """Some lines of cells, each cut to the width: what a table has no columns for."""

    DEFAULT_CSS = """
    Lines { height: auto; width: 1fr; }
    """

    def __init__(self, *, cut: str, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        """Make it empty; `cut` is the sign that something was cut off."""
        super().__init__(id=id)
        self._cut = cut
        self._lines: Sequence[Sequence[Cell]] = ()

    def show(self, lines: Sequence[Sequence[Cell]]) -> None:
        """Take lines; drawn again only where they differ."""
        if lines == self._lines:
            return
        taller = len(lines) != len(self._lines)
        self._lines = lines
        self.refresh(layout=taller)

    def render(self) -> Text:
        """Draw them."""
        width = self.size.width
        text = Text(no_wrap=True, overflow="crop", end="")
        for i, line in enumerate(self._lines):
            if i:
                text.append("\n")
            room = width
            for said, style in line:
                shown = said if width_of(said) <= room else fit(said, room, cut=self._cut)
                text.append(shown, self.named(style))
                room -= width_of(shown)
                if room <= 0:
                    break
        return text

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many as there are."""
        return len(self._lines)


class Paragraphs(Styled, Widget):
    """Texts wrapped to the width, and blocks that are not."""

    DEFAULT_CSS = """
    Paragraphs { height: auto; width: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._parts: Sequence[Sequence[Cell]] = ()

    def show(self, parts: Sequence[Sequence[Cell]]) -> None:
        """Take paragraphs, each of cells side by side; they must be inert."""
        if parts != self._parts:
            self._parts = parts
            self.refresh(layout=True)

    def render(self) -> Text:
        """Draw them."""
        text = Text(end="")
        for i, part in enumerate(self._parts):
            if i:
                text.append("\n")
            for said, style in part:
                text.append(said, self.named(style))
        return text
