"""What is known of studies, trials and attempts; `State` alone changes it."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smallhours.core import facts as f
from smallhours.core.failures import Mistakes
from smallhours.core.footprint import Footprint, Prediction
from smallhours.core.hours import Window, parse
from smallhours.core.noise import pooled_sd
from smallhours.core.reasons import Completed, Reason
from smallhours.core.rule import Rule
from smallhours.core.spec import Dimension, Params, Priority, ScoreKind, StoredNumber, StudySpec
from smallhours.core.trial import MOVES, AttemptKey, Role, TrialState

#: Gaps between reports that are remembered of a running attempt.
_GAPS_KEPT = 15
#: Ended attempts whose failure fingerprints are remembered of a study.
_ENDS_KEPT = 5
#: Ended attempts whose pace is remembered of a study.
_PACES_KEPT = 50


@dataclass(slots=True)
class Live:
    """What is known of an attempt only while it lives."""

    key: AttemptKey
    started_at: float
    #: When it last said anything (the start counts).
    heard_at: float
    resume_step: int
    #: Where it has its place; empty: nowhere yet.
    device: str = ""
    slot: int | None = None
    pid: int | None = None
    #: Whether a report came in this attempt.
    reported: bool = False
    #: When it last saved a checkpoint; None: not in this attempt.
    saved_at: float | None = None
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
    size_bytes: int = 0


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
    #: What its sampler noted of the proposal.
    attrs: Mapping[str, Any] = field(default_factory=dict)
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
    #: What its latest attempt was predicted to take of its device; None: nobody knew.
    predicted: Prediction | None = None
    #: How it was last taken up again after it had been stopped; None: it never was.
    continued: f.TrialContinued | None = None
    #: Seconds that it had run by then: its own time counts from there.
    seconds_before: float = 0.0
    live: Live | None = None

    @property
    def judged(self) -> bool:
        """Whether the rule may stop it."""
        return self.role is Role.SEARCH and self.continued is None

    @property
    def compared(self) -> bool:
        """Whether the rule takes note of it."""
        return self.role is not Role.CONFIRMATION and self.continued is None

    def seconds_counted(self, at: float) -> float:
        """Return the seconds up to now that count against its own limit; it runs."""
        assert self.live is not None
        return self.seconds - self.seconds_before + at - self.live.started_at

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
class Standing:
    """A study's place in the queue."""

    priority: Priority
    weight: float
    #: When it may run, local time; empty: always.
    hours: tuple[str, ...]
    windows: tuple[Window, ...]
    #: Among those of its priority whose turn it is alike: least goes first.
    place: float

    @classmethod
    def of(cls, spec: StudySpec, place: float) -> Standing:
        """Return the place that the study's file asks for."""
        return cls(spec.priority, spec.weight, spec.hours, _windows(spec.hours), place)

    def amend(self, old: StudySpec, new: StudySpec) -> None:
        """Take what the study's file asks for now where it differs from what it asked before."""
        if new.priority != old.priority:
            self.priority = new.priority
        if new.weight != old.weight:
            self.weight = new.weight
        if new.hours != old.hours:
            self.hours, self.windows = new.hours, _windows(new.hours)

    def move(self, fact: f.StudyMoved) -> None:
        """Take the place that somebody gave it."""
        self.priority, self.weight, self.place = fact.priority, fact.weight, fact.place
        self.hours, self.windows = fact.hours, _windows(fact.hours)


def _windows(texts: tuple[str, ...]) -> tuple[Window, ...]:
    return tuple(parse(text) for text in texts)


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
    standing: Standing
    trials: dict[int, Trial] = field(default_factory=dict)
    #: The highest number of a trial so far; -1: there is none.
    last_number: int = -1
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
    #: What its trials were measured to need, by number (paces of the latest attempt, peaks of all).
    footprints: dict[int, Footprint] = field(default_factory=dict)
    #: What was learned on devices: the latest by kind of sharing, and of each trial.
    learned: dict[str, f.LoadLearned] = field(default_factory=dict)
    timed: dict[int, f.LoadLearned] = field(default_factory=dict)
    #: Configurations that were refused since one was taken, and those of them that were there
    #: already.
    refused: int = 0
    repeated: int = 0
    #: The first trial of each configuration (`variety.identity`), where it tells something of it.
    tried: dict[bytes, int] = field(default_factory=dict)
    #: Trials that wait until somebody releases or drops them: they lie where others failed.
    held: dict[int, f.TrialHeld] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=Mistakes)
    #: Its search is over before all trials were proposed; None: it goes on.
    search_ended: f.SearchEnded | None = None
    #: Seconds a step took in its latest attempts, their start included.
    paces: deque[float] = field(default_factory=lambda: deque(maxlen=_PACES_KEPT))
    #: Whether a trial of it ever saved a checkpoint.
    saves: bool = False
    #: Bytes of the checkpoints that exist of it.
    saved_bytes: int = 0
    ended: f.StudyEnded | None = None
    #: How it had ended when a trial of it was taken up again; None: none was since it was open.
    ended_before: f.StudyEnded | None = None
    #: Trials that will be rechecked once nothing else is left to do, in the order they were drawn.
    rechecks: dict[int, None] = field(default_factory=dict)
    halted: f.StudyHalted | None = None
    paused: f.StudyPaused | None = None
    retired: bool = False
    archived: bool = False
    removed: bool = False
    #: Whether its trials are here; those of a study that was over when the engine started are not.
    loaded: bool = True

    @property
    def label(self) -> str:
        """The study's name as people type it."""
        gone = self.retired or self.removed
        return f"{self.spec.name}@{self.id}" if gone else self.spec.name

    @property
    def emptied(self) -> bool:
        """Whether its checkpoints were deleted with it."""
        return self.archived or self.removed

    @property
    def open(self) -> bool:
        """Whether something of the study is left to do, as far as nobody need step in."""
        return not (self.ended or self.halted or self.retired)

    @property
    def given_up(self) -> bool:
        """Whether it had been cancelled: only what was taken up again is left to do."""
        return self.ended_before is not None and self.ended_before.outcome == "cancelled"

    @property
    def active(self) -> bool:
        """Whether the study may start something, should its time have come."""
        return self.open and not self.paused

    @property
    def unproposed(self) -> int:
        """Configurations that its search is yet to propose; a study that had ended wants none."""
        over = self.search_ended or self.ended_before
        return 0 if over else max(0, self.spec.trials - self.searched)

    def seconds_used(self, at: float) -> float:
        """Return the seconds that its attempts took up to now, those that live included."""
        lives = (self.trials[number].live for number in self.living)
        return self.seconds + sum(at - live.started_at for live in lives if live is not None)

    def seed_sd(self) -> float | None:
        """Return the standard deviation of scores between seeds, pooled over configurations.

        It is of confirmations only: a trial that was confirmed because it won was lucky, too.
        None: no configuration has two of them that completed.
        """
        fresh: dict[int, list[float]] = {}
        for trial in self.trials.values():
            if trial.of is not None and isinstance(trial.reason, Completed):
                score = trial.score(self.spec)
                if score is not None:
                    fresh.setdefault(trial.of, []).append(score)
        return pooled_sd(fresh.values())

    def name_of(self, trial: int) -> str:
        """Return a trial's name as people type it."""
        return f"{self.label}/{trial}"
