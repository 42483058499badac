"""Calls the user's command when something happened that one would want to be told of.

The command gets one JSON object on its standard input (docs/settings.md describes it) and the
event's name in ``SMALLHOURS_EVENT``. What it prints goes to ``engine.log``. Nothing it does, and
nothing that goes wrong with it, ever harms the night.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import subprocess
import threading
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from smallhours.core import facts as f
from smallhours.core.model import Study
from smallhours.core.outcomes import StudyOutcome
from smallhours.core.spec import Goal, ParamValue
from smallhours.core.state import State
from smallhours.paths import Home
from smallhours.text import clean, count, number

_logger = logging.getLogger(__name__)

#: A command that takes longer is killed, with all it started.
LIMIT_S = 30.0
#: What still waits when the engine leaves has this long.
CLOSE_S = 5.0
#: Environment variable with the event's name.
VARIABLE = "SMALLHOURS_EVENT"

Kind: TypeAlias = Literal["study_done", "study_halted", "queue_dry", "deadline", "engine_gave_up"]


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The best trial of a study that is over."""

    trial: str
    metric: str
    goal: Goal
    score: float
    params: dict[str, ParamValue]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is told; ``home`` and ``time`` are added when it is called."""

    event: Kind
    #: What happened, in a sentence for people, on one line.
    sentence: str
    #: Name and id of the study; None: it is about no particular one.
    study: str | None = None
    study_id: int | None = None
    #: Of ``study_done``.
    outcome: StudyOutcome | None = None
    #: Of ``study_done``; None also where no trial completed.
    best: Best | None = None
    #: Of ``study_halted`` and ``engine_gave_up``: why, in a word or two.
    cause: str | None = None


def event_of(fact: f.Fact, state: State) -> Event | None:
    """Return the event that a fact means to the user; None: none.

    Args:
        fact: What was recorded just now.
        state: Everything recorded, the fact included.
    """
    match fact:
        case f.StudyEnded():
            study = state.studies[fact.study]
            return None if _told_before(fact, study) else _done(fact, study)
        case f.StudyHalted():
            study = state.studies[fact.study]
            return Event(
                event="study_halted",
                sentence=_one_line(f"{study.label} is halted: {fact.sentence}"),
                study=study.label,
                study_id=study.id,
                cause=fact.cause,
            )
        case f.SessionEnded(cause="dry" | "deadline"):
            return of_queue("queue_dry" if fact.cause == "dry" else "deadline", state)
        case _:
            return None


def of_queue(kind: Literal["queue_dry", "deadline"], state: State) -> Event:
    """Return the event that the queue ran dry, or that the deadline came."""
    left = [study for study in state.studies.values() if not (study.ended or study.retired)]
    if kind == "deadline":
        what = "the time is up, and nothing runs any more"
    else:
        what = "the queue is dry: nothing is left that could run"
    more = f"; {count(len(left), 'study is', 'studies are')} not done" if left else ""
    return Event(event=kind, sentence=what + more)


def gave_up(cause: str, home: Home) -> Event:
    """Return the event that the supervisor starts the engine no more."""
    sentence = f"the engine was given up ({cause}); {home.log} says what it had to say"
    return Event(event="engine_gave_up", sentence=sentence, cause=cause)


def _done(fact: f.StudyEnded, study: Study) -> Event:
    best = _best(fact, study)
    words = {
        "done": "is done",
        "cancelled": "was cancelled",
        "budget": "is over: its budget is used up",
        "exhausted": "is done: its search found nothing new",
        "enough": "is done: little was left to gain",
    }
    found = f"; the best is {best.trial} with {best.metric} {number(best.score)}" if best else ""
    return Event(
        event="study_done",
        sentence=_one_line(f"{study.label} {words[fact.outcome]}{found}"),
        study=study.label,
        study_id=study.id,
        outcome=fact.outcome,
        best=best,
    )


def _told_before(fact: f.StudyEnded, study: Study) -> bool:
    """Whether a study ends again as it did before, after nothing but rechecks."""
    if study.ended_before is None or study.ended_before.winner != fact.winner:
        return False
    again = (trial.continued for trial in study.trials.values())
    return all(each is None or each.cause == "recheck" for each in again)


def _best(fact: f.StudyEnded, study: Study) -> Best | None:
    trial = None if fact.winner is None else study.trials.get(fact.winner)
    score = None if trial is None else trial.score(study.spec)
    if trial is None or score is None:
        return None
    return Best(
        trial=study.name_of(trial.number),
        metric=study.spec.metric,
        goal=study.spec.goal,
        score=score,
        params=trial.params,
    )


def _one_line(text: str) -> str:
    return clean(" ".join(text.split()))


def call(command: tuple[str, ...], event: Event, home: Home, limit_s: float = LIMIT_S) -> None:
    """Call the command and wait for its end; whatever goes wrong is logged, and that is all."""
    # RAY_AUTH_TOKEN and the like are not the command's business.
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    environment |= {VARIABLE: event.event, "SMALLHOURS_HOME": str(home.root)}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            cwd=home.root,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        _logger.error("on_event: %s can't be started: %s", command[0], error)
        return
    assert process.stdin is not None
    # A pipe takes 64 KiB without a reader. A command that reads nothing is fine, too.
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(_encode(event, home))
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _logger.error("on_event: %s was killed after %.0f s", command[0], limit_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return
    if status != 0:
        what = f"signal {-status}" if status < 0 else f"exit {status}"
        _logger.error("on_event: %s ended with %s on %s", command[0], what, event.event)


def _encode(event: Event, home: Home) -> bytes:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    whole = {**msgspec.to_builtins(event), "home": str(home.root), "time": now}
    return msgspec.json.encode(whole) + b"\n"


class Hooks:
    """Calls the command of an engine, one event after the other, from a thread of its own."""

    def __init__(self, home: Home, command: tuple[str, ...] = (), limit_s: float = LIMIT_S) -> None:
        """Start nothing yet.

        Args:
            home: The state directory.
            command: The command with its arguments; empty: none.
            limit_s: How long the command may take.
        """
        self._home = home
        self._limit_s = limit_s
        #: May be replaced at any time; events that wait go to the command they were meant for.
        self.command = command
        self._waiting: queue.SimpleQueue[tuple[tuple[str, ...], Event] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def fire(self, event: Event | None) -> None:
        """Have the command called with an event (None: nothing to tell); returns at once."""
        if event is None or not self.command:
            return
        if self._thread is None:
            # A daemon: a command that hangs can't keep the engine from leaving.
            self._thread = threading.Thread(target=self._work, name="hooks", daemon=True)
            self._thread.start()
        self._waiting.put((self.command, event))

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Let what waits be called, for a few seconds at most; `fire` is over."""
        thread, self._thread, self.command = self._thread, None, ()
        if thread is None:
            return
        self._waiting.put(None)
        await asyncio.to_thread(thread.join, limit_s)
        if thread.is_alive():
            _logger.warning("on_event: the engine leaves before the command is done")

    def _work(self) -> None:
        while (next_call := self._waiting.get()) is not None:
            command, event = next_call
            call(command, event, self._home, self._limit_s)
