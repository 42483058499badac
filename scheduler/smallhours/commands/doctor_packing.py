"""What `smallhours doctor` says of how trials would be packed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smallhours import settings
from smallhours.backends.places import Places
from smallhours.commands.finding import Finding
from smallhours.core.guards import reserve_bytes
from smallhours.devices import visible
from smallhours.devices.base import CPU, Device, display_reserve_bytes
from smallhours.errors import UsageError
from smallhours.explain.packing import title
from smallhours.text import clean, count, listing, size


def examine(devices: Sequence[Device]) -> Iterator[Finding]:
    """Yield where trials would run, and how many at a time.

    Args:
        devices: All that were found.
    """
    try:
        wishes = settings.read()
        used = visible.chosen(devices, wishes.devices) if wishes.devices else tuple(devices)
    except UsageError as error:
        if not str(error).startswith("--devices: "):
            return  # the settings themselves are wrong, which is told with them
        yield Finding(
            what="devices",
            verdict="wrong",
            found=f"settings, {clean(str(error).removeprefix('--devices: '))}",
            do=f"mend `devices` in {settings.path()}: no engine is started with it",
        )
        return
    gpus = [device for device in used if device.kind != CPU]
    if gpus:
        yield Finding(what="packing", verdict="ok", found=_on_gpus(gpus))
    if any(device.kind == CPU for device in used):
        who = 'studies with device="cpu"' if gpus else "all trials"
        cpu = next(device for device in used if device.kind == CPU)
        yield Finding(what="slots", verdict="ok", found=f"{who}: {_on_cpu(cpu, wishes.slots)}")


def _on_gpus(gpus: Sequence[Device]) -> str:
    names = listing([title(gpu.kind, gpu.index, gpu.name) for gpu in gpus])
    kept = [(gpu, display_reserve_bytes(gpu)) for gpu in gpus]
    reserves = [f"{size(free)} of {title(g.kind, g.index, g.name)}" for g, free in kept if free]
    reserve = f"; {listing(reserves)} kept free for a screen" if reserves else ""
    return (
        f"trials share {names} as far as their measured memory goes and it pays; their kernels take"
        f" turns (time slicing){reserve}"
    )


def _on_cpu(cpu: Device, slots: int | None) -> str:
    kept = f"{size(reserve_bytes(cpu.total_bytes))} of memory kept free"
    places = Places.of_this_machine(slots, 0)
    if not places.packed:
        return f"{count(places.cpu, 'trial')} at a time (`slots` in the settings), {kept}"
    return f"as many at a time as pay, at most {places.cpu}, {kept}"
