"""Asking the engine for something: which study is meant, who asks, and what it answered."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from smallhours import inbox, processes
from smallhours.errors import EngineError, NotFoundError, UsageError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.snapshot import Snapshot
from smallhours.snapshot.heads import Head
from smallhours.text import clean

#: How long a living engine may take to answer.
_ANSWER_LIMIT_S = 10.0
#: Seconds of waiting between two looks whether the engine still lives.
_LOOK_S = 0.5
_REFUSED = 2


def study(home: Home, text: str, verb: str) -> Head:
    """Return the study that a name, or the beginning of one, means.

    Args:
        home: The state directory.
        text: What was typed.
        verb: The command, for the message.

    Raises:
        NotFoundError: no study has the name, or more than one begins with it.
        UsageError: it is a trial, or a study that the engine doesn't know yet.
    """
    try:
        with Snapshot(home) as snapshot:
            found = snapshot.resolve(text)
            head = snapshot.head(found.study)
    except (NotFoundError, UsageError):
        if text in _added(home):
            raise UsageError(
                f"{text} waits in the inbox to be added: `smallhours start` has it added, then"
                f" `smallhours {verb} {text}` works"
            ) from None
        raise
    if found.trial is not None:
        raise UsageError(f"`{verb}` is for studies: `smallhours {verb} {head.name}`")
    return head


def heads(home: Home) -> list[Head]:
    """Return all studies in the order they were added; none where there is no ledger yet."""
    try:
        with Snapshot(home) as snapshot:
            return list(snapshot.heads())
    except UsageError:
        return []


def ask(home: Home, verb: inbox.Verb, body: Mapping[str, Any], waits: str = inbox.WAITS) -> int:
    """Ask the engine for something and print its answer.

    Args:
        home: The state directory.
        verb: What is asked for.
        body: The verb's own keys.
        waits: What to say where no engine is there to answer.

    Returns:
        The exit code: 2 where the engine refused.

    Raises:
        EngineError: it lives and is silent.
    """
    return tell(answer(home, inbox.submit(home, verb, dict(body))), waits)


def tell(answered: tuple[bool, str] | None, waits: str) -> int:
    """Print an answer, or `waits` where there is none yet; return the exit code."""
    if answered is None:
        print(waits, flush=True)
        return 0
    ok, text = answered
    print(clean(text), file=sys.stdout if ok else sys.stderr, flush=True)
    return 0 if ok else _REFUSED


def answer(home: Home, request: str) -> tuple[bool, str] | None:
    """Wait for the answer to a request; None: no engine is there to give one.

    Raises:
        EngineError: an engine lives and is silent.
    """
    until = time.monotonic() + _ANSWER_LIMIT_S
    with working("waiting for the engine"):
        while True:
            lives = engine_lives(home)
            # One that just ended may have answered with its last breath.
            answered = inbox.wait_for_answer(home, request, _LOOK_S if lives else 0.0)
            if answered is not None or not lives:
                return answered
            if time.monotonic() > until:
                raise EngineError(
                    f"the engine has not answered yet; the request stays in its inbox, and"
                    f" {home.log} says what it does"
                )


def engine_lives(home: Home) -> bool:
    """Say whether an engine runs, or is being started."""
    return processes.owner(home) is not None or processes.supervisor_lives(home)


def _added(home: Home) -> set[str]:
    """Return the names of the studies that wait to be added."""
    return {
        str(request.body.get("spec", {}).get("name"))
        for request in inbox.lying(home)
        if request.verb == "add"
    }
