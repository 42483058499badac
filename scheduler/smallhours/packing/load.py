"""How much of a card's compute a study's trials take: learned from how they slow each other down.

A trial is on the card for a share of its time (`busy`, which a probe measures) and in the way of
others there by its `weight`: 1 where kernels take turns, less where they run side by side (MPS)
and leave room, more where they also fight for memory bandwidth. Nobody can ask a card for weights:
they are fitted to how the steps of neighbours change when a trial comes or goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

Sharing: TypeAlias = Literal["time_slicing", "mps", "cores"]

#: A trial whose busy share nobody could measure counts as this busy.
_BUSY_UNKNOWN: Final = 0.8
#: Changing turns costs about this share for each other trial that wants the card.
_SWITCH: Final = 0.03
#: What is believed of weights at first: the weight, and the standard deviation of its logarithm.
_WEIGHT: Final[Mapping[Sharing, tuple[float, float]]] = {
    "time_slicing": (1.0, 0.1),
    "mps": (0.5, 0.7),
    "cores": (0.5, 0.1),
}
_LEAST, _MOST = 0.03, 2.0
#: Weights never count as better known than this (log): trials of a study differ, and so do the
#: errors of those that were watched together.
_LEAST_SD: Final[Mapping[Sharing, float]] = {
    "time_slicing": 0.03,
    "mps": 0.1,
    "cores": 0.02,
}
#: A newcomer is given the benefit of the doubt: weights count as lower by so many of their errors.
#: What is gained if they are lower lasts; what is lost if not is noticed, and undone.
_HOPE: Final = 1.0
#: Steps differ from the model by this much (log), whatever is known: no model is right.
_MODEL_SD: Final = 0.08
#: Change of a weight (log) by which it is found out what depends on it.
_NUDGE: Final = 0.05
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
    #: Logarithm of the weight and its standard deviation; None: nothing was seen.
    log_weight: float | None = None
    sd: float | None = None
    #: How often the weight was seen at work.
    seen: int = 0


@dataclass(slots=True)
class Alone:
    """How long a trial's step takes it alone: the logarithm of the seconds, and its error."""

    log_s: float
    sd: float

    @property
    def step_s(self) -> float:
        """Seconds a step."""
        return math.exp(self.log_s)


class Loads:
    """What is known of all studies."""

    def __init__(
        self,
        sharing: Sharing,
        known: Mapping[str, Load] | None = None,
        weight: float | None = None,
    ) -> None:
        """Begin with what is known.

        Args:
            sharing: How the device is shared.
            known: What was learned of studies.
            weight: What a trial fills of the device that nobody measured; None: nothing says so.
        """
        self.sharing: Sharing = sharing
        self.known: dict[str, Load] = dict(known or {})
        usual, self._usual_sd = _WEIGHT[sharing]
        self._usual = math.log(usual if weight is None else weight)

    def demand(self, study: str) -> Demand:
        """Return what a study's trials ask for."""
        load = self.known.get(study)
        busy = _BUSY_UNKNOWN if load is None or load.busy is None else load.busy
        return Demand(busy, math.exp(self._weight(study)[0]))

    def hoped(self, study: str) -> Demand:
        """Return what a study's trials ask for if it is as little as may well be."""
        log_weight, sd = self._weight(study)
        return Demand(self.demand(study).busy, math.exp(log_weight - _HOPE * sd))

    def probed(self, study: str, busy: float | None, weight: float | None = None) -> None:
        """Take in what was measured while a trial of the study was alone.

        Args:
            study: Whose.
            busy: Its busy share; None: nobody could measure it.
            weight: What it fills of the device meanwhile, where that can be measured (cores).
        """
        load = self.known.setdefault(study, Load())
        if busy is not None:
            load.busy = min(1.0, max(0.01, busy))
        if weight is not None:
            load.log_weight = math.log(min(_MOST, max(_LEAST, weight)))
            load.sd = _LEAST_SD[self.sharing]

    def learn(
        self, studies: Sequence[str], index: int, alone: Alone, log_s: float, error: float
    ) -> None:
        """Take in how long a trial's steps took beside others.

        What was not expected is put down to the weights of the studies on the card and to the
        trial's own pace, each by how little it is known (one step of an extended Kalman filter
        whose errors are taken for independent).

        Args:
            studies: Of all trials on the card.
            index: The trial's place among them.
            alone: How long its steps take alone, as far as is known; it is corrected.
            log_s: Logarithm of the seconds that they took.
            error: Standard error of that.
        """
        demands = [self.demand(study) for study in studies]
        slow = slowdowns(demands)[index]
        others = dict.fromkeys(studies) if len(studies) > 1 else {}
        slopes = {study: self._slope(studies, demands, index, study, slow) for study in others}
        unexpected = log_s - alone.log_s - math.log(slow)
        variance = alone.sd**2 + error**2 + (_MODEL_SD**2 if others else 0.0)
        variance += sum((slopes[study] * self._weight(study)[1]) ** 2 for study in others)
        for study, slope in slopes.items():
            mean, sd = self._weight(study)
            gain = slope * sd**2 / variance
            load = self.known.setdefault(study, Load())
            load.log_weight = min(math.log(_MOST), max(math.log(_LEAST), mean + gain * unexpected))
            load.sd = max(_LEAST_SD[self.sharing], sd * math.sqrt(max(0.0, 1.0 - gain * slope)))
            load.seen += 1
        gain = alone.sd**2 / variance
        alone.log_s += gain * unexpected
        alone.sd *= math.sqrt(max(0.0, 1.0 - gain))

    def _weight(self, study: str) -> tuple[float, float]:
        load = self.known.get(study)
        if load is None or load.log_weight is None or load.sd is None:
            return self._usual, self._usual_sd
        return load.log_weight, load.sd

    def _slope(
        self, studies: Sequence[str], demands: list[Demand], index: int, study: str, slow: float
    ) -> float:
        """Return by how much a trial's log slowdown rises with a study's log weight."""
        more = math.exp(_NUDGE)
        nudged = [
            demand._replace(weight=demand.weight * more) if other == study else demand
            for other, demand in zip(studies, demands, strict=True)
        ]
        return math.log(slowdowns(nudged)[index] / slow) / _NUDGE


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
