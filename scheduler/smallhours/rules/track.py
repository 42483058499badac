"""What a running trial's best value is, kept up with each report."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smallhours.core.rule import Curve
from smallhours.core.spec import Goal


@dataclass(slots=True)
class Track:
    """How far a trial is and what it had at its best."""

    step: int
    best: float
    #: Step of the latest gain by more than what counts as one.
    gained_at: int


class Tracks:
    """The running trials' best values, and when they last rose.

    Args:
        goal: Which values are better.
        min_delta: A gain of no more than this is none.
    """

    def __init__(self, goal: Goal, min_delta: float = 0.0) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._min_delta = min_delta
        self._tracks: dict[int, Track] = {}
        #: The value that a trial must gain on.
        self._marks: dict[int, float] = {}

    def __getitem__(self, trial: int) -> Track:
        return self._tracks[trial]

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take a report in.

        After a step back to a checkpoint the trial's earlier reports are gone over again: those of
        later steps will be superseded and do not count.
        """
        known = self._tracks.get(trial)
        if known is not None and known.step < step:
            self._take(trial, known, step, curve[step])
            return
        steps = sorted(at for at in curve if at <= step)
        first = steps[0]
        track = self._tracks[trial] = Track(first, curve[first], first)
        self._marks[trial] = curve[first]
        for at in steps[1:]:
            self._take(trial, track, at, curve[at])

    def drop(self, trial: int) -> None:
        """Forget a trial that is over."""
        self._tracks.pop(trial, None)
        self._marks.pop(trial, None)

    def _take(self, trial: int, track: Track, step: int, value: float) -> None:
        track.step = step
        if math.isnan(track.best) or self._goal.better(value, track.best):
            track.best = value
        mark = self._marks[trial]
        if math.isnan(mark) or self._sign * (value - mark) > self._min_delta:
            self._marks[trial], track.gained_at = value, step
