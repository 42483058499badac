"""Studies as the ledger has them: folded from few rows, whatever the number of trials."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from smallhours.core import facts as f
from smallhours.core.spec import Goal, StoredNumber, StudySpec
from smallhours.core.trial import Role, TrialState
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import Effort, Spread, Standing, StudyView, Then

#: Reasons after which a trial is always over; after the others, the fact says what comes.
_OVER = (
    "'completed', 'rung_cut', 'rule_cut', 'diverged', 'budget', 'refused', 'exception', 'cancelled'"
)
#: Reasons whose unrun steps count as saved.
_SAVING = ("rung_cut", "rule_cut")
_HEADS = (
    "SELECT at, body FROM event WHERE kind IN ('study_added', 'study_amended', 'study_retired',"
    " 'study_ended', 'study_halted', 'study_released') AND seq <= ? ORDER BY seq"
)
# Confirmations come on top of `trials` others, so their numbers are not below that. SQLite looks a
# row up only where it gets to its body, and only a body that names the role is decoded.
_CREATED = (
    'SELECT trial, CASE WHEN trial >= ? AND instr(body, \'"role":"confirmation"\') THEN body END'
    " FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?"
)
# Everything in here is in the index `event_by_kind`: no row is looked up, thousands take 8 ms.
_ENDED = (
    "SELECT seq, trial, attempt, reason, score FROM event"
    " WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
)
_ENDED_PERHAPS = (
    "SELECT seq, body FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
    f" AND reason NOT IN ({_OVER})"
)
_STARTED = (
    "SELECT trial, attempt, at FROM event WHERE kind = 'attempt_started' AND study = ? AND seq <= ?"
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


@dataclass(slots=True)
class Head:
    """What is known of a study without its trials."""

    id: int
    spec: StudySpec
    source: str
    added_at: float
    retired: bool = False
    ended: f.StudyEnded | None = None
    ended_at: float | None = None
    halted: f.StudyHalted | None = None
    #: The smallest number of trials that any version of the study asked for.
    fewest_trials: int = 0

    @property
    def name(self) -> str:
        """The study's name as people type it."""
        return f"{self.spec.name}@{self.id}" if self.retired else self.spec.name


class End(NamedTuple):
    """The end of a trial's latest attempt that ended."""

    seq: int
    attempt: int
    reason: str
    score: float | None
    over: bool


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


def heads(source: Source) -> dict[int, Head]:
    """Return all studies by id, oldest first."""
    found: dict[int, Head] = {}
    for at, body in source.rows(_HEADS, source.upto):
        match source.fact(body):
            case f.StudyAdded() as fact:
                head = found[fact.study] = Head(fact.study, fact.spec, fact.source, at)
                head.fewest_trials = fact.spec.trials
            case f.StudyAmended() as fact:
                head = found[fact.study]
                head.spec, head.ended, head.ended_at = fact.spec, None, None
                head.fewest_trials = min(head.fewest_trials, fact.spec.trials)
            case f.StudyRetired() as fact:
                found[fact.study].retired = True
            case f.StudyEnded() as fact:
                found[fact.study].ended, found[fact.study].ended_at = fact, at
            case f.StudyHalted() as fact:
                found[fact.study].halted = fact
            case f.StudyReleased() as fact:
                found[fact.study].halted = None
            case _:
                pass
    return found


def view(source: Source, head: Head, *, engine_runs: bool) -> StudyView:
    """Return a study and where it stands.

    Args:
        source: The ledger.
        head: The study.
        engine_runs: Whether attempts that have no end are alive.
    """
    return _Tally(source, head, engine_runs=engine_runs).view()


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
        for reason in _SAVING
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
        self._ends = self._read_ends()
        self._created, self._origins = self._read_created()
        self._started_at: float | None = None
        #: Trials whose latest attempt has no end, with the time it started.
        self._unended: dict[int, float] = {}
        self._read_starts()
        self._open = tuple(number for number in self._created if not self._over(number))
        self._states: Counter[TrialState] = Counter(map(self._state_of, self._open))

    def view(self) -> StudyView:
        head, spec = self._head, self._head.spec
        reasons: dict[str, list[int]] = {}
        ends = sorted((end.seq, number) for number, end in self._ends.items())
        for _, number in ends:
            if self._over(number):
                reasons.setdefault(self._ends[number].reason, []).append(number)
        over = sum(map(len, reasons.values()))
        confirmed = sum(1 for number in self._origins if self._over(number))
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
            halted=head.halted.sentence if head.halted else "",
            added_at=head.added_at,
            started_at=self._started_at,
            running_since=self._unended if self._engine_runs else {},
            ended_at=head.ended_at,
            states={state: self._states[state] for state in TrialState if self._states[state]},
            reasons={reason: tuple(numbers) for reason, numbers in reasons.items()},
            open=self._open,
            ranking=ranking,
            ended=over - confirmed,
            confirmed=confirmed,
            confirmations=len(self._origins),
            best=None if best is None else self._standing(best),
            baseline=self._standing(0) if self._created else None,
        )

    def _state(self) -> Literal["waiting", "running", "halted", "ended", "retired"]:
        alive = any(self._states[state] for state in _LIVING.values())
        if self._head.ended:
            return "ended"
        if alive:
            return "running"
        if self._head.retired:
            return "retired"
        return "halted" if self._head.halted else "waiting"

    def _over(self, number: int) -> bool:
        end = self._ends.get(number)
        return end is not None and end.over and number not in self._unended

    def _read_ends(self) -> dict[int, End]:
        """Return each trial's latest end."""
        number, upto = self._head.id, self._source.upto
        on = {
            seq
            for seq, body in self._source.rows(_ENDED_PERHAPS, number, upto)
            if END_BODY.decode(body).then != "over"
        }
        ends: dict[int, End] = {}
        for seq, trial, attempt, reason, score in self._source.rows(_ENDED, number, upto):
            known = ends.get(trial)
            if known is None or known.attempt < attempt:
                ends[trial] = End(seq, attempt, reason, score, seq not in on)
        return ends

    def _read_created(self) -> tuple[list[int], dict[int, int]]:
        """Return the numbers of all trials, and of each confirmation the trial it repeats."""
        created: list[int] = []
        origins: dict[int, int] = {}
        for trial, body in self._source.rows(
            _CREATED, self._head.fewest_trials, self._head.id, self._source.upto
        ):
            created.append(trial)
            if body is not None:
                origin = _ORIGIN.decode(body)
                if origin.role is Role.CONFIRMATION and origin.of is not None:
                    origins[trial] = origin.of
        return created, origins

    def _state_of(self, number: int) -> TrialState:
        """Return the state of a trial that is not over."""
        if number not in self._unended or not self._engine_runs:
            return TrialState.QUEUED
        rows = self._source.rows(_LATEST, self._head.id, number, self._source.upto)
        return _LIVING.get(rows[0][0], TrialState.QUEUED)

    def _read_starts(self) -> None:
        """Note when the first attempt started, and which attempts have no end."""
        ends = self._ends
        starts = self._source.rows(_STARTED, self._head.id, self._source.upto)
        for trial, attempt, at in starts:
            if trial not in ends or ends[trial].attempt < attempt:
                self._unended[trial] = at
        self._started_at = min((at for _, _, at in starts), default=None)

    def _ranking(self) -> tuple[int, ...]:
        """Return completed trials without confirmations, best first; of equals the earlier end."""
        sign = 1.0 if self._head.spec.goal is Goal.MINIMIZE else -1.0
        scored = [
            (sign * end.score, end.seq, number)
            for number, end in self._ends.items()
            if end.reason == "completed"
            and end.score is not None
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
            fresh=_spread(fresh),
            seeds=_spread(fresh if own is None else [own, *fresh]),
            confirmed=sum(map(self._over, confirmations)),
            confirmations=len(confirmations),
        )

    def _completed_score(self, number: int) -> float | None:
        end = self._ends.get(number)
        return end.score if end is not None and end.reason == "completed" else None


def _spread(scores: list[float]) -> Spread | None:
    if not scores:
        return None
    mean = math.fsum(scores) / len(scores)
    if len(scores) < 2:
        return Spread(n=1, mean=mean, sd=None)
    # The module `statistics` would cost more to import than all the rest of this.
    squares = math.fsum((score - mean) ** 2 for score in scores)
    return Spread(n=len(scores), mean=mean, sd=math.sqrt(squares / (len(scores) - 1)))
