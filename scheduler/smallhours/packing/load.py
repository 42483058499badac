"""How much of a card's compute a study's trials take: learned from how they slow each other down.

A trial is on the card for a share of its time (`busy`, which the probe measures) and gets in the way
of others there by its `weight`: 1 where kernels take turns, less where they run side by side (MPS)
and leave room, more where they also fight for memory bandwidth. Nobody can ask a card for weights:
they are fitted to how the steps of neighbours change when a trial comes or goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Sharing: TypeAlias = Literal["time_slicing", "mps"]

#: A trial whose busy share nobody could measure counts as this busy.
_BUSY_UNKNOWN: Final = 0.8
#: Changing turns costs about this share for each other trial that wants the card.
_SWITCH: Final = 0.03
#: What is believed of weights at first, and how many observations that is worth.
_WEIGHT: Final[Mapping[Sharing, tuple[float, float]]] = {
    "time_slicing": (1.0, 6.0),
    "mps": (0.6, 1.0),
}
_LEAST, _MOST = 0.03, 2.0
#: Later observations never count less than this: studies change their trials.
_LEAST_GAIN: Final = 0.1
_ROUNDS: Final = 6


class Demand(NamedTuple):
    """What a trial asks of a card's compute, as far as is known."""

    busy: float
    weight: float

    @property
    def compute(self) -> float:
        """Share of the card that it fills on average while it runs alone."""
        return self.busy * self.weight


@dataclass(slots=True)
class Load:
    """What is known of one study's trials under one kind of sharing; plain data."""

    #: None: nobody could measure it.
    busy: float | None = None
    weight: float | None = None
    #: How often the weight was seen at work.
    seen: int = 0


class Loads:
    """What is known of all studies."""

    def __init__(self, sharing: Sharing, known: Mapping[str, Load] | None = None) -> None:
        self.sharing: Sharing = sharing
        self.known: dict[str, Load] = dict(known or {})

    def demand(self, study: str) -> Demand:
        """Return what a study's trials ask for."""
        load = self.known.get(study) or Load()
        busy = _BUSY_UNKNOWN if load.busy is None else load.busy
        weight = _WEIGHT[self.sharing][0] if load.weight is None else load.weight
        return Demand(busy, weight)

    def probed(self, study: str, busy: float | None) -> None:
        """Take in a busy share that was measured while a trial of the study was alone."""
        load = self.known.setdefault(study, Load())
        if busy is not None:
            load.busy = min(1.0, max(0.01, busy))

    def learn(
        self, newcomer: str, neighbours: Sequence[str], slower: Sequence[float], others: Sequence[str]
    ) -> None:
        """Take in how much slower trials became when another came.

        Args:
            newcomer: The study of the one that came.
            neighbours: The studies of those whose steps were compared.
            slower: By what factor each takes longer than before.
            others: The studies of those that were on the card too, and not compared.
        """
        seen = sum(map(math.log, slower)) / len(slower)
        there = [*neighbours, *others]
        low, high = _LEAST, _MOST
        for _ in range(20):
            middle = math.sqrt(low * high)
            if self._expected(newcomer, middle, there, len(neighbours)) < seen:
                low = middle
            else:
                high = middle
        load = self.known.setdefault(newcomer, Load())
        before = self.demand(newcomer).weight
        load.seen += 1
        gain = max(_LEAST_GAIN, 1.0 / (_WEIGHT[self.sharing][1] + load.seen))
        load.weight = before * (low / before) ** gain

    def _expected(self, study: str, weight: float, there: Sequence[str], compared: int) -> float:
        """Return the mean log slowdown of the compared, if the newcomer's study weighed so much."""

        def demand(other: str) -> Demand:
            known = self.demand(other)
            return Demand(known.busy, weight) if other == study else known

        demands = [demand(other) for other in there]
        before = slowdowns(demands)
        after = slowdowns([*demands, demand(study)])
        logs = [math.log(after[i] / before[i]) for i in range(compared)]
        return sum(logs) / compared


def slowdowns(demands: Sequence[Demand]) -> list[float]:
    """Return by what factor each of the trials on a card is slower than alone.

    A trial meets each other one while that has, or waits for, the card, which it does for longer
    the slower it is: solved by iteration.
    """
    found = [1.0] * len(demands)
    if len(demands) < 2:
        return found
    present = [demand.compute for demand in demands]
    total = sum(present)
    for _ in range(_ROUNDS):
        for i, (busy, weight) in enumerate(demands):
            others = total - present[i]
            stretch = max(1.0, min(1.0, weight) + others) * (1.0 + _SWITCH * others)
            waits = busy * stretch
            found[i] = 1.0 - busy + waits
            present[i] = weight * waits / found[i]
            total = others + present[i]
    return found


def progress(demands: Sequence[Demand]) -> float:
    """Return the sum over trials of their rate as a share of their rate alone."""
    return sum(1.0 / slow for slow in slowdowns(demands))
