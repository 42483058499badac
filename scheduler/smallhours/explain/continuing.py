"""What `continue` does with a trial that was stopped, in words."""

from __future__ import annotations

from smallhours.core.reasons import Completed
from smallhours.core.trial import TrialState
from smallhours.snapshot.views import TrialView
from smallhours.text import count


def nothing_to_continue(trial: TrialView) -> str:
    """Return why a trial can't be continued; empty: it can."""
    if trial.state is not TrialState.ENDED:
        return f"{trial.name} is not over: it goes on by itself"
    if isinstance(trial.reason, Completed):
        return f"{trial.name} ran to its end: there is nothing to continue"
    return ""


def whence(trial: TrialView) -> str:
    """Return where a trial would go on: ``go on from step 40``, or ``begin again``."""
    step = max((saved.step for saved in trial.checkpoints), default=0)
    return f"go on from step {step}" if step else "begin again"


def lost(trial: TrialView) -> str:
    """Return what of a trial would be run a second time; empty: it has a checkpoint."""
    if trial.checkpoints or not trial.last_step:
        return ""
    return (
        f"{trial.name} has no checkpoint any more: it begins again, and runs"
        f" {count(trial.last_step, 'step')} a second time"
    )
