"""``smallhours stop`` and ``smallhours cancel``: leave a request, say what came of it."""

from __future__ import annotations

from smallhours import inbox, processes
from smallhours.commands import asking
from smallhours.core.reasons import Interrupted
from smallhours.core.trial import TrialState
from smallhours.errors import EngineError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.snapshot import Snapshot
from smallhours.snapshot.heads import Head
from smallhours.text import count, listing

#: A checkpoint, a grace for `finally` blocks, and Ray's own end may all take their time.
_STOP_LIMIT_S = 120.0


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
    with working("waiting for the engine to end"):
        gone = processes.wait_until_gone(engine, _STOP_LIMIT_S)
    if not gone:
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
    left = sum(study.open and not study.halted for study in seen.studies.values())
    seen.close()
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
        head = snapshot.head(found.study)
        name = head.name if found.trial is None else f"{head.name}/{found.trial}"
        over = _over(snapshot, head, found.trial)
    if over:
        print(f"{over}: there is nothing to cancel")
        return 0
    body = {"study": found.study, "trial": found.trial, "by": inbox.who()}
    return asking.ask(home, "cancel", body, f"{name} will be cancelled: {inbox.WAITS}")


def _over(snapshot: Snapshot, head: Head, trial: int | None) -> str:
    """Return what a study or a trial that can't be cancelled any more is; empty: it can."""
    if trial is None:
        return head.gone
    view = snapshot.trial(head.id, trial)
    return f"{view.name} is over" if view.state is TrialState.ENDED else ""
