"""Why an attempt ended: a closed set of seventeen, each with the evidence it must carry."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from smallhours.core.spec import StoredNumber


class _Reason(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="reason", forbid_unknown_fields=True
):
    """What all reasons share: a tag under the key ``reason``."""


class Completed(_Reason, frozen=True, kw_only=True, tag="completed"):
    """The trial reached its own end."""

    steps: int
    metrics: dict[str, StoredNumber]
    #: True where the end was read from the ledger because the engine died before it saw it.
    recovered: bool = False


class RungCut(_Reason, frozen=True, kw_only=True, tag="rung_cut"):
    """A rule that compares at rungs (ASHA, successive halving) stopped the trial."""

    rule: str
    version: int
    step: int
    rung: int
    value: float
    cutoff: float
    goal: str
    rank: int
    of: int
    #: The competitors that set the cutoff: trial number and value.
    competitors: tuple[tuple[int, float], ...]
    #: Verdicts of other rules that had to agree.
    agreed: tuple[RuleCut | RungCut, ...] = ()


class RuleCut(_Reason, frozen=True, kw_only=True, tag="rule_cut"):
    """Another rule stopped the trial."""

    rule: str
    version: int
    options: dict[str, float]
    step: int
    #: What the rule compared with `threshold`.
    value: float
    threshold: float
    goal: str
    #: How many values the threshold was made of.
    compared: int
    #: Some of them around the threshold: trial number and value, best first.
    competitors: tuple[tuple[int, float], ...]
    #: A difference up to this would have stopped nothing; None: the rule knows no noise.
    noise: float | None = None
    #: The trial's place among those that came to this step; None: the rule ranks nobody.
    rank: int | None = None
    of: int | None = None
    #: What else the rule measured, by what it is called.
    measures: dict[str, float] = {}
    #: Verdicts of other rules that had to agree.
    agreed: tuple[RuleCut | RungCut, ...] = ()


class Diverged(_Reason, frozen=True, kw_only=True, tag="diverged"):
    """The metric left the numbers or the limit."""

    metric: str
    value: StoredNumber
    step: int
    #: The study's limit; None: NaN or infinity is the limit.
    limit: float | None


class Budget(_Reason, frozen=True, kw_only=True, tag="budget"):
    """A budget was used up."""

    budget: Literal["trial_time_s", "study_time_s"]
    limit: float
    used: float


class Refused(_Reason, frozen=True, kw_only=True, tag="refused"):
    """No process was started for it."""

    why: Literal["memory", "duplicate", "invalid"]
    needed_bytes: int | None = None
    available_bytes: int | None = None
    duplicate_of: int | None = None
    detail: str = ""


class Failure(_Reason, frozen=True, kw_only=True, tag="exception"):
    """The user's code raised."""

    type: str
    message: str
    #: Hash of the type and the user's own frames without line numbers: same bug, same hash.
    fingerprint: str
    #: The user's own innermost line, ``file.py:12 in train``; empty where there is none.
    where: str
    traceback: str
    #: ``prepare``, ``train`` or ``load``.
    phase: str
    #: Ended attempts of the study with the same fingerprint, this one included.
    seen: int = 1


class Crash(_Reason, frozen=True, kw_only=True, tag="crash"):
    """The process ended by itself without a word."""

    exit_code: int | None
    signal: int | None
    #: ``process``: the trial's own; ``zygote``: the process it was to be forked from.
    whose: Literal["process", "zygote"]
    stderr: str
    #: What faulthandler wrote; empty where it had no chance.
    fault: str


class Hung(_Reason, frozen=True, kw_only=True, tag="hung"):
    """Nothing was heard from it for too long."""

    silent_s: float
    threshold_s: float
    last_step: int
    #: State letter of /proc/PID/stat (R, S, D, T ...); None: not known.
    process_state: str | None
    #: CPU seconds since its last report; None: not known.
    cpu_s: float | None
    stack: str = ""
    #: What was done about it: seconds after detection and deed.
    escalation: tuple[tuple[float, str], ...] = ()


class GpuOom(_Reason, frozen=True, kw_only=True, tag="gpu_oom"):
    """A GPU allocation failed."""

    requested_bytes: int | None
    free_bytes: int | None
    own_peak_bytes: int | None
    predicted_bytes: int | None
    #: Neighbouring trials and their bytes; None: not known.
    neighbours: tuple[tuple[str, int | None], ...]
    fault: Literal["own", "neighbour", "unknown"]
    message: str = ""

    @property
    def wanted_bytes(self) -> int:
        """What it held and wanted on top, as far as is known."""
        return (self.own_peak_bytes or 0) + (self.requested_bytes or 0)


OomKiller: TypeAlias = Literal["smallhours", "kernel", "python"]


class HostOom(_Reason, frozen=True, kw_only=True, tag="host_oom"):
    """Host memory ran out, or the trial outgrew its limit."""

    killer: OomKiller
    #: Resident bytes of the process tree over time: seconds before the end, bytes.
    resident: tuple[tuple[float, int], ...]
    limit_bytes: int | None
    available_bytes: int | None
    message: str = ""
    #: Room of /dev/shm, where that ran out: free bytes and all; None: it was not that.
    shared: tuple[int, int] | None = None


class DiskFull(_Reason, frozen=True, kw_only=True, tag="disk"):
    """A write failed for want of space, quota or permission to write."""

    errno: int
    path: str
    free_bytes: int | None
    operation: str
    message: str = ""


class GpuFault(_Reason, frozen=True, kw_only=True, tag="gpu_fault"):
    """The driver reported a fault of the card."""

    xid: int
    device: str
    processes: tuple[int, ...]


class Cancelled(_Reason, frozen=True, kw_only=True, tag="cancelled"):
    """Somebody asked for it."""

    by: str
    scope: Literal["trial", "study"]
    checkpoint: str | None


InterruptCause: TypeAlias = Literal[
    "ctrl-c", "sigterm", "stop", "engine killed", "engine crashed", "reboot",
    "raylet died", "slot killed", "zygote killed", "ledger disk full", "MPS failed",
]  # fmt: skip


#: Causes that the trial itself may have brought about. All others say nothing about it.
PERHAPS_ITS_OWN: frozenset[InterruptCause] = frozenset({"slot killed", "zygote killed"})


class Interrupted(_Reason, frozen=True, kw_only=True, tag="interrupted"):
    """The machine or the engine went away; always resumed, costs no retry."""

    cause: InterruptCause
    last_step: int
    #: The step it will go on from.
    resume_step: int
    detail: str = ""

    @property
    def steps_lost(self) -> int:
        """Steps that will be run again."""
        return max(0, self.last_step - self.resume_step)


class Paused(_Reason, frozen=True, kw_only=True, tag="paused"):
    """Taken off its place for a while; always resumed, costs no retry."""

    by: Literal["packer", "operator", "rule", "clock", "heat", "study"]
    why: str
    checkpoint: str | None
    steps_repeated: int


class Lost(_Reason, frozen=True, kw_only=True, tag="lost"):
    """Nothing that was looked for was found; a count above 0 is a bug of ours."""

    looked_for: tuple[str, ...]
    detail: str = ""


Reason: TypeAlias = (
    Completed | RungCut | RuleCut | Diverged | Budget | Refused | Failure | Crash | Hung
    | GpuOom | HostOom | DiskFull | GpuFault | Cancelled | Interrupted | Paused | Lost
)  # fmt: skip

#: Every reason's tag, in the order of the groups.
TAGS: tuple[str, ...] = (
    "completed", "rung_cut", "rule_cut", "diverged", "budget", "refused", "exception", "crash",
    "hung", "gpu_oom", "host_oom", "disk", "gpu_fault", "cancelled", "interrupted", "paused",
    "lost",
)  # fmt: skip

#: Reasons after which a trial goes on by itself at no cost.
RESUMED = (Interrupted, Paused)
#: Reasons after which a trial is tried again while it has retries left.
RETRIED = (Crash, Hung, GpuOom, HostOom, Lost)
#: Reasons that a rule, a guard or a limit gave: the search counts the trial as pruned.
STOPPED = (RungCut, RuleCut, Budget)


def tag(reason: Reason) -> str:
    """Return the reason's name in the closed set."""
    name = type(reason).__struct_config__.tag
    assert isinstance(name, str)
    return name
