"""What the ledger keeps: facts in the past tense, appended and never changed.

The state of the machine is a function of these and nothing else: `State.apply` is the only place
that changes it, in a running engine and after a restart alike.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from smallhours.core.footprint import Footprint, Prediction
from smallhours.core.outcomes import Enough, HaltCause, SearchOutcome, StudyOutcome
from smallhours.core.reasons import Reason
from smallhours.core.regions import Boundary
from smallhours.core.spec import Dimension, Params, Priority, StoredNumber, StudySpec
from smallhours.core.trial import AttemptKey, Role


class _Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all facts share: a tag under the key ``kind``."""


class SessionStarted(_Fact, frozen=True, kw_only=True, tag="session_started"):
    """An engine took the ledger."""

    session: int
    pid: int
    boot_id: str
    version: str
    #: Its private directory below /tmp (sockets, Ray's files).
    directory: str
    backend: str
    #: How the session before ended, as far as the supervisor saw; empty: not known.
    before: str = ""
    #: The versions of the stopping rules that decide in it; None: not recorded.
    rules: dict[str, int] | None = None


class SessionEnded(_Fact, frozen=True, kw_only=True, tag="session_ended"):
    """The engine let the ledger go in good order."""

    session: int
    cause: str


class StudyAdded(_Fact, frozen=True, kw_only=True, tag="study_added"):
    """A study joined the queue."""

    study: int
    spec: StudySpec
    #: Directory name of the copied code below ``snapshots/``.
    snapshot: str
    #: Hash of the study's own code.
    digest: str
    #: The file it was read from.
    source: str
    #: Module name and working directory that trials see.
    module: str
    cwd: str
    #: Empty: by an older version, which kept nobody's name.
    by: str = ""


class StudyAmended(_Fact, frozen=True, kw_only=True, tag="study_amended"):
    """Keys that may change were changed by adding the study again."""

    study: int
    spec: StudySpec
    by: str = ""


class StudyRetired(_Fact, frozen=True, kw_only=True, tag="study_retired"):
    """A newer study took its name; it is known as ``name@study`` from then on."""

    study: int


class SearchEnded(_Fact, frozen=True, kw_only=True, tag="search_ended"):
    """The study asks for no more configurations; those that there are run on."""

    study: int
    outcome: SearchOutcome
    sentence: str
    #: Of ``enough``; else None.
    evidence: Enough | None = None


class StudyEnded(_Fact, frozen=True, kw_only=True, tag="study_ended"):
    """Nothing of the study is left to do."""

    study: int
    outcome: StudyOutcome
    #: Trial number of the winner; None where nothing completed.
    winner: int | None


class StudyHalted(_Fact, frozen=True, kw_only=True, tag="study_halted"):
    """The study starts nothing until it is released."""

    study: int
    cause: HaltCause
    sentence: str


class StudyPaused(_Fact, frozen=True, kw_only=True, tag="study_paused"):
    """Somebody wants the study to start nothing, and what runs of it taken off."""

    study: int
    by: str


class StudyReleased(_Fact, frozen=True, kw_only=True, tag="study_released"):
    """A halted or paused study may start trials again."""

    study: int
    #: Only its halt is lifted: a pause stays.
    halt_only: bool = False
    by: str = ""


class StudyMoved(_Fact, frozen=True, kw_only=True, tag="study_moved"):
    """The study got another place in the queue; all of it as it is from now on."""

    study: int
    priority: Priority
    weight: float
    #: When it may run, local time; empty: always.
    hours: tuple[str, ...]
    #: Its place among those of its priority that have had their share alike: least goes first.
    #: Where nobody moved it, the study's id.
    place: float
    by: str


class StudyArchived(_Fact, frozen=True, kw_only=True, tag="study_archived"):
    """Somebody put a study that is over out of the way: listed no more, its checkpoints gone."""

    study: int
    by: str


class StudyRemoved(_Fact, frozen=True, kw_only=True, tag="study_removed"):
    """Somebody removed a study that is over: its files and its name are gone; its facts stay."""

    study: int
    by: str


class StudyNoted(_Fact, frozen=True, kw_only=True, tag="study_noted"):
    """Somebody wrote a line about the study, or one of its trials; it decides nothing."""

    study: int
    #: None: it is about the study.
    trial: int | None
    text: str
    by: str


class Yielded(_Fact, frozen=True, kw_only=True, tag="yielded"):
    """The machine was given back for a while: everything is paused, nothing starts."""

    #: Wall time (Unix seconds) at which it goes on by itself; None: once `cause` is gone.
    until: float | None
    by: str
    cause: Literal["operator", "foreign process"]


class YieldEnded(_Fact, frozen=True, kw_only=True, tag="yield_ended"):
    """The machine may be used again."""

    by: str


class DeadlineSet(_Fact, frozen=True, kw_only=True, tag="deadline_set"):
    """Somebody wants the machine back at a time; nothing runs after it until another is set."""

    #: Wall time (Unix seconds); None: there is no such time (any more).
    until: float | None
    #: Wall time at which it was set.
    since: float
    by: str


class TrialCreated(_Fact, frozen=True, kw_only=True, tag="trial_created"):
    """A configuration was chosen."""

    study: int
    trial: int
    params: Params
    seed: int
    role: Role
    #: The trial whose configuration a confirmation repeats.
    of: int | None = None
    #: The space it was drawn from, where the space is a function.
    dimensions: tuple[Dimension, ...] | None = None
    #: What its sampler noted of the proposal, to go on from after a restart.
    attrs: dict[str, Any] = {}


class TrialHeld(_Fact, frozen=True, kw_only=True, tag="trial_held"):
    """A configuration lies where others failed: it waits until somebody releases or drops it."""

    study: int
    trial: int
    region: Boundary
    #: The trials that failed there.
    like: tuple[int, ...]


class TrialReleased(_Fact, frozen=True, kw_only=True, tag="trial_released"):
    """Somebody wants a trial run although it lies where others failed."""

    study: int
    trial: int
    by: str = ""


class AttemptStarted(_Fact, frozen=True, kw_only=True, tag="attempt_started"):
    """A place was given to a trial."""

    study: int
    trial: int
    attempt: int
    device: str
    #: The step it goes on from; 0: from the beginning.
    resume_step: int
    #: What it was predicted to take of the device's memory; None: nobody knew.
    predicted: Prediction | None = None
    #: It is watched alone for a few steps, to learn what its study needs.
    probe: bool = False
    #: Its place on the device: the lowest, from 0, that was free; None: an older version kept none.
    slot: int | None = None


class AttemptRunning(_Fact, frozen=True, kw_only=True, tag="attempt_running"):
    """The trial's process spoke for the first time."""

    study: int
    trial: int
    attempt: int
    pid: int
    #: Start time of the process in clock ticks since boot, against reuse of the pid.
    pid_started: int


class Restored(_Fact, frozen=True, kw_only=True, tag="restored"):
    """The trial's process took up its state from a checkpoint."""

    study: int
    trial: int
    attempt: int
    #: The step it goes on from; 0 where no checkpoint was good.
    step: int
    path: str | None
    #: Newer checkpoints that were passed over: path and what was wrong.
    rejected: tuple[tuple[str, str], ...] = ()


class Reported(_Fact, frozen=True, kw_only=True, tag="reported"):
    """The trial gave its metrics at a step."""

    study: int
    trial: int
    attempt: int
    step: int
    metrics: dict[str, StoredNumber]


class CheckpointSaved(_Fact, frozen=True, kw_only=True, tag="checkpoint_saved"):
    """A checkpoint is complete on disk."""

    study: int
    trial: int
    attempt: int
    step: int
    #: Below the state directory.
    path: str
    size_bytes: int


class CheckpointRemoved(_Fact, frozen=True, kw_only=True, tag="checkpoint_removed"):
    """A checkpoint will be deleted."""

    study: int
    trial: int
    path: str
    #: ``superseded``: newer ones are there; ``disk budget``: the worst that is left.
    why: Literal["superseded", "disk budget", "archived", "removed"] = "superseded"


class Intended(_Fact, frozen=True, kw_only=True, tag="intended"):
    """The engine decided to end the attempt, before it did anything about it."""

    study: int
    trial: int
    attempt: int
    reason: Reason


class AttemptEnded(_Fact, frozen=True, kw_only=True, tag="attempt_ended"):
    """The attempt is over."""

    study: int
    trial: int
    attempt: int
    reason: Reason
    #: Seconds on its place.
    seconds: float
    last_step: int
    #: The trial's score after it; None: it never reported.
    score: StoredNumber | None
    #: What becomes of the trial.
    then: Literal["over", "retry", "resume"]
    #: Highest resident bytes of the process tree; None: not measured.
    peak_bytes: int | None = None
    #: What the process measured of itself; None: it had no chance.
    footprint: Footprint | None = None


class TrialContinued(_Fact, frozen=True, kw_only=True, tag="trial_continued"):
    """A trial that had been stopped was taken up again: it waits for a place, to run to its end.

    No rule judges it from here on, nor compares others with it: what a rule decides does not
    depend on what somebody took up again. A study that had ended is open again for it.
    """

    study: int
    trial: int
    #: ``recheck``: to see whether the rule was right (`RecheckDrawn`).
    cause: Literal["operator", "recheck"]
    #: Who asked; empty: nobody had to.
    by: str = ""


class RecheckDrawn(_Fact, frozen=True, kw_only=True, tag="recheck_drawn"):
    """A trial that its rule stopped will be run to its end, once nothing else is left to do."""

    study: int
    trial: int


class LoadLearned(_Fact, frozen=True, kw_only=True, tag="load_learned"):
    """What is known of a study's trials on their kind of device after one more has ended there.

    Later sessions begin with it (`packing.load` says what the figures mean).
    """

    study: int
    trial: int
    #: How the device was shared.
    sharing: Literal["time_slicing", "mps", "cores"]
    busy: float | None
    log_weight: float | None
    weight_sd: float | None
    #: Logarithm of the seconds that a step takes the trial alone; None: not timed.
    log_step_s: float | None


class CapLearned(_Fact, frozen=True, kw_only=True, tag="cap_learned"):
    """How much a device was found to bear."""

    device: str
    #: The device's trials together may ask for so much compute; None: nothing did harm yet.
    cap: float | None


class RequestAnswered(_Fact, frozen=True, kw_only=True, tag="request_answered"):
    """A request from the inbox was carried out or refused."""

    request: str
    verb: str
    uid: int
    ok: bool
    text: str


Fact: TypeAlias = (
    SessionStarted | SessionEnded | StudyAdded | StudyAmended | StudyRetired | StudyEnded
    | StudyHalted | StudyPaused | StudyReleased | StudyMoved | StudyArchived | StudyRemoved
    | StudyNoted | Yielded | YieldEnded | DeadlineSet | SearchEnded | TrialCreated | TrialHeld
    | TrialReleased | AttemptStarted | AttemptRunning | Restored | Reported | CheckpointSaved
    | CheckpointRemoved | Intended | AttemptEnded | TrialContinued | RecheckDrawn | LoadLearned
    | CapLearned | RequestAnswered
)  # fmt: skip

_AttemptFact: TypeAlias = (
    AttemptStarted | AttemptRunning | Restored | Reported | CheckpointSaved | Intended
    | AttemptEnded
)  # fmt: skip


def key_of(fact: _AttemptFact) -> AttemptKey:
    """Return the attempt that the fact is about."""
    return AttemptKey(fact.study, fact.trial, fact.attempt)
