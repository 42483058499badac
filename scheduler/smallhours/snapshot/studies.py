"""Studies as the ledger has them: folded from few rows, whatever the number of trials."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from smallhours.core import facts as f
from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.spec import Goal, StoredNumber, StudySpec
from smallhours.core.trial import Role, TrialState
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import Spread, Standing, StudyView, Then

#: Reasons whose unrun steps count as saved.
_SAVING = {RungCut.__struct_config__.tag, RuleCut.__struct_config__.tag}
_HEADS = (
    "SELECT at, body FROM event WHERE kind IN ('study_added', 'study_amended', 'study_retired',"
    " 'study_ended', 'study_halted', 'study_released') AND seq <= ? ORDER BY seq"
)
# The role is looked for in the text first, to spare decoding thousands of configurations.
_CREATED = (
    'SELECT trial, CASE WHEN instr(body, \'"role":"confirmation"\') THEN body END'
    " FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?"
)
_ENDED = (
    "SELECT trial, attempt, reason, body FROM event"
    " WHERE kind = 'attempt_ended' AND study = ? AND seq <= ? ORDER BY seq"
)
_RESUMED_FROM = (
    "SELECT trial, attempt, body FROM event WHERE kind IN ('attempt_started', 'restored')"
    " AND study = ? AND attempt > 1 AND seq <= ? ORDER BY seq"
)
_OF_TRIAL = (
    "SELECT kind, attempt, at FROM event WHERE study = ? AND trial = ? AND seq <= ?"
    " AND kind IN ('attempt_started', 'attempt_running', 'intended', 'attempt_ended') ORDER BY seq"
)
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
    #: Whether any version of the study asked for confirmations.
    confirms: bool = False

    @property
    def name(self) -> str:
        """The study's name as people type it."""
        return f"{self.spec.name}@{self.id}" if self.retired else self.spec.name


class End(NamedTuple):
    """The end of a trial's latest attempt."""

    attempt: int
    reason: str
    then: Then
    score: float | None
    last_step: int


class Origin(NamedTuple):
    """What was created as a confirmation, and of which trial."""

    trial: int
    of: int


class EndBody(msgspec.Struct, frozen=True):
    """The part of an ended attempt that is read for every trial."""

    seconds: float
    last_step: int
    score: StoredNumber | None
    then: Then


class _OriginBody(msgspec.Struct, frozen=True):
    role: Role
    of: int | None = None


class _FromBody(msgspec.Struct, frozen=True):
    kind: str
    resume_step: int = 0
    step: int = 0


END_BODY = msgspec.json.Decoder(EndBody)
_ORIGIN = msgspec.json.Decoder(_OriginBody)
_FROM = msgspec.json.Decoder(_FromBody)


def heads(source: Source) -> dict[int, Head]:
    """Return all studies by id, oldest first."""
    found: dict[int, Head] = {}
    for at, body in source.rows(_HEADS, source.upto):
        match source.fact(body):
            case f.StudyAdded() as fact:
                found[fact.study] = Head(fact.study, fact.spec, fact.source, at)
                found[fact.study].confirms = fact.spec.confirm > 0
            case f.StudyAmended() as fact:
                head = found[fact.study]
                head.spec, head.ended, head.ended_at = fact.spec, None, None
                head.confirms = head.confirms or fact.spec.confirm > 0
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


def view(source: Source, head: Head, *, engine_runs: bool, now: float) -> StudyView:
    """Return a study and where it stands.

    Args:
        source: The ledger.
        head: The study.
        engine_runs: Whether attempts that have no end are alive.
        now: Wall time.
    """
    return _Tally(source, head, engine_runs=engine_runs, now=now).view()


class _Tally:
    """Sums a study's trials up."""

    def __init__(self, source: Source, head: Head, *, engine_runs: bool, now: float) -> None:
        self._source, self._head = source, head
        self._engine_runs, self._now = engine_runs, now
        self._seconds = 0.0
        self._steps_run = 0
        self._ends: dict[int, End] = {}
        self._read_ends()
        self._created, self._origins = self._read_created()
        self._states: Counter[TrialState] = Counter()
        self._open = tuple(n for n in self._created if not self._over(n))
        self._read_open()

    def view(self) -> StudyView:
        head, spec = self._head, self._head.spec
        reasons: dict[str, list[int]] = {}
        saved = 0
        for number, end in self._ends.items():
            if end.then != "over":
                continue
            reasons.setdefault(end.reason, []).append(number)
            if end.reason in _SAVING:
                saved += max(0, spec.steps - end.last_step)
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
            started_at=self._started_at(),
            ended_at=head.ended_at,
            states={state: self._states[state] for state in TrialState if self._states[state]},
            reasons={reason: tuple(numbers) for reason, numbers in reasons.items()},
            open=self._open,
            ranking=ranking,
            ended=over - confirmed,
            confirmed=confirmed,
            confirmations=len(self._origins),
            best=None if best is None else self._standing(best),
            baseline=self._standing(0) if 0 in self._created else None,
            steps_run=self._steps_run,
            steps_saved=saved,
            seconds=self._seconds,
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
        return end is not None and end.then == "over"

    def _read_ends(self) -> None:
        """Keep each trial's latest end, and sum up time and steps of all attempts."""
        decode, repeated = END_BODY.decode, False
        for trial, attempt, reason, body in self._source.rows(
            _ENDED, self._head.id, self._source.upto
        ):
            end = decode(body)
            score = None if end.score is None else float(end.score)
            # A trial that ends again counts from then on.
            self._ends.pop(trial, None)
            self._ends[trial] = End(attempt, reason, end.then, score, end.last_step)
            self._seconds += end.seconds
            self._steps_run += end.last_step
            repeated = repeated or attempt > 1
        if repeated:
            self._steps_run -= self._steps_taken_over()

    def _steps_taken_over(self) -> int:
        """Return the steps that later attempts had behind them when they started."""
        taken: dict[tuple[int, int], int] = {}
        for trial, attempt, body in self._source.rows(
            _RESUMED_FROM, self._head.id, self._source.upto
        ):
            fact = _FROM.decode(body)
            taken[trial, attempt] = fact.step if fact.kind == "restored" else fact.resume_step
        return sum(
            step
            for (trial, attempt), step in taken.items()
            if trial in self._ends and attempt <= self._ends[trial].attempt
        )

    def _read_created(self) -> tuple[dict[int, None], dict[int, int]]:
        """Return the numbers of all trials, and of each confirmation the trial it repeats."""
        created: dict[int, None] = {}
        origins: dict[int, int] = {}
        for trial, body in self._source.rows(_CREATED, self._head.id, self._source.upto):
            created[trial] = None
            if body is not None and self._head.confirms:
                origin = _ORIGIN.decode(body)
                if origin.role is Role.CONFIRMATION and origin.of is not None:
                    origins[trial] = origin.of
        return created, origins

    def _read_open(self) -> None:
        """Count the trials that are not over by their states."""
        for number in self._open:
            state, attempt, since = TrialState.QUEUED, 0, 0.0
            for kind, of, at in self._source.rows(
                _OF_TRIAL, self._head.id, number, self._source.upto
            ):
                state = _LIVING.get(kind, TrialState.QUEUED)
                since = at if kind == "attempt_started" else since
                attempt = of
            if state is not TrialState.QUEUED and self._engine_runs:
                self._seconds += max(0.0, self._now - since)
                self._steps_run += self._steps_of(number, attempt)
            else:
                state = TrialState.QUEUED
            self._states[state] += 1

    def _steps_of(self, trial: int, attempt: int) -> int:
        rows = self._source.rows(
            "SELECT count(*) FROM report"
            " WHERE study = ? AND trial = ? AND attempt = ? AND seq <= ?",
            self._head.id,
            trial,
            attempt,
            self._source.upto,
        )
        return int(rows[0][0])

    def _started_at(self) -> float | None:
        rows = self._source.rows(
            "SELECT min(at) FROM event WHERE kind = 'attempt_started' AND study = ? AND seq <= ?",
            self._head.id,
            self._source.upto,
        )
        return None if rows[0][0] is None else float(rows[0][0])

    def _ranking(self) -> tuple[int, ...]:
        """Return completed trials without confirmations, best first; of equals the earlier end."""
        sign = 1.0 if self._head.spec.goal is Goal.MINIMIZE else -1.0
        scored = [
            (sign * end.score, number)
            for number, end in self._ends.items()
            if end.reason == "completed"
            and end.then == "over"
            and number not in self._origins
            and end.score is not None
            and not math.isnan(end.score)
        ]
        scored.sort(key=lambda pair: pair[0])
        return tuple(number for _, number in scored)

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
        if end is None or end.reason != "completed" or end.score is None:
            return None
        return end.score if math.isfinite(end.score) else None


def _spread(scores: list[float]) -> Spread | None:
    if not scores:
        return None
    mean = math.fsum(scores) / len(scores)
    if len(scores) < 2:
        return Spread(n=1, mean=mean, sd=None)
    # The module `statistics` would cost more to import than all the rest of this.
    squares = math.fsum((score - mean) ** 2 for score in scores)
    return Spread(n=len(scores), mean=mean, sd=math.sqrt(squares / (len(scores) - 1)))
