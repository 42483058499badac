"""What happens to the machine: everything it is told, with the time it happened.

`at` is always seconds of a monotonic clock that the caller owns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from smallhours.core.reasons import InterruptCause
from smallhours.core.spec import Dimension, Params, StudySpec
from smallhours.core.trial import AttemptKey


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReady:
    """Trials can be started."""

    at: float
    device: str
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLost:
    """What runs the trials died under the engine."""

    at: float
    cause: InterruptCause
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySubmitted:
    """Somebody adds a study."""

    at: float
    request: str
    spec: StudySpec
    snapshot: str
    digest: str
    source: str
    module: str
    cwd: str
    #: Retire a study of the same name that differs, instead of refusing.
    replace: bool = False
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequested:
    """Halted studies may go on (`resume`)."""

    at: float
    request: str
    #: Study id; None: all.
    study: int | None
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody cancels a trial, or a study where `trial` is None."""

    at: float
    request: str
    by: str
    study: int
    trial: int | None
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused:
    """Somebody asks for something that can't be understood."""

    at: float
    request: str
    verb: str
    text: str
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequested:
    """The engine shall end: running trials are asked for a checkpoint and interrupted."""

    at: float
    cause: InterruptCause
    detail: str = ""
    #: Do not wait for checkpoints.
    now: bool = False
    #: The inbox request that asked for it; empty: a signal.
    request: str = ""
    uid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """The search answers an `Ask`."""

    at: float
    study: int
    trial: int
    params: Params
    #: Where the space is a function: what it asked for.
    dimensions: tuple[Dimension, ...] | None = None


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
class StopNoticed:
    """An attempt's process saw the order to stop and unwinds."""

    at: float
    key: AttemptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeathNote:
    """What a trial's process wrote about its own failure."""

    type: str
    message: str
    fingerprint: str
    where: str
    traceback: str
    phase: str
    #: Set where the failure was an OSError.
    errno: int | None = None
    path: str = ""


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


Event: TypeAlias = (
    EngineStarted | BackendReady | BackendLost | StudySubmitted | ReleaseRequested
    | CancelRequested | RequestRefused | ShutdownRequested | Suggested | SuggestFailed
    | ProcessStarted | StateRestored | ReportArrived | CheckpointWritten | StopNoticed
    | ProcessExited | Tick
)  # fmt: skip
