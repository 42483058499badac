"""The terminal that the dashboard was begun in."""

from __future__ import annotations

import termios

_INPUT = 0


class Terminal:
    """Says whether the terminal is still there.

    A program that isn't told of a hang-up (a session of its own, a lost SIGHUP) reads nothing from
    such a terminal, again and again and at once: it would keep a core busy for nobody.
    """

    def __init__(self) -> None:
        #: What is no terminal now can't go away.
        self._was = _answers()

    @property
    def gone(self) -> bool:
        """Whether it was there, and is no more."""
        return self._was and not _answers()


def _answers() -> bool:
    try:
        termios.tcgetattr(_INPUT)
    except (termios.error, OSError, ValueError):
        return False
    return True
