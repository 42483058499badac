"""What a trial's process tree needs, measured by the process itself at hardly any cost.

Measured are the step time, the CPU time, host memory and what torch's allocator took of each GPU.
Nothing is initialised or imported for it: a process that has not used CUDA is not asked about it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import time
from collections import deque
from dataclasses import dataclass

from smallhours.worker.limits import loaded
from smallhours.worker.link import Message

#: Steps whose times say how long one takes.
_STEPS = 15
#: Measured at these reports of an attempt; then when its age has grown by this factor since the
#: last time, and by this many seconds; and at its end.
_REPORTS = (1, 3)
_GROWTH, _LEAST_S = 1.5, 10.0
#: Counting shared pages once makes the kernel walk all of them (5 to 10 ms for torch): done only
#: where it takes at most this share of the attempt's time.
_COST_SHARE = 0.002
_COST_S = 0.01
#: A tree has at most this many processes that are looked at.
_TREE = 256

_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class _Memory:
    """What a process tree holds."""

    #: Resident bytes now, pages shared within the tree in full for each.
    resident: int = 0
    #: What the processes held at most, each at its own time.
    peak: int = 0
    #: Resident bytes now, shared pages divided among those who share them; None: not measured.
    proportional: int | None = None


class Meter:
    """Measures one attempt."""

    def __init__(self) -> None:
        self._began = self._measured_at = time.monotonic()
        self._reports = 0
        self._reported_at: float | None = None
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._steps_since_first = 0
        #: Wall and CPU seconds at the first report, and those waited for a CPU: what comes before
        #: is no training.
        self._first: tuple[float, float, float | None] | None = None
        self._host_peak = 0
        self._counts_once = False
        self._gpus: dict[int, list[int]] = {}

    def reported(self, steps: int) -> Message | None:
        """Take note of a report.

        Args:
            steps: How many steps were done since the last one.

        Returns:
            The message to send, where it is time for one.
        """
        now = time.monotonic()
        if self._reported_at is not None:
            self._steps.append((now - self._reported_at) / steps)
            self._steps_since_first += steps
        self._reported_at = now
        self._reports += 1
        since = now - self._measured_at
        age, age_then = now - self._began, self._measured_at - self._began
        due = self._reports in _REPORTS or (since >= _LEAST_S and age >= _GROWTH * age_then)
        return self.measure() if due else None

    def measure(self) -> Message:
        """Measure now and return the message for the engine."""
        now = time.monotonic()
        tree = _tree()
        cpu_s, waited_s = _cpu_s(tree), _waited_s(tree)
        if self._first is None and self._reports:
            self._first = (now, cpu_s, waited_s)
        self._measure_host(tree, now)
        self._measure_gpus()
        self._measured_at = now
        message: Message = {"t": "usage"}
        if self._steps:
            message["step_s"] = statistics.median(self._steps)
        if self._first is not None and now - self._first[0] > 0 and self._reports > 1:
            began, before_s, waited_before_s = self._first
            assert self._reported_at is not None
            message["mean_step_s"] = (self._reported_at - began) / self._steps_since_first
            used_s = max(0.0, cpu_s - before_s)
            message["cores"] = used_s / (now - began)
            if waited_s is not None and waited_before_s is not None:
                wanted_s = used_s + max(0.0, waited_s - waited_before_s)
                message["wanted"] = wanted_s / (now - began)
        if self._host_peak:
            message["host"] = self._host_peak
            message["pss"] = self._counts_once
        if self._gpus:
            message["gpus"] = [[index, *peaks] for index, peaks in sorted(self._gpus.items())]
        return message

    def _measure_host(self, tree: list[int], now: float) -> None:
        affordable = _COST_SHARE * (now - self._began) >= _COST_S * len(tree)
        memory = _memory(tree, exact=affordable)
        if memory.proportional is not None:
            # What it shares with others now, it is taken to have shared at its peak as well.
            peak = memory.peak - (memory.resident - memory.proportional)
            self._host_peak = max(peak, self._host_peak if self._counts_once else 0)
            self._counts_once = True
        elif not self._counts_once:
            self._host_peak = max(self._host_peak, memory.peak)

    def _measure_gpus(self) -> None:
        for index, now in _gpu_peaks().items():
            known = self._gpus.setdefault(index, [0, 0])
            known[:] = [max(pair) for pair in zip(known, now, strict=True)]


def cap(device: str, memory_bytes: int | None) -> None:
    """Have torch take at most so much of a GPU; what it asks for beyond that fails in itself.

    Takes effect when CUDA is first used, which it does not bring about. CUDA's context and what
    libraries take past torch are not counted.

    Args:
        device: As torch calls it: ``cuda:0``; nothing is done for any other kind.
        memory_bytes: The most bytes; None: no cap.
    """
    torch = loaded("torch")
    if memory_bytes is None or torch is None or not device.startswith("cuda"):
        return
    index = int(device.partition(":")[2] or 0)

    def limit() -> None:
        total_bytes = torch.cuda.get_device_properties(index).total_memory
        fraction = min(1.0, max(0.0, memory_bytes / total_bytes))
        torch.cuda.set_per_process_memory_fraction(fraction, index)

    # Runs it now where CUDA is in use, else as a part of CUDA's initialisation.
    torch.cuda._lazy_call(limit)


def left() -> dict[str, int]:
    """Return what is left of the GPU's memory and of /dev/shm, as far as it can be known.

    Meant for a process that fails: CUDA may be in any state.
    """
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")
        found["shared_free"] = room.f_bavail * room.f_frsize
        found["shared_total"] = room.f_blocks * room.f_frsize
    torch = loaded("torch")
    with contextlib.suppress(Exception):  # after some errors CUDA answers nothing any more
        if torch is not None and torch.cuda.is_initialized():
            found["gpu_held"] = int(torch.cuda.memory_reserved())
            found["gpu_peak"] = int(torch.cuda.max_memory_reserved())
            free_bytes, total_bytes = torch.cuda.mem_get_info()
            found["gpu_free"], found["gpu_total"] = int(free_bytes), int(total_bytes)
    return found


def _gpu_peaks() -> dict[int, list[int]]:
    """Return the most that torch reserved and allocated, by GPU that it took anything of."""
    torch = loaded("torch")
    found: dict[int, list[int]] = {}
    with contextlib.suppress(Exception):  # the trial must not fail for being measured
        if torch is None or not torch.cuda.is_initialized():
            return found
        for index in range(torch.cuda.device_count()):
            reserved = int(torch.cuda.max_memory_reserved(index))
            if reserved:
                found[index] = [reserved, int(torch.cuda.max_memory_allocated(index))]
    return found


def _tree() -> list[int]:
    """Return the pids of this process and of its descendants."""
    own = os.getpid()
    found, place = [own], 0
    while place < len(found) < _TREE:
        pid = found[place]
        place += 1
        try:
            with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:  # noqa: PTH123 - 10 us less
                found.extend(map(int, file.read().split()))
        except OSError:
            continue  # it ended, or the kernel keeps no such list
    return found


def _cpu_s(tree: list[int]) -> float:
    """Return the CPU seconds of a tree, with those of ended members that were waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for pid in tree[1:]:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - 10 us less
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # ended: its parent waits for it
        total += sum(map(int, fields[11:15])) / _TICKS_PER_S
    return total


def _waited_s(tree: list[int]) -> float | None:
    """Return how long the threads of a tree could have run and had no CPU; None: not known.

    The second figure of ``schedstat`` (Documentation/scheduler/sched-stats.rst): what tells a
    process that is short of cores from one that has little to compute.
    """
    waited_ns, known = 0, False
    for pid in tree:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - half the time
                with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:  # noqa: PTH123
                    waited_ns += int(file.read().split()[1])
                known = True
        except (OSError, ValueError, IndexError):
            continue  # it ended, or the kernel keeps no such figures
    return waited_ns / 1e9 if known else None


def _memory(tree: list[int], *, exact: bool) -> _Memory:
    memory = _Memory(proportional=0 if exact else None)
    for pid in tree:
        fields = _fields(pid, "status", (b"VmRSS:", b"VmHWM:"))
        memory.resident += fields.get(b"VmRSS:", 0)
        memory.peak += fields.get(b"VmHWM:", 0)
        if memory.proportional is not None:
            share = _fields(pid, "smaps_rollup", (b"Pss:",)).get(b"Pss:")
            memory.proportional = None if share is None else memory.proportional + share
    return memory


def _fields(pid: int, file_name: str, names: tuple[bytes, ...]) -> dict[bytes, int]:
    """Return sizes in bytes from a file that gives them in kB; what is not there is left out."""
    found: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/{file_name}", "rb") as file:  # noqa: PTH123 - 10 us less
            for line in file:
                name, _, rest = line.partition(b"\t" if file_name == "status" else b" ")
                if name in names:
                    found[name] = int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return {}
    return found
