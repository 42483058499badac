"""Slots without Ray: threads of the engine, each of which sees one attempt through at a time."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace

from smallhours.backends.base import Placed, SlotReturn
from smallhours.worker.slot import run_attempt

#: How long `close` waits for the threads; the zygotes have killed the attempts long before.
_CLOSE_S = 4.0


class LocalLauncher:
    """Runs attempts through threads of this process: no isolation of slots, no start-up time."""

    name = "local"

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Placed | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._links: set[socket.socket] = set()
        self._closing = False

    def open(
        self,
        slots: int,
        directory: str,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
    ) -> None:
        """Start the slots; see `Launcher.open`."""
        self._closing = False
        for number in range(slots):
            thread = threading.Thread(
                target=self._serve, args=(returned,), name=f"slot-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        ready()

    def start(self, placed: Placed) -> None:
        """Give the attempt the next free slot."""
        self._orders.put(placed)

    def renew(self, ready: Callable[[], None]) -> None:
        """Say that all is well: threads keep nothing of the attempts that they saw through."""
        ready()

    def dead(self) -> str | None:
        """Return None: there is nothing that could die."""
        return None

    def close(self) -> None:
        """Shut all connections, so that the zygotes kill their attempts, and end the slots."""
        with self._lock:
            self._closing = True
            for link in self._links:
                _shut(link)
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join(_CLOSE_S)
        self._threads.clear()

    def _serve(self, returned: Callable[[SlotReturn], None]) -> None:
        """Be one slot."""
        while (placed := self._orders.get()) is not None:
            try:
                result = self._run(placed)
            except Exception:  # noqa: BLE001 - a slot that is gone would never give it back
                detail = traceback.format_exc()
                result = SlotReturn(key=placed.key, lost_parent="slot", detail=detail)
            returned(result)

    def _run(self, placed: Placed) -> SlotReturn:
        """See one attempt through."""
        mine: list[socket.socket] = []

        def opened(link: socket.socket) -> None:
            with self._lock:
                mine.append(link)
                self._links.add(link)
                if self._closing:
                    _shut(link)

        if self._closing:
            return SlotReturn(key=placed.key, lost_parent="slot", detail="closed before it began")
        result = SlotReturn(key=placed.key, **run_attempt(placed.zygote, placed.order, opened))
        with self._lock:
            self._links.difference_update(mine)
        if self._closing and result.lost_parent is not None:
            return replace(result, lost_parent="slot", zygote_died=False, detail="closed")
        return result


def _shut(link: socket.socket) -> None:
    """End a connection that another thread may be reading from or have closed already."""
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
