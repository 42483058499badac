"""What runs at this moment and what happened last, read from the end of the ledger."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from smallhours.core import facts as f
from smallhours.core.spec import StoredNumber
from smallhours.core.trial import TrialState
from smallhours.snapshot.heads import Head
from smallhours.snapshot.source import Source
from smallhours.snapshot.studies import unended
from smallhours.snapshot.views import RunView

#: Reports that a trial's pace is taken from, the latest.
_PACED = 20
# The unary plus keeps SQLite from sorting all facts of these kinds: it reads backwards instead.
_LATEST = (
    "SELECT at, body FROM event WHERE +kind IN ('session_started', 'session_ended',"
    " 'study_added', 'study_amended', 'study_retired', 'study_ended', 'study_halted',"
    " 'study_paused', 'study_released', 'study_moved', 'study_archived', 'study_removed',"
    " 'search_ended', 'trial_held', 'trial_continued', 'study_noted',"
    " 'yielded', 'yield_ended', 'deadline_set', 'attempt_ended') AND seq <= ?"
    " ORDER BY seq DESC LIMIT ?"
)
_STORY = (
    "SELECT kind, attempt, at, body FROM event WHERE study = ? AND trial = ? AND seq <= ?"
    " AND kind IN ('attempt_started', 'attempt_running', 'intended') ORDER BY seq DESC"
)
_REPORTS = (
    "SELECT at, step, metrics FROM report WHERE study = ? AND trial = ? AND attempt = ?"
    " AND seq <= ? ORDER BY step DESC LIMIT ?"
)
_METRICS = msgspec.json.Decoder(dict[str, StoredNumber])
_STARTED = msgspec.json.Decoder(f.AttemptStarted)


def latest(source: Source, most: int) -> list[tuple[float, f.Fact]]:
    """Return what happened last, oldest first, each with its wall time."""
    rows = source.rows(_LATEST, source.upto, most)
    return [(at, source.fact(body)) for at, body in reversed(rows)]


def running(source: Source, heads: Iterable[Head], session_at: float) -> list[RunView]:
    """Return all trials that have a living attempt, first the one that started first.

    Args:
        source: The ledger.
        heads: All studies.
        session_at: Wall time at which the engine that lives took the ledger.
    """
    found = [
        _run(source, head, trial, since)
        for head in heads
        # What ended in an earlier session has nothing that lives: a year of nights is passed over.
        if head.ended_at is None or head.ended_at >= session_at
        for trial, since in unended(source, head.id).items()
    ]
    return sorted(found, key=lambda run: run.since)


def _run(source: Source, head: Head, trial: int, since: float) -> RunView:
    """Return a trial whose attempt started at a wall time and has not ended."""
    kinds: set[str] = set()
    resume_step, attempt, device, slot = 0, 0, "", None
    for kind, attempt_, _, body in source.rows(_STORY, head.id, trial, source.upto):
        kinds.add(kind)
        if kind == "attempt_started":
            fact = _STARTED.decode(body)
            attempt, resume_step = attempt_, fact.resume_step
            device, slot = fact.device, fact.slot
            break
    reports = source.rows(_REPORTS, head.id, trial, attempt, source.upto, _PACED)
    step, value, rate = resume_step, None, None
    if reports:
        (last_at, step, metrics), (first_at, first_step, _) = reports[0], reports[-1]
        stored = _METRICS.decode(metrics).get(head.spec.metric)
        value = None if stored is None else float(stored)
        rate = (step - first_step) / (last_at - first_at) if last_at > first_at else None
    return RunView(
        trial=f"{head.name}/{trial}",
        study=head.id,
        number=trial,
        attempt=attempt,
        device=device,
        slot=slot,
        state=_state(kinds, spoke=bool(reports)),
        since=since,
        step=step,
        steps=head.spec.steps,
        value=value,
        metric=head.spec.metric,
        rate=rate,
    )


def _state(kinds: set[str], *, spoke: bool) -> TrialState:
    """Return where an attempt is by the facts that there are of it."""
    if "intended" in kinds:
        return TrialState.STOPPING
    return TrialState.RUNNING if spoke or "attempt_running" in kinds else TrialState.STARTING
