"""Why an attempt ended, as a paragraph that a person understands, and what to look at next."""

from __future__ import annotations

import math
from typing import Final, assert_never

from smallhours.core import reasons as r
from smallhours.core.spec import Goal
from smallhours.explain.about import About, where
from smallhours.explain.packing import cap_words
from smallhours.explain.shortage import ran_out
from smallhours.explain.verdicts import agreed_words, rule_words
from smallhours.explain.words import CAUSES, PAUSERS, exit_words, signal_name
from smallhours.text import clean, count, duration, listing, number

_PROCESS_STATES: Final[dict[str, str]] = {
    "R": "running on the CPU",
    "S": "asleep, waiting for something",
    "D": "waiting for a disk or a device",
    "T": "stopped by a signal (SIGSTOP)",
    "t": "held by a debugger",
    "Z": "already dead",
}
_SIGNAL_HINTS: Final[dict[str, str]] = {
    "SIGSEGV": "a forbidden access to memory, most often in native code (an extension, a driver)",
    "SIGBUS": "memory that had nothing behind it: often a full /dev/shm, or a file that shrank",
    "SIGABRT": "a library gave up by itself, most often after a failed check in native code",
    "SIGILL": "an instruction that this CPU doesn't have: a library built for another one",
    "SIGFPE": "an impossible whole-number operation in native code",
    "SIGKILL": "killed from outside; the kernel had not killed it for want of memory",
    "SIGTERM": "somebody or something outside smallhours told it to end",
    "SIGINT": "somebody interrupted it from outside smallhours",
}


def sentences(reason: r.Reason, about: About) -> str:
    """Return why an attempt ended as a paragraph, with what to look at next."""
    match reason:
        case r.Completed():
            return _completed(reason, about)
        case r.RungCut() | r.RuleCut() | r.Diverged() | r.Budget() | r.Refused():
            return _stopped(reason, about)
        case r.Failure() | r.Crash() | r.Hung():
            return f"{_broke(reason, about)} {_afterwards(reason, about)}"
        case r.GpuOom() | r.HostOom() | r.DiskFull() | r.GpuFault():
            return f"{ran_out(reason, about)} {_afterwards(reason, about)}"
        case r.Cancelled() | r.Interrupted() | r.Paused():
            return _taken_off(reason, about)
        case r.Lost():
            looked = listing([clean(thing, 60) for thing in reason.looked_for], 20)
            return (
                f"{about.name} ended at step {about.last_step}, and nothing says why: smallhours"
                f" looked for {looked or 'traces'} and found none. That is a bug of smallhours;"
                f" please report it with `smallhours verify`. {_afterwards(reason, about)}"
            )
        case _:
            assert_never(reason)


def _completed(reason: r.Completed, about: About) -> str:
    if reason.steps >= about.steps:
        said = f"{about.name} ran to its last step, {reason.steps}."
    else:
        said = (
            f"{about.name} finished at step {reason.steps} of {about.steps}: its training function"
            " returned by itself."
        )
    if reason.recovered:
        said += " The engine died before it saw the end, and read it from the ledger later."
    return said


def _stopped(
    reason: r.RungCut | r.RuleCut | r.Diverged | r.Budget | r.Refused, about: About
) -> str:
    match reason:
        case r.RungCut():
            return (
                f"{about.name} was stopped at step {reason.step} of {about.steps} by the"
                f" {_rule_name(reason.rule)} rule. Its {about.metric} there,"
                f" {number(reason.value)}, was in place {reason.rank} of the"
                f" {count(reason.of, 'trial')} that had come to rung {reason.rung} by then; to go"
                f" on it had to be {number(reason.cutoff)} or better.{agreed_words(reason)}"
                f"{_saved(about, reason.step)}"
            )
        case r.RuleCut():
            return (
                f"{about.name} was stopped at step {reason.step} of {about.steps} by the"
                f" {clean(reason.rule, 40)} rule. {rule_words(reason, about.metric, about.study)}"
                f"{_saved(about, reason.step)}"
            )
        case r.Diverged():
            return _diverged(reason, about)
        case r.Budget():
            whose = "its own time" if reason.budget == "trial_time_s" else "its study's time"
            return (
                f"{about.name} was stopped at step {about.last_step} of {about.steps} because"
                f" {whose} was used up: {duration(reason.used)} of {duration(reason.limit)}"
                f" (`{reason.budget}` in the study)."
            )
        case r.Refused():
            return _refused(reason, about)


def _rule_name(rule: str) -> str:
    return {"asha": "ASHA", "halving": "successive halving"}.get(rule, clean(rule, 40))


def _diverged(reason: r.Diverged, about: About) -> str:
    value = float(reason.value)
    if not math.isfinite(value):
        how = "became NaN (not a number)" if math.isnan(value) else f"became {number(value)}"
        what = f"its {clean(reason.metric, 60)} {how}; training does not come back from that"
    else:
        side = "above" if about.goal is Goal.MINIMIZE else "below"
        what = (
            f"its {clean(reason.metric, 60)}, {number(value)}, was {side} the study's limit of"
            f" {number(reason.limit)} (`diverged_at`)"
        )
    return (
        f"{about.name} was stopped at step {reason.step} of {about.steps} because {what}. A smaller"
        " learning rate often helps."
    )


def _refused(reason: r.Refused, about: About) -> str:
    detail = f" ({clean(reason.detail, 200)})" if reason.detail else ""
    if reason.why == "duplicate":
        of = (
            "another trial"
            if reason.duplicate_of is None
            else f"{about.study}/{reason.duplicate_of}"
        )
        return f"{about.name} was not started: {of} has the same configuration and seed{detail}."
    if reason.why == "invalid":
        return f"{about.name} was not started: its configuration is not valid{detail}."
    if reason.needed_bytes is None or reason.available_bytes is None:
        return f"{about.name} was not started: it would need more memory than there is{detail}."
    return (
        f"{about.name} was not started: by what other trials of {about.study} took, it would need"
        f" at least {_gib(reason.needed_bytes)}, and no device has more than"
        f" {_gib(reason.available_bytes)} for it{detail}. It does not count as a trial: the search"
        " was asked for another configuration."
    )


def _gib(size_bytes: int) -> str:
    """Return bytes in GiB, whatever their number: two that are compared have one unit."""
    return f"{size_bytes / 2**30:.2f} GiB"


def _broke(reason: r.Failure | r.Crash | r.Hung, about: About) -> str:
    match reason:
        case r.Failure():
            return _failed(reason, about)
        case r.Crash(whose="zygote"):
            return (
                f"{about.name} never came to run: the warm process that it was to be forked from"
                f" ended by itself ({exit_words(reason)}). Look at what the study does when it is"
                " imported and in its prepare function."
            )
        case r.Crash():
            name = signal_name(reason.signal) if reason.signal is not None else ""
            hint = f": {_SIGNAL_HINTS[name]}" if name in _SIGNAL_HINTS else ""
            if reason.signal is not None:
                what = (
                    f"{about.name} crashed {where(about)}: its process was ended by {name}{hint}."
                )
            else:
                what = (
                    f"{about.name} crashed {where(about)}: its process left with"
                    f" {exit_words(reason)} and without an exception (something called os._exit,"
                    " or a library ended it)."
                )
            return f"{what} Look at its last words with `smallhours log {about.name}`."
        case r.Hung():
            state = _PROCESS_STATES.get(reason.process_state or "", "")
            doing = f" Its process was {state}" if state else ""
            if state and reason.cpu_s is not None:
                doing += f" and had used {duration(reason.cpu_s)} of CPU in that time"
            return (
                f"{about.name} hung after step {reason.last_step} of {about.steps}: nothing was"
                f" heard from it for {duration(reason.silent_s)}, and after"
                f" {duration(reason.threshold_s)} a trial of this study counts as hung.{doing}"
                f"{'.' if doing else ''} The stacks below show where it stood; if it only is slow,"
                " set `hang_s` in the study."
            )


def _failed(reason: r.Failure, about: About) -> str:
    message = clean(reason.message.strip().split("\n")[0], 200)
    what = f"{clean(reason.type, 80)}: {message}" if message else clean(reason.type, 80)
    place = f" (in {clean(reason.where, 120)})" if reason.where else ""
    when = {
        "load": "before its first step, while its code was loaded",
        "prepare": "before its first step, in the study's prepare function",
    }.get(reason.phase, where(about))
    said = f"{about.name} failed {when}: {what}{place}."
    if about.alike:
        others = "1 other" if len(about.alike) == 1 else f"{len(about.alike)} others"
        said += f" {others} failed at the same place: {listing(about.alike, 6)}."
    return (
        f"{said} `smallhours debug {clean(about.source, 200)}` runs one trial in the foreground,"
        " where a debugger works."
    )


def _taken_off(reason: r.Cancelled | r.Interrupted | r.Paused, about: About) -> str:
    at = where(about)
    match reason:
        case r.Cancelled():
            what = "with its whole study " if reason.scope == "study" else ""
            kept = "Its checkpoint was kept." if reason.checkpoint else "It had no checkpoint."
            by = clean(reason.by, 80) or "somebody"
            return f"{about.name} was cancelled {what}{at} by {by}. {kept}"
        case r.Interrupted():
            said = f"{about.name} was interrupted {at}: {CAUSES[reason.cause]}."
            if about.then == "over":
                return (
                    f"{said} It had lost its process several times in a row without a report, so it"
                    " was not taken up again."
                )
            return f"{said} {_goes_on(reason.resume_step, reason.steps_lost)}"
        case r.Paused():
            why = f" ({clean(reason.why, 200)})" if reason.why else ""
            step = max(0, about.last_step - reason.steps_repeated)
            said = f"{about.name} was paused {at} {PAUSERS[reason.by]}{why}."
            if reason.by == "packer" and about.cap is not None:
                said += f" On {about.device or 'its device'}, {cap_words(about.cap)}."
            return (
                said if about.then == "over" else f"{said} {_goes_on(step, reason.steps_repeated)}"
            )


def _goes_on(step: int, repeated: int) -> str:
    whence = f"from its checkpoint of step {step}" if step else "from the beginning (no checkpoint)"
    again = f", so {count(repeated, 'step')} will be run again" if repeated else ""
    return f"It goes on {whence}{again}; that costs it no retry."


def _afterwards(reason: r.Reason, about: About) -> str:
    """Return whether the trial will be tried again."""
    whence = (
        f"from its checkpoint of step {about.from_step}"
        if about.from_step
        else "from the beginning"
    )
    if about.then == "resume":
        return f"It goes on {whence}; that costs it no retry."
    if about.then == "retry":
        alone = ", alone this time" if isinstance(reason, r.HostOom | r.GpuOom) else ""
        return f"It will be tried again {whence}{alone}."
    if isinstance(reason, r.GpuOom) and about.retries:
        return "It won't be tried again: what runs out of GPU memory is tried once more, alone."
    if isinstance(reason, r.Failure):
        return "It won't be tried again: the same code would fail in the same way."
    if isinstance(reason, r.RETRIED):
        used = count(about.retries, "retry is", "retries are") if about.retries else ""
        return (
            f"It won't be tried again: its {used} used up."
            if used
            else "The study allows no retries."
        )
    return "It won't be tried again."


def _saved(about: About, step: int) -> str:
    left = about.steps - step
    if left <= 0:
        return ""
    pace = about.seconds / about.steps_run if about.steps_run else 0.0
    time = f", about {duration(left * pace)}" if pace > 0 else ""
    return f" Stopping it saved {count(left, 'step')}{time}."
