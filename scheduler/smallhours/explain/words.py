"""Short words for reasons: for counts, tables and live displays."""

from __future__ import annotations

import signal as signals
from typing import Final, assert_never

from smallhours.core import reasons as r
from smallhours.core.footprint import Footprint
from smallhours.text import Kind, apart, clean, duration, number, size

#: What a count of ended trials is called, in the order of the groups.
WORDS: Final[dict[str, str]] = {
    "completed": "ran to the end",
    "rung_cut": "stopped at a rung",
    "rule_cut": "stopped by the rule",
    "diverged": "diverged",
    "budget": "used up their time",
    "refused": "never started",
    "exception": "raised an exception",
    "crash": "crashed",
    "hung": "hung",
    "gpu_oom": "ran out of GPU memory",
    "host_oom": "ran out of memory",
    "disk": "could not write to disk",
    "gpu_fault": "met a fault of the GPU",
    "cancelled": "cancelled",
    "interrupted": "interrupted, not resumed",
    "paused": "paused, not resumed",
    "lost": "lost without a trace",
}
#: The groups of reasons, as they are counted for a study.
GROUPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("finished", ("completed",)),
    ("stopped by a rule or a limit", ("rung_cut", "rule_cut", "budget")),
    ("failed by a mistake in the code", ("exception", "crash", "hung")),
    ("can't work as they are configured", ("diverged", "gpu_oom", "host_oom")),
    ("never started: repeated, too large or not valid", ("refused",)),
    ("failed by the machine", ("disk", "gpu_fault")),
    ("taken off by operator or machine", ("cancelled", "interrupted", "paused")),
    ("lost, which is a bug of smallhours: please report it", ("lost",)),
)
#: What a reason's colour says, for those that are not of a failure.
_KINDS: Final[dict[str, Kind]] = {
    "completed": "done",
    "rung_cut": "stopped",
    "rule_cut": "stopped",
    "diverged": "stopped",
    "budget": "stopped",
    "refused": "stopped",
    "cancelled": "stopped",
    "interrupted": "waiting",
    "paused": "waiting",
}
CAUSES: Final[dict[str, str]] = {
    "ctrl-c": "Ctrl-C was pressed",
    "sigterm": "the engine was told to end (SIGTERM)",
    "stop": "`smallhours stop` was called",
    "engine killed": "the engine was killed",
    "engine crashed": "the engine crashed",
    "reboot": "the machine was restarted or lost its power",
    "raylet died": "Ray's node process died",
    "MPS failed": "what shares the GPU between processes (MPS) failed",
    "slot killed": "the process that looked after it was killed",
    "zygote killed": "the warm process that it was forked from was killed",
    "ledger disk full": "the disk that holds the ledger was full",
}
PAUSERS: Final[dict[str, str]] = {
    "packer": "by the packer",
    "operator": "because somebody asked for it",
    "rule": "by the rule",
    "clock": "because of the time of day",
    "heat": "because the device was too hot",
    "study": "for another study",
}


def kind(name: str) -> Kind:
    """Return what the colour of a reason, given by its name, says."""
    return _KINDS.get(name, "failed")


def signal_name(number_: int) -> str:
    """Return a signal's name: ``SIGSEGV``."""
    try:
        return signals.Signals(number_).name
    except ValueError:
        return f"signal {number_}"


def exit_words(reason: r.Crash) -> str:
    """Return how a crashed process ended: ``SIGSEGV``, ``exit code 3``."""
    if reason.signal is not None:
        return signal_name(reason.signal)
    return "an unknown status" if reason.exit_code is None else f"exit code {reason.exit_code}"


def errno_words(code: int) -> str:
    """Return an error of the operating system: ``No space left on device (ENOSPC)``."""
    import errno
    import os

    return f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"


def footprint_words(footprint: Footprint | None) -> str:
    """Return what a trial needed: ``312 MiB of memory, 0.98 of a core, 0.21 s a step``.

    What was not measured is left out; empty: nothing was.
    """
    if footprint is None:
        return ""
    parts = []
    if footprint.host_bytes is not None:
        more = "" if footprint.host_source == "pss" else " at most"
        parts.append(f"{size(footprint.host_bytes)} of memory{more}")
    for gpu in footprint.gpus:
        # A process numbers the GPUs that it sees from 0: where it is one, the number says nothing.
        which = f"GPU {gpu.index}" if len(footprint.gpus) > 1 else "GPU memory"
        parts.append(
            f"{size(gpu.reserved_bytes)} of {which} ({size(gpu.allocated_bytes)} in tensors)"
        )
    if footprint.context_bytes is not None:
        source = " as the card shows it" if footprint.gpu_source == "card delta" else ""
        parts.append(f"{size(footprint.context_bytes)} of it beside torch{source}")
    if footprint.cores is not None:
        cores = f"{footprint.cores:.2f}"
        parts.append(f"{cores} of a core" if footprint.cores < 1.0 else f"{cores} cores")
    if footprint.step_s is not None:
        parts.append(f"{_step_time(footprint.step_s)} a step")
    return ", ".join(parts)


def _step_time(step_s: float) -> str:
    return f"{step_s * 1000:.3g} ms" if step_s < 0.1 else duration(step_s)


def in_brief(reason: r.Reason) -> str:
    """Return a reason in a few words, for a table or a live display."""
    match reason:
        case r.Completed(steps=steps):
            return f"ran to step {steps}"
        case r.RungCut():
            return (
                f"{clean(reason.rule, 20)} at step {reason.step}: {number(reason.value)},"
                f" rank {reason.rank} of {reason.of}"
            )
        case r.RuleCut():
            value, threshold = apart(reason.value, reason.threshold)
            where = f"{clean(reason.rule, 20)} at step {reason.step}"
            if reason.rule == "extrapolate" and reason.competitors:
                rival = reason.competitors[0][0]
                return f"{where}: {value} at the end at best, trial {rival} had {threshold}"
            return f"{where}: {value} against {threshold}"
        case r.Diverged():
            return f"diverged at step {reason.step}: {number(float(reason.value))}"
        case r.Budget():
            whose = "its" if reason.budget == "trial_time_s" else "the study's"
            return f"{whose} time of {duration(reason.limit)} is used up"
        case r.Refused(why="duplicate"):
            return f"not started: same as trial {number(reason.duplicate_of)}"
        case r.Refused(why=why):
            return (
                "not started: needs too much memory" if why == "memory" else "not started: invalid"
            )
        case r.Failure():
            said = clean(reason.message.partition("\n")[0], 60)
            message = f": {said}" if said else ""
            where = f" ({clean(reason.where, 60)})" if reason.where else ""
            return f"{clean(reason.type, 40)}{message}{where}"
        case r.Crash():
            whose = "its warm process " if reason.whose == "zygote" else ""
            return f"{whose}crashed ({exit_words(reason)})"
        case r.Hung():
            return f"hung: silent for {duration(reason.silent_s)}"
        case r.GpuOom():
            by = " by a neighbour's fault" if reason.fault == "neighbour" else ""
            return f"out of GPU memory{by}"
        case r.HostOom():
            return "out of memory" if reason.shared is None else "out of shared memory (/dev/shm)"
        case r.DiskFull():
            return f"disk: {errno_words(reason.errno)}"
        case r.GpuFault():
            return f"fault of the GPU (Xid {reason.xid})"
        case r.Cancelled():
            return f"cancelled by {clean(reason.by, 30) or 'somebody'}"
        case r.Interrupted():
            return f"interrupted: {CAUSES[reason.cause]}"
        case r.Paused():
            return f"paused {PAUSERS[reason.by]}"
        case r.Lost():
            return "lost without a trace"
        case _:
            assert_never(reason)
