"""What the live display knows: a small model of studies, kept up with the ledger as it grows."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, assert_never

import msgspec

from smallhours.core import facts as f
from smallhours.core.reasons import Completed, Reason, tag
from smallhours.core.spec import StudySpec
from smallhours.core.trial import Role
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot.source import Row, Source

#: Ended attempts that are kept for the display, and for the guess at the time left.
_ENDS_KEPT = 40

_Shown = (
    f.SessionStarted | f.SessionEnded | f.StudyAdded | f.StudyAmended | f.StudyRetired
    | f.StudyEnded | f.StudyHalted | f.StudyPaused | f.StudyReleased | f.TrialCreated
    | f.TrialContinued | f.AttemptStarted | f.AttemptRunning | f.Restored | f.Intended
    | f.AttemptEnded
)  # fmt: skip
_DECODER: msgspec.json.Decoder[_Shown] = msgspec.json.Decoder(_Shown)
_KINDS = (
    "session_started", "session_ended", "study_added", "study_amended", "study_retired",
    "study_ended", "study_halted", "study_paused", "study_released", "trial_created",
    "trial_continued", "attempt_started", "attempt_running", "restored", "intended",
    "attempt_ended",
)  # fmt: skip


@dataclass(slots=True)
class Running:
    """A living attempt."""

    trial: int
    attempt: int
    role: Role
    #: Wall time of its start.
    since: float
    step: int = 0
    #: The metric at that step; None: no report yet.
    value: float | None = None
    #: Whether its process has spoken.
    spoke: bool = False
    #: Whether it was told to end.
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """An attempt that is over."""

    #: Wall time.
    at: float
    trial: int
    attempt: int
    reason: Reason
    score: float | None
    #: Seconds on its place; 0 where it never had one.
    seconds: float
    #: What becomes of the trial.
    then: Literal["over", "retry", "resume"]


@dataclass(slots=True)
class StudyBoard:
    """One study as it is shown."""

    id: int
    spec: StudySpec
    #: The file it was read from.
    source: str
    roles: dict[int, Role] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    #: The latest ends, oldest first.
    ends: deque[End] = field(default_factory=lambda: deque(maxlen=_ENDS_KEPT))
    #: Numbers of trials that are over.
    over: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    #: Number and score of the best trial that completed; None: none yet.
    best: tuple[int, float] | None = None
    #: The baseline's score; None: not known yet.
    baseline: float | None = None
    #: Most attempts that were seen to run at a time.
    slots: int = 1
    outcome: f.StudyEnded | None = None
    halted: f.StudyHalted | None = None
    paused: f.StudyPaused | None = None
    retired: bool = False

    @property
    def open(self) -> bool:
        """Whether something may still happen."""
        return bool(self.running) or not (
            self.outcome or self.halted or self.paused or self.retired
        )

    @property
    def label(self) -> str:
        """The study's name as people type it."""
        return f"{self.spec.name}@{self.id}" if self.retired else self.spec.name

    @property
    def searched(self) -> int:
        """Baseline and search trials that are over."""
        return sum(self.roles[number] is not Role.CONFIRMATION for number in self.over)

    @property
    def confirmed(self) -> int:
        """Confirmations that are over."""
        return len(self.over) - self.searched

    @property
    def confirmations(self) -> int:
        """Confirmations there are, or will be as far as is known."""
        made = sum(role is Role.CONFIRMATION for role in self.roles.values())
        contenders = 1 if self.spec.trials == 1 else 2
        return made if self.outcome else max(made, contenders * self.spec.confirm)

    def left_s(self) -> float | None:
        """Guess the seconds until the study is done; None: nothing to go by yet."""
        durations = [end.seconds for end in self.ends if end.then == "over" and end.seconds > 0]
        if not durations or not self.open:
            return None
        left = self.spec.trials - self.searched + self.confirmations - self.confirmed
        begun = sum(min(1.0, run.step / self.spec.steps) for run in self.running.values())
        return max(0.0, left - begun) * statistics.fmean(durations[-12:]) / self.slots


class Board:
    """The studies of a ledger, read anew from where it was last read."""

    def __init__(self, home: Home, only: Iterable[int] | None = None) -> None:
        """Make an empty board.

        Args:
            home: The state directory.
            only: Ids of the studies to follow; None: all.
        """
        self._ledger = home.ledger
        self._only = None if only is None else tuple(sorted(only))
        self._source: Source | None = None
        self._seen = 0
        self.studies: dict[int, StudyBoard] = {}
        #: Ends that came with the latest `refresh`, in their order.
        self.news: list[tuple[StudyBoard, End]] = []
        #: Whether a trial was started in the latest session.
        self.ready = False
        #: Whether the engine let the ledger go in good order, with its cause; None: not since.
        self.session_ended: str | None = None

    def refresh(self) -> None:
        """Read what was appended since; a ledger that isn't there yet is looked for again.

        Raises:
            LedgerError: it can't be read.
        """
        self.news = []
        if self._source is None:
            if not self._ledger.exists():
                return
            try:
                self._source = Source(self._ledger)
            except UsageError:
                return  # just being created
        elif not self._source.refresh():
            return
        seen, self._seen = self._seen, self._source.upto
        living = self._read_events(self._source, seen)
        if seen == 0:
            # Of all that was reported before, only the latest of what runs now is shown.
            reports = _latest_reports(self._source, living)
        else:
            reports = self._source.rows(
                "SELECT study, trial, step, metrics FROM report WHERE seq > ? AND seq <= ?"
                " ORDER BY seq",
                seen,
                self._seen,
            )
        for study, trial, step, metrics in reports:
            self._report(study, trial, step, metrics)

    def close(self) -> None:
        """Let the ledger go."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _read_events(self, source: Source, seen: int) -> list[tuple[int, int, int]]:
        """Take new facts in; return the attempts that live: study, trial and attempt."""
        ids = () if self._only is None else self._only
        chosen = "" if self._only is None else f" AND (study IS NULL OR study IN ({_marks(ids)}))"
        events = source.rows(
            "SELECT at, body FROM event WHERE seq > ? AND seq <= ?"
            f" AND kind IN ({_marks(_KINDS)}){chosen} ORDER BY seq",
            seen,
            self._seen,
            *_KINDS,
            *ids,
        )
        for at, body in events:
            self._apply(_DECODER.decode(body), at)
        return [
            (study.id, run.trial, run.attempt)
            for study in self.studies.values()
            for run in study.running.values()
        ]

    def _report(self, study: int, trial: int, step: int, metrics: str) -> None:
        board = self.studies.get(study)
        run = board.running.get(trial) if board is not None else None
        if board is None or run is None:
            return
        value = msgspec.json.decode(metrics).get(board.spec.metric)
        run.step, run.value = step, None if value is None else float(value)

    def _apply(self, fact: _Shown, at: float) -> None:
        match fact:
            case f.SessionStarted():
                self.session_ended, self.ready = None, False
            case f.SessionEnded():
                self.session_ended = fact.cause
            case f.StudyAdded():
                self.studies[fact.study] = StudyBoard(fact.study, fact.spec, fact.source)
            case _:
                board = self.studies[fact.study]
                self._apply_to(board, fact, at)
                self.ready = self.ready or isinstance(fact, f.AttemptStarted)
                board.slots = max(board.slots, len(board.running))

    def _apply_to(self, board: StudyBoard, fact: _Shown, at: float) -> None:
        match fact:
            case f.StudyAmended():
                board.spec, board.outcome = fact.spec, None
            case f.StudyRetired():
                board.retired = True
            case f.StudyEnded():
                board.outcome = fact
            case f.StudyHalted():
                board.halted = fact
            case f.StudyPaused():
                board.paused = fact
            case f.StudyReleased():
                board.halted = None
                board.paused = board.paused if fact.halt_only else None
            case f.TrialCreated():
                board.roles[fact.trial] = fact.role
            case f.AttemptStarted():
                role = board.roles[fact.trial]
                board.running[fact.trial] = Running(
                    fact.trial, fact.attempt, role, at, fact.resume_step
                )
            case f.AttemptRunning():
                board.running[fact.trial].spoke = True
            case f.TrialContinued():
                board.over.discard(fact.trial)
                board.outcome = None
            case f.Restored():
                board.running[fact.trial].step = fact.step
            case f.Intended():
                board.running[fact.trial].stopping = True
            case f.AttemptEnded():
                self._ended(board, fact, at)
            case f.SessionStarted() | f.SessionEnded() | f.StudyAdded():
                raise AssertionError(fact)
            case _:
                assert_never(fact)

    def _ended(self, board: StudyBoard, fact: f.AttemptEnded, at: float) -> None:
        board.running.pop(fact.trial, None)
        score = None if fact.score is None else float(fact.score)
        end = End(at, fact.trial, fact.attempt, fact.reason, score, fact.seconds, fact.then)
        board.ends.append(end)
        board.reasons[tag(fact.reason)] += 1
        self.news.append((board, end))
        if fact.then != "over":
            return
        board.over.add(fact.trial)
        if score is None or board.roles[fact.trial] is Role.CONFIRMATION:
            return
        if board.roles[fact.trial] is Role.BASELINE:
            board.baseline = score
        better = board.best is None or board.spec.goal.better(score, board.best[1])
        if isinstance(fact.reason, Completed) and better:
            board.best = (fact.trial, score)


def _marks(values: Sequence[object]) -> str:
    """Return as many parameter marks for SQL."""
    return ",".join("?" * len(values))


def _latest_reports(source: Source, living: list[tuple[int, int, int]]) -> list[Row]:
    """Return the latest report of each of these attempts."""
    return [
        row
        for key in living
        for row in source.rows(
            "SELECT study, trial, step, metrics FROM report"
            " WHERE study = ? AND trial = ? AND attempt = ? ORDER BY step DESC LIMIT 1",
            *key,
        )
    ]
