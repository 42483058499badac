"""The read model: what is in the ledger, as of one moment, without ever holding it.

Everything that shows something (commands, dashboard) comes through `Snapshot`.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from smallhours import nameplates
from smallhours.clock import Clock, SystemClock
from smallhours.core import facts as f
from smallhours.core.reasons import Failure
from smallhours.core.spec import StoredNumber
from smallhours.core.trial import Role
from smallhours.nameplates import Nameplate
from smallhours.paths import Home
from smallhours.processes import owner, supervisor_lives
from smallhours.snapshot import heads as _heads
from smallhours.snapshot import notes as _notes
from smallhours.snapshot import now as _now
from smallhours.snapshot import packing as _packing
from smallhours.snapshot import studies as _studies
from smallhours.snapshot import trials as _trials
from smallhours.snapshot.mistakes import Mistake
from smallhours.snapshot.mistakes import mistakes as _mistakes
from smallhours.snapshot.names import Target, resolve
from smallhours.snapshot.notes import Note
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import (
    AttemptView,
    CheckpointView,
    Continuation,
    Effort,
    EngineView,
    FailureGroup,
    PackingView,
    Place,
    Rivals,
    RunView,
    Spread,
    Standing,
    StudyView,
    TrialRow,
    TrialView,
    Waiting,
)

if TYPE_CHECKING:
    from smallhours.snapshot.rechecks import Rechecks

__all__ = [
    "AttemptView", "CheckpointView", "Continuation", "Effort", "EngineView", "FailureGroup",
    "Mistake", "Note", "PackingView", "Place", "Rivals", "RunView", "Snapshot", "Spread",
    "Standing", "StudyView", "Target", "TrialRow", "TrialView", "Waiting",
]  # fmt: skip

_CREATED = msgspec.json.Decoder(f.TrialCreated)
_ENDED = msgspec.json.Decoder(f.AttemptEnded)
_METRICS = msgspec.json.Decoder(dict[str, StoredNumber])
#: Completed trials that one is compared with, at most; the latest of them.
_RIVALS_AT_MOST = 200


class Snapshot:
    """The ledger as of one moment; `refresh` moves the moment on."""

    def __init__(self, home: Home, clock: Clock | None = None) -> None:
        """Open the ledger for reading.

        Raises:
            UsageError: no study has been run yet.
            LedgerError: the ledger can't be read.
        """
        self._home = home
        self._clock = clock or SystemClock()
        self._source = Source(home.ledger)
        self._look_around()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the ledger go."""
        self._source.close()

    def refresh(self) -> bool:
        """Take in what happened meanwhile; False: the ledger has nothing new."""
        changed = self._source.refresh()
        self._look_around()
        return changed

    def engine(self) -> EngineView:
        """Return what can be seen of the engine."""
        return self._engine

    def resolve(self, text: str) -> Target:
        """Return what a name means: ``digits``, ``digits/12``, ``dig/12``, ``digits@3/12``.

        Raises:
            NotFoundError: no study or trial has it, or more than one study begins with it.
        """
        return resolve(self._source, text, self._heads)

    def head(self, study: int) -> _heads.Head:
        """Return what is known of a study without its trials."""
        return self._heads[study]

    def names(self) -> list[str]:
        """Return the names of all studies that have not been put aside, oldest first."""
        heads = self._heads.values()
        return [head.name for head in heads if not head.nameless]

    def studies(self) -> list[StudyView]:
        """Return all studies, oldest first, retired ones included."""
        return [self.study(study) for study in self._heads]

    def study(self, study: int) -> StudyView:
        """Return a study and where it stands."""
        return _studies.view(
            self._source,
            self._heads[study],
            engine_runs=self._engine.running,
        )

    def running(self) -> list[RunView]:
        """Return all trials that have a living attempt, first the one that started first."""
        if not self._engine.running:
            return []
        return _now.running(self._source, self._heads.values(), self._engine.started_at or 0.0)

    def latest(self, most: int) -> list[tuple[float, f.Fact]]:
        """Return what happened last that is worth a line, oldest first, with its wall time."""
        return _now.latest(self._source, most)

    def heads(self) -> list[_heads.Head]:
        """Return what is known of all studies without their trials, oldest first."""
        return list(self._heads.values())

    def effort(self, study: StudyView) -> Effort:
        """Return what a study's trials took, and what stopping them early spared."""
        return _studies.effort(self._source, study, self._clock.wall())

    def packing(self, study: int) -> PackingView | None:
        """Return how a study's trials were packed; None: they ran in fixed places."""
        return _packing.view(self._source, study)

    def nameplates(self) -> dict[str, Nameplate]:
        """Return what devices are called, by their names in the ledger, as they were seen last."""
        return nameplates.read(self._home)

    def trial(self, study: int, number: int) -> TrialView:
        """Return a trial that exists, and all that came of it."""
        return _trials.view(
            self._source,
            self._home,
            self._heads[study],
            number,
            engine_runs=self._engine.running,
            engine_restarts=self._engine.restarting,
            now=self._clock.wall(),
        )

    def added(self, study: int) -> f.StudyAdded:
        """Return how a study was added, with its code; its spec may have changed since."""
        rows = self._source.rows(
            "SELECT body FROM event WHERE kind = 'study_added' AND study = ?", study
        )
        fact = self._source.fact(rows[0][0])
        assert isinstance(fact, f.StudyAdded)
        return fact

    def metrics(self, study: int, trial: int) -> list[str]:
        """Return the names of what a trial reported last; none: it reported nothing yet."""
        rows = self._source.rows(
            "SELECT metrics FROM report WHERE study = ? AND trial = ? AND seq <= ?"
            " ORDER BY step DESC LIMIT 1",
            study,
            trial,
            self._source.upto,
        )
        return [*_METRICS.decode(rows[0][0])] if rows else []

    def notes(self, study: int, trial: int | None = None) -> list[Note]:
        """Return what people wrote about a study and its trials, or about one trial; oldest first.

        Args:
            study: The study.
            trial: Number of the trial; None: all that was written.
        """
        return _notes.notes(self._source, study, trial)

    def rows(self, study: int) -> list[TrialRow]:
        """Return every trial of a study on a line of its own, by number."""
        ends: dict[int, tuple[str, _studies.EndBody]] = {}
        seconds: dict[int, float] = {}
        for trial, reason, body in self._source.rows(
            "SELECT trial, reason, body FROM event"
            " WHERE kind = 'attempt_ended' AND study = ? AND seq <= ? ORDER BY seq",
            study,
            self._source.upto,
        ):
            end = _studies.END_BODY.decode(body)
            ends[trial] = (reason, end)
            seconds[trial] = seconds.get(trial, 0.0) + end.seconds
        rows = self._source.rows(
            "SELECT body FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?",
            study,
            self._source.upto,
        )
        created = [_CREATED.decode(body) for (body,) in rows]
        queued = set(self.study(study).open)
        return [
            _row(
                fact,
                ends.get(fact.trial),
                seconds.get(fact.trial, 0.0),
                over=fact.trial not in queued,
            )
            for fact in sorted(created, key=lambda fact: fact.trial)
        ]

    def failures(self, study: int) -> list[FailureGroup]:
        """Return the trials that ended with an exception, by what went wrong, most first."""
        groups: dict[str, tuple[Failure, list[int]]] = {}
        latest: dict[int, Failure] = {}
        for (body,) in self._source.rows(
            "SELECT body FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
            " AND reason = 'exception' ORDER BY seq",
            study,
            self._source.upto,
        ):
            fact = _ENDED.decode(body)
            assert isinstance(fact.reason, Failure)
            latest[fact.trial] = fact.reason
        for trial, failure in latest.items():
            groups.setdefault(failure.fingerprint, (failure, []))[1].append(trial)
        return [
            FailureGroup(
                fingerprint=mark,
                type=failure.type,
                message=failure.message,
                where=failure.where,
                trials=tuple(numbers),
            )
            for mark, (failure, numbers) in sorted(groups.items(), key=lambda g: -len(g[1][1]))
        ]

    def rechecks(self, study: StudyView) -> Rechecks:
        """Return how often stopping was wrong in a study, and in all with the same rule."""
        from smallhours.snapshot import rechecks  # not above: few commands ask

        others = [
            rechecks.sample(self._source, self.study(head.id))
            for head in self._heads.values()
            if head.id != study.id
            and head.spec.stopping == study.spec.stopping
            and rechecks.drawn(self._source, head.id)
        ]
        return rechecks.summed_up(rechecks.sample(self._source, study), others)

    def mistakes(self, study: int) -> list[Mistake]:
        """Return a study's failures by cause, with what each has in common."""
        return _mistakes(self._source, study)

    def rivals(self, study: StudyView, trial: int, step: int) -> Rivals:
        """Return what the trials that had completed when a trial reported a step had at that step.

        Confirmations don't count: no rule compares with them.
        """
        head = self._heads[study.id]
        own = _trials.value_at(self._source, head, trial, step)
        if own is None:
            return Rivals(values=(), complete=True)
        rows = self._source.rows(
            "SELECT trial FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq < ?"
            " AND reason = 'completed' ORDER BY seq DESC LIMIT ?",
            study.id,
            own[1],
            _RIVALS_AT_MOST,
        )
        again = _studies.continued(self._source, study.id)
        searched = set(study.ranking) - {trial} - again.keys()
        values = [
            value[0]
            for (number,) in rows
            if number in searched
            and (value := _trials.value_at(self._source, head, number, step)) is not None
        ]
        return Rivals(values=tuple(values), complete=len(rows) < _RIVALS_AT_MOST)

    def _look_around(self) -> None:
        self._engine = self._read_engine()
        self._heads = _heads.heads(self._source)

    def _read_engine(self) -> EngineView:
        """Return who the engine is, and what the ledger says of its latest session."""
        alive = owner(self._home)
        rows = self._source.rows(
            "SELECT at, body FROM event WHERE kind IN ('session_started', 'session_ended')"
            " AND seq <= ? ORDER BY seq DESC LIMIT 2",
            self._source.upto,
        )
        started: tuple[float, f.SessionStarted] | None = None
        ended: str | None = None
        for at, body in rows:
            fact = self._source.fact(body)
            if isinstance(fact, f.SessionStarted) and started is None:
                started = (at, fact)
            elif isinstance(fact, f.SessionEnded) and started is None:
                ended = fact.cause
        died = alive is None and started is not None and ended is None
        return EngineView(
            running=alive is not None,
            pid=alive.pid if alive else None,
            session=started[1].session if started else None,
            started_at=started[0] if started else None,
            ended=None if alive else ended,
            restarting=died and self._supervisor_lives(),
        )

    def _supervisor_lives(self) -> bool:
        """Say whether a supervisor will start another engine in place of one that died."""
        return supervisor_lives(self._home)


def _row(
    fact: f.TrialCreated, end: tuple[str, _studies.EndBody] | None, seconds: float, *, over: bool
) -> TrialRow:
    score = end[1].score if end is not None else None
    return TrialRow(
        number=fact.trial,
        role=Role(fact.role),
        of=fact.of,
        params=fact.params,
        seed=fact.seed,
        reason=end[0] if end is not None and over else None,
        score=None if score is None else float(score),
        last_step=end[1].last_step if end is not None else 0,
        seconds=seconds,
    )
