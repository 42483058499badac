"""Why an attempt ended: weighs everything that is known; the first evidence that matches wins.

Order: a finished run, our own intent, the trial's death note, a lost parent, the wait status with
the kernel's counters beside it, and `lost`.
"""

from __future__ import annotations

import errno as errno_names
from dataclasses import dataclass
from typing import Literal

import msgspec

from smallhours.core import reasons as r
from smallhours.core.actions import Outcome
from smallhours.core.events import DeathNote, ProcessExited
from smallhours.core.guards import STALLS_ALLOWED
from smallhours.core.model import Study, Trial
from smallhours.core.spec import StudySpec

#: Errors of the operating system that mean: no place to write.
DISK_ERRORS = frozenset(
    {errno_names.ENOSPC, errno_names.EDQUOT, errno_names.EFBIG, errno_names.EROFS}
)
#: Intents that a run which finished meanwhile overrides: its result is whole and good.
_OVERTAKEN = (r.RungCut, r.RuleCut, r.Budget, r.Interrupted, r.Paused)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A reason and what becomes of the trial."""

    reason: r.Reason
    then: Literal["over", "retry", "resume"]


def of_exit(study: Study, trial: Trial, exit_: ProcessExited) -> Sentence:
    """Return why an attempt ended whose process is gone."""
    reason = _reason(study, trial, exit_)
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
        case r.Diverged() | r.GpuOom():
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


def _reason(study: Study, trial: Trial, exit_: ProcessExited) -> r.Reason:
    live = trial.live
    assert live is not None
    intent = live.intent
    overtaken = intent is None or isinstance(intent, _OVERTAKEN)
    if exit_.finished and overtaken and _has_result(trial):
        return _completed(trial)
    if intent is not None:
        return _with_evidence(intent, trial, exit_)
    if exit_.note is not None:
        return _from_note(study, exit_.note, exit_)
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


def _from_note(study: Study, note: DeathNote, exit_: ProcessExited) -> r.Reason:
    if note.errno in DISK_ERRORS:
        assert note.errno is not None
        return r.DiskFull(
            errno=note.errno,
            path=note.path,
            free_bytes=exit_.disk_free_bytes,
            operation=note.where or note.phase,
            message=note.message,
        )
    if note.type == "MemoryError":
        return r.HostOom(
            killer="python",
            resident=exit_.resident,
            limit_bytes=None,
            available_bytes=None,
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


def _then(spec: StudySpec, trial: Trial, reason: r.Reason) -> Literal["over", "retry", "resume"]:
    if isinstance(reason, r.RESUMED):
        return "resume" if trial.stalls < STALLS_ALLOWED else "over"
    if isinstance(reason, r.DiskFull):
        return "resume"
    if isinstance(reason, r.RETRIED) and trial.retries < spec.retries:
        return "retry"
    return "over"
