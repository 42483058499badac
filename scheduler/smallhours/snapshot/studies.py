"""Studies as the ledger has them: folded from few rows, whatever the number of trials."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from smallhours.core.spec import Goal, StoredNumber
from smallhours.core.trial import Role, TrialState
from smallhours.snapshot.heads import Head
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import Effort, Spread, Standing, StudyView, Then

#: Reasons after which a trial is always over; after the others, the fact says what comes.
_OVER = frozenset(
    {"completed", "rung_cut", "rule_cut", "diverged", "budget", "refused", "exception", "cancelled"}
)
#: Reasons whose unrun steps count as saved.
SAVING = ("rung_cut", "rule_cut")
# Numbers are given out in order, but a trial is created when its parameters are known.
_COUNTED = (
    "SELECT count(*), max(trial) FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?"
)
_NUMBERS = "SELECT trial FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?"
# Confirmations come on top of `trials` others, so their numbers are not below that.
_ON_TOP = (
    "SELECT trial, body FROM event WHERE kind = 'trial_created' AND study = ? AND trial >= ?"
    " AND seq <= ? ORDER BY trial"
)
# Everything in here is in the index `event_by_kind`: no row is looked up, thousands take 8 ms.
_ENDED = (
    "SELECT seq, trial, attempt, reason, score FROM event"
    " WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
)
_CONTINUED = (
    "SELECT trial, max(seq) FROM event WHERE kind = 'trial_continued' AND study = ? AND seq <= ?"
    " GROUP BY trial"
)
_HELD = (
    "SELECT kind, trial FROM event WHERE kind IN ('trial_held', 'trial_released',"
    " 'trial_continued') AND study = ? AND seq <= ? ORDER BY seq"
)
BODY = "SELECT body FROM event WHERE seq = ?"
_FIRST_START = "SELECT min(at) FROM event WHERE kind = 'attempt_started' AND study = ? AND seq <= ?"
_UNENDED = (
    "SELECT trial, at FROM event AS start WHERE kind = 'attempt_started' AND study = ?1"
    " AND seq <= ?2 AND NOT EXISTS (SELECT 1 FROM event WHERE kind = 'attempt_ended'"
    " AND study = ?1 AND trial = start.trial AND attempt >= start.attempt AND seq <= ?2)"
)
_LATEST = (
    "SELECT kind FROM event WHERE study = ? AND trial = ? AND seq <= ?"
    " AND kind IN ('attempt_started', 'attempt_running', 'intended', 'attempt_ended')"
    " ORDER BY seq DESC LIMIT 1"
)
_ENDED_BODIES = (
    "SELECT trial, body FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
)
_STEPS_OF_OPEN = "SELECT max(step) FROM report WHERE study = ? AND trial = ? AND seq <= ?"
_LIVING = {
    "attempt_started": TrialState.STARTING,
    "attempt_running": TrialState.RUNNING,
    "intended": TrialState.STOPPING,
}


class End(NamedTuple):
    """The end of a trial's latest attempt that ended: a row of `_ENDED`."""

    seq: int
    trial: int
    attempt: int
    reason: str
    score: float | None


class EndBody(msgspec.Struct, frozen=True):
    """The part of an ended attempt that is read for every trial."""

    seconds: float
    last_step: int
    score: StoredNumber | None
    then: Then


class _OriginBody(msgspec.Struct, frozen=True):
    role: Role
    of: int | None = None


END_BODY = msgspec.json.Decoder(EndBody)
_ORIGIN = msgspec.json.Decoder(_OriginBody)


def view(source: Source, head: Head, *, engine_runs: bool) -> StudyView:
    """Return a study and where it stands.

    Args:
        source: The ledger.
        head: The study.
        engine_runs: Whether attempts that have no end are alive.
    """
    return _Tally(source, head, engine_runs=engine_runs).view()


def continued(source: Source, study: int) -> dict[int, int]:
    """Return the trials that were taken up again, with the sequence number of the last time."""
    return dict(source.rows(_CONTINUED, study, source.upto))


def unended(source: Source, study: int) -> dict[int, float]:
    """Return a study's trials whose latest attempt has no end, with the time it started."""
    return dict(source.rows(_UNENDED, study, source.upto))


def effort(source: Source, study: StudyView, now: float) -> Effort:
    """Return what a study's trials took, those that run included up to now."""
    seconds = sum(max(0.0, now - at) for at in study.running_since.values())
    reached: dict[int, int] = {}
    for trial, body in source.rows(_ENDED_BODIES, study.id, source.upto):
        end = END_BODY.decode(body)
        seconds += end.seconds
        reached[trial] = max(reached.get(trial, 0), end.last_step)
    saved = sum(
        max(0, study.spec.steps - reached[trial])
        for reason in SAVING
        for trial in study.reasons.get(reason, ())
    )
    for trial in study.open:
        (step,) = source.rows(_STEPS_OF_OPEN, study.id, trial, source.upto)[0]
        reached[trial] = max(reached.get(trial, 0), step or 0)
    return Effort(steps_run=sum(reached.values()), steps_saved=saved, seconds=seconds)


class _Tally:
    """Sums a study's trials up."""

    def __init__(self, source: Source, head: Head, *, engine_runs: bool) -> None:
        self._source, self._head = source, head
        self._engine_runs = engine_runs
        of_study = (head.id, source.upto)
        #: Trials whose latest attempt has no end, with the time it started.
        self._unended = unended(source, head.id)
        self._started_at: float | None = source.rows(_FIRST_START, *of_study)[0][0]
        self._ends = self._read_ends()
        self._over = self._read_over()
        self._origins = self._read_origins()
        self._open = tuple(n for n in self._numbers() if n not in self._over)
        self._states: Counter[TrialState] = Counter(map(self._state_of, self._open))

    def view(self) -> StudyView:
        head, spec = self._head, self._head.spec
        reasons: dict[str, list[int]] = {}
        for end in sorted(self._ends[number] for number in self._over):
            reasons.setdefault(end.reason, []).append(end.trial)
        over = len(self._over)
        confirmed = len(self._over & self._origins.keys())
        ranking = self._ranking()
        recorded = head.ended.winner if head.ended else None
        best = recorded if recorded is not None else next(iter(ranking), None)
        if over:
            self._states[TrialState.ENDED] = over
        return StudyView(
            id=head.id,
            name=head.name,
            spec=spec,
            source=head.source,
            state=self._state(),
            outcome=head.ended.outcome if head.ended else None,
            search_ended=head.search_ended.sentence if head.search_ended else "",
            evidence=head.search_ended.evidence if head.search_ended else None,
            ended_before=head.ended_before is not None,
            best_before=head.ended_before.winner if head.ended_before else None,
            halted=head.halted.sentence if head.halted else "",
            paused_by=head.paused.by if head.paused else "",
            archived=head.archived,
            removed=head.removed,
            place=head.place,
            added_at=head.added_at,
            started_at=self._started_at,
            running_since=self._unended if self._engine_runs else {},
            ended_at=head.ended_at,
            states={state: self._states[state] for state in TrialState if self._states[state]},
            reasons={reason: tuple(numbers) for reason, numbers in reasons.items()},
            open=self._open,
            held=self._held(),
            ranking=ranking,
            # One that was refused is not counted: another was asked for instead.
            ended=over - confirmed - len(reasons.get("refused", ())),
            confirmed=confirmed,
            confirmations=len(self._origins),
            best=None if best is None else self._standing(best),
            baseline=self._standing(0) if self._open or over else None,
        )

    def _state(self) -> Literal["waiting", "running", "halted", "paused", "ended", "retired"]:
        alive = any(self._states[state] for state in _LIVING.values())
        if self._head.ended:
            return "ended"
        if alive:
            return "running"
        if self._head.retired:
            return "retired"
        if self._head.halted:
            return "halted"
        return "paused" if self._head.paused else "waiting"

    def _read_ends(self) -> dict[int, End]:
        """Return each trial's latest end."""
        ends: dict[int, End] = {}
        for end in map(End._make, self._source.rows(_ENDED, self._head.id, self._source.upto)):
            known = ends.get(end.trial)
            if known is None or known.attempt < end.attempt:
                ends[end.trial] = end
        return ends

    def _read_over(self) -> set[int]:
        """Return the trials that are over: by their reason, or as the fact says."""
        again = continued(self._source, self._head.id)
        return {
            number
            for number, end in self._ends.items()
            if number not in self._unended
            and again.get(number, 0) < end.seq
            and (end.reason in _OVER or self._says_over(end.seq))
        }

    def _held(self) -> tuple[int, ...]:
        """Return the trials that wait as known mistakes."""
        held: dict[int, None] = {}
        for kind, trial in self._source.rows(_HELD, self._head.id, self._source.upto):
            if kind == "trial_held" and trial not in self._over:
                held[trial] = None
            else:
                held.pop(trial, None)
        return tuple(held)

    def _says_over(self, seq: int) -> bool:
        return END_BODY.decode(self._source.rows(BODY, seq)[0][0]).then == "over"

    def _numbers(self) -> Iterable[int]:
        """Return the numbers of all trials."""
        of_study = (self._head.id, self._source.upto)
        trials, highest = self._source.rows(_COUNTED, *of_study)[0]
        if not trials or trials == highest + 1:
            return range(trials)
        return sorted(number for (number,) in self._source.rows(_NUMBERS, *of_study))

    def _read_origins(self) -> dict[int, int]:
        """Return of each confirmation the trial that it repeats."""
        rows = self._source.rows(
            _ON_TOP, self._head.id, self._head.fewest_trials, self._source.upto
        )
        created = [(trial, _ORIGIN.decode(body)) for trial, body in rows]
        return {
            trial: origin.of
            for trial, origin in created
            if origin.role is Role.CONFIRMATION and origin.of is not None
        }

    def _state_of(self, number: int) -> TrialState:
        """Return the state of a trial that is not over."""
        if number not in self._unended or not self._engine_runs:
            return TrialState.QUEUED
        rows = self._source.rows(_LATEST, self._head.id, number, self._source.upto)
        return _LIVING.get(rows[0][0], TrialState.QUEUED)

    def _ranking(self) -> tuple[int, ...]:
        """Return completed trials without confirmations, best first; of equals the earlier end."""
        sign = 1.0 if self._head.spec.goal is Goal.MINIMIZE else -1.0
        scored = [
            (sign * score, seq, number)
            for seq, number, _, reason, score in self._ends.values()
            if reason == "completed"
            and score is not None
            and number not in self._origins
            and number not in self._unended
        ]
        return tuple(number for _, _, number in sorted(scored))

    def _standing(self, number: int) -> Standing:
        confirmations = [trial for trial, of in self._origins.items() if of == number]
        fresh = [score for n in confirmations if (score := self._completed_score(n)) is not None]
        own = self._completed_score(number)
        return Standing(
            trial=number,
            score=own,
            fresh=spread_of(fresh),
            seeds=spread_of(fresh if own is None else [own, *fresh]),
            confirmed=len(self._over.intersection(confirmations)),
            confirmations=len(confirmations),
        )

    def _completed_score(self, number: int) -> float | None:
        end = self._ends.get(number)
        return end.score if end is not None and end.reason == "completed" else None


def spread_of(scores: list[float]) -> Spread | None:
    """Return mean and standard deviation of scores; None: there are none."""
    if not scores:
        return None
    mean = math.fsum(scores) / len(scores)
    if len(scores) < 2:
        return Spread(n=1, mean=mean, sd=None)
    # The module `statistics` would cost more to import than all the rest of this.
    squares = math.fsum((score - mean) ** 2 for score in scores)
    return Spread(n=len(scores), mean=mean, sd=math.sqrt(squares / (len(scores) - 1)))
