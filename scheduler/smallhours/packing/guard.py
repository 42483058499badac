"""Whether an admission paid: progress on a card before and after, against the noise of reports.

Steps are timed by epochs, between which the trials on the card change. A newcomer is judged once
each neighbour has been heard often enough beside it, or after a while.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from smallhours.packing.paces import Alone

#: Steps of each neighbour that are waited for, and how long at most.
REPORTS: Final = 3
LONGEST_S: Final = 120.0
#: It fell, or it did not, if that is sure by this many standard errors; where it is not, more steps
#: are waited for, but no more than `_MOST_REPORTS`.
_ERRORS: Final = 1.5
_MOST_REPORTS: Final = 10
#: Steps are taken to last at least this long: what came together was held up on its way.
_LEAST_GAP_S: Final = 1e-3
#: Steps are taken to scatter by at least this share: three of them may agree by chance.
_LEAST_SCATTER: Final = 0.03
#: What is taken for the scatter of fewer.
_SCATTER_UNKNOWN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps of one trial during one epoch."""

    mean_s: float
    #: Standard error of the mean, relative to it.
    error: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a newcomer did."""

    newcomer: str
    before: float
    after: float
    #: Of the difference.
    error: float

    @property
    def fell(self) -> bool:
        """Whether there is less progress than before, beyond what noise explains."""
        return self.after < self.before - _ERRORS * self.error

    @property
    def sure(self) -> bool:
        """Whether more steps would not change it."""
        return abs(self.after - self.before) > _ERRORS * self.error


@dataclass(slots=True)
class _Trial:
    gaps: list[float] = field(default_factory=list)
    #: Its last report of this epoch; None: none yet.
    heard_at: float | None = None


class Guard:
    """Watches one card."""

    def __init__(self) -> None:
        self._trials: dict[str, _Trial] = {}
        self._before: dict[str, Pace] = {}
        self._newcomer: str | None = None
        self._since = 0.0

    @property
    def waiting_for(self) -> str | None:
        """The newcomer that is not judged yet; None: there is none."""
        return self._newcomer

    def came(self, trial: str, at: float) -> None:
        """Take note of a trial's first word."""
        self._turn(at, trial)
        self._trials[trial] = _Trial()

    def went(self, trial: str, at: float) -> None:
        """Take note that a trial is off the card."""
        if self._trials.pop(trial, None) is not None:
            self._turn(at, None)

    def reported(self, trial: str, at: float) -> None:
        """Take note of a step's end."""
        known = self._trials[trial]
        if known.heard_at is not None:
            known.gaps.append(max(at - known.heard_at, _LEAST_GAP_S))
        known.heard_at = at

    @property
    def trials(self) -> list[str]:
        """The trials that have spoken, in the order in which they came."""
        return [*self._trials]

    def pace(self, trial: str, least: int = REPORTS) -> Pace | None:
        """Return how fast a trial goes since the card's trials changed; None: not heard enough."""
        known = self._trials.get(trial)
        return _pace(known.gaps) if known is not None and len(known.gaps) >= least else None

    def just_timed(self, trial: str) -> Pace | None:
        """Return how fast a trial goes when it has been heard just often enough to tell."""
        gaps = self._trials[trial].gaps
        return _pace(gaps) if len(gaps) == REPORTS else None

    def told(self, trial: str) -> bool:
        """Whether `just_timed` had an answer since the card's trials changed."""
        return len(self._trials[trial].gaps) >= REPORTS

    def judge(self, at: float, alone: Mapping[str, Alone]) -> Verdict | None:
        """Judge the newcomer; None: there is none, or it is too early, or nothing to compare.

        Args:
            at: Now.
            alone: How long a step takes each trial alone.
        """
        newcomer = self._newcomer
        if newcomer is None:
            return None
        compared = [name for name in self._trials if name in self._before]
        if not compared:
            self._newcomer = None
            return None
        heard = [len(self._trials[name].gaps) for name in [*compared, newcomer]]
        if min(heard) < REPORTS and at - self._since < LONGEST_S:
            return None
        compared = [name for name in compared if self._trials[name].gaps and name in alone]
        if not compared or not self._trials[newcomer].gaps or newcomer not in alone:
            self._newcomer = None
            return None
        verdict = self._verdict(newcomer, compared, alone)
        if not verdict.sure and min(heard) < _MOST_REPORTS and at - self._since < LONGEST_S:
            return None
        self._newcomer = None
        return verdict

    def _verdict(self, newcomer: str, compared: list[str], alone: Mapping[str, Alone]) -> Verdict:
        own = _pace(self._trials[newcomer].gaps)
        rate = alone[newcomer].step_s / own.mean_s
        before, after = 0.0, rate
        square = rate**2 * (own.error**2 + alone[newcomer].sd ** 2)
        for name in compared:
            then, now = self._before[name], _pace(self._trials[name].gaps)
            was, rate = alone[name].step_s / then.mean_s, alone[name].step_s / now.mean_s
            before += was
            after += rate
            square += was**2 * then.error**2 + rate**2 * now.error**2
        return Verdict(newcomer, before, after, math.sqrt(square))

    def _turn(self, at: float, newcomer: str | None) -> None:
        """Begin another epoch."""
        heard = {n: t.gaps for n, t in self._trials.items() if len(t.gaps) >= REPORTS}
        self._before = {name: _pace(gaps) for name, gaps in heard.items()}
        self._newcomer = newcomer if self._trials else None
        self._since = at
        for trial in self._trials.values():
            trial.gaps, trial.heard_at = [], None


def _pace(gaps: list[float]) -> Pace:
    mean = sum(gaps) / len(gaps)
    square = sum((gap / mean - 1.0) ** 2 for gap in gaps) / max(1, len(gaps) - 1)
    least = _LEAST_SCATTER if len(gaps) >= REPORTS else _SCATTER_UNKNOWN
    scatter = max(least, math.sqrt(square))
    return Pace(mean, scatter / math.sqrt(len(gaps)))
