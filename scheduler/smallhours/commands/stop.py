"""``smallhours stop`` and ``smallhours cancel``: leave a request, say what came of it."""

from __future__ import annotations

import getpass
import os
import sys

from smallhours import inbox, processes
from smallhours.core.reasons import Interrupted
from smallhours.core.trial import TrialState
from smallhours.errors import EngineError
from smallhours.paths import Home
from smallhours.snapshot import Snapshot, Target
from smallhours.text import clean, count, listing

#: A checkpoint, a grace for `finally` blocks, and Ray's own end may all take their time.
_STOP_LIMIT_S = 120.0
_ANSWER_LIMIT_S = 10.0


def stop(home: Home, *, now: bool = False) -> int:
    """Stop the engine and wait until it is gone.

    Args:
        home: The state directory.
        now: Don't wait for the running trials' checkpoints.

    Returns:
        The exit code.

    Raises:
        EngineError: it did not end in time.
    """
    engine = processes.owner(home)
    if engine is None:
        print("nothing is running")
        return 0
    from smallhours.commands import board

    seen = board.Board(home)
    seen.refresh()
    inbox.submit(home, "stop", {"now": now, "cause": "stop"})
    if not now and any(study.running for study in seen.studies.values()):
        print("stopping: running trials may save a checkpoint first ...", flush=True)
    if not processes.wait_until_gone(engine, _STOP_LIMIT_S):
        raise EngineError(
            f"the engine (process {engine.pid}) does not end; `smallhours stop --now` waits for no"
            f" checkpoint, {home.log} says what it does"
        )
    seen.refresh()
    interrupted = [
        f"{study.label}/{end.trial}"
        for study, end in seen.news
        if isinstance(end.reason, Interrupted)
    ]
    seen.close()
    left = sum(study.open and not study.halted for study in board.studies(home))
    print("stopped" + (f"; {listing(interrupted)} interrupted" if interrupted else ""))
    if left:
        print(f"{count(left, 'study is', 'studies are')} not done: `smallhours resume` goes on")
    return 0


def cancel(home: Home, target: str) -> int:
    """Give a trial or a study up for good.

    Args:
        home: The state directory.
        target: Its name, or the beginning of it.

    Returns:
        The exit code.
    """
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        over = _over(snapshot, found)
    if over:
        print(f"{over}: there is nothing to cancel")
        return 0
    request = inbox.submit(
        home, "cancel", {"study": found.study, "trial": found.trial, "by": _who()}
    )
    if processes.owner(home) is None:
        print("no engine is running: it will be cancelled when one is, with `smallhours resume`")
        return 0
    answer = inbox.wait_for_answer(home, request, _ANSWER_LIMIT_S)
    if answer is None:
        raise EngineError(f"the engine has not answered yet; {home.log} says what it does")
    ok, text = answer
    print(clean(text), file=sys.stdout if ok else sys.stderr)
    return 0 if ok else 2


def _over(snapshot: Snapshot, found: Target) -> str:
    """Return what a study or a trial that can't be cancelled any more is; empty: it can."""
    study = snapshot.study(found.study)
    if found.trial is None:
        return f"{study.name} is over" if study.outcome is not None and not study.open else ""
    trial = snapshot.trial(found.study, found.trial)
    return f"{trial.name} is over" if trial.state is TrialState.ENDED else ""


def _who() -> str:
    """Return who asks, and from which terminal."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    try:
        return f"{user}@{os.ttyname(0).removeprefix('/dev/')}"
    except OSError:
        return user
