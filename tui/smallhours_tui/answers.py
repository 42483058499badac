"""Sends wishes to the engine, and listens for its answers."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from smallhours import inbox
from smallhours.inbox import WAITS
from smallhours.paths import Home
from smallhours.text import clean
from smallhours_tui.wishes import Wish

#: An engine that lives answers within a few tenths of a second; after this it is said to be silent.
PATIENCE_S: Final = 10.0


class Answer(NamedTuple):
    """What became of a wish."""

    #: None: nothing yet.
    ok: bool | None
    text: str


class _Sent(NamedTuple):
    request: str
    wish: Wish
    #: When it is given up to wait for it at every moment (monotonic seconds).
    until: float


class Answers:
    """The wishes that were sent and have no answer yet."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._sent: list[_Sent] = []

    @property
    def awaited(self) -> bool:
        """Whether an answer is to come at any moment."""
        return any(sent.until > 0 for sent in self._sent)

    def send(self, wish: Wish, *, engine_lives: bool) -> Answer | None:
        """Leave a request in the inbox.

        Returns:
            What to say at once; None: the answer is to come.

        Raises:
            UsageError: it can't be written.
        """
        request = inbox.submit(self._home, wish.verb, dict(wish.body))
        until = time.monotonic() + PATIENCE_S if engine_lives else 0.0
        self._sent.append(_Sent(request, wish, until))
        return None if engine_lives else Answer(None, f"{wish.will}: {WAITS}")

    def look(self) -> list[Answer]:
        """Return what was answered since, also to wishes that waited for an engine."""
        answers, left, now = [], [], time.monotonic()
        for sent in self._sent:
            found = inbox.wait_for_answer(self._home, sent.request, 0.0)
            if found is not None:
                answers.append(Answer(found[0], clean(found[1])))
                continue
            silent = 0 < sent.until < now
            if silent:
                text = f"{sent.wish.will}: the engine has not answered yet"
                answers.append(Answer(None, text))
            left.append(sent._replace(until=0.0) if silent else sent)
        self._sent = left
        return answers
