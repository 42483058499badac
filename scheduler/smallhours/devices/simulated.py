"""Devices that exist only as numbers: for tests, and for runs on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from smallhours.clock import Clock
from smallhours.devices.base import CPU, Device, Fault, ProcessUse, Reading


@dataclass(slots=True)
class _State:
    """What goes on on a device."""

    processes: dict[int, ProcessUse] = field(default_factory=dict)
    utilisation: float | None = 0.0
    temperature_c: float | None = None
    slowdown_c: float | None = None
    gone: bool = False


class SimulatedProbe:
    """Says of its devices what it was told to. Figures that nobody gave are None."""

    def __init__(self, clock: Clock, devices: Iterable[Device]) -> None:
        """Begin with idle, empty devices."""
        self._clock = clock
        self._devices = tuple(devices)
        self._states = {device.name: _State() for device in self._devices}
        self._faults: list[Fault] = []

    # --- what a probe does -----------------------------------------------------------------

    def devices(self) -> tuple[Device, ...]:
        """Return all devices, those that are gone included."""
        return self._devices

    def read(self, name: str) -> Reading | None:
        """Read a device; None: it is gone, or was never there."""
        state = self._states.get(name)
        if state is None or state.gone:
            return None
        (device,) = (device for device in self._devices if device.name == name)
        held = [process.used_bytes for process in state.processes.values()]
        total = device.total_bytes
        used = min(sum(bytes_ or 0 for bytes_ in held), total) if total is not None else None
        return Reading(
            device=name,
            at=self._clock.mono(),
            total_bytes=total,
            used_bytes=used,
            free_bytes=None if total is None or used is None else total - used,
            reserved_bytes=None if device.kind == "cpu" else 0,
            utilisation=state.utilisation,
            temperature_c=state.temperature_c,
            slowdown_c=state.slowdown_c,
            processes=tuple(state.processes.values()) if name != CPU else None,
            sources={"memory": "simulated", "processes": "simulated"},
        )

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults since the last call."""
        found, self._faults = tuple(self._faults), []
        return found

    def close(self) -> None:
        """Nothing is held."""

    # --- what happens to the devices -------------------------------------------------------

    def occupy(
        self, device: str, pid: int, used_bytes: int, *, name: str = "", ours: bool = True
    ) -> None:
        """Have a process hold so much of a device, whatever it held before."""
        self._states[device].processes[pid] = ProcessUse(pid, name, used_bytes, ours)

    def release(self, device: str, pid: int) -> None:
        """Have a process let go of a device."""
        self._states[device].processes.pop(pid, None)

    def set_load(
        self,
        device: str,
        *,
        utilisation: float | None,
        temperature_c: float | None = None,
        slowdown_c: float | None = None,
    ) -> None:
        """Say how busy and how warm a device is from now on."""
        state = self._states[device]
        state.utilisation = utilisation
        state.temperature_c, state.slowdown_c = temperature_c, slowdown_c

    def lose(self, device: str) -> None:
        """Have a device go away, with what ran on it."""
        self._states[device] = _State(gone=True)

    def bring_back(self, device: str) -> None:
        """Have a device come back, empty."""
        self._states[device] = _State()

    def fail(self, device: str, xid: int | None) -> None:
        """Have the driver report a fault."""
        self._faults.append(Fault(device, xid, self._clock.mono()))
