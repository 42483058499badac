"""All trials of a study, one line each: read once, then kept up fact by fact."""

from __future__ import annotations

import msgspec

from smallhours.core import facts as f
from smallhours.core.reasons import tag
from smallhours.core.spec import Goal, Params, ScoreKind, StoredNumber
from smallhours.core.trial import Role, TrialState
from smallhours.snapshot.heads import Head
from smallhours.snapshot.source import Source
from smallhours.snapshot.studies import END_BODY, continued
from smallhours.snapshot.views import Then

_CREATED = (
    "SELECT body FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ? ORDER BY seq"
)
_ENDED = (
    "SELECT seq, trial, attempt, at, reason, body FROM event"
    " WHERE kind = 'attempt_ended' AND study = ? AND seq <= ? ORDER BY seq"
)
_STARTED = (
    "SELECT trial, attempt, at, body FROM event AS start WHERE kind = 'attempt_started'"
    " AND study = ?1 AND seq <= ?2 AND NOT EXISTS (SELECT 1 FROM event WHERE"
    " kind = 'attempt_ended' AND study = ?1 AND trial = start.trial AND attempt >= start.attempt"
    " AND seq <= ?2) ORDER BY seq"
)
_STATE = (
    "SELECT kind FROM event WHERE study = ? AND trial = ? AND seq <= ? AND kind IN"
    " ('attempt_started', 'attempt_running', 'intended') ORDER BY seq DESC LIMIT 1"
)
_LAST_REPORT = (
    "SELECT step, metrics FROM report WHERE study = ? AND trial = ? AND attempt = ? AND seq <= ?"
    " ORDER BY step DESC LIMIT 1"
)
_LIVING = {
    "attempt_started": TrialState.STARTING,
    "attempt_running": TrialState.RUNNING,
    "intended": TrialState.STOPPING,
}


class TrialLine(msgspec.Struct, frozen=True, kw_only=True):
    """A trial on one line."""

    number: int
    role: Role
    #: The trial that a confirmation repeats.
    of: int | None
    params: Params
    seed: int
    #: As recorded; where no engine runs, what seems to live is cut off.
    state: TrialState = TrialState.QUEUED
    #: Start of the living attempt (Unix seconds); None: none lives.
    since: float | None = None
    #: Where the latest attempt ran; empty: there was none, or it is over.
    device: str = ""
    #: Of the latest attempt that ended; None: none has.
    reason: str | None = None
    then: Then | None = None
    ended_at: float | None = None
    #: Where the ledger has that end; 0: there is none.
    end_seq: int = 0
    #: The last step it reported, or ended with.
    step: int = 0
    #: Its score where it is over, else the metric of its latest report; None: there is none.
    value: float | None = None
    #: On its places, attempts that ended only.
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it stays as it is."""
        return self.state is TrialState.ENDED

    @property
    def lives(self) -> bool:
        """Whether an attempt of it has no end."""
        return self.since is not None


class _Created(msgspec.Struct, frozen=True):
    """The part of a trial's creation that is shown."""

    trial: int
    params: Params
    seed: int
    role: Role
    of: int | None = None


class _Started(msgspec.Struct, frozen=True):
    device: str
    resume_step: int


_CREATED_BODY = msgspec.json.Decoder(_Created)
_STARTED_BODY = msgspec.json.Decoder(_Started)
_METRICS = msgspec.json.Decoder(dict[str, StoredNumber])


class TrialTable:
    """The lines of a study."""

    def __init__(self, head: Head) -> None:
        #: Whether the score is the best report's, and which is better.
        self._goal: Goal | None = head.spec.goal if head.spec.score is ScoreKind.BEST else None
        #: By number.
        self.lines: dict[int, TrialLine] = {}

    @classmethod
    def read(cls, source: Source, head: Head) -> TrialTable:
        """Read all trials of a study."""
        table = cls(head)
        of_study = (head.id, source.upto)
        ends: dict[int, TrialLine] = {}
        created = [_CREATED_BODY.decode(body) for (body,) in source.rows(_CREATED, *of_study)]
        blank = {c.trial: c for c in created}
        for seq, trial, _, at, reason, body in source.rows(_ENDED, *of_study):
            end, origin, before = END_BODY.decode(body), blank[trial], ends.get(trial)
            over = end.then == "over"
            ends[trial] = TrialLine(
                number=trial,
                role=origin.role,
                of=origin.of,
                params=origin.params,
                seed=origin.seed,
                state=TrialState.ENDED if over else TrialState.QUEUED,
                reason=reason,
                then=end.then,
                ended_at=at,
                end_seq=seq,
                step=end.last_step,
                value=None if end.score is None else float(end.score),
                seconds=end.seconds + (before.seconds if before else 0.0),
            )
        table.lines = {c.trial: ends.get(c.trial) or _new(c) for c in created}
        for trial, seq in continued(source, head.id).items():
            if seq > table.lines[trial].end_seq:
                table._change(trial, state=TrialState.QUEUED)
        for trial, attempt, at, body in source.rows(_STARTED, *of_study):
            (kind,) = source.rows(_STATE, head.id, trial, source.upto)[0]
            started = _STARTED_BODY.decode(body)
            table._change(
                trial,
                state=_LIVING[kind],
                since=at,
                device=started.device,
                step=started.resume_step,
            )
            for step, metrics in source.rows(_LAST_REPORT, head.id, trial, attempt, source.upto):
                value = _METRICS.decode(metrics).get(head.spec.metric)
                table.report(trial, step, None if value is None else float(value))
        return table

    def take(self, fact: f.Fact, seq: int, at: float) -> None:
        """Take in what was recorded of the study."""
        match fact:
            case f.TrialCreated():
                self.lines[fact.trial] = TrialLine(
                    number=fact.trial,
                    role=fact.role,
                    of=fact.of,
                    params=fact.params,
                    seed=fact.seed,
                )
            case f.AttemptStarted():
                self._change(
                    fact.trial,
                    state=TrialState.STARTING,
                    since=at,
                    device=fact.device,
                    step=fact.resume_step,
                )
            case f.AttemptRunning():
                self._change(fact.trial, state=TrialState.RUNNING)
            case f.Intended():
                self._change(fact.trial, state=TrialState.STOPPING)
            case f.Restored():
                self._change(fact.trial, step=fact.step)
            case f.TrialContinued():
                self._change(fact.trial, state=TrialState.QUEUED)
            case f.AttemptEnded():
                self._end(fact, seq, at)
            case _:
                pass

    def report(self, trial: int, step: int, value: float | None) -> None:
        """Take in a report."""
        line = self.lines.get(trial)
        if line is None or not line.lives:
            return
        if value is None or (
            self._goal is not None
            and line.value is not None
            and not self._goal.better(value, line.value)
        ):
            value = line.value
        state = TrialState.RUNNING if line.state is TrialState.STARTING else line.state
        self._change(trial, step=step, value=value, state=state)

    def _end(self, fact: f.AttemptEnded, seq: int, at: float) -> None:
        line = self.lines[fact.trial]
        self._change(
            fact.trial,
            state=TrialState.ENDED if fact.then == "over" else TrialState.QUEUED,
            since=None,
            device="",
            reason=tag(fact.reason),
            then=fact.then,
            ended_at=at,
            end_seq=seq,
            step=fact.last_step,
            value=None if fact.score is None else float(fact.score),
            seconds=line.seconds + fact.seconds,
        )

    def _change(self, trial: int, **changes: object) -> None:
        line = self.lines.get(trial)
        if line is not None:
            self.lines[trial] = msgspec.structs.replace(line, **changes)


def _new(created: _Created) -> TrialLine:
    return TrialLine(
        number=created.trial,
        role=created.role,
        of=created.of,
        params=created.params,
        seed=created.seed,
    )
