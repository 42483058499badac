"""One trial as the ledger has it: all its attempts, its curve, its checkpoints."""

from __future__ import annotations

import msgspec

from smallhours.core import facts as f
from smallhours.core.footprint import Prediction
from smallhours.core.reasons import GpuOom, HostOom, Paused, Reason
from smallhours.core.spec import Goal, ScoreKind, StoredNumber
from smallhours.core.trial import TrialState
from smallhours.paths import Home
from smallhours.snapshot import packing
from smallhours.snapshot.heads import Head
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import (
    AttemptView,
    CheckpointView,
    Continuation,
    Then,
    TrialView,
    Waiting,
)

# When the checkpoints of a study were deleted all together, last.
_EMPTIED = (
    "SELECT max(seq) FROM event WHERE kind IN ('study_archived', 'study_removed') AND study = ?"
    " AND seq <= ?"
)
_METRICS = msgspec.json.Decoder(dict[str, StoredNumber])


class _Run(msgspec.Struct):
    """An attempt while its facts are read."""

    number: int
    device: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    resume_step: int = 0
    pid: int | None = None
    intent: Reason | None = None
    end: f.AttemptEnded | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    predicted: Prediction | None = None
    probe: bool = False
    cap: float | None = None


class _Story(msgspec.Struct):
    """A trial while its facts are read."""

    created: f.TrialCreated
    state: TrialState = TrialState.QUEUED
    runs: dict[int, _Run] = {}
    checkpoints: dict[str, CheckpointView] = {}
    last_end: f.AttemptEnded | None = None
    continued: list[Continuation] = []
    #: None: it does not wait as a known mistake.
    held: f.TrialHeld | None = None

    def run(self, attempt: int) -> _Run:
        return self.runs.setdefault(attempt, _Run(attempt))


def exists(source: Source, study: int, number: int) -> bool:
    """Say whether a study has a trial of this number."""
    return bool(
        source.rows(
            "SELECT 1 FROM event WHERE study = ? AND trial = ? AND seq <= ? LIMIT 1",
            study,
            number,
            source.upto,
        )
    )


def view(
    source: Source,
    home: Home,
    head: Head,
    number: int,
    *,
    engine_runs: bool,
    engine_restarts: bool,
    now: float,
) -> TrialView:
    """Return a trial that exists, and all that came of it."""
    story = _read(source, home, head.id, number)
    reports, curve = _curve(source, head, number)
    state, end = story.state, story.last_end
    if not engine_runs and state not in (TrialState.ENDED, TrialState.QUEUED):
        state = TrialState.QUEUED
    attempts = tuple(
        _attempt(run, reports.get(run.number, 0), now if engine_runs else None)
        for run in story.runs.values()
    )
    last_step = max((a.last_step for a in attempts[-1:]), default=0)
    then: Then | None = end.then if end else None
    return TrialView(
        study=head.id,
        number=number,
        name=f"{head.name}/{number}",
        role=story.created.role,
        of=story.created.of,
        params=story.created.params,
        seed=story.created.seed,
        state=state,
        waiting=(
            _waiting(head, story, engine_runs=engine_runs, engine_restarts=engine_restarts)
            if state is TrialState.QUEUED
            else None
        ),
        reason=end.reason if end else None,
        then=then,
        continued=tuple(story.continued),
        score=_score(head, state, end, curve, last_step),
        curve=curve,
        last_step=last_step,
        attempts=attempts,
        checkpoints=tuple(story.checkpoints.values()),
        seconds=sum(attempt.seconds for attempt in attempts),
    )


def _read(source: Source, home: Home, study: int, number: int) -> _Story:
    story: _Story | None = None
    emptied = source.rows(_EMPTIED, study, source.upto)[0][0] or 0
    for seq, at, body in source.rows(
        "SELECT seq, at, body FROM event WHERE study = ? AND trial = ? AND seq <= ? ORDER BY seq",
        study,
        number,
        source.upto,
    ):
        fact = source.fact(body)
        if isinstance(fact, f.TrialCreated):
            story = _Story(fact)
        elif story is not None and not (isinstance(fact, f.CheckpointSaved) and seq < emptied):
            _take_in(story, fact, at, home)
            if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, Paused):
                run = story.run(fact.attempt)
                run.cap = packing.cap_by(source, seq, run.device)
    assert story is not None, "a trial's first fact is its creation"
    return story


def _take_in(story: _Story, fact: f.Fact, at: float, home: Home) -> None:
    match fact:
        case f.TrialHeld():
            story.held = fact
        case f.TrialReleased():
            story.held = None
        case f.AttemptStarted():
            run = story.run(fact.attempt)
            run.device, run.started_at, run.resume_step = fact.device, at, fact.resume_step
            run.predicted, run.probe = fact.predicted, fact.probe
            story.state = TrialState.STARTING
        case f.AttemptRunning():
            story.run(fact.attempt).pid = fact.pid
            if story.state is TrialState.STARTING:
                story.state = TrialState.RUNNING
        case f.Restored():
            run = story.run(fact.attempt)
            run.resume_step, run.rejected = fact.step, fact.rejected
            for path, _ in fact.rejected:
                story.checkpoints.pop(path, None)
        case f.TrialContinued():
            attempts = len(story.runs)
            story.continued.append(
                Continuation(at=at, cause=fact.cause, by=fact.by, attempts=attempts)
            )
            story.state, story.held = TrialState.QUEUED, None
        case f.Intended():
            story.run(fact.attempt).intent = fact.reason
            story.state = TrialState.STOPPING
        case f.CheckpointSaved():
            story.checkpoints[fact.path] = CheckpointView(
                step=fact.step,
                attempt=fact.attempt,
                path=home.root / fact.path,
                size_bytes=fact.size_bytes,
                at=at,
            )
        case f.CheckpointRemoved():
            story.checkpoints.pop(fact.path, None)
        case f.AttemptEnded():
            run = story.run(fact.attempt)
            run.end, run.ended_at, story.last_end = fact, at, fact
            over = fact.then == "over"
            story.state = TrialState.ENDED if over else TrialState.QUEUED
        case _:
            pass


def _attempt(run: _Run, reported: int, now: float | None) -> AttemptView:
    end = run.end
    if end is not None:
        seconds, last_step = end.seconds, end.last_step
    else:
        # Where the engine is gone nobody knows how long it lasted.
        alive = now is not None and run.started_at is not None
        seconds = max(0.0, (now or 0.0) - (run.started_at or 0.0)) if alive else 0.0
        last_step = max(reported, run.resume_step)
    return AttemptView(
        number=run.number,
        device=run.device,
        started_at=run.started_at,
        ended_at=run.ended_at,
        resume_step=run.resume_step,
        pid=run.pid,
        intent=run.intent,
        reason=end.reason if end else None,
        then=end.then if end else None,
        last_step=last_step,
        seconds=seconds,
        peak_bytes=end.peak_bytes if end else None,
        footprint=end.footprint if end else None,
        probe=run.probe,
        expected_bytes=run.predicted.expected_bytes if run.predicted else None,
        promised_bytes=run.predicted.upper_bytes if run.predicted else None,
        held_bytes=packing.held_bytes(run.device, end.footprint) if end else None,
        cap=run.cap,
        rejected=run.rejected,
    )


def _curve(source: Source, head: Head, number: int) -> tuple[dict[int, int], dict[int, float]]:
    """Return the last step of each attempt that reported, and the metric by step."""
    last: dict[int, int] = {}
    curve: dict[int, float] = {}
    for attempt, step, metrics in source.rows(
        "SELECT attempt, step, metrics FROM report"
        " WHERE study = ? AND trial = ? AND seq <= ? ORDER BY seq",
        head.id,
        number,
        source.upto,
    ):
        last[attempt] = step
        value = _METRICS.decode(metrics).get(head.spec.metric)
        if value is not None:
            curve[step] = float(value)
    return last, dict(sorted(curve.items()))


def value_at(source: Source, head: Head, number: int, step: int) -> tuple[float, int] | None:
    """Return the metric that a trial had at a step, with the sequence number of its report."""
    rows = source.rows(
        "SELECT metrics, seq FROM report WHERE study = ? AND trial = ? AND step = ? AND seq <= ?"
        " ORDER BY seq DESC LIMIT 1",
        head.id,
        number,
        step,
        source.upto,
    )
    if not rows:
        return None
    value = _METRICS.decode(rows[0][0]).get(head.spec.metric)
    return None if value is None else (float(value), rows[0][1])


def _score(
    head: Head,
    state: TrialState,
    end: f.AttemptEnded | None,
    curve: dict[int, float],
    last_step: int,
) -> float | None:
    """Return the recorded score of a trial that is over, else what it would be now."""
    if state is TrialState.ENDED and end is not None:
        return None if end.score is None else float(end.score)
    seen = [value for step, value in curve.items() if step <= last_step]
    if not seen:
        return None
    if head.spec.score is ScoreKind.LAST:
        return seen[-1]
    return min(seen) if head.spec.goal is Goal.MINIMIZE else max(seen)


def _waiting(head: Head, story: _Story, *, engine_runs: bool, engine_restarts: bool) -> Waiting:
    end = story.last_end
    cut_off = story.state not in (TrialState.QUEUED, TrialState.ENDED)
    points = [saved.step for saved in story.checkpoints.values()]
    retried = end is not None and end.then == "retry" and not cut_off
    return Waiting(
        why=(
            "study_over"
            if head.ended or head.retired
            else "known_mistake"
            if story.held
            else "study_halted"
            if head.halted
            else "engine_restarts"
            if engine_restarts
            else "engine_down"
            if not engine_runs
            else "alone"
            if retried and end is not None and isinstance(end.reason, HostOom | GpuOom)
            else "place"
        ),
        to="retry" if retried else "resume" if story.runs else "start",
        from_step=max(points, default=0),
        mistake=story.held,
    )
