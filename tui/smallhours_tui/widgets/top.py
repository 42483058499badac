"""The header line: where one is, what time it is, and whether the engine lives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.widget import Widget

from smallhours_tui import words
from smallhours_tui.feed import Night
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.cells import Cell, width_of
from smallhours_tui.widgets.styled import Styled


class Tab(NamedTuple):
    """A screen that the header names."""

    key: str
    title: str
    name: str


class Top(Styled, Widget):
    """One line; names of screens are drawn where there is room, and can be clicked."""

    DEFAULT_CSS = """
    Top { height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self, tabs: Sequence[Tab], current: str, signs: Signs, host: str) -> None:
        """Make a header.

        Args:
            tabs: The screens that can be gone to.
            current: Name of the one that this belongs to.
            signs: What is drawn with.
            host: Name of the machine.
        """
        super().__init__()
        self._tabs, self._current, self._signs, self._host = tabs, current, signs, host
        self._night: Night | None = None
        self._said: tuple[object, ...] = ()
        #: Where tabs begin and end, as drawn.
        self._places: list[tuple[int, int, str]] = []

    def show(self, night: Night) -> None:
        """Take what is known; drawn again only where it looks different."""
        self._night = night
        said = (words.engine(night), _time(night.now))
        if said != self._said:
            self._said = said
            self.refresh()

    def render(self) -> Text:
        """Draw the line."""
        left, right = self._ends(self._night)
        middle = self._drawn_tabs(_width(left))
        if self._gap(left, middle, right) < 1:  # the tabs stay as long as anything else can go
            left, right = self._ends(self._night, brief=True)
            middle = self._drawn_tabs(_width(left))
        if self._gap(left, middle, right) < 1:
            left, right = self._ends(self._night)
            middle, self._places = [], []
        gap = max(0, self._gap(left, middle, right))
        line = Text(no_wrap=True, overflow="crop", end="")
        for text, style in [*left, *middle, (" " * gap, ""), *right]:
            line.append(text, self.named(style))
        return line

    def _ends(self, night: Night | None, *, brief: bool = False) -> tuple[list[Cell], list[Cell]]:
        """Return what stands left and right of the tabs."""
        if night is None:
            return [(" smallhours", "title")], []
        state, style = words.engine(night, brief=brief)
        sign = self._signs.on if style == "running" else self._signs.off
        right = [(f"{sign} {self._signs.say(state)} ", style)]
        if brief:
            return [(f" {_time(night.now)}", "dim")], right
        dot = self._signs.dot
        at = f" {dot} {self._host} {dot} {_time(night.now)}"
        return [(" smallhours", "title"), (at, "dim")], right

    def _gap(self, *parts: list[Cell]) -> int:
        """Return the cells that are left of the line."""
        return self.size.width - sum(_width(part) for part in parts)

    def _drawn_tabs(self, begin: int) -> list[Cell]:
        drawn: list[Cell] = [("  ", "")]
        x = begin + 2
        self._places = []
        for tab in self._tabs:
            here = tab.name == self._current
            text = f"[{tab.key} {tab.title}]" if here else f" {tab.key} {tab.title} "
            drawn.append((text, "bold" if here else "dim"))
            self._places.append((x, x + width_of(text), tab.name))
            x += width_of(text)
        return drawn

    async def on_click(self, event: events.Click) -> None:
        """Go to the screen whose name was clicked."""
        for begin, end, name in self._places:
            if begin <= event.x < end:
                await self.app.run_action(f"go('{name}')")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """It is one line."""
        return 1


def _time(now: float) -> str:
    return time.strftime("%a %H:%M", time.localtime(now))


def _width(cells: Sequence[Cell]) -> int:
    return sum(width_of(text) for text, _ in cells)
