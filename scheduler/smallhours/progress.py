"""A line that says what is being waited for, and for how long, where somebody is looking."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from threading import Event

#: What is over sooner needs no line.
_PATIENCE_S = 0.5
_CLEAR = "\r\x1b[2K"


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Say on standard error what is being done, with the seconds it took so far, while it is done.

    Nothing is said of what is over soon, and nothing where standard error is no terminal. The line
    is gone afterwards.

    Args:
        what: Like ``loading wine.py``.
        quiet: Say nothing: a program reads along.
    """
    out = sys.stderr
    if quiet or not out.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from threading import Event, Thread  # not above: commands that print only start in no time

    over = Event()
    thread = Thread(target=_show, args=(what, out, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show(what: str, out: TextIO, over: Event) -> None:
    from smallhours.text import Page, clean, fit

    if over.wait(_PATIENCE_S):
        return
    width, seconds = Page(out).width - 1, 0
    while True:
        out.write(_CLEAR + fit(clean(f"{what} ... {f'{seconds} s' if seconds else ''}"), width))
        out.flush()
        if over.wait(1.0 if seconds else 1.0 - _PATIENCE_S):
            break
        seconds += 1
    out.write(_CLEAR)
    out.flush()
