"""The life of a launcher: started, renewed, let go, started again; never two of these at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from smallhours.backends.base import Launcher, SlotReturn

_logger = logging.getLogger(__name__)

#: ``starting``: it was opened or renewed, and does not serve yet.
_State: TypeAlias = Literal["asleep", "starting", "awake", "resting", "lost", "closed"]


class LauncherLife:
    """Opens and closes a launcher as it is told; whatever takes time is done in threads.

    Lives in the engine's event loop, where all callbacks are called too.
    """

    def __init__(
        self,
        launcher: Launcher,
        directory: str,
        *,
        ready: Callable[[], None],
        rested: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
    ) -> None:
        """Set up; nothing is started.

        Args:
            launcher: What is opened and closed.
            directory: A private directory (short path) for the launcher.
            ready: Called when attempts can be started, after each `wake` and `renew`.
            rested: Called when all of the launcher is gone, after `rest`.
            returned: Called once for each attempt.
            lost: Called once, with words, when the launcher can't go on.
        """
        self._launcher = launcher
        self._slots = 0
        self._directory = directory
        self._tell_ready, self._tell_rested = ready, rested
        self._tell_returned, self._tell_lost = returned, lost
        self._state: _State = "asleep"
        #: `wake` was called while it was being let go.
        self._wanted = False
        self._resting: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the launcher can't go on."""
        return self._state == "lost"

    def wake(self, slots: int) -> None:
        """Start the launcher, unless it is there; once it is gone, where it is being let go.

        Args:
            slots: How many attempts may run at a time.
        """
        self._slots = slots
        if self._state == "resting":
            self._wanted = True
        elif self._state == "asleep":
            self._state = "starting"
            self._launcher.open(
                self._slots,
                self._directory,
                ready=_in_loop(self._ready),
                returned=_in_loop(self._tell_returned),
                lost=_in_loop(self._lost),
            )

    def renew(self) -> None:
        """Have the launcher begin afresh; one that only just starts is fresh."""
        if self._state == "awake":
            self._state = "starting"
            self._launcher.renew(_in_loop(self._ready))

    def rest(self) -> None:
        """Let the launcher go; says `rested` also where there was none."""
        self._wanted = False
        if self._state == "asleep":
            asyncio.get_running_loop().call_soon(self._tell_rested)
        elif self._state in ("starting", "awake"):
            self._state = "resting"
            self._resting = asyncio.create_task(self._let_go())

    def check(self) -> None:
        """Look whether what the launcher stands on still lives."""
        if self._state in ("starting", "awake") and (dead := self._launcher.dead()) is not None:
            self._lost(dead)

    async def close(self) -> None:
        """Let the launcher go for good, whatever it is doing."""
        self._state = "closed"
        if self._resting is not None:
            await self._resting
        await asyncio.to_thread(self._launcher.close)

    async def _let_go(self) -> None:
        try:
            await asyncio.to_thread(self._launcher.close)
        except Exception:  # noqa: BLE001 - nobody waits for this task: it must be told
            self._lost(traceback.format_exc())
            return
        finally:
            self._resting = None
        if self._state != "resting":
            return  # closed meanwhile
        self._state = "asleep"
        self._tell_rested()
        if self._wanted:
            self._wanted = False
            self.wake(self._slots)

    def _ready(self) -> None:
        if self._state == "starting":
            self._state = "awake"
            self._tell_ready()

    def _lost(self, detail: str) -> None:
        if self._state not in ("lost", "closed"):
            self._state = "lost"
            _logger.error("the launcher is lost: %s", detail)
            self._tell_lost(detail)


def _in_loop(function: Callable[..., None]) -> Callable[..., None]:
    """Return what can be called from any thread, and has the function called in this loop."""
    loop = asyncio.get_running_loop()

    def call(*args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(function, *args)

    return call
