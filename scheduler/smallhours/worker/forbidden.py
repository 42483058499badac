"""Tells which line of a study started a thread, since a process with threads can't be forked."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from smallhours.worker.limits import threads
from smallhours.worker.note import is_own

#: Lines that are looked at, at most.
_LINES_WATCHED = 20_000
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
        for number in sorted(running.keys() & known.keys()):
            place = self._places.get(known[number])
            name = f"thread {known[number].name!r}"
            parts.append(name + (f" started at {place}" if place else ""))
        native = len(running.keys() - known.keys())
        if native:
            parts.append(f"{native} thread{'s' if native > 1 else ''} of a library")
        return "it keeps " + ", ".join(parts)


class NativeStarts:
    """While entered, looks for the line of a study after which a library has threads.

    Every line of the study's own is looked at, up to a limit, so this is slow: it is for processes
    that are slow anyway, because their study can't be forked.
    """

    def __init__(self, folder: Path) -> None:
        #: ``file:line``; empty: not found.
        self.place = ""
        self._folder = folder
        self._last = ""
        self._threads = 0
        self._left = _LINES_WATCHED

    def __enter__(self) -> Self:
        self._threads = _native_threads()
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._look()
        sys.settrace(self._before)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if is_own(frame.f_code.co_filename, self._folder) else None

    def _line(self, frame: FrameType, event: str, _argument: object) -> Any:
        if self.place or not self._left:
            sys.settrace(None)
            return None
        self._left -= 1
        self._look()
        if event == "line":
            file = Path(frame.f_code.co_filename).relative_to(self._folder)
            self._last = f"{file}:{frame.f_lineno}"
        return self._line

    def _look(self) -> None:
        """See whether the line that ran last has left more threads than there were."""
        if not self.place and self._last and _native_threads() > self._threads:
            self.place = self._last


def _native_threads() -> int:
    """Return how many threads Python doesn't know of."""
    return len(threads()) + 1 - threading.active_count()


def _caller(frame: FrameType | None) -> str:
    """Return the innermost place outside the standard library's own thread machinery."""
    while frame is not None and (
        frame.f_code.co_filename in _HIDDEN or "concurrent/futures" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
