"""The state of everything, as a function of the recorded facts.

`State.apply` is the only place that changes it: a running engine and one that reads the ledger
after a crash come to the same state.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import assert_never

from smallhours.core import facts as f
from smallhours.core.reasons import (
    PERHAPS_ITS_OWN,
    Completed,
    Crash,
    Failure,
    Hung,
    Interrupted,
    Reason,
    tag,
)
from smallhours.core.rule import Rule, RuleFactory
from smallhours.core.spec import Dimension, Params, ScoreKind, StoredNumber, StudySpec
from smallhours.core.trial import MOVES, AttemptKey, Role, TrialState

#: Gaps between reports that are remembered of a running attempt.
_GAPS_KEPT = 15
#: Ended attempts whose failure fingerprints are remembered of a study.
_ENDS_KEPT = 5


@dataclass(slots=True)
class Live:
    """What is known of an attempt only while it lives."""

    key: AttemptKey
    started_at: float
    #: When it last said anything (the start counts).
    heard_at: float
    resume_step: int
    pid: int | None = None
    #: Whether a report came in this attempt.
    reported: bool = False
    #: Seconds between its latest reports.
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_GAPS_KEPT))
    intent: Reason | None = None
    intended_at: float = 0.0

    @property
    def gap_s(self) -> float | None:
        """Median seconds between its latest reports; None: fewer than two reports."""
        return statistics.median(self.gaps) if self.gaps else None


@dataclass(slots=True)
class Saved:
    """A checkpoint that exists."""

    step: int
    path: str
    attempt: int


@dataclass(slots=True)
class Trial:
    """One configuration with one seed."""

    study: int
    number: int
    params: Params
    seed: int
    role: Role
    of: int | None
    #: The space it was drawn from, where the space is a function.
    dimensions: tuple[Dimension, ...] | None = None
    state: TrialState = TrialState.QUEUED
    attempts: int = 0
    #: The metric by step; a later attempt's value stands in for an earlier one's.
    curve: dict[int, float] = field(default_factory=dict)
    last_step: int = 0
    last_metrics: dict[str, StoredNumber] = field(default_factory=dict)
    #: Oldest first.
    checkpoints: list[Saved] = field(default_factory=list)
    #: Of its last ended attempt; None: none ended yet.
    reason: Reason | None = None
    retries: int = 0
    #: Times in a row that it lost its process, to no order of ours, without a report of its own.
    stalls: int = 0
    seconds: float = 0.0
    #: Run it while nothing else runs (it ran out of memory beside others).
    alone: bool = False
    live: Live | None = None

    def move(self, to: TrialState) -> None:
        """Change the state along `MOVES`."""
        assert to in MOVES[self.state], f"{self.study}/{self.number}: {self.state} -> {to}"
        self.state = to

    def score(self, spec: StudySpec) -> float | None:
        """Return what counts as the trial's result so far; None: it never reported."""
        if not self.curve:
            return None
        if spec.score is ScoreKind.LAST:
            return self.curve[self.last_step]
        best: float | None = None
        for step, value in self.curve.items():
            if step <= self.last_step and (best is None or spec.goal.better(value, best)):
                best = value
        return best

    def best_step(self, spec: StudySpec) -> int:
        """Return the step of the best value so far (the first of equals); 0: none."""
        best = 0
        for step in sorted(self.curve):
            value = self.curve[step]
            if best == 0 or spec.goal.better(value, self.curve[best]):
                best = step
        return best

    def resume_points(self) -> list[Saved]:
        """Return the checkpoints to go on from, newest first."""
        return sorted(self.checkpoints, key=lambda saved: saved.step, reverse=True)


@dataclass(slots=True)
class Study:
    """One question and all that came of it."""

    id: int
    spec: StudySpec
    snapshot: str
    digest: str
    source: str
    module: str
    cwd: str
    rule: Rule
    trials: dict[int, Trial] = field(default_factory=dict)
    #: Numbers of trials that wait for a place, in the order they came to wait.
    waiting: dict[int, None] = field(default_factory=dict)
    #: Numbers of trials with a living attempt.
    living: set[int] = field(default_factory=set)
    #: Baseline and search trials so far.
    searched: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    #: The fingerprints of the latest ended attempts; None for an end that was no failure.
    latest_ends: deque[str | None] = field(default_factory=lambda: deque(maxlen=_ENDS_KEPT))
    fingerprints: Counter[str] = field(default_factory=Counter)
    #: Search or baseline trial with the best score of those that completed.
    best: int | None = None
    best_score: float | None = None
    #: Numbers of the trials whose configurations were sent to confirmation.
    confirmed: set[int] = field(default_factory=set)
    seconds: float = 0.0
    peak_bytes: int = 0
    ended: f.StudyEnded | None = None
    halted: f.StudyHalted | None = None
    retired: bool = False

    @property
    def label(self) -> str:
        """The study's name as people type it."""
        return f"{self.spec.name}@{self.id}" if self.retired else self.spec.name

    @property
    def open(self) -> bool:
        """Whether the study may still start something."""
        return not (self.ended or self.halted or self.retired)

    def seconds_used(self, at: float) -> float:
        """Return the seconds that its attempts took up to now, those that live included."""
        lives = (self.trials[number].live for number in self.living)
        return self.seconds + sum(at - live.started_at for live in lives if live is not None)

    def name_of(self, trial: int) -> str:
        """Return a trial's name as people type it."""
        return f"{self.label}/{trial}"


def fingerprint(reason: Reason) -> str | None:
    """Return what tells this failure from others; None: it is no failure of the user's code."""
    if isinstance(reason, Failure):
        return reason.fingerprint
    if isinstance(reason, Crash):
        return f"crash {reason.signal or reason.exit_code}"
    if isinstance(reason, Hung) and reason.process_state is None:
        return "hung before it spoke"
    return None


class State:
    """Everything that the recorded facts say."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self._rule_factory = rule_factory
        self.studies: dict[int, Study] = {}
        #: Current owner of each name.
        self.names: dict[str, int] = {}
        self.live: dict[AttemptKey, Trial] = {}
        self.session: f.SessionStarted | None = None
        self.session_ended = True
        #: Ids of requests that were answered: each is carried out once.
        self.answered: set[str] = set()

    def apply(self, fact: f.Fact, at: float) -> None:
        """Take a fact in.

        Args:
            fact: What happened.
            at: When, in seconds of the monotonic clock. Differences between facts of different
                sessions mean nothing and are never used.
        """
        match fact:
            case f.Reported():
                self._reported(fact, at)
            case f.SessionStarted():
                self.session, self.session_ended = fact, False
            case f.SessionEnded():
                self.session_ended = True
            case f.StudyAdded():
                self._added(fact)
            case f.StudyAmended():
                study = self.studies[fact.study]
                study.spec = fact.spec
                study.ended = None
            case f.StudyRetired():
                self.studies[fact.study].retired = True
            case f.StudyEnded():
                self.studies[fact.study].ended = fact
            case f.StudyHalted():
                self.studies[fact.study].halted = fact
            case f.StudyReleased():
                study = self.studies[fact.study]
                study.halted = None
                study.latest_ends.clear()
            case f.TrialCreated():
                self._created(fact)
            case f.AttemptStarted():
                self._started(fact, at)
            case f.AttemptRunning():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.pid, trial.live.heard_at = fact.pid, at
                if trial.state is TrialState.STARTING:
                    trial.move(TrialState.RUNNING)
            case f.Restored():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.resume_step, trial.live.heard_at = fact.step, at
                bad = {path for path, _ in fact.rejected}
                trial.checkpoints = [c for c in trial.checkpoints if c.path not in bad]
            case f.CheckpointSaved():
                trial = self._trial(f.key_of(fact))
                trial.checkpoints.append(Saved(fact.step, fact.path, fact.attempt))
            case f.CheckpointRemoved():
                trial = self.studies[fact.study].trials[fact.trial]
                trial.checkpoints = [c for c in trial.checkpoints if c.path != fact.path]
            case f.Intended():
                trial = self._trial(f.key_of(fact))
                assert trial.live is not None
                trial.live.intent, trial.live.intended_at = fact.reason, at
                if trial.state is not TrialState.STOPPING:
                    trial.move(TrialState.STOPPING)
            case f.AttemptEnded():
                self._ended(fact)
            case f.RequestAnswered():
                self.answered.add(fact.request)
            case _:
                assert_never(fact)

    def _trial(self, key: AttemptKey) -> Trial:
        return self.studies[key.study].trials[key.trial]

    def _added(self, fact: f.StudyAdded) -> None:
        self.studies[fact.study] = Study(
            id=fact.study,
            spec=fact.spec,
            snapshot=fact.snapshot,
            digest=fact.digest,
            source=fact.source,
            module=fact.module,
            cwd=fact.cwd,
            rule=self._rule_factory(fact.spec),
        )
        self.names[fact.spec.name] = fact.study

    def _created(self, fact: f.TrialCreated) -> None:
        study = self.studies[fact.study]
        study.trials[fact.trial] = Trial(
            study=fact.study,
            number=fact.trial,
            params=fact.params,
            seed=fact.seed,
            role=fact.role,
            of=fact.of,
            dimensions=fact.dimensions,
        )
        study.waiting[fact.trial] = None
        if fact.of is not None:
            study.confirmed.add(fact.of)
        else:
            study.searched += 1

    def _started(self, fact: f.AttemptStarted, at: float) -> None:
        study, key = self.studies[fact.study], f.key_of(fact)
        trial = study.trials[fact.trial]
        trial.move(TrialState.STARTING)
        trial.attempts = fact.attempt
        trial.live = Live(key=key, started_at=at, heard_at=at, resume_step=fact.resume_step)
        del study.waiting[fact.trial]
        study.living.add(fact.trial)
        self.live[key] = trial

    def _reported(self, fact: f.Reported, at: float) -> None:
        study = self.studies[fact.study]
        trial = study.trials[fact.trial]
        live = trial.live
        assert live is not None
        if live.reported:
            live.gaps.append(at - live.heard_at)
        live.reported, live.heard_at = True, at
        trial.curve[fact.step] = float(fact.metrics[study.spec.metric])
        trial.last_step, trial.last_metrics = fact.step, fact.metrics
        if trial.role is not Role.CONFIRMATION:
            study.rule.observe(trial.number, fact.step, trial.curve)

    def _ended(self, fact: f.AttemptEnded) -> None:
        study, key = self.studies[fact.study], f.key_of(fact)
        trial = study.trials[fact.trial]
        reason, reported = fact.reason, trial.live is not None and trial.live.reported
        trial.reason, trial.live = reason, None
        trial.seconds += fact.seconds
        study.seconds += fact.seconds
        study.peak_bytes = max(study.peak_bytes, fact.peak_bytes or 0)
        study.living.discard(fact.trial)
        del self.live[key]
        study.reasons[tag(reason)] += 1
        mark = fingerprint(reason)
        if mark is not None:
            study.fingerprints[mark] += 1
        if reported:
            trial.stalls = 0
        elif isinstance(reason, Interrupted) and reason.cause in PERHAPS_ITS_OWN:
            trial.stalls += 1
        if not isinstance(reason, Interrupted):
            study.latest_ends.append(mark)
        if fact.then == "over":
            trial.move(TrialState.ENDED)
            self._over(study, trial, reason)
            return
        trial.move(TrialState.QUEUED)
        study.waiting[trial.number] = None
        if fact.then == "retry":
            trial.retries += 1
            trial.alone = tag(reason) in ("host_oom", "gpu_oom")

    def _over(self, study: Study, trial: Trial, reason: Reason) -> None:
        completed = isinstance(reason, Completed)
        if trial.role is Role.CONFIRMATION:
            return
        study.rule.close(trial.number, trial.curve, completed=completed)
        score = trial.score(study.spec)
        if completed and score is not None:
            better = study.best_score is None or study.spec.goal.better(score, study.best_score)
            if better:
                study.best, study.best_score = trial.number, score
