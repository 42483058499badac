"""Questions about what can be asked of a trial that is stopped, or waits as a known mistake."""

from __future__ import annotations

from typing import NamedTuple

from smallhours.explain.continuing import lost, nothing_to_continue, whence
from smallhours.snapshot.following import Following
from smallhours.snapshot.heads import Head
from smallhours_tui import wishes
from smallhours_tui.wishes import Wish


class Question(NamedTuple):
    """What is asked before a wish is sent."""

    title: str
    #: What comes of it.
    told: str
    wish: Wish
    yes: str
    no: str


def continue_(ledger: Following, head: Head, number: int | None) -> Question | str:
    """Ask for a stopped trial to go on, or return why that can't be."""
    if number is None:
        return "choose a trial that was stopped: a study goes on with P"
    trial = ledger.trial(head.id, number)
    if nothing := nothing_to_continue(trial):
        return nothing
    told = lost(trial) or f"It will {whence(trial)}"
    return Question(
        f"Continue {trial.name}?",
        f"{told}. It runs to its end: no rule judges it any more.",
        wishes.continue_(head, number, whence(trial)),
        "Continue it",
        "Leave it",
    )


def release(ledger: Following, head: Head, number: int | None) -> Question | str:
    """Ask for known mistakes to be run after all: the trial if it waits as one, else the study's.

    Returns:
        The question, or why there is nothing to release.
    """
    if head.over:
        return f"{head.name} is over: nothing of it waits"
    waiting = None if number is None else ledger.trial(head.id, number).waiting
    if number is not None and waiting is not None and waiting.mistake is not None:
        title, told = f"Run {head.name}/{number} after all?", "Others like it failed."
    else:
        title, number = f"Release {head.name}?", None
        told = "What waits of it because configurations like it failed will run."
    return Question(title, told, wishes.release(head, number), "Release", "Leave it")
