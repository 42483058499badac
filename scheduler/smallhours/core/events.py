"""What happens to the machine: everything it is told, with the time it happened.

`at` is always seconds of a monotonic clock that the caller owns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from smallhours.core.death import DeathNote
from smallhours.core.footprint import Footprint
from smallhours.core.reasons import InterruptCause
from smallhours.core.seen import DevicesSeen
from smallhours.core.settings import Settings
from smallhours.core.spec import Dimension, Params, Priority, StudySpec
from smallhours.core.storage import Holding
from smallhours.core.trial import AttemptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTime:
    """What the clock on the wall says."""

    #: Unix seconds.
    unix: float
    #: Local time in minutes since Monday, 0:00.
    week_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStarted:
    """The engine holds the ledger and has read it; nothing of an earlier session lives."""

    at: float
    session: int
    pid: int
    boot_id: str
    version: str
    directory: str
    backend: str
    #: How the session before ended, as far as the supervisor saw; empty: not known.
    before: str = ""
    #: The versions of the stopping rules, by name; None: nobody will ask.
    rules: dict[str, int] | None = None
    #: None: nothing depends on it.
    wall: WallTime | None = None
    #: Wait for more to do instead of leaving when the queue is dry.
    stay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsRead:
    """The user's settings, or other ones than before."""

    at: float
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsFound:
    """What lies on disk of the studies whose trials were not read."""

    at: float
    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReady:
    """Trials can be started."""

    at: float
    device: str
    #: How many trials may run at a time on the CPU.
    slots: int
    #: As many of them are used as pay, by what trials are measured to need; else all.
    packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendClosed:
    """What runs the trials was let go, as ordered."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLost:
    """What runs the trials died under the engine."""

    at: float
    cause: InterruptCause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Somebody asks for something, and waits for an answer."""

    at: float
    #: Id of the request in the inbox; empty: a signal, which nobody waits behind.
    request: str
    #: User id of who asks.
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySubmitted(Request):
    """Somebody adds a study."""

    spec: StudySpec
    snapshot: str
    digest: str
    source: str
    module: str
    cwd: str
    #: Retire a study of the same name that differs, instead of refusing.
    replace: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequested(Request):
    """Somebody wants a study taken off until it is released."""

    by: str
    #: Study id; None: all that are open.
    study: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequested(Request):
    """Somebody gives a study another place in the queue; what is None stays as it is."""

    by: str
    study: int
    priority: Priority | None = None
    weight: float | None = None
    hours: tuple[str, ...] | None = None
    #: Among those of its priority.
    to: Literal["first", "last"] | None = None
    #: Put it just before this study, in that study's priority.
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldRequested(Request):
    """Somebody wants the machine for a while, or gives it back."""

    by: str
    #: Wall time (Unix seconds) at which to go on; None: go on now.
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineRequested(Request):
    """Somebody says by when all must be over, or takes that back."""

    by: str
    #: Wall time (Unix seconds); None: no deadline.
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRequested(Request):
    """Somebody wants a study that is over out of the way, or its files gone."""

    by: str
    study: int
    #: Remove all its files and free its name; else only its checkpoints go.
    remove: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRequested(Request):
    """Somebody writes a line about a study, or one of its trials."""

    by: str
    study: int
    #: None: it is about the study.
    trial: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequested(Request):
    """Halted and paused studies may go on (`resume`), and trials that wait as known mistakes.

    Those are meant only where their study is named.
    """

    #: Study id; None: all.
    study: int | None
    #: This trial of it, and nothing else; None: the study.
    trial: int | None = None
    #: Only what waits as a known mistake: a pause and other halts stay.
    only_held: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(Request):
    """Somebody cancels a trial, or a study where `trial` is None."""

    by: str
    study: int
    trial: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueRequested(Request):
    """Somebody wants a trial that was stopped to go on to its end."""

    by: str
    study: int
    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Request):
    """Somebody asks for something that can't be understood."""

    verb: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequested(Request):
    """The engine shall end: running trials are asked for a checkpoint and interrupted."""

    cause: InterruptCause
    detail: str = ""
    #: Do not wait for checkpoints.
    now: bool = False
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """The search answers an `Ask`."""

    at: float
    study: int
    trial: int
    params: Params
    #: Where the space is a function: what it asked for.
    dimensions: tuple[Dimension, ...] | None = None
    #: What the sampler must find again to go on after a restart.
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestFailed:
    """The search could not answer an `Ask`."""

    at: float
    study: int
    trial: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted:
    """An attempt's process spoke for the first time."""

    at: float
    key: AttemptKey
    pid: int
    pid_started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRestored:
    """An attempt's process loaded (or failed to load) a checkpoint."""

    at: float
    key: AttemptKey
    step: int
    path: str | None
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportArrived:
    """An attempt reported; metrics may hold NaN."""

    at: float
    key: AttemptKey
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten:
    """An attempt completed a checkpoint on disk."""

    at: float
    key: AttemptKey
    step: int
    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FootprintMeasured:
    """An attempt's process measured what it has needed so far."""

    at: float
    key: AttemptKey
    footprint: Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNoticed:
    """An attempt's process saw the order to stop and unwinds."""

    at: float
    key: AttemptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExited:
    """An attempt's process is gone; everything that is known of how."""

    at: float
    key: AttemptKey
    #: It said that its training function returned.
    finished: bool = False
    note: DeathNote | None = None
    #: The wait status of its direct parent; both None: nobody saw it.
    exit_code: int | None = None
    signal: int | None = None
    #: A process of ours between engine and trial that was lost, which ended the trial.
    lost_parent: Literal["slot", "zygote", "raylet"] | None = None
    #: The trial never came to run: its zygote died first (exit code and signal are the zygote's).
    zygote_died: bool = False
    stderr: str = ""
    #: What faulthandler wrote (stacks of a hang, or of a fatal signal).
    fault: str = ""
    #: Kernel out-of-memory kills counted since the attempt started.
    kernel_oom_kills: int = 0
    #: Resident bytes over time: seconds before the end, bytes.
    resident: tuple[tuple[float, int], ...] = ()
    #: Free bytes where the trial writes; None: not known.
    disk_free_bytes: int | None = None
    #: Anything else worth keeping, in words.
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """What the machine was seen to spend on one attempt's process tree."""

    resident_bytes: int
    cpu_s: float
    #: State letter of /proc/PID/stat.
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; what the machine looks like."""

    at: float
    #: Bytes of host memory that could be had, and in all; None: not known.
    available_bytes: int | None = None
    total_bytes: int | None = None
    processes: dict[AttemptKey, ProcessSample] = field(default_factory=dict)
    #: None: nothing depends on it.
    wall: WallTime | None = None
    #: Processes that the user wants to go first, by name.
    foreign: tuple[str, ...] = ()


Event: TypeAlias = (
    EngineStarted | SettingsRead | CheckpointsFound | DevicesSeen | BackendReady | BackendClosed
    | BackendLost | StudySubmitted | ReleaseRequested | PauseRequested | MoveRequested
    | YieldRequested | DeadlineRequested | ArchiveRequested | CancelRequested
    | ContinueRequested | NoteRequested | RequestRefused | ShutdownRequested
    | Suggested | SuggestFailed | ProcessStarted | StateRestored | ReportArrived
    | CheckpointWritten | FootprintMeasured | StopNoticed | ProcessExited | Tick
)  # fmt: skip
