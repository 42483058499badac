"""Why an attempt ended: weighs everything that is known; the first evidence that matches wins.

Order: a finished run, our own intent, the trial's death note (with what was left of memory beside
it), a lost parent, the wait status with the kernel's counters beside it, and `lost`.
"""

from __future__ import annotations

import errno as errno_names
import re
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from smallhours.core import reasons as r
from smallhours.core.actions import Outcome
from smallhours.core.death import DeathNote
from smallhours.core.events import ProcessExited
from smallhours.core.guards import STALLS_ALLOWED
from smallhours.core.model import Study, Trial
from smallhours.core.shortage import Surroundings, blame, is_shortage, known, parse
from smallhours.core.spec import StudySpec

#: Errors of the operating system that mean: no place to write.
DISK_ERRORS = frozenset(
    {errno_names.ENOSPC, errno_names.EDQUOT, errno_names.EFBIG, errno_names.EROFS}
)
#: How a failed allocation of host memory reads where it is no MemoryError: torch's allocator, and
#: its shared memory, which is the host's too.
_HOST_SHORT = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    r"|unable to (?:mmap|write to file|resize|allocate).*(?:No space left on device \(28\)"
    r"|Cannot allocate memory \(12\))"
)
#: A process that loads data died: of the kernel's hand, or because /dev/shm was full.
_LOADER_KILLED = re.compile(r"DataLoader worker \(pid \d+\) is killed by signal: Killed")
_LOADER_BUS_ERROR = re.compile(r"DataLoader worker \(pid \d+\) is killed by signal: Bus error")
#: /dev/shm counts as full with less than this, or than this share of it, free. The one that died
#: gave back what it held, so it need not be full any more.
_SHARED_SHORT_BYTES = 64 * 2**20
_SHARED_SHORT_SHARE = 0.1
#: What shares the card between processes failed, and the programs with it.
_SHARING_FAILED = re.compile(r"CUDA error: .*\bMPS (?:client|server)\b")
#: Xids that a program brings about by itself: an exception in a kernel, a page fault, and what the
#: driver does after either ("Xid Errors", NVIDIA).
_XIDS_OF_PROGRAMS = frozenset({13, 31, 43, 45})
#: Intents that a run which finished meanwhile overrides: its result is whole and good.
_OVERTAKEN = (r.RungCut, r.RuleCut, r.Budget, r.Interrupted, r.Paused)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A reason and what becomes of the trial."""

    reason: r.Reason
    then: Literal["over", "retry", "resume"]


def of_exit(
    study: Study,
    trial: Trial,
    exit_: ProcessExited,
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - it is frozen
) -> Sentence:
    """Return why an attempt ended whose process is gone.

    Args:
        study: Its study.
        trial: Its trial.
        exit_: How the process ended.
        surroundings: What was known of its card.
    """
    reason = _reason(study, trial, exit_, surroundings)
    return Sentence(reason, _then(study.spec, trial, reason))


def of_dead_session(trial: Trial, spec: StudySpec, cause: r.InterruptCause) -> Sentence:
    """Return why an attempt ended that was running when its engine died."""
    live = trial.live
    assert live is not None
    whole = _has_result(trial) and trial.last_step >= spec.steps
    if whole and not isinstance(live.intent, r.Diverged):
        return Sentence(_completed(trial, recovered=True), "over")
    if live.intent is not None:
        intent = _up_to_date(live.intent, trial)
        return Sentence(intent, _then(spec, trial, intent))
    reason = interrupted(trial, cause)
    return Sentence(reason, _then(spec, trial, reason))


def death_of_engine(how: str, *, same_boot: bool) -> r.InterruptCause:
    """Return why the session before this one ended.

    Args:
        how: What the supervisor saw of it; empty: nothing.
        same_boot: Whether the machine was not started anew since.
    """
    if not same_boot:
        return "reboot"
    return "engine crashed" if how.startswith("exit") else "engine killed"


def with_escalation(sentence: Sentence, deeds: tuple[tuple[float, str], ...]) -> Sentence:
    """Complete a hang with what was done about it."""
    assert isinstance(sentence.reason, r.Hung)
    reason = msgspec.structs.replace(sentence.reason, escalation=deeds)
    return Sentence(reason, sentence.then)


def interrupted(trial: Trial, cause: r.InterruptCause, detail: str = "") -> r.Interrupted:
    """Return the reason for an attempt that the machine or the engine took down."""
    points = trial.resume_points()
    return r.Interrupted(
        cause=cause,
        last_step=max(trial.curve, default=0),
        resume_step=points[0].step if points else 0,
        detail=detail,
    )


def for_search(study: Study, trial: Trial) -> tuple[Outcome, float | None, int | None]:
    """Return how a trial that is over counts for the search: outcome, value, its step."""
    last = trial.curve.get(trial.last_step)
    step = trial.last_step if last is not None else None
    match trial.reason:
        case r.Completed():
            return "complete", trial.score(study.spec), step
        case r.RungCut() | r.RuleCut() | r.Budget() if last is not None:
            return "pruned", last, step
        case r.Diverged() | r.GpuOom() | r.Refused(why="memory" | "duplicate"):
            return "worst", None, None
        case _:
            return "fail", None, None


def _completed(trial: Trial, *, recovered: bool = False) -> r.Completed:
    return r.Completed(steps=trial.last_step, metrics=trial.last_metrics, recovered=recovered)


def _has_result(trial: Trial) -> bool:
    """Whether the latest report stands: made in this attempt, or just where it went on from."""
    live = trial.live
    assert live is not None
    return live.reported or (bool(trial.curve) and live.resume_step == trial.last_step)


def _reason(
    study: Study, trial: Trial, exit_: ProcessExited, surroundings: Surroundings
) -> r.Reason:
    live = trial.live
    assert live is not None
    intent = live.intent
    overtaken = intent is None or isinstance(intent, _OVERTAKEN)
    if exit_.finished and overtaken and _has_result(trial):
        return _completed(trial)
    if intent is not None:
        return _with_evidence(intent, trial, exit_)
    if (fault := _gpu_fault(trial, exit_, surroundings)) is not None:
        return fault
    if exit_.note is not None:
        return _from_note(study, trial, exit_.note, exit_, surroundings)
    if exit_.lost_parent is not None and not exit_.zygote_died:
        causes: dict[str, r.InterruptCause] = {
            "slot": "slot killed",
            "zygote": "zygote killed",
            "raylet": "raylet died",
        }
        return interrupted(trial, causes[exit_.lost_parent], exit_.detail)
    if exit_.exit_code is None and exit_.signal is None:
        return r.Lost(
            looked_for=("intent", "death note", "lost parent", "wait status"), detail=exit_.detail
        )
    if exit_.signal == 9 and exit_.kernel_oom_kills > 0:
        return r.HostOom(
            killer="kernel", resident=exit_.resident, limit_bytes=None, available_bytes=None
        )
    return r.Crash(
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        whose="zygote" if exit_.zygote_died else "process",
        stderr=exit_.stderr,
        fault=exit_.fault,
    )


def _gpu_fault(trial: Trial, exit_: ProcessExited, surroundings: Surroundings) -> r.GpuFault | None:
    """Return the reason where the driver told of a fault that no program brings about by itself."""
    xid = surroundings.xid
    told = exit_.note is not None and "CUDA" in exit_.note.message
    if xid is None or xid in _XIDS_OF_PROGRAMS or not (told or exit_.signal or exit_.exit_code):
        return None
    assert trial.live is not None
    pids = (trial.live.pid, *(neighbour.pid for neighbour in surroundings.neighbours))
    known = tuple(pid for pid in pids if pid is not None)
    return r.GpuFault(xid=xid, device=surroundings.device, processes=known)


def _with_evidence(intent: r.Reason, trial: Trial, exit_: ProcessExited) -> r.Reason:
    """Complete an intent with what only its end could show."""
    match intent:
        case r.Hung():
            return msgspec.structs.replace(intent, stack=exit_.fault)
        case r.HostOom():
            return msgspec.structs.replace(intent, resident=exit_.resident)
        case _:
            return _up_to_date(intent, trial)


def _up_to_date(intent: r.Reason, trial: Trial) -> r.Reason:
    """Complete an intent with what the trial did since."""
    points = trial.resume_points()
    match intent:
        case r.Interrupted():
            return interrupted(trial, intent.cause, intent.detail)
        case r.Cancelled():
            return msgspec.structs.replace(intent, checkpoint=points[0].path if points else None)
        case r.Paused():
            repeated = trial.last_step - (points[0].step if points else 0)
            return msgspec.structs.replace(
                intent,
                checkpoint=points[0].path if points else None,
                steps_repeated=max(0, repeated),
            )
        case _:
            return intent


def _from_note(
    study: Study, trial: Trial, note: DeathNote, exit_: ProcessExited, surroundings: Surroundings
) -> r.Reason:
    free_bytes = note.memory.gpu_free_bytes
    if _SHARING_FAILED.search(note.message):
        return interrupted(trial, "MPS failed", note.message)
    for type_, message in ((note.type, note.message), *note.causes):
        if is_shortage(type_, message, free_bytes):
            return _gpu_oom(message, note, surroundings)
        if (host_oom := _host_oom(type_, message, note, exit_)) is not None:
            return host_oom
    if note.errno in DISK_ERRORS:
        assert note.errno is not None
        return r.DiskFull(
            errno=note.errno,
            path=note.path,
            free_bytes=exit_.disk_free_bytes,
            operation=note.where or note.phase,
            message=note.message,
        )
    return r.Failure(
        type=note.type,
        message=note.message,
        fingerprint=note.fingerprint,
        where=note.where,
        traceback=note.traceback,
        phase=note.phase,
        seen=study.fingerprints[note.fingerprint] + 1,
    )


def _gpu_oom(message: str, note: DeathNote, surroundings: Surroundings) -> r.GpuOom:
    said, left = parse(message), note.memory
    said = replace(
        said,
        free_bytes=left.gpu_free_bytes if said.free_bytes is None else said.free_bytes,
        total_bytes=left.gpu_total_bytes if said.total_bytes is None else said.total_bytes,
        own_bytes=left.gpu_held_bytes if said.own_bytes is None else said.own_bytes,
    )
    peaks = [size for size in (left.gpu_peak_bytes, said.own_bytes) if size is not None]
    own_peak = max(peaks, default=None)
    neighbours = known(surroundings.neighbours, said.others)
    pids = {neighbour.pid for neighbour in neighbours}
    strangers = [(f"process {p}", size) for p, size in said.others.items() if p not in pids]
    return r.GpuOom(
        requested_bytes=said.requested_bytes,
        free_bytes=said.free_bytes,
        own_peak_bytes=own_peak,
        predicted_bytes=surroundings.predicted_bytes,
        neighbours=(*((n.name, n.used_bytes) for n in neighbours), *strangers),
        fault=blame(said, own_peak, replace(surroundings, neighbours=neighbours)),
        message=message,
    )


def _host_oom(type_: str, message: str, note: DeathNote, exit_: ProcessExited) -> r.HostOom | None:
    """Return the reason where an error means that the host had no memory left; None: it doesn't."""
    killer: r.OomKiller | None = None
    shared: tuple[int, int] | None = None
    python = type_.rpartition(".")[2].endswith("MemoryError") or note.errno == errno_names.ENOMEM
    if python or _HOST_SHORT.search(message):
        killer = "python"
        shared = _room_of_shared(note) if "unable to" in message else None
    elif _LOADER_KILLED.search(message) and exit_.kernel_oom_kills > 0:
        killer = "kernel"
    elif _LOADER_BUS_ERROR.search(message):
        shared = _room_of_shared(note)
        full = shared is not None and shared[0] < max(
            _SHARED_SHORT_BYTES, int(_SHARED_SHORT_SHARE * shared[1])
        )
        killer = "kernel" if full else None
    if killer is None:
        return None
    return r.HostOom(
        killer=killer,
        resident=exit_.resident,
        limit_bytes=None,
        available_bytes=None,
        message=message,
        shared=shared,
    )


def _room_of_shared(note: DeathNote) -> tuple[int, int] | None:
    free, total = note.memory.shared_free_bytes, note.memory.shared_total_bytes
    return None if free is None or total is None else (free, total)


def _then(spec: StudySpec, trial: Trial, reason: r.Reason) -> Literal["over", "retry", "resume"]:
    if isinstance(reason, r.RESUMED):
        return "resume" if trial.stalls < STALLS_ALLOWED else "over"
    if isinstance(reason, r.DiskFull):
        return "resume"
    if isinstance(reason, r.GpuOom):
        if trial.alone:
            return "over"  # nobody could have made more room
        if reason.fault == "neighbour":
            return "retry"
    if isinstance(reason, r.RETRIED) and trial.retries < spec.retries:
        return "retry"
    return "over"
