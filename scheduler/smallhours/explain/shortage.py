"""Why an attempt ended that lacked memory, disk space or a sound GPU, as sentences."""

from __future__ import annotations

from smallhours.core import reasons as r
from smallhours.explain.about import About, where
from smallhours.explain.words import errno_words
from smallhours.text import clean, listing, size


def ran_out(reason: r.GpuOom | r.HostOom | r.DiskFull | r.GpuFault, about: About) -> str:
    """Return what a trial ran out of, and whose fault it was as far as can be told."""
    at = where(about)
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
            card = about.device or clean(reason.device, 80) or "the card"
            return (
                f"{about.name} ended {at} because the driver reported a fault of {card} (Xid"
                f" {reason.xid}), which no program brings about by itself. If it comes again, look"
                " at the card's health with nvidia-smi, and at its cooling and power."
            )


def _blame(reason: r.GpuOom) -> str:
    """Return whose fault it was, by what was foreseen and what was taken."""
    beside = [
        name if held is None else f"{name} with {size(held)}" for name, held in reason.neighbours
    ]
    others = f" Beside it ran {listing([clean(one, 80) for one in beside], 4)}." if beside else ""
    kept = reason.predicted_bytes
    match reason.fault:
        case "own" if kept is not None and reason.wanted_bytes > kept:
            whose = (
                f"The fault was its own: {size(kept)} were kept for it, and it wanted"
                f" {size(reason.wanted_bytes)} in all."
            )
        case "own" if beside:
            whose = "The fault was its own: it needed more than was foreseen, or than its cap."
        case "own":
            wanted = f" wanted {size(reason.wanted_bytes)} in all, which"
            known = wanted if reason.own_peak_bytes is not None else ""
            whose = f"The fault was its own: it{known} is too large for the card."
        case "neighbour":
            within = kept is not None and reason.wanted_bytes <= kept
            own = f"; it had stayed within the {size(kept)} kept for it" if within else ""
            whose = f"The fault was a neighbour's, which had taken more than was foreseen{own}."
        case "unknown":
            whose = "Whose fault it was can't be told."
    return f"{whose}{others}"


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
