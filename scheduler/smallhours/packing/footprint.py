"""How much device memory a trial will take: an upper bound from its study's measured peaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from smallhours.packing.context import CONTEXT_BYTES
from smallhours.packing.regression import Params, ParamValue, Regression

#: How far out the bound lies, in standard deviations: about one trial in 4,000.
BOUND_SD: Final = 3.5
#: What is added to a measured peak: allocators keep a little more than they gave before.
GROWS: Final = 1.02
#: So far beyond the room a prediction must lie for a configuration to be refused.
_SURE_SD: Final = 0.52
#: Repeated measurements of one configuration differ by this share, until they say better.
_NOISE: Final = 0.05
_CERTAINTY: Final = 2.0
#: At least this share of a peak is taken to be what comes on top.
_LEAST_ON_TOP: Final = 0.1
#: First beliefs are off by about this much (log), until they were compared with peaks.
_BELIEF_SD: Final = 0.3
_BELIEF_CERTAINTY: Final = 5.0
#: A miss widens all margins of the study by this, up to so much; each hit takes back a share of it.
_WIDER: Final = 1.5
_WIDEST: Final = 3.0
_RECOVERS: Final = 0.9
#: Host processes are told apart by sizes of this order: much below it, how many share a library
#: (`Pss`), or whether that was asked, makes more of a difference than any parameter.
HOST_GRAIN_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Bound:
    """What a trial is predicted to take."""

    #: As likely more as less.
    expected_bytes: int
    upper_bytes: int
    #: As unlikely less as more than `upper_bytes`.
    lower_bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A trial's peak and what had been predicted; plain data, kept with the study."""

    params: dict[str, ParamValue]
    peak_bytes: int
    #: None: nothing had been predicted.
    expected_bytes: int | None = None
    upper_bytes: int | None = None
    #: What its owner believed; None: nothing.
    believed_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good the predictions of a study were."""

    predicted: int
    #: Peaks above their upper bounds.
    missed: int
    #: Median of peak / expected; None: nothing was predicted.
    bias: float | None
    #: Mean of peak / upper bound; None: nothing was predicted.
    tightness: float | None


@dataclass(slots=True)
class Footprint:
    """The memory model of one study; made again from what was `measured`."""

    measured: list[Measured] = field(default_factory=list)
    #: What any process takes, whatever its configuration; negative: sizes well below are alike.
    context_bytes: int = CONTEXT_BYTES
    _model: Regression = field(init=False)
    _off: list[float] = field(init=False)
    _wider: float = field(init=False)

    def __post_init__(self) -> None:
        earlier, self.measured = self.measured, []
        self._model, self._off, self._wider = Regression(_NOISE, _CERTAINTY), [], 1.0
        for one in earlier:
            self._take(one)

    def bound(self, params: Params, believed_bytes: int | None = None) -> Bound | None:
        """Return what a configuration is predicted to take; None: nothing was measured yet.

        Args:
            params: The configuration.
            believed_bytes: What somebody believes of it; None: nobody does.
        """
        predicted = self._model.predict(params)
        if predicted is None:
            return None
        mean, far = predicted.mean, predicted.above(BOUND_SD) - predicted.mean
        if believed_bytes is not None:
            mean, far = self._with_belief(mean, far, self._on_top(believed_bytes))
        far *= self._wider
        seen = [m.peak_bytes for m in self.measured if m.params == params]
        upper = max(self._bytes(mean + far), *seen, 0)
        return Bound(self._bytes(mean), upper, self._bytes(mean - far))

    def beyond(self, params: Params, room_bytes: int) -> int | None:
        """Return what a configuration is expected to need where that is beyond the room.

        None: it may well fit, or nothing is known.

        What is refused is never measured, and what is tried in vain costs an attempt: it is tried
        unless it is too large by `_SURE_SD` standard deviations (odds of about 7 to 3).
        """
        predicted = self._model.predict(params)
        if predicted is None:
            return None
        far = _SURE_SD * predicted.scale * self._wider
        if self._bytes(predicted.mean - far) * GROWS <= room_bytes:
            return None
        return int(self._bytes(predicted.mean) * GROWS)

    def measure(
        self,
        params: Params,
        peak_bytes: int,
        predicted: Bound | None = None,
        believed_bytes: int | None = None,
    ) -> None:
        """Take in a trial's measured peak, beside what was predicted when it was started."""
        expected = None if predicted is None else predicted.expected_bytes
        upper = None if predicted is None else predicted.upper_bytes
        self._take(Measured(dict(params), peak_bytes, expected, upper, believed_bytes))

    @property
    def largest_bytes(self) -> int | None:
        """The largest peak that was seen; None: none was."""
        return max((one.peak_bytes for one in self.measured), default=None)

    @property
    def calibration(self) -> Calibration:
        """How predictions compare with what was measured."""
        pairs = [
            (one.peak_bytes / one.expected_bytes, one.peak_bytes / one.upper_bytes)
            for one in self.measured
            if one.expected_bytes and one.upper_bytes
        ]
        if not pairs:
            return Calibration(0, 0, None, None)
        bias = sorted(ratio for ratio, _ in pairs)[len(pairs) // 2]
        missed = sum(ratio > 1.0 for _, ratio in pairs)
        return Calibration(len(pairs), missed, bias, sum(r for _, r in pairs) / len(pairs))

    def _take(self, one: Measured) -> None:
        missed = self._misses(one)
        self.measured.append(one)
        self._model.observe(one.params, self._on_top(one.peak_bytes))
        if one.believed_bytes is not None:
            off = self._on_top(one.peak_bytes) - self._on_top(one.believed_bytes)
            self._off.append(off)
        if one.upper_bytes is None:
            return
        if missed:
            self._wider = min(_WIDEST, self._wider * _WIDER)
        else:
            self._wider = 1.0 + (self._wider - 1.0) * _RECOVERS

    def _misses(self, one: Measured) -> bool:
        """Whether a peak is above its bound, and above what is promised since then, too.

        Trials that were started together miss together: that is one miss, not as many.
        """
        if one.upper_bytes is None or one.peak_bytes <= one.upper_bytes:
            return False
        now = self.bound(one.params, one.believed_bytes)
        return now is None or one.peak_bytes > now.upper_bytes

    def _on_top(self, peak_bytes: int) -> float:
        """Return the logarithm of what a peak has on top of the context."""
        return math.log(max(peak_bytes - self.context_bytes, _LEAST_ON_TOP * peak_bytes))

    def _bytes(self, on_top: float) -> int:
        more = math.exp(min(on_top, 60.0))
        return max(1, math.ceil(min(more + self.context_bytes, more / _LEAST_ON_TOP)))

    def _with_belief(self, mean: float, far: float, believed: float) -> tuple[float, float]:
        """Weigh a belief in, by how far beliefs were off before."""
        bias, sd = _off_by(self._off)
        model, belief = far**-2, (sd * BOUND_SD) ** -2
        weighed = (mean * model + (believed + bias) * belief) / (model + belief)
        return weighed, (model + belief) ** -0.5


def _off_by(off: Sequence[float]) -> tuple[float, float]:
    """Return by how much beliefs are too low on average (log), and how far they scatter."""
    bias = sum(off) / (len(off) + 1.0)
    square = _BELIEF_CERTAINTY * _BELIEF_SD**2 + sum((one - bias) ** 2 for one in off)
    sd = math.sqrt(square / (_BELIEF_CERTAINTY + len(off)))
    return bias, sd * math.sqrt(1.0 + 1.0 / (len(off) + 1.0))
