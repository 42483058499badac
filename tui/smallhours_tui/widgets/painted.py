"""Widgets that draw themselves whole, and paint the lines only that look different."""

from __future__ import annotations

from textual.geometry import Region
from textual.strip import Strip

from smallhours_tui.widgets.styled import Styled


class PaintedWidget(Styled):
    """A widget whose lines are drawn together (`draw`) and kept until they are drawn again."""

    #: What was drawn last; None: it is to be drawn when it is painted.
    _strips: list[Strip] | None = None

    def draw(self) -> list[Strip]:
        """Return all lines, from the top; those that are not there are blank."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """Return a line."""
        if self._strips is None:
            self._strips = self.draw()
        if y >= len(self._strips):
            return Strip.blank(self.size.width, self.rich_style)
        return self._strips[y].apply_style(self.rich_style)

    def draw_again(self) -> None:
        """Draw, and paint the lines that look different now."""
        before, self._strips = self._strips, None
        if not self.size or not self.is_attached:
            return
        if before is None:
            self.refresh()
            return
        self._strips = self.draw()
        blank = Strip.blank(self.size.width)
        for y in range(self.size.height):
            old = before[y] if y < len(before) else blank
            if old != (self._strips[y] if y < len(self._strips) else blank):
                self.refresh(Region(0, y, self.size.width, 1))

    def restyled(self) -> None:
        """Draw again with the styles of now."""
        self._strips = None

    def on_resize(self) -> None:
        """Draw for another size."""
        self._strips = None
        self.refresh()
