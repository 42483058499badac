"""What shows that a reason is true: the numbers and texts that were recorded with it."""

from __future__ import annotations

from typing import NamedTuple, assert_never

from smallhours.core import reasons as r
from smallhours.explain.words import CAUSES, errno_words, exit_words
from smallhours.text import clean, count, duration, number, size


class Item(NamedTuple):
    """One piece of evidence."""

    label: str
    text: str
    #: More lines of it as they are (a traceback); empty: none.
    block: str = ""


def evidence(reason: r.Reason, study: str) -> list[Item]:
    """Return the evidence of a reason; what is not known is left out.

    Args:
        reason: Why an attempt ended.
        study: Name of the study, for the trials that the evidence names.
    """
    return [item for item in _items(reason, study) if item.text or item.block]


def _items(reason: r.Reason, study: str) -> list[Item]:
    match reason:
        case r.Completed():
            metrics = ", ".join(f"{k} {number(float(v))}" for k, v in reason.metrics.items())
            return [Item("last report", f"step {reason.steps}: {metrics}" if metrics else "")]
        case r.RungCut():
            return [
                Item("rule", f"{reason.rule}, version {reason.version}"),
                Item("rung", f"{reason.rung}, at step {reason.step}"),
                Item("value", f"{number(reason.value)} ({reason.goal})"),
                Item("cutoff", number(reason.cutoff)),
                Item("place", f"{reason.rank} of {reason.of}"),
                Item("set by", _competitors(reason.competitors, study)),
                *_agreed(reason, study),
            ]
        case r.RuleCut():
            options = " ".join(f"{k}={number(v)}" for k, v in reason.options.items())
            return [
                Item("rule", f"{reason.rule}, version {reason.version} {options}".rstrip()),
                Item("step", str(reason.step)),
                Item("value", f"{number(reason.value)} ({reason.goal})"),
                Item("threshold", _threshold(reason)),
                Item("noise", "" if reason.noise is None else number(reason.noise)),
                Item("place", "" if reason.rank is None else f"{reason.rank} of {reason.of}"),
                *(Item(clean(name, 40), number(it)) for name, it in reason.measures.items()),
                Item("around it", _competitors(reason.competitors, study)),
                *_agreed(reason, study),
            ]
        case r.Diverged():
            limit = "NaN or infinity" if reason.limit is None else number(reason.limit)
            return [
                Item("metric", f"{reason.metric} = {number(float(reason.value))}"),
                Item("step", str(reason.step)),
                Item("limit", limit),
            ]
        case r.Budget():
            return [
                Item("budget", reason.budget),
                Item("limit", duration(reason.limit)),
                Item("used", duration(reason.used)),
            ]
        case r.Refused():
            return _refused(reason, study)
        case r.Failure() | r.Crash() | r.Hung():
            return _failure(reason)
        case r.GpuOom() | r.HostOom() | r.DiskFull() | r.GpuFault():
            return _resource(reason)
        case r.Cancelled():
            return [
                Item("by", reason.by),
                Item("scope", f"the {reason.scope}"),
                Item("checkpoint", reason.checkpoint or "there was none"),
            ]
        case r.Interrupted():
            return [
                Item("cause", CAUSES[reason.cause]),
                Item("detail", reason.detail),
                Item("last step", str(reason.last_step)),
                Item("goes on from", f"step {reason.resume_step}"),
                Item("steps lost", str(reason.steps_lost)),
            ]
        case r.Paused():
            return [
                Item("by", reason.by),
                Item("why", reason.why),
                Item("checkpoint", reason.checkpoint or "there was none"),
                Item("steps repeated", str(reason.steps_repeated)),
            ]
        case r.Lost():
            return [
                Item("looked for", ", ".join(reason.looked_for)),
                Item("detail", reason.detail),
            ]
        case _:
            assert_never(reason)


def _threshold(cut: r.RuleCut) -> str:
    made_of = f", of {count(cut.compared, 'value')}" if cut.compared else ""
    return f"{number(cut.threshold)}{made_of}"


def _agreed(cut: r.RuleCut | r.RungCut, study: str) -> list[Item]:
    """Return the evidence of the other rules that had to agree."""
    return [
        Item(f"{clean(other.rule, 40)}: {item.label}", item.text)
        for other in cut.agreed
        for item in evidence(other, study)
    ]


def _refused(reason: r.Refused, study: str) -> list[Item]:
    same = "" if reason.duplicate_of is None else f"{study}/{reason.duplicate_of}"
    return [
        Item("why", reason.why),
        Item("needed", _bytes(reason.needed_bytes)),
        Item("available", _bytes(reason.available_bytes)),
        Item("same as", same),
        Item("detail", reason.detail),
    ]


def _failure(reason: r.Failure | r.Crash | r.Hung) -> list[Item]:
    match reason:
        case r.Failure():
            return [
                Item("type", reason.type),
                Item("message", reason.message),
                Item("where", reason.where),
                Item("while", {"load": "loading the code"}.get(reason.phase, f"{reason.phase}()")),
                Item("fingerprint", _seen(reason)),
                Item("traceback", "", reason.traceback),
            ]
        case r.Crash():
            whose = "the trial's own" if reason.whose == "process" else "the warm process (zygote)"
            return [
                Item("ended with", exit_words(reason)),
                Item("process", whose),
                Item("last stderr", "", reason.stderr),
                Item("stacks", "", reason.fault),
            ]
        case r.Hung():
            deeds = "; ".join(f"{deed} after {duration(at)}" for at, deed in reason.escalation)
            cpu = "" if reason.cpu_s is None else duration(reason.cpu_s)
            return [
                Item("silent for", duration(reason.silent_s)),
                Item("threshold", duration(reason.threshold_s)),
                Item("last step", str(reason.last_step)),
                Item("process state", reason.process_state or ""),
                Item("CPU since then", cpu),
                Item("what was done", deeds),
                Item("stacks", "", reason.stack),
            ]


def _seen(reason: r.Failure) -> str:
    which = "the first" if reason.seen == 1 else f"number {reason.seen}"
    return f"{reason.fingerprint}, {which} of its kind in this study"


def _resource(reason: r.GpuOom | r.HostOom | r.DiskFull | r.GpuFault) -> list[Item]:
    match reason:
        case r.GpuOom():
            neighbours = ", ".join(
                name if held is None else f"{name} {size(held)}" for name, held in reason.neighbours
            )
            return [
                Item("requested", _bytes(reason.requested_bytes)),
                Item("free", _bytes(reason.free_bytes)),
                Item("own peak", _bytes(reason.own_peak_bytes)),
                Item("kept for it", _bytes(reason.predicted_bytes)),
                Item("neighbours", neighbours or "no trial ran beside it"),
                Item("whose fault", reason.fault),
                Item("message", reason.message),
            ]
        case r.HostOom():
            held = ", ".join(f"{size(b)} {duration(at)} before" for at, b in reason.resident[-6:])
            return [
                Item("ended by", reason.killer),
                Item("held", held),
                Item("limit", _bytes(reason.limit_bytes)),
                Item("available", _bytes(reason.available_bytes)),
                Item("shared memory", _room(reason.shared)),
                Item("message", reason.message),
            ]
        case r.DiskFull():
            return [
                Item("error", errno_words(reason.errno)),
                Item("path", reason.path),
                Item("free", _bytes(reason.free_bytes)),
                Item("while", reason.operation),
                Item("message", reason.message),
            ]
        case r.GpuFault():
            pids = ", ".join(map(str, reason.processes))
            return [
                Item("Xid", str(reason.xid)),
                Item("device", reason.device),
                Item("processes on it", pids),
            ]


def _competitors(competitors: tuple[tuple[int, float], ...], study: str) -> str:
    return ", ".join(f"{study}/{trial} {number(value)}" for trial, value in competitors)


def _room(shared: tuple[int, int] | None) -> str:
    return "" if shared is None else f"{size(shared[0])} of {size(shared[1])} free"


def _bytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else size(size_bytes)
