"""The CPU as a device: cores and host memory that may be used, how busy it is, and with whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smallhours.clock import Clock
from smallhours.devices import cgroup, host
from smallhours.devices.base import CPU, Device, Fault, Reading
from smallhours.text import clean

_PROC: Final = Path("/proc")
_SYS: Final = Path("/sys")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: Seconds between two looks at all processes: some 40 us each, and there may be a thousand.
_OTHERS_S: Final = 5.0
#: Drivers of CPUs' own thermometers, by the kernel's names.
_THERMOMETERS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_LABEL_LENGTH: Final = 60


@dataclass(frozen=True, slots=True)
class Times:
    """What some cores have done since boot, in seconds."""

    busy_s: float
    all_s: float


class CpuProbe:
    """Reads the CPU. Its utilisation is that since the last reading, of the cores we may use."""

    def __init__(
        self,
        clock: Clock,
        roots: Iterable[int] = (),
        *,
        proc: Path = _PROC,
        sys: Path = _SYS,
    ) -> None:
        """Find out what there is.

        Args:
            clock: For the time of readings.
            roots: The processes whose descendants, themselves included, are this session. Empty:
                the others' work is not told apart.
            proc: The proc file system.
            sys: The sys file system.
        """
        self._clock, self._roots = clock, frozenset(roots)
        self._proc, self._sys = proc, sys
        self._label = _label(proc)
        self._cores = sorted(os.sched_getaffinity(0))
        self._thermometer = _thermometer(sys)
        self._before: Times | None = None
        self._others = _Others(self._roots)

    def devices(self) -> tuple[Device, ...]:
        """Return the CPU. Its cores may change when a quota does."""
        allowed = self._allowed()
        _, total = host.memory()
        cores = float(len(os.sched_getaffinity(0)))
        return (
            Device(
                name=CPU,
                kind="cpu",
                label=self._label,
                total_bytes=_least(total, allowed.memory_bytes),
                cores=cores if allowed.cores is None else min(cores, allowed.cores),
                display=False,
            ),
        )

    def read(self, name: str) -> Reading | None:
        """Read the CPU; None: it is asked about something else. Never raises."""
        if name != CPU:
            return None
        now = self._clock.mono()
        free, total, source = self._memory()
        used = None if free is None or total is None else max(0, total - free)
        temperature = self._temperature()
        sources = {"memory": source}
        if temperature is not None and self._thermometer is not None:
            sources["temperature"] = str(self._thermometer)
        return Reading(
            device=CPU,
            at=now,
            total_bytes=total,
            used_bytes=used,
            free_bytes=free,
            utilisation=self._utilisation(),
            temperature_c=temperature,
            others_cores=self._others.cores(now, self._all_cores) if self._roots else None,
            sources=sources,
        )

    def faults(self) -> tuple[Fault, ...]:
        """Return nothing: CPUs have no Xids."""
        return ()

    def close(self) -> None:
        """Nothing is held."""

    def _allowed(self) -> cgroup.Allowed:
        return cgroup.allowed(self._proc / "self/cgroup", self._sys / "fs/cgroup")

    def _memory(self) -> tuple[int | None, int | None, str]:
        """Return what could be had, what there is, and who says so."""
        available, total = host.memory()
        allowed = self._allowed()
        if allowed.memory_bytes is None or allowed.used_bytes is None:
            return available, total, "/proc/meminfo"
        left = max(0, allowed.memory_bytes - allowed.used_bytes)
        if available is not None and available < left:
            left = available
        return left, _least(total, allowed.memory_bytes), "control group"

    def _utilisation(self) -> float | None:
        """Return the busy share of our cores since the last call; None: none, or no time passed."""
        now = _times(self._proc, self._cores)
        before, self._before = self._before, now
        if now is None or before is None or now.all_s <= before.all_s:
            return None
        return min(1.0, max(0.0, (now.busy_s - before.busy_s) / (now.all_s - before.all_s)))

    def _all_cores(self) -> Times | None:
        return _times(self._proc, None)

    def _temperature(self) -> float | None:
        if self._thermometer is None:
            return None
        try:
            return int(self._thermometer.read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            return None


class _Others:
    """How much of the machine others use: all that is busy, less what this session used."""

    def __init__(self, roots: frozenset[int]) -> None:
        self._roots = roots
        self._at = -_OTHERS_S
        self._before: tuple[float, float] | None = None
        self._cores: float | None = None

    def cores(self, now: float, all_cores: Callable[[], Times | None]) -> float | None:
        """Return cores' worth of others' work lately; None: not known yet."""
        elapsed = now - self._at
        machine = all_cores() if elapsed >= _OTHERS_S else None
        if machine is None:
            return self._cores
        trees = host.sample_trees(self._roots).values()
        own = sum(tree.cpu_s + tree.ended_children_cpu_s for tree in trees)
        before, self._before, self._at = self._before, (machine.busy_s, own), now
        if before is not None:
            used = (machine.busy_s - before[0]) - (own - before[1])
            self._cores = round(max(0.0, used / elapsed), 2)
        return self._cores


def _times(proc: Path, cores: Sequence[int] | None) -> Times | None:
    """Return what cores have done since boot; None: it can't be read.

    Args:
        proc: The proc file system.
        cores: Which; None: all of the machine.
    """
    wanted = {"cpu"} if cores is None else {f"cpu{core}" for core in cores}
    busy = everything = 0
    try:
        for line in (proc / "stat").read_text(encoding="ascii").splitlines():
            name, *fields = line.split()
            if name not in wanted:
                continue
            # user nice system idle iowait irq softirq steal; guests' time is part of user's.
            ticks = [int(field) for field in fields[:8]]
            everything += sum(ticks)
            busy += sum(ticks) - sum(ticks[3:5])
    except (OSError, ValueError):
        return None
    return Times(busy / _TICKS_PER_S, everything / _TICKS_PER_S) if everything else None


def _label(proc: Path) -> str:
    try:
        for line in (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return clean(" ".join(value.split()), _LABEL_LENGTH)
    except OSError:
        pass
    return "CPU"


def _thermometer(sys: Path) -> Path | None:
    """Return the file with the CPU's temperature in thousandths of a degree; None: there is none.

    Only the CPU's own sensors: others of the mainboard say little, and some take long to read.
    """
    for folder in sorted((sys / "class/hwmon").glob("hwmon*")):
        try:
            name = (folder / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        # The first is the whole chip ("Package id 0", "Tctl"), the others are its cores.
        if name in _THERMOMETERS and (folder / "temp1_input").exists():
            return folder / "temp1_input"
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        try:
            kind = (zone / "type").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        if kind == "x86_pkg_temp":
            return zone / "temp"
    return None


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
