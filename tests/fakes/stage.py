"""A stage for one widget: an app around it, keys pressed and lines read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from rich.style import Style
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot
from textual.widget import Widget

STYLES = MappingProxyType(
    {"running": Style(color="#56b4e9"), "failed": Style(color="#d55e00", bold=True)}
)


class Stage(App[None]):
    """Shows a widget and keeps the messages that it posts."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.style_map: Mapping[str, Style] = STYLES
        self._widget = widget
        self.heard: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self._widget

    def hear(self, message: Message) -> None:
        """Keep a message, once: each that it bubbles through hears it."""
        if not any(message is known for known in self.heard):
            self.heard.append(message)

    def said(self, *kinds: type[Message]) -> list[Message]:
        """Return the messages of some kinds, in order."""
        return [message for message in self.heard if isinstance(message, kinds)]


def perform(
    widget: Widget,
    act: Callable[[Stage, Pilot[Any]], Awaitable[None]],
    size: tuple[int, int] = (60, 12),
) -> None:
    """Show a widget that has the focus, and do things to it."""

    async def play() -> None:
        app = Stage(widget)
        async with app.run_test(size=size, message_hook=app.hear) as pilot:
            widget.focus()
            await pilot.pause()
            await act(app, pilot)

    asyncio.run(play())


def lines(widget: Widget) -> list[str]:
    """Return what a widget that draws lines shows."""
    return [widget.render_line(y).text for y in range(widget.size.height)]
