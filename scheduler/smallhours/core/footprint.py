"""What a trial was measured to need."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from smallhours.core.spec import DeviceKind
from smallhours.packing.context import CONTEXT_BYTES


class GpuPeak(msgspec.Struct, frozen=True, array_like=True):
    """The most that torch's allocator held of one GPU, as its process numbers it."""

    index: int
    #: Taken from the driver: what no neighbour could have.
    reserved_bytes: int
    #: Held by tensors.
    allocated_bytes: int


class Rested(NamedTuple):
    """What a process asks for where it never waits for a core."""

    #: CPU seconds per second of wall time.
    cores: float
    #: Seconds a step, on average.
    step_s: float


class OnCores(NamedTuple):
    """What a process asks of a machine's cores."""

    #: Share of the time that it computes.
    busy: float
    #: Share of the cores that it fills meanwhile.
    weight: float
    #: Seconds that a step takes it alone; None: its waits aren't known.
    step_s: float | None


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a trial's process tree was measured to need; None: not measured."""

    #: Seconds a step takes: the median of the latest.
    step_s: float | None = None
    #: Seconds a step took on average since the attempt's first report, as `cores` counts.
    mean_step_s: float | None = None
    #: CPU seconds of the tree per second of wall time, from its first report on.
    cores: float | None = None
    #: With the time in which it could have run and was given no core.
    wanted_cores: float | None = None
    #: The most host memory that the tree held.
    host_bytes: int | None = None
    #: ``pss``: shared pages are divided among those who share them, so each counts once; ``rss``:
    #: they count in full for every process, which errs on the safe side (a forked process shares
    #: the libraries with its zygote).
    host_source: Literal["pss", "rss"] = "rss"
    #: Per GPU that its process has used through torch; empty: none.
    gpus: tuple[GpuPeak, ...] = ()
    #: What its process holds of a GPU beside torch's allocator (CUDA's context, libraries).
    context_bytes: int | None = None
    #: Where that comes from: what the driver says of the process, or what the whole card gained
    #: while nothing else was on it.
    gpu_source: Literal["processes", "card delta"] | None = None

    @property
    def gpu_bytes(self) -> int | None:
        """The most that torch reserved on one GPU; None: it used none."""
        return max((gpu.reserved_bytes for gpu in self.gpus), default=None)

    def held_bytes(self, kind: DeviceKind) -> int | None:
        """Return the most that it was measured to hold of its device; None: not measured.

        On a GPU that is what torch reserved and what its process holds beside that; where the
        latter is not known, what a context usually takes.
        """
        if kind == "cpu":
            return self.host_bytes
        torch, context = self.gpu_bytes, self.context_bytes
        if context is not None:
            return (torch or 0) + context
        return None if torch is None else torch + CONTEXT_BYTES

    def rested(self, cores: float) -> Rested | None:
        """Return what it would have shown with all cores for itself; None: its waits aren't known.

        While a thread waits for a core, nothing else of a step goes on: a step alone is shorter by
        that. Where several threads compute at a time, each waits: their mean counts.

        Args:
            cores: How many there are.
        """
        used, wanted, step_s = self.cores, self.wanted_cores, self.mean_step_s
        if not used or wanted is None or not step_s:
            return None
        lost = max(0.0, wanted - used) / max(1.0, wanted)
        alone = min(cores, used / max(1.0 - lost, 0.01))
        return Rested(cores=alone, step_s=step_s * used / alone)

    def on_cores(self, cores: float) -> OnCores | None:
        """Return what it asks of so many cores; None: nothing is known.

        Where its waits aren't known, it is taken to have had none.
        """
        rested = self.rested(cores)
        asks = (self.wanted_cores or self.cores) if rested is None else rested.cores
        if not asks:
            return None
        step_s = None if rested is None else rested.step_s
        return OnCores(min(1.0, asks), min(1.0, max(1.0, asks) / cores), step_s)

    def after(self, before: Footprint | None) -> Footprint:
        """Return what is known when this was measured after `before`: paces renewed, peaks kept."""
        if before is None:
            return self
        peaks = {gpu.index: gpu for gpu in before.gpus}
        for gpu in self.gpus:
            old = peaks.get(gpu.index, gpu)
            peaks[gpu.index] = GpuPeak(
                gpu.index,
                max(gpu.reserved_bytes, old.reserved_bytes),
                max(gpu.allocated_bytes, old.allocated_bytes),
            )
        mine, its = self.host_bytes, before.host_bytes
        # A finer measure replaces a coarser one, whichever is more.
        if mine is None or (its is not None and self.host_source == before.host_source):
            host, source = (mine if its is None else max(its, mine or 0)), before.host_source
        elif its is None or self.host_source == "pss":
            host, source = mine, self.host_source
        else:
            host, source = its, before.host_source
        return Footprint(
            step_s=before.step_s if self.step_s is None else self.step_s,
            mean_step_s=before.mean_step_s if self.mean_step_s is None else self.mean_step_s,
            cores=before.cores if self.cores is None else self.cores,
            wanted_cores=before.wanted_cores if self.wanted_cores is None else self.wanted_cores,
            host_bytes=host,
            host_source=source,
            gpus=tuple(peaks[index] for index in sorted(peaks)),
            context_bytes=(
                before.context_bytes if self.context_bytes is None else self.context_bytes
            ),
            gpu_source=self.gpu_source or before.gpu_source,
        )


class Prediction(msgspec.Struct, frozen=True, array_like=True):
    """What a trial was predicted to take of its device's memory."""

    expected_bytes: int
    #: It was promised so much.
    upper_bytes: int
