"""``smallhours continue``: take a stopped trial up again, to its end."""

from __future__ import annotations

from smallhours.commands import asking
from smallhours.core.reasons import Completed
from smallhours.core.trial import TrialState
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot import Snapshot, TrialView
from smallhours.text import count


def continue_(home: Home, target: str) -> int:
    """Ask for a trial that was stopped to go on; say before if it must begin again.

    Args:
        home: The state directory.
        target: Its name, or the beginning of it.

    Returns:
        The exit code.

    Raises:
        UsageError: it is a study.
        NotFoundError: there is no such trial.
    """
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        head = snapshot.head(found.study)
        if found.trial is None:
            raise UsageError(
                f"`continue` is for trials that were stopped, like `smallhours continue"
                f" {head.name}/3`; a study goes on with `smallhours resume {head.name}`"
            )
        trial = snapshot.trial(found.study, found.trial)
    if nothing := _nothing_to_do(trial):
        print(nothing)
        return 0
    whence = max((saved.step for saved in trial.checkpoints), default=0)
    if not whence and trial.last_step:
        print(
            f"{trial.name} has no checkpoint any more: it begins again, and runs"
            f" {count(trial.last_step, 'step')} a second time",
            flush=True,
        )
    how = f"go on from step {whence}" if whence else "begin again"
    body = {"study": found.study, "trial": found.trial, "by": asking.who()}
    return asking.ask(home, "continue", body, f"{trial.name} will {how}: {asking.WAITS}")


def _nothing_to_do(trial: TrialView) -> str:
    if trial.state is not TrialState.ENDED:
        return f"{trial.name} is not over: it goes on by itself"
    if isinstance(trial.reason, Completed):
        return f"{trial.name} ran to its end: there is nothing to continue"
    return ""
