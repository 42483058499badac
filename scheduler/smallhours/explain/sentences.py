"""Why an attempt ended, as a paragraph that a person understands, and what to look at next."""

from __future__ import annotations

import math
from typing import Final, NamedTuple, assert_never

from smallhours.core import reasons as r
from smallhours.core.spec import Goal
from smallhours.explain.verdicts import agreed_words, rule_words
from smallhours.explain.words import CAUSES, PAUSERS, errno_words, exit_words, signal_name
from smallhours.snapshot.views import Then
from smallhours.text import clean, count, duration, listing, number, size

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


class About(NamedTuple):
    """What a sentence about an attempt needs to know beside its reason."""

    #: ``digits/12``.
    name: str
    #: ``digits``.
    study: str
    metric: str
    goal: Goal
    #: Of a whole trial.
    steps: int
    last_step: int
    #: Of the trial: seconds on its places, and steps run there.
    seconds: float
    steps_run: int
    then: Then
    retries: int = 0
    #: The file that the study was read from.
    source: str = "STUDY.py"
    #: Other trials with the same failure.
    alike: tuple[str, ...] = ()
    #: The step that it goes on from, should it.
    from_step: int = 0


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
            return f"{_ran_out(reason, about)} {_afterwards(reason, about)}"
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
    needed = "more memory" if reason.needed_bytes is None else size(reason.needed_bytes)
    there = (
        "than there is"
        if reason.available_bytes is None
        else f"than the {size(reason.available_bytes)} that there are"
    )
    more = "" if reason.needed_bytes is None else ", more"
    return f"{about.name} was not started: it would need {needed}{more} {there}{detail}."


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
                    f"{about.name} crashed {_where(about)}: its process was ended by {name}{hint}."
                )
            else:
                what = (
                    f"{about.name} crashed {_where(about)}: its process left with"
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
    }.get(reason.phase, _where(about))
    said = f"{about.name} failed {when}: {what}{place}."
    if about.alike:
        others = "1 other" if len(about.alike) == 1 else f"{len(about.alike)} others"
        said += f" {others} failed at the same place: {listing(about.alike, 6)}."
    return (
        f"{said} `smallhours debug {clean(about.source, 200)}` runs one trial in the foreground,"
        " where a debugger works."
    )


def _ran_out(reason: r.GpuOom | r.HostOom | r.DiskFull | r.GpuFault, about: About) -> str:
    at = _where(about)
    match reason:
        case r.GpuOom():
            asked = (
                ""
                if reason.requested_bytes is None
                else f" asking for {size(reason.requested_bytes)}"
            )
            free = "" if reason.free_bytes is None else f" with {size(reason.free_bytes)} free"
            held = (
                ""
                if reason.own_peak_bytes is None
                else f" when it held up to {size(reason.own_peak_bytes)}"
            )
            return f"{about.name} ran out of GPU memory {at}{asked}{free}{held}. {_blame(reason)}"
        case r.HostOom():
            return f"{about.name} ran out of memory {at}: {_host_oom(reason)}"
        case r.DiskFull():
            free = "" if reason.free_bytes is None else f" ({size(reason.free_bytes)} free there)"
            path = f" to {clean(reason.path, 200)}" if reason.path else ""
            return (
                f"{about.name} could not write{path} {at}: {errno_words(reason.errno)}{free}. Make"
                " room or mend the permission, then call `smallhours resume`."
            )
        case r.GpuFault():
            return (
                f"{about.name} ended {at} because the driver reported a fault of"
                f" {clean(reason.device, 80) or 'the card'} (Xid {reason.xid}). If it comes again,"
                " look at the card's health with nvidia-smi, and at its cooling and power."
            )


def _blame(reason: r.GpuOom) -> str:
    match reason.fault:
        case "own" if reason.neighbours:
            return "It was alone to blame: it needed more than was foreseen, or than its cap."
        case "own":
            return "It was alone to blame: the configuration is too large for the card."
        case "neighbour":
            return "A neighbour on the card had taken more than was foreseen."
        case "unknown":
            return "Whose fault it was can't be told."


def _host_oom(reason: r.HostOom) -> str:
    if reason.shared is not None:
        free, total = reason.shared
        return (
            f"its shared memory (/dev/shm) was full: {size(free)} of {size(total)} were free. Give"
            " its DataLoader fewer workers, or make /dev/shm larger."
        )
    peak = max((held for _, held in reason.resident), default=None)
    held = "" if peak is None else f" when it held {size(peak)}"
    match reason.killer:
        case "kernel":
            return (
                f"the kernel killed it, or a process of its own{held}, to save the machine. Run"
                " smaller models or fewer trials at a time, or set `memory_bytes` in the study."
            )
        case "python":
            return f"an allocation failed in its process{held}."
        case "smallhours":
            if reason.limit_bytes is not None:
                return (
                    f"smallhours ended it{held}; the limit is {size(reason.limit_bytes)}"
                    " (`memory_bytes` in the study)."
                )
            left = (
                "" if reason.available_bytes is None else f" ({size(reason.available_bytes)} left)"
            )
            return f"smallhours ended it{held}, before the machine ran out of memory{left}."


def _taken_off(reason: r.Cancelled | r.Interrupted | r.Paused, about: About) -> str:
    at = _where(about)
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
            return (
                said if about.then == "over" else f"{said} {_goes_on(step, reason.steps_repeated)}"
            )


def _goes_on(step: int, repeated: int) -> str:
    whence = f"from its checkpoint of step {step}" if step else "from the beginning (no checkpoint)"
    again = f", so {count(repeated, 'step')} will be run again" if repeated else ""
    return f"It goes on {whence}{again}; that costs it no retry."


def _where(about: About) -> str:
    if not about.last_step:
        return "before its first report"
    return f"at step {about.last_step} of {about.steps}"


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
