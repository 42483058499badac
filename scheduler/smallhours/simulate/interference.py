"""How fast trials go that share a card: the model that `simulate` runs cards on.

A trial alone keeps the card busy for a share of each step; the rest is spent on the host. While it
is busy its kernels fill a share of the card's compute.

*Time slicing* (no MPS): kernels of different processes take turns, so a step that wants the card
waits for those that have it or wait themselves. That is a closed queueing network with one server;
it is solved by Schweitzer's approximation ("Approximate analysis of multiclass closed networks of
queues", 1979). Each change of turns costs a little. Calibrated to: 1.5 to 1.7 times the throughput
of one on small networks; 0.93 for four saturating trials a card (ray#4541: 16 trials at a quarter
of a GPU took 300 s where four at a whole one took 70 s).

*MPS*: kernels of different processes run side by side until the card's compute is full, and slow
each other down from there on. Kernels that live on memory bandwidth slow each other down further.
Calibrated to: 3.6 times on small networks, 1.0 to 1.2 times on saturating ones, 0.7 where these
contend for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Sharing: TypeAlias = Literal["time_slicing", "mps"]

#: The approximation is within 0.1 % of its fixed point after so many rounds.
_ROUNDS: Final = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What a trial asks of a card of speed 1 while it runs there alone."""

    #: Share of a step during which its kernels are on the card, above 0 up to 1.
    busy: float
    #: Share of the card's compute that these fill meanwhile, above 0 up to 1.
    compute: float = 1.0
    #: How much of it lives on memory bandwidth, 0 to 1; only matters under MPS.
    memory_bound: float = 0.0


@dataclass(frozen=True, slots=True)
class Interference:
    """What sharing costs."""

    sharing: Sharing = "time_slicing"
    #: Time slicing: what taking turns with one other process adds to a kernel's time, as a share.
    switch: float = 0.025
    #: MPS: what kernels that live on memory bandwidth add where the card is asked for twice what
    #: it has, as a share.
    contention: float = 0.43


def rates(loads: Sequence[Load], how: Interference) -> list[float]:
    """Return how fast each of the trials on a card goes, as a share of its speed alone."""
    if len(loads) == 1:
        return [1.0]
    mps = how.sharing == "mps"
    fill = [load.compute if mps else 1.0 for load in loads]
    #: Share of the time during which each has, or waits for, the card, times what it fills.
    present = [load.busy * part for load, part in zip(loads, fill, strict=True)]
    total = sum(present)
    found = [1.0] * len(loads)
    for _ in range(_ROUNDS):
        for i, load in enumerate(loads):
            others = total - present[i]
            if mps:
                over = max(0.0, load.compute + others - 1.0)
                stretch = 1.0 + over
                stretch *= 1.0 + how.contention * load.memory_bound * min(1.0, over)
            else:
                stretch = (1.0 + others) * (1.0 + how.switch * others)
            busy = load.busy * stretch
            step = 1.0 - load.busy + busy
            found[i] = 1.0 / step
            present[i] = busy / step * fill[i]
            total = others + present[i]
    return found
