"""Tells which line of a study started a thread, since a process with threads can't be forked."""

from __future__ import annotations

import sys
import threading
from types import FrameType, TracebackType
from typing import Any

_HIDDEN = (threading.__file__, __file__)


class ThreadStarts:
    """While entered, remembers from where every thread was started."""

    def __init__(self) -> None:
        #: Where each thread was started, by the thread.
        self._places: dict[threading.Thread, str] = {}
        self._original = threading.Thread.start

    def __enter__(self) -> None:
        original, places = self._original, self._places

        def start(thread: threading.Thread, *args: Any) -> None:
            places[thread] = _caller(sys._getframe(1))
            original(thread, *args)

        threading.Thread.start = start  # type: ignore[assignment,method-assign]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        threading.Thread.start = self._original  # type: ignore[method-assign]

    def describe(self, running: dict[int, str]) -> str | None:
        """Say which threads run and where they were started; None: there are none.

        Args:
            running: Ids and kernel names of the threads beside the main one.
        """
        if not running:
            return None
        known = {thread.native_id: thread for thread in threading.enumerate()}
        parts = []
        for number, name in sorted(running.items()):
            thread = known.get(number)
            if thread is None:
                parts.append(f"thread {name!r} of a library")
            else:
                place = self._places.get(thread)
                parts.append(f"thread {thread.name!r}" + (f" started at {place}" if place else ""))
        return "it keeps " + ", ".join(parts)


def _caller(frame: FrameType | None) -> str:
    """Return the innermost place outside the standard library's own thread machinery."""
    while frame is not None and (
        frame.f_code.co_filename in _HIDDEN or "concurrent/futures" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
