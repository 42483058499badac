"""``--devices``: what an engine that is started may use, checked against what there is."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from smallhours import processes, settings
from smallhours.devices import visible
from smallhours.devices.base import Device
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.text import Page

_EXPECTED = "expected devices like cpu, gpu, 0 or GPU-8f3c, with commas between them"


def there() -> tuple[Device, ...]:
    """Return the devices of this machine that `CUDA_VISIBLE_DEVICES` leaves."""
    from smallhours.clock import SystemClock
    from smallhours.devices.cpu import CpuProbe
    from smallhours.devices.nvml import NvmlProbe
    from smallhours.foreign import in_any_session

    clock = SystemClock()
    with working("looking at the devices"):
        gpus = NvmlProbe(clock, in_any_session)
        try:
            return (*CpuProbe(clock).devices(), *gpus.devices())
        finally:
            gpus.close()


def environment(home: Home, words: str | None) -> Mapping[str, str]:
    """Return what an engine must find in its environment to use what the user names.

    Where one runs already, it keeps its devices: that is said, and nothing is checked.

    Args:
        home: The state directory.
        words: The user's list, with commas; None: the user named nothing, and the settings count.

    Raises:
        UsageError: there is no such device.
    """
    if words is None:
        return {}
    living = processes.owner(home)
    if living is not None:
        Page(sys.stdout).paragraph(
            f"the engine runs already (process {living.pid}) and keeps its devices: `smallhours"
            f" stop`, then `smallhours resume --devices {words}` starts one that uses these"
        )
        return {}
    named = [word.strip() for word in words.split(",")]
    if not all(named):
        raise UsageError(f"--devices: {_EXPECTED}, got {words!r}")
    visible.chosen(there(), named)
    from smallhours.surroundings import DEVICES_VARIABLE  # not above: it is of the engine

    return {DEVICES_VARIABLE: ",".join(named)}


def check(wishes: settings.Settings) -> None:
    """Check the devices that the settings name.

    Raises:
        UsageError: there is no such device.
    """
    if not wishes.devices:
        return
    try:
        visible.chosen(there(), wishes.devices)
    except UsageError as error:
        said = str(error).removeprefix("--devices: ")
        raise UsageError(f"{settings.path()}: devices: {said}") from None
