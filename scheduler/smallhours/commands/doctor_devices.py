"""What `smallhours doctor` says of devices: what there is, what can't be measured, what is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from smallhours import settings
from smallhours.clock import SystemClock
from smallhours.commands.finding import Finding, Verdict
from smallhours.devices.base import Device, Gap, Probe, Reading, display_reserve_bytes, gaps
from smallhours.devices.cpu import CpuProbe
from smallhours.devices.mps_usable import Machine, Obstacle
from smallhours.devices.nvml import NvmlProbe
from smallhours.errors import UsageError
from smallhours.explain.packing import title
from smallhours.foreign import in_any_session
from smallhours.text import clean, count, listing, number, size

#: What Ray, torch and one trial need.
_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A device, what it said, and what it can't say."""

    device: Device
    #: None: it is gone.
    reading: Reading | None
    gaps: tuple[Gap, ...]


class Look:
    """One look at all devices."""

    def __init__(
        self,
        gpus: Callable[[], NvmlProbe] | None = None,
        machine: Callable[[], Machine] | None = None,
    ) -> None:
        """Look.

        Args:
            gpus: Finds the GPUs; None: those of this machine.
            machine: Finds out about MPS; None: on this machine.
        """
        clock = SystemClock()
        self.cpu = _found(CpuProbe(clock))[0]
        probe = gpus() if gpus else NvmlProbe(clock, in_any_session)
        try:
            self.gpus = _found(probe)
            self.unavailable, self.problems = probe.unavailable, probe.problems
            self.hidden, self.ambiguous = probe.hidden, probe.ambiguous
            self.hears_faults = probe.hears_faults
        finally:
            probe.close()
        find = machine or partial(Machine.look, os.environ, in_any_session)
        self._machine = find() if self.gpus else None

    @property
    def found(self) -> list[Found]:
        """All devices."""
        return [self.cpu, *self.gpus]

    def findings(self) -> Iterator[Finding]:
        """Yield what there is to say of each device."""
        yield _cores(self.cpu)
        yield _memory(self.cpu)
        for gpu in self.gpus:
            yield _gpu(gpu)
        if not self.gpus:
            yield self._none()
        for problem in self.problems:
            yield Finding(what="GPU", verdict="note", found=problem, do="nvidia-smi may say more")
        if self.ambiguous:
            yield Finding(
                what="GPU order",
                verdict="note",
                found="CUDA_VISIBLE_DEVICES has numbers, and the cards are not all the same: CUDA"
                " may count them in another order",
                do="name cards by UUID (`nvidia-smi -L`), or set CUDA_DEVICE_ORDER=PCI_BUS_ID",
            )
        if self._machine is not None:
            yield from _mps(self._machine, [gpu.device for gpu in self.gpus])
        if self.gpus and not self.hears_faults:
            yield Finding(
                what="GPU faults",
                verdict="note",
                found="the driver does not tell of them (Xids)",
                do="a fault shows only as the error of the trial that it hits",
            )

    def _none(self) -> Finding:
        if self.hidden:
            value = clean(os.environ.get("CUDA_VISIBLE_DEVICES", ""), 60)
            found = f"{self.hidden} hidden by CUDA_VISIBLE_DEVICES={value!r}; the CPU is the device"
            return Finding(what="GPU", verdict="ok", found=found)
        if self.unavailable is None or self.unavailable.absent:
            return Finding(what="GPU", verdict="ok", found="none; the CPU is the device")
        return Finding(
            what="GPU",
            verdict="note",
            found=f"{self.unavailable.why}; the CPU is the device",
            do=self.unavailable.do,
        )


def _found(probe: Probe) -> list[Found]:
    readings = [(device, probe.read(device.name)) for device in probe.devices()]
    return [
        Found(device=d, reading=r, gaps=tuple(gaps(d, r)) if r is not None else ())
        for d, r in readings
    ]


def _cores(cpu: Found) -> Finding:
    there, mine = os.cpu_count() or 1, cpu.device.cores or 1.0
    found = f"{number(mine)} {'core' if mine == 1 else 'cores'}"
    found += f" of {there}" if mine < there else ""
    found += f", {cpu.device.label}" if cpu.device.label != "CPU" else ""
    if cpu.reading is not None and cpu.reading.temperature_c is not None:
        found += f", {cpu.reading.temperature_c:.0f} °C"
    return Finding(what="CPU", verdict="ok", found=found)


def _memory(cpu: Found) -> Finding:
    free = cpu.reading.free_bytes if cpu.reading else None
    total = cpu.reading.total_bytes if cpu.reading else None
    found = f"{size(free)} of {size(total)} available"
    if free is not None and free < _MEMORY_BYTES:
        do = f"Ray, torch and one trial need about {size(_MEMORY_BYTES)}: end something else"
        return Finding(what="memory", verdict="note", found=found, do=do)
    return Finding(what="memory", verdict="ok", found=found)


def _gpu(gpu: Found) -> Finding:
    device, reading = gpu.device, gpu.reading
    what = title(device.kind, device.index, device.name)
    if reading is None:
        do = "nvidia-smi and the kernel's log (`dmesg`) may say why"
        return Finding(what=what, verdict="note", found=f"{device.label} is gone", do=do)
    said = [device.label]
    if reading.used_bytes is not None and reading.total_bytes is not None:
        said.append(f"{size(reading.used_bytes)} of {size(reading.total_bytes)} used")
    if reading.temperature_c is not None:
        said.append(f"{reading.temperature_c:.0f} °C")
    if reading.foreign:
        names = [process.name or f"process {process.pid}" for process in reading.foreign]
        said.append(f"{count(len(names), 'process', 'processes')} on it ({listing(names, 4)})")
    reserve = display_reserve_bytes(device)
    if reserve and device.display:
        said.append(f"shows a screen, for which {size(reserve)} are left")
    verdict: Verdict = "note" if gpu.gaps else "ok"
    return Finding(what=what, verdict=verdict, found=", ".join(said), do=_do(gpu.gaps))


def _mps(machine: Machine, cards: list[Device]) -> Iterator[Finding]:
    """Yield with which cards MPS can be used, and why not with the others."""
    try:
        mode = settings.read().mps
    except UsageError:
        mode = settings.Settings().mps  # what is wrong with them is a finding of its own
    answers: dict[Obstacle | None, list[str]] = {}
    for card in cards:
        obstacle = machine.obstacle(card, mode)
        answers.setdefault(obstacle, []).append(title(card.kind, card.index, card.name))
    for obstacle, names in answers.items():
        if obstacle is None:
            yield Finding(what="MPS", verdict="ok", found=f"can be used with {listing(names)}")
        else:
            verdict: Verdict = "ok" if mode == "off" else "note"
            wish = 'wished for (mps = "on"), but ' if mode == "on" else ""
            found = f"{wish}not used with {listing(names)}: {obstacle.why}"
            yield Finding(what="MPS", verdict=verdict, found=found, do=obstacle.do)


def _do(missing: tuple[Gap, ...]) -> str:
    told = "; ".join(f"{gap.what} ({gap.instead})" for gap in missing)
    return f"what it doesn't tell: {told}" if told else ""
