"""What the ledger says, as immutable values for those who show it.

They are msgspec structs because a dozen dataclasses would take 8 ms of every command's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from smallhours.core import facts as f
from smallhours.core.footprint import Footprint, Prediction
from smallhours.core.outcomes import Enough, StudyOutcome
from smallhours.core.reasons import Reason
from smallhours.core.spec import Params, Priority, StudySpec
from smallhours.core.trial import Role, TrialState

#: ``over``: the trial stays as it is; else it is run again, or goes on.
Then: TypeAlias = Literal["over", "retry", "resume"]


class EngineView(msgspec.Struct, frozen=True, kw_only=True):
    """The engine, as far as one can see it from outside."""

    running: bool
    #: None: it does not run.
    pid: int | None
    #: Latest session that the ledger knows; None: there was none.
    session: int | None
    started_at: float | None
    #: Why the latest session ended; None: it runs, or ended without a word.
    ended: str | None
    #: Whether it does not run, but its supervisor does, and starts it.
    restarting: bool


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of one configuration on several seeds."""

    n: int
    mean: float
    #: Sample standard deviation (n - 1); None: fewer than two scores.
    sd: float | None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a configuration did, with the confirmations of it."""

    trial: int
    #: Of the trial itself; None: it has none (yet).
    score: float | None
    #: Over the confirmations that completed: seeds that the choice did not depend on; None: none.
    fresh: Spread | None
    #: Over the trial and its confirmations; None: no score at all.
    seeds: Spread | None
    #: Confirmations that are over, and that exist.
    confirmed: int
    confirmations: int


class Place(msgspec.Struct, frozen=True):
    """A study's place in the queue, as its file asks for it or as somebody moved it."""

    priority: Priority
    weight: float
    #: When it may run, local time; empty: always.
    hours: tuple[str, ...]
    #: Among those of its priority: least goes first.
    place: float

    @classmethod
    def of(cls, spec: StudySpec, place: float) -> Place:
        """Return the place that the study's file asks for."""
        return cls(spec.priority, spec.weight, spec.hours, place)


class StudyView(msgspec.Struct, frozen=True, kw_only=True):
    """A study and where it stands."""

    id: int
    #: As people type it: ``digits``, or ``digits@3`` once it was retired.
    name: str
    spec: StudySpec
    source: str
    state: Literal["waiting", "running", "halted", "paused", "ended", "retired"]
    #: How it ended; None: it has not.
    outcome: StudyOutcome | None
    #: Whether it had ended before a trial of it was taken up again, and the best one until then.
    ended_before: bool
    best_before: int | None
    #: Why its search proposes no more, in words, and the numbers of it; empty: it does, or all that
    #: were wanted have been proposed.
    search_ended: str
    evidence: Enough | None
    #: Why it is halted, in words; empty: it is not.
    halted: str
    #: Who paused it; empty: nobody has.
    paused_by: str
    #: Whether it was put out of the way, and whether its files are gone too.
    archived: bool
    removed: bool
    place: Place
    added_at: float
    #: First start of a trial; None: none yet.
    started_at: float | None
    ended_at: float | None
    #: Trials by state, confirmations included; states without a trial are left out.
    states: dict[TrialState, int]
    #: Numbers of the trials that are over, by reason, in the order they ended.
    reasons: dict[str, tuple[int, ...]]
    #: Numbers of the trials that are not over.
    open: tuple[int, ...]
    #: Those of them that wait as known mistakes.
    held: tuple[int, ...]
    #: Trials with a living attempt, with the time it started.
    running_since: dict[int, float]
    #: Numbers of completed trials, best first, without confirmations.
    ranking: tuple[int, ...]
    #: Baseline and search trials that are over; the study wants `spec.trials`.
    ended: int
    #: Confirmations that are over, and that exist.
    confirmed: int
    confirmations: int
    best: Standing | None
    baseline: Standing | None

    def trial_name(self, number: int) -> str:
        """Return a trial's name as people type it."""
        return f"{self.name}/{number}"


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """What a study's trials took, and what stopping them early spared."""

    #: The steps that the trials reached; those that were run again count once.
    steps_run: int
    #: Steps that trials stopped by the rule did not run.
    steps_saved: int
    #: Seconds that trials spent on their places.
    seconds: float

    @property
    def seconds_saved(self) -> float:
        """Seconds that the steps saved would have taken, at the study's mean pace."""
        return self.steps_saved * self.seconds / self.steps_run if self.steps_run else 0.0


class PackingView(msgspec.Struct, frozen=True, kw_only=True):
    """How a study's trials were packed, on the kind of device that they ran on last."""

    kind: Literal["cpu", "gpu"]
    #: Names of the devices, in the order in which they were used first.
    devices: tuple[str, ...]
    #: The trials that were watched alone, to learn what the study needs.
    probes: tuple[int, ...]
    #: Attempts whose memory was measured, and the most that one took.
    measured: int
    largest_bytes: int | None
    #: Those of them of which something had been predicted, and that took more than was kept.
    predicted: int
    missed: int
    #: Median of measured / expected, and mean of measured / kept; None: nothing was predicted.
    bias: float | None
    tightness: float | None
    #: How the device was shared when something was learned last; None: nothing was.
    sharing: Literal["time_slicing", "mps", "cores"] | None
    #: Share of the time that the device is busy with a trial, and share of it that the trial fills
    #: meanwhile (`packing.load`); None: not known.
    busy: float | None
    weight: float | None
    #: Seconds a step alone: the median of the study's trials; None: none was timed.
    step_s: float | None

    @property
    def compute(self) -> float | None:
        """Share of the device that a trial fills on average while it runs alone."""
        return None if self.busy is None or self.weight is None else self.busy * self.weight


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that has a living attempt."""

    #: ``wine/12``.
    trial: str
    study: int
    number: int
    attempt: int
    device: str
    #: Its place on the device, from 0; None: an older version kept none.
    slot: int | None
    state: TrialState
    #: Wall time (Unix seconds) at which the attempt started.
    since: float
    #: Its latest report's; before the first one the step that it goes on from.
    step: int
    #: Of a whole trial.
    steps: int
    metric: str
    #: The metric of its latest report; None: it has not reported.
    value: float | None
    #: Steps a second over its latest reports; None: fewer than two.
    rate: float | None


class CheckpointView(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that the ledger knows."""

    step: int
    attempt: int
    path: Path
    size_bytes: int
    at: float


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a trial."""

    number: int
    device: str
    #: None: no process was started for it.
    started_at: float | None
    ended_at: float | None
    #: The step it went on from; 0: the beginning.
    resume_step: int
    #: None: its process has not spoken.
    pid: int | None
    #: What the engine decided before it ended; None: nothing.
    intent: Reason | None
    #: None: it is not over.
    reason: Reason | None
    then: Then | None
    last_step: int
    seconds: float
    peak_bytes: int | None
    #: What its process measured of itself; None: nothing, or it is not over.
    footprint: Footprint | None
    #: It was watched alone for its first steps, to learn what its study needs.
    probe: bool
    #: What it was predicted to take of its device's memory, and what was kept for it; None: nobody
    #: knew, and all that was free was kept.
    expected_bytes: int | None
    promised_bytes: int | None
    #: The most that it was measured to hold of it; None: not measured, or it is not over.
    held_bytes: int | None
    #: Of one that was paused: so much of its device's compute the trials there may ask for
    #: together, as was known by then; None: nothing had done harm.
    cap: float | None
    #: Checkpoints that were passed over: path and what was wrong.
    rejected: tuple[tuple[str, str], ...]

    @property
    def predicted(self) -> Prediction | None:
        """What it was predicted to take of its device's memory; None: nobody knew."""
        if self.expected_bytes is None or self.promised_bytes is None:
            return None
        return Prediction(self.expected_bytes, self.promised_bytes)


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """A stopped trial was taken up again."""

    at: float
    cause: Literal["operator", "recheck"]
    #: Who asked; empty: nobody had to.
    by: str
    #: The attempts that it had had by then.
    attempts: int


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why a trial does not run, and what it would do."""

    why: Literal[
        "place", "alone", "known_mistake", "study_halted", "study_over", "engine_down",
        "engine_restarts",
    ]  # fmt: skip
    to: Literal["start", "retry", "resume"]
    from_step: int
    #: Where it lies that others failed; None: it does not wait for that.
    mistake: f.TrialHeld | None = None


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration with one seed, and all that came of it."""

    study: int
    number: int
    name: str
    role: Role
    #: The trial that a confirmation repeats.
    of: int | None
    params: Params
    seed: int
    state: TrialState
    #: Only of a queued one.
    waiting: Waiting | None
    #: Of the last attempt that ended; None: none has.
    reason: Reason | None
    then: Then | None
    #: When it was taken up again after it had been stopped, oldest first.
    continued: tuple[Continuation, ...]
    score: float | None
    #: The metric by step, in order of the steps; later attempts supersede earlier ones.
    curve: dict[int, float]
    last_step: int
    attempts: tuple[AttemptView, ...]
    #: Oldest first.
    checkpoints: tuple[CheckpointView, ...]
    seconds: float

    @property
    def footprint(self) -> Footprint | None:
        """What it was measured to need: the latest paces, the peaks of all attempts."""
        known: Footprint | None = None
        for attempt in self.attempts:
            if attempt.footprint is not None:
                known = attempt.footprint.after(known)
        return known

    @property
    def steps_run(self) -> int:
        """Steps of all attempts, repeated ones included."""
        return sum(max(0, a.last_step - a.resume_step) for a in self.attempts)


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A trial on one line, for lists of all."""

    number: int
    role: Role
    of: int | None
    params: Params
    seed: int
    #: None: not over.
    reason: str | None
    score: float | None
    last_step: int
    seconds: float


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Trials whose last attempt failed at the same place."""

    fingerprint: str
    type: str
    message: str
    where: str
    trials: tuple[int, ...]


class Rivals(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial is compared with at a step."""

    #: Values of the trials that had completed by then.
    values: tuple[float, ...]
    #: False: there were more; these are the ones that completed last.
    complete: bool
