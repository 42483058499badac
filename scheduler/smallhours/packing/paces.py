"""How long a step takes trials alone: a curve for each study, and what is each trial's own.

Most trials are only ever timed beside others. What they teach of the curve, of their own pace and
of the weight of their neighbours is therefore learned together (`beliefs.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from smallhours.packing.beliefs import Belief, Beliefs
from smallhours.packing.regression import CHOICE, FRACTION, WHOLE, Column, Params

#: Error (log) of the pace of a study's first trial, before it is timed.
_UNKNOWN_SD: Final = 3.0
#: Steps of one configuration differ by this share from trial to trial, until they say better.
_NOISE: Final = 0.1
#: How many trials this belief is worth.
_CERTAINTY: Final = 4.0


class Alone(Belief):
    """How long a trial's step takes it alone: the logarithm of the seconds, and its error."""

    @property
    def step_s(self) -> float:
        """Seconds a step."""
        return math.exp(self.mean)


@dataclass(slots=True)
class Curve:
    """What is known of one study's paces; plain data."""

    #: What the level changes with.
    columns: list[Column] = field(default_factory=list)
    #: Of the level, then of each column.
    means: list[float] = field(default_factory=list)
    covariance: list[list[float]] = field(default_factory=list)
    #: How far trials were off the curve: the sum of squares, and of how many.
    off_square: float = 0.0
    trials: int = 0

    @property
    def noise(self) -> float:
        """How far trials are off the curve (log)."""
        square = _CERTAINTY * _NOISE**2 + self.off_square
        return math.sqrt(square / (_CERTAINTY + self.trials))

    def parts(self, params: Params) -> list[float]:
        """Return how much the level, and each column, have to do with a configuration."""
        return [1.0, *(column.of(params) for column in self.columns)]


class Paces:
    """The curves of all studies, and the paces of the trials that run."""

    def __init__(self, beliefs: Beliefs, known: Mapping[str, Curve]) -> None:
        self._beliefs = beliefs
        self._curves: dict[str, Curve] = {}
        #: By study: the level, and the slope of each column.
        self._slopes: dict[str, list[Belief]] = {}
        self._running: dict[Alone, tuple[str, list[float]]] = {}
        for study, curve in known.items():
            self._curves[study] = Curve(
                [*curve.columns], off_square=curve.off_square, trials=curve.trials
            )
            self._slopes[study] = beliefs.restore(curve.means, curve.covariance)

    @property
    def learned(self) -> dict[str, Curve]:
        """The curves as they are now."""
        return {
            study: Curve(
                [*curve.columns],
                [slope.mean for slope in self._slopes[study]],
                self._beliefs.covariance(self._slopes[study]),
                curve.off_square,
                curve.trials,
            )
            for study, curve in self._curves.items()
        }

    def expected(self, study: str, params: Params) -> float | None:
        """Return the logarithm of a step's seconds alone; None: nothing is known of the study."""
        curve = self._curves.get(study)
        if curve is None:
            return None
        parts = zip(self._slopes[study], curve.parts(params), strict=True)
        return sum(slope.mean * part for slope, part in parts)

    def begin(self, study: str, params: Params, log_s: float) -> Alone:
        """Return what is believed of a trial's pace before it is timed.

        Args:
            study: Whose.
            params: Its configuration.
            log_s: Logarithm of its first steps' seconds: all that is known of a study's first.
        """
        if study not in self._curves:
            self._curves[study] = Curve()
            level = Belief(log_s, _UNKNOWN_SD)
            self._slopes[study] = [level]
            self._beliefs.add(level)
        curve, slopes = self._curves[study], self._slopes[study]
        for column in _new_columns(curve, params):
            curve.columns.append(column)
            slopes.append(Belief(column.mean, column.sd))
            self._beliefs.add(slopes[-1])
        parts = curve.parts(params)
        alone = Alone(0.0, curve.noise)
        self._beliefs.add(alone, dict(zip(slopes, parts, strict=True)))
        self._running[alone] = study, parts
        return alone

    def recall(self, study: str, params: Params, log_s: float) -> None:
        """Take in how long a step took a trial of an earlier session alone."""
        alone = self.begin(study, params, log_s)
        self._beliefs.learn({alone: 1.0}, log_s - alone.mean, _NOISE**2)
        self.end(alone)

    def end(self, alone: Alone) -> None:
        """Let go of the pace of a trial that is off its card; its study's curve keeps it."""
        study, parts = self._running.pop(alone)
        curve = self._curves[study]
        if alone.sd < curve.noise:
            slopes = self._slopes[study]
            on = sum(slope.mean * part for slope, part in zip(slopes, parts, strict=False))
            curve.off_square += (alone.mean - on) ** 2
            curve.trials += 1
        self._beliefs.drop(alone)


def _new_columns(curve: Curve, params: Params) -> list[Column]:
    known = {(column.name, column.choice) for column in curve.columns}
    found = []
    for name, value in params.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number:
            if (name, value) not in known and value is not None:
                found.append(Column(name, False, 0.0, value, *CHOICE))
            continue
        assert isinstance(value, int | float)
        if (name, None) in known or not math.isfinite(value):
            continue
        log = value > 0
        prior = WHOLE if isinstance(value, int) and log else FRACTION
        found.append(Column(name, log, float(value), None, *prior))
    return found
