"""How many attempts may run at a time on the devices of this machine, and what they see of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from smallhours.devices import host
from smallhours.devices.base import CPU

#: Trials at a time on one GPU, at most; more than this many processes gain nothing by sharing one.
ON_A_GPU: Final = 16
#: Trials at a time for each core where the CPU is packed: those that wait for data most of the
#: time gain by more than one a core.
_ON_A_CORE: Final = 8
_ON_THE_CPU: Final = 32
#: Trials at a time on one GPU between which the cores are divided.
_USUAL_ON_A_GPU: Final = 4


@dataclass(frozen=True, slots=True)
class Places:
    """The places for attempts."""

    #: On the CPU.
    cpu: int
    #: As many of these are used as pay, by what trials are measured to need; else all.
    packed: bool
    #: How many GPUs there are.
    gpus: int = 0

    @classmethod
    def of_this_machine(cls, slots: int | None, gpus: int) -> Places:
        """Return the places for what the user wants and what there is.

        Args:
            slots: Trials at a time on the CPU; None: as many as pay.
            gpus: How many GPUs may be used.
        """
        if slots is not None:
            return cls(slots, packed=False, gpus=gpus)
        _, total_bytes = host.memory()
        by_memory = (total_bytes or 0) // host.SLOT_BYTES
        most = min(_ON_A_CORE * host.cores(), _ON_THE_CPU, max(1, by_memory))
        return cls(most, packed=True, gpus=gpus)

    @property
    def in_all(self) -> int:
        """How many attempts may run at a time."""
        return self.cpu + ON_A_GPU * self.gpus

    def threads(self, device: str) -> int:
        """Return how many threads an attempt on a device may use for its computations."""
        cores = host.cores()
        if device != CPU:
            return max(1, cores // (_USUAL_ON_A_GPU * max(1, self.gpus)))
        return 1 if self.packed else max(1, cores // self.cpu)

    def environment(self, device: str) -> dict[str, str]:
        """Return what an attempt on a device sees of the GPUs."""
        if device != CPU:
            return {"CUDA_VISIBLE_DEVICES": device}
        return {"CUDA_VISIBLE_DEVICES": ""} if self.gpus else {}
