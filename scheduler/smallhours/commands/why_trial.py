"""``smallhours why TRIAL``: a paragraph that a person understands, then the evidence."""

from __future__ import annotations

from typing import TextIO

from smallhours.commands.note import print_notes
from smallhours.commands.plans import Plans
from smallhours.core.reasons import Failure
from smallhours.explain import evidence
from smallhours.explain.why_trial import paragraphs
from smallhours.paths import Home
from smallhours.snapshot import Snapshot, StudyView, TrialView
from smallhours.text import Page, Toned


def why(
    snapshot: Snapshot, home: Home, study_id: int, number_: int, *, as_json: bool, out: TextIO
) -> None:
    """Say why a trial is where it is."""
    study, trial = snapshot.study(study_id), snapshot.trial(study_id, number_)
    alike = _alike(snapshot, study, trial)
    told = paragraphs(snapshot, study, trial, alike)
    if trial.waiting is not None and trial.waiting.why in ("place", "alone"):
        told += _planned(home, snapshot, trial)
    if as_json:
        from smallhours.commands import documents

        documents.write(out, _document(trial, told, alike))
        return
    page = Page(out)
    for paragraph in told:
        page.paragraph(paragraph)
    items = evidence(trial.reason, study.name) if trial.reason else []
    if items:
        page.line()
        page.line(Toned(_evidence_title(trial), "bold"))
        page.pairs([(item.label, item.text) for item in items])
    for item in items:
        if item.block:
            page.line(Toned(item.label, "dim"), indent=2)
            page.block(item.block)
    print_notes(page, snapshot.notes(study_id, number_))


def _planned(home: Home, snapshot: Snapshot, trial: TrialView) -> list[str]:
    """Return what the engine says of a trial that waits for a place; empty: it says nothing."""
    plans = Plans(home, snapshot.engine())
    items = [item for item in plans.waiting(trial.study) if item.trial == trial.number]
    return [f"The engine says: {item.why.value}, {plans.since(item.since)}." for item in items]


def _evidence_title(trial: TrialView) -> str:
    if len(trial.attempts) < 2:
        return "Evidence"
    ended = [attempt.number for attempt in trial.attempts if attempt.reason is not None]
    return f"Evidence of attempt {ended[-1]}"


def _alike(snapshot: Snapshot, study: StudyView, trial: TrialView) -> tuple[str, ...]:
    """Return the names of other trials that failed at the same place."""
    if not isinstance(trial.reason, Failure):
        return ()
    for group in snapshot.failures(study.id):
        if group.fingerprint == trial.reason.fingerprint:
            return tuple(study.trial_name(n) for n in group.trials if n != trial.number)
    return ()


def _document(trial: TrialView, told: list[str], alike: tuple[str, ...]) -> dict[str, object]:
    from smallhours.commands import documents

    return {
        "trial": trial.name,
        "state": trial.state,
        "paragraphs": told,
        "reason": documents.reason(trial.reason),
        "waiting": trial.waiting,
        "continued": trial.continued,
        "alike": alike,
        "attempts": [
            {
                "number": attempt.number,
                "last_step": attempt.last_step,
                "seconds": attempt.seconds,
                "then": attempt.then,
                "reason": documents.reason(attempt.reason),
            }
            for attempt in trial.attempts
        ],
    }
