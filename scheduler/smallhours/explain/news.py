"""What happened lately and what was asked for, in a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, assert_never

from smallhours.core import facts as f
from smallhours.core import regions
from smallhours.explain.words import CAUSES, in_brief
from smallhours.inbox import Request
from smallhours.text import clean, clock, number

#: Facts that are worth a line among the latest.
News: TypeAlias = (
    f.SessionStarted | f.SessionEnded | f.StudyAdded | f.StudyAmended | f.StudyRetired
    | f.StudyEnded | f.StudyHalted | f.StudyPaused | f.StudyReleased | f.StudyMoved
    | f.StudyArchived | f.StudyRemoved | f.SearchEnded | f.TrialHeld | f.TrialReleased | f.Yielded
    | f.YieldEnded | f.DeadlineSet | f.AttemptEnded | f.TrialContinued | f.StudyNoted
)  # fmt: skip
_OUTCOMES = {
    "done": "is done",
    "cancelled": "was cancelled",
    "budget": "is out of time",
    "exhausted": "is done: its search found nothing new",
    "enough": "is done: little was left to gain",
}
_THEN = {"over": "", "retry": "; will be tried again", "resume": "; will go on"}
_ENDS = {**CAUSES, "dry": "nothing was left to do"}


def sentence(fact: News, names: Mapping[int, str], at: float) -> str:
    """Return what happened: ``wine/12 ran to step 40``, ``digits was paused by ada@pts/1``.

    Args:
        fact: What happened.
        names: The studies' names by id.
        at: When, in Unix seconds.
    """
    match fact:
        case f.SessionStarted():
            return "the engine started"
        case f.SessionEnded():
            return f"the engine ended: {_ENDS.get(fact.cause, clean(fact.cause, 60))}"
        case f.Yielded(until=None):
            return f"the machine was yielded to {clean(fact.by, 60)}"
        case f.Yielded(until=until):
            whom = clean(fact.by, 60)
            return f"the machine was yielded by {whom} until {clock(until or at, at)}"
        case f.YieldEnded():
            return "the machine was taken back"
        case f.DeadlineSet(until=None):
            return f"the deadline was lifted by {clean(fact.by, 60)}"
        case f.DeadlineSet(until=until):
            return f"the deadline was set to {clock(until or at, at)} by {clean(fact.by, 60)}"
        case f.TrialContinued(cause="recheck"):
            return f"{names[fact.study]}/{fact.trial} is rechecked: was it right to stop it?"
        case f.TrialContinued():
            by = clean(fact.by, 60)
            return f"{names[fact.study]}/{fact.trial} was taken up again by {by}"
        case f.TrialHeld():
            where = clean(regions.where(fact.region), 60)
            return f"{names[fact.study]}/{fact.trial} waits as a known mistake ({where})"
        case f.TrialReleased():
            return f"{names[fact.study]}/{fact.trial} was released{_by(fact)}"
        case f.AttemptEnded():
            name = f"{names[fact.study]}/{fact.trial}"
            return f"{name} {in_brief(fact.reason)}{_THEN[fact.then]}"
        case f.StudyNoted(trial=trial):
            name = names[fact.study] + (f"/{trial}" if trial is not None else "")
            return f"{name} has a note of {clean(fact.by, 60)}: {clean(fact.text, 200)}"
        case _:
            return f"{names[fact.study]} {_of_study(fact)}"


def _by(fact: f.StudyAdded | f.StudyAmended | f.StudyReleased | f.TrialReleased) -> str:
    """Return by whom, with a space before it; empty where an older version kept nobody's name."""
    return f" by {clean(fact.by, 60)}" if fact.by else ""


def _of_study(
    fact: f.StudyAdded | f.StudyAmended | f.StudyRetired | f.StudyEnded | f.StudyHalted
    | f.StudyPaused | f.StudyReleased | f.StudyMoved | f.StudyArchived | f.StudyRemoved
    | f.SearchEnded,
) -> str:  # fmt: skip
    match fact:
        case f.StudyAdded():
            return f"was added{_by(fact)}"
        case f.StudyAmended():
            return f"was changed{_by(fact)}"
        case f.StudyRetired():
            return "was put aside for a newer one"
        case f.StudyEnded():
            return _OUTCOMES[fact.outcome]
        case f.SearchEnded():
            return f"asks for no more configurations: {clean(fact.sentence)}"
        case f.StudyHalted():
            return f"was halted: {clean(fact.sentence)}"
        case f.StudyPaused():
            return f"was paused by {clean(fact.by, 60)}"
        case f.StudyReleased():
            if fact.halt_only or not fact.by:
                return "is halted no more" if fact.halt_only else "may go on"
            return f"was resumed{_by(fact)}"
        case f.StudyMoved():
            return (
                f"was moved by {clean(fact.by, 60)}: {fact.priority.value}, weight"
                f" {number(fact.weight)}"
            )
        case f.StudyArchived():
            return f"was archived by {clean(fact.by, 60)}"
        case f.StudyRemoved():
            return f"was removed by {clean(fact.by, 60)}"
        case _:
            assert_never(fact)


def asked(request: Request, names: Mapping[int, str]) -> str:
    """Return what a request asks for: ``add wine``, ``cancel digits/3``, ``yield``."""
    body = request.body
    spec = body.get("spec")
    if isinstance(spec, dict):
        return f"{request.verb} {clean(str(spec.get('name')), 64)}"
    study = body.get("study")
    verb: str = "resume" if request.verb == "release" else request.verb
    if request.verb == "archive" and body.get("remove"):
        verb = "rm"
    if not isinstance(study, int):
        return verb if "study" not in body else f"{verb} all"
    name = names.get(study, f"study {study}")
    trial = body.get("trial")
    return f"{verb} {name}" + (f"/{trial}" if isinstance(trial, int) else "")
