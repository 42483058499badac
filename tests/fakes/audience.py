"""The dashboard on a stage: keys pressed, the screen read as text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from fakes.ledgers import Clock, Recording
from smallhours.paths import Home
from smallhours_tui.app import Dashboard
from smallhours_tui.feed import Feed
from smallhours_tui.options import Options


class Shown:
    """A dashboard that is shown."""

    def __init__(self, app: Dashboard, pilot: Pilot[Any]) -> None:
        self.app, self._pilot = app, pilot

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until all they brought about is drawn."""
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def resize(self, width: int, height: int) -> None:
        """Give it another size."""
        await self._pilot.resize_terminal(width, height)
        await self._pilot.pause()

    async def look(self) -> None:
        """Have it look at the ledger now."""
        self.app.rhythm.hurry()
        self.app._poll()
        await self._pilot.pause()

    async def rest(self) -> None:
        """Wait until what a screen draws once the cursor rests is drawn."""
        timer = getattr(self.app.screen, "_resting", None)
        while timer is not None and timer._task is not None and not timer._task.done():
            await self._pilot.pause(0.02)
        await self._pilot.pause()

    async def wait_for(self, part: str) -> None:
        """Wait until something is on the screen."""
        while part not in self.text:
            await self._pilot.pause(0.02)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    def line(self, part: str) -> str:
        """Return the first line that holds something."""
        return next((line for line in self.lines if part in line), f"no {part!r} in\n{self.text}")


def watch(
    night: Recording | Home,
    act: Callable[[Shown], Awaitable[None]],
    size: tuple[int, int] = (80, 24),
    **options: Any,
) -> None:
    """Show the dashboard of a night, on the night's own clock, and do things to it."""
    chosen = Options(**options)
    if isinstance(night, Home):
        home, feed = night, Feed(night, clock=Clock())
    else:
        home = night.home
        feed = Feed(home, at=chosen.at, since=chosen.since, clock=night.clock)

    async def play() -> None:
        app = Dashboard(home, chosen, feed)
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await act(Shown(app, pilot))

    asyncio.run(play())
