"""How much of a card's compute a study's trials take: learned from how they slow each other down.

A trial is on the card for a share of its time (`busy`, which a probe measures) and in the way of
others there by its `weight`: 1 where kernels take turns, less where they run side by side (MPS)
and leave room, more where they also fight for memory bandwidth. Nobody can ask a card for weights:
they are fitted to how the steps of neighbours change when a trial comes or goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from smallhours.packing.beliefs import Belief, Beliefs
from smallhours.packing.paces import Alone

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
#: A trial must add at least so much to the progress of a card (a trial alone makes 1).
LEAST_GAIN: Final = 0.02
#: Steps differ from the model by this much (log), whatever is known: no model is right.
_MODEL_SD: Final = 0.08
_ROUNDS: Final = 6


class Doubt(NamedTuple):
    """By how much weights count as other than is likely."""

    #: Higher by so many of their errors; below 0: lower.
    errors: float = 0.0
    #: Whether only the part of the errors counts that more watching would take away.
    learnable: bool = False


LIKELY: Final = Doubt()
#: A newcomer is given the benefit of the doubt. What is gained if weights are lower lasts; what is
#: lost if not is noticed, and undone. Where nothing can be learned, nothing is hoped for: what does
#: not pay would be tried all night.
HOPED: Final = Doubt(-1.0, learnable=True)
#: A trial that is there is given more of it, or those on the brink would come and go.
SPARED: Final = Doubt(-1.0)
#: A newcomer is sure to pay where it does even so.
FEARED: Final = Doubt(1.0)


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


class Loads:
    """What is known of all studies."""

    def __init__(
        self,
        sharing: Sharing,
        known: Mapping[str, Load] | None = None,
        beliefs: Beliefs | None = None,
        weight: float | None = None,
    ) -> None:
        """Begin with what is known.

        Args:
            sharing: How the cards are shared.
            known: What earlier sessions learned.
            beliefs: Where the paces of the trials that run are; None: nowhere yet.
            weight: What a trial fills of the device that nobody measured; None: nothing says so.
        """
        self.sharing: Sharing = sharing
        usual, self._usual_sd = _WEIGHT[sharing]
        self._usual = math.log(usual if weight is None else weight)
        self._known = {study: replace(load) for study, load in (known or {}).items()}
        #: Logarithms of weights that were seen at work.
        self._weights: dict[str, Belief] = {}
        self._beliefs = Beliefs() if beliefs is None else beliefs
        for study, load in self._known.items():
            if load.log_weight is not None and load.sd is not None:
                self._weigh(study, load.log_weight, load.sd)

    @property
    def known(self) -> dict[str, Load]:
        """What outlives the session."""
        for study, weight in self._weights.items():
            load = self._known[study]
            load.log_weight, load.sd = weight.mean, weight.sd
        return {study: replace(load) for study, load in self._known.items()}

    def watched(self, study: str) -> bool:
        """Whether a trial of a study was watched."""
        return study in self._known

    def demand(self, study: str, doubt: Doubt = LIKELY) -> Demand:
        """Return what a study's trials ask for.

        Args:
            study: Whose.
            doubt: By how much its weight counts as other than is likely.
        """
        weight = self._weights.get(study)
        usual = self._usual, self._usual_sd
        mean, sd = usual if weight is None else (weight.mean, weight.sd)
        lasting = _LEAST_SD[self.sharing] if doubt.learnable else 0.0
        error = math.sqrt(max(0.0, sd**2 - lasting**2))
        return Demand(self._busy(study), math.exp(mean + doubt.errors * error))

    def probed(self, study: str, busy: float | None, weight: float | None = None) -> None:
        """Take in what was measured while a trial of the study was alone.

        Args:
            study: Whose.
            busy: Its busy share; None: nobody could measure it.
            weight: What it fills of the device meanwhile, where that can be measured (cores).
        """
        load = self._known.setdefault(study, Load())
        if busy is not None:
            load.busy = min(1.0, max(0.01, busy))
        if weight is not None:
            known = self._weight(study)
            known.mean, known.sd = math.log(min(_MOST, max(_LEAST, weight))), known.least_sd

    def learn(
        self, studies: Sequence[str], index: int, alone: Alone, log_s: float, error: float
    ) -> None:
        """Take in how long a trial's steps took beside others.

        What was not expected is put down to the weights of the studies on the card and to the
        trial's own pace, each by how little it is known. Slowdowns bend where the card is full, so
        they are looked at as far to both sides of each weight as its error goes.

        Args:
            studies: Of all trials on the card.
            index: The trial's place among them.
            alone: How long its steps take alone, as far as is known; it is corrected.
            log_s: Logarithm of the seconds that they took.
            error: Standard error of that.
        """
        if alone not in self._beliefs:
            self._beliefs.add(alone)
        slopes: dict[Belief, float] = {alone: 1.0}
        expected, variance = alone.mean, error**2
        if len(studies) > 1:
            demands = [self.demand(study) for study in studies]
            usual = math.log(slowdowns(demands)[index])
            expected += usual
            variance += _MODEL_SD**2
            # What is wanted of cores is measured: a step that takes longer says nothing of it.
            for study in dict.fromkeys(studies) if self.sharing != "cores" else ():
                weight = self._weight(study)
                low, high = (
                    self._log_slowdown(studies, demands, index, study, sign) for sign in (-1, 1)
                )
                bend = low + high - 2.0 * usual
                slopes[weight] = (high - low) / (2.0 * weight.sd)
                expected += bend / 2.0
                variance += bend**2 / 2.0
                self._known[study].seen += 1
        self._beliefs.learn(slopes, log_s - expected, variance)
        for study in dict.fromkeys(studies):
            if study in self._weights:
                weight = self._weights[study]
                weight.mean = min(math.log(_MOST), max(math.log(_LEAST), weight.mean))

    def _busy(self, study: str) -> float:
        load = self._known.get(study)
        return _BUSY_UNKNOWN if load is None or load.busy is None else load.busy

    def _weight(self, study: str) -> Belief:
        known = self._weights.get(study)
        if known is not None:
            return known
        self._known.setdefault(study, Load())
        return self._weigh(study, self._usual, self._usual_sd)

    def _weigh(self, study: str, mean: float, sd: float) -> Belief:
        weight = self._weights[study] = Belief(mean, sd, _LEAST_SD[self.sharing])
        self._beliefs.add(weight)
        return weight

    def _log_slowdown(
        self, studies: Sequence[str], demands: list[Demand], index: int, study: str, sign: int
    ) -> float:
        """Return a trial's log slowdown where a study's weight is one error from what is likely."""
        moved = self.demand(study, Doubt(sign))
        return math.log(
            slowdowns([moved if o == study else d for o, d in zip(studies, demands, strict=True)])[
                index
            ]
        )


def slowdowns(demands: Sequence[Demand]) -> list[float]:
    """Return by what factor each of the trials on a card is slower than alone.

    A trial meets each other one while that has, or waits for, the card, which it does for longer
    the slower it is: solved by iteration.
    """
    if len(demands) < 2:
        return [1.0] * len(demands)
    counts: dict[Demand, int] = {}
    for demand in demands:
        counts[demand] = counts.get(demand, 0) + 1
    present = [demand.compute for demand in counts]
    total = sum(there * count for there, count in zip(present, counts.values(), strict=True))
    found = [1.0] * len(counts)
    for _ in range(_ROUNDS):
        for i, ((busy, weight), count) in enumerate(counts.items()):
            others = total - present[i]
            stretch = max(1.0, min(1.0, weight) + others) * (1.0 + _SWITCH * others)
            waits = busy * stretch
            found[i] = 1.0 - busy + waits
            was, present[i] = present[i], weight * waits / found[i]
            total += count * (present[i] - was)
    of = dict(zip(counts, found, strict=True))
    return [of[demand] for demand in demands]
