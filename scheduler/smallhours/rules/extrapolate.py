"""Optimistic extrapolation: a trial that can't catch up even if all goes well is stopped."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from itertools import islice
from typing import ClassVar, NamedTuple

from smallhours.core.noise import LEAST_REPORTS, Noise, bend_squared, scatter_of
from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal

#: Competitors that a verdict names beside the leader: the last ones that may not be stopped.
_NAMED = 5
#: Averages are over the latest of so many parts of what a trial reported.
_PARTS = 4
#: Nothing is stopped in this share of a trial, however many steps that is.
_WARMUP_SHARE = 0.05
#: From this share of its way on, a running trial may be the one that others must catch up with.
_LEADER_SHARE = 0.2
#: A running leader counts for what it has less so many times its own scatter.
_LEADER_SCATTER = 4.0
#: What a forecast grants a trial for its own scatter at full caution, were all of its way to come.
_GRANTED_SCATTER = 14.0
#: A level so many times the scatter below the best one it had is a fall.
_FALL = 3.0
#: What a forecast grants a fallen trial for its own scatter, wherever it is.
_GRANTED_FALLEN = 2.0
#: A rise slows down where it is less than this share of the one a window before.
_SLOWER = 0.95
#: The best share of those that came to a step are never stopped there.
_SAFE_SHARE = 0.35


class ExtrapolateRule:
    """Stop a trial whose optimistic forecast stays behind what the best one has already.

    All is in terms of merit (the metric, or minus it), so that higher is better. A trial's level is
    the average of the latest quarter of its reports, its scatter `s` the standard deviation about
    its trend (see `noise`) in the latter half of them. At step `t` of `T`, with windows of `w`
    steps,

        forecast = now + max(1, caution) * rise * log(T / t) + 14 * caution * s * (1 - t / T)

    where `now` is the higher of its level and its latest value, and `rise` what it gains while
    the time grows e-fold: the higher of its level less that of a window before, times
    `(t - w) / w`, and its level less that at half the time, over `log 2`. A curve that goes on to
    rise with the logarithm of time does better than power laws and exponentials do. The last
    term grants what an annealed learning rate may yet bring: a trial that jitters on a plateau
    rises well above its jitter once the rate drops, by less the less of its way is left. A trial
    that has fallen from a level well above, as those that overfit do, is granted
    `2 * caution * s`.

    The leader is the trial that has most: a completed one its last value, a running one that is at
    least as far the lower edge of its jitter. A trial is stopped where all of these hold:

    * its forecast is behind what the leader has, by more than the study's noise;
    * now, too, it is behind what the leader had at the same share of its own way (with a caution
      below 1: behind a point that much nearer to what the leader has in the end);
    * it is not among the best 35 % of all trials that came to this step;
    * its rise slows down, or is within its scatter: one that does not slow down has no bound.

    Nothing is stopped up to step `warmup`, nor in the first 5 % of the steps. Where a trial's best
    value is its score (`best_counts`), that is what the leader has, and the least of a forecast.
    NaN and infinity count nowhere: the divergence guard ends such a trial.

    After T. Domhan et al., "Speeding up Automatic Hyperparameter Optimization of Deep Neural
    Networks by Extrapolation of Learning Curves", IJCAI 2015, with an upper envelope in the place
    of fitted curves, and O. Bohdal et al., "PASHA: Efficient HPO and NAS with Progressive Resource
    Allocation", ICLR 2023, for what ranks are worth within the noise.
    """

    name = "extrapolate"
    version = 3
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self,
        goal: Goal,
        steps: int,
        caution: float = 1.0,
        warmup: float = 6,
        *,
        best_counts: bool = False,
    ) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._steps = steps
        self._caution = caution
        self._warmup = max(int(warmup), int(steps * _WARMUP_SHARE))
        self._best_counts = best_counts
        self._noise = Noise()
        self._running: dict[int, _Run] = {}
        #: The completed trial that has most.
        self._completed: _Leader | None = None
        #: For each step the levels of all trials that came there: (level, trial), worst first.
        self._field: dict[int, list[tuple[float, int]]] = {}

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take a report into the trial's levels and into those of the step, and judge it."""
        if math.isfinite(curve[step]):
            self._take(trial, step, curve)
            self._running[trial].cut = self._judge(trial, step)

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | None:
        """Return the verdict on the trial's latest report."""
        run = self._running.get(trial)
        return run.cut if run is not None and run.steps[-1] == step else None

    def observe_noise(self, sd: float) -> None:
        """Let no difference up to this stop anything from now on."""
        self._noise.observe(sd)

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Let a completed trial be the leader if it has most; its levels go on counting."""
        run = self._running.pop(trial, None)
        if run is None or not completed:
            return
        self._noise.add(run.values)
        has = run.best if self._best_counts else run.values[-1]
        if self._completed is None or has > self._completed.has:
            self._completed = _Leader(trial, has, run, run.steps[-1])

    def _take(self, trial: int, step: int, curve: Curve) -> None:
        run = self._running.get(trial)
        if run is not None and run.steps[-1] < step:
            run.add(step, self._sign * curve[step])
            self._enter(trial, step, run.levels[-1])
            return
        # Its first report, or it went back to a checkpoint: values of later steps will be
        # superseded and do not count.
        if run is not None:
            for at, level in zip(run.steps, run.levels, strict=True):
                field = self._field[at]
                del field[bisect_left(field, (level, trial))]
        run = self._running[trial] = _Run()
        for at in sorted(at for at, value in curve.items() if at <= step and math.isfinite(value)):
            run.add(at, self._sign * curve[at])
            self._enter(trial, at, run.levels[-1])

    def _judge(self, trial: int, step: int) -> RuleCut | None:
        """Compare what the trial may still come to with what the leader has."""
        run = self._running[trial]
        if step <= self._warmup or len(run.values) <= LEAST_REPORTS:
            return None
        leader = self._leader(trial, step)
        if leader is None:
            return None
        outlook = self._outlook(run, step)
        noise = self._noise.level if self._completed else outlook.scatter
        # Written so that a forecast that is no number stops nothing.
        if not outlook.forecast < leader.has - noise or outlook.steady:
            return None
        abreast = leader.run.level_at(step / self._steps * leader.length)
        abreast += max(0.0, 1 - self._caution) * (leader.has - abreast)
        if outlook.now >= abreast:
            return None
        field = self._field[step]
        rank = len(field) - bisect_left(field, (run.levels[-1], trial))
        if rank <= max(1.0, _SAFE_SHARE * len(field)):
            return None
        return self._cut(trial, step, leader, outlook, noise=noise, abreast=abreast, rank=rank)

    def _enter(self, trial: int, step: int, level: float) -> None:
        insort(self._field.setdefault(step, []), (level, trial))

    def _leader(self, trial: int, step: int) -> _Leader | None:
        """Return who has most of the completed trials and of those that run ahead of this one."""
        leader = self._completed
        least = max(step, self._steps * _LEADER_SHARE)
        for number, run in self._running.items():
            if number == trial or run.steps[-1] < least or len(run.values) <= LEAST_REPORTS:
                continue
            sure = min(run.levels[-1], run.values[-1]) - _LEADER_SCATTER * run.scatter
            has = max(sure, run.best) if self._best_counts else sure
            if math.isfinite(has) and (leader is None or has > leader.has):
                leader = _Leader(number, has, run, self._steps)
        return leader

    def _outlook(self, run: _Run, step: int) -> _Outlook:
        """Return what a trial may still come to."""
        count = len(run.values)
        window = max(1, count // _PARTS)
        level = run.levels[-1]
        before = sum(run.values[-2 * window : -window]) / window
        long_before = sum(run.values[-3 * window : -2 * window]) / window
        latest_rise = level - before
        by_window = latest_rise * (count - window) / window
        by_half = (level - run.level_at(step / 2)) / math.log(2)
        rise = max(0.0, by_window, by_half)
        scatter = run.scatter
        now = max(level, run.best if self._best_counts else run.values[-1])
        fallen = run.best_level - level > _FALL * scatter
        to_come = _GRANTED_SCATTER * (1 - step / self._steps)
        granted = self._caution * scatter * (_GRANTED_FALLEN if fallen else to_come)
        steady = latest_rise > max(0.0, _SLOWER * (before - long_before), scatter)
        return _Outlook(
            now=now,
            forecast=now + max(1.0, self._caution) * rise * math.log(self._steps / step) + granted,
            rise=rise,
            scatter=scatter,
            steady=steady,
        )

    def _cut(
        self,
        trial: int,
        step: int,
        leader: _Leader,
        outlook: _Outlook,
        *,
        noise: float,
        abreast: float,
        rank: int,
    ) -> RuleCut:
        field = self._field[step]
        safe = len(field) - int(max(1.0, _SAFE_SHARE * len(field)))
        nearest = islice(reversed(field), max(0, len(field) - safe - _NAMED), len(field) - safe)
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={"caution": self._caution, "warmup": self._warmup},
            step=step,
            value=self._sign * outlook.forecast,
            threshold=self._sign * leader.has,
            goal=self._goal.value,
            compared=1,
            competitors=(
                (leader.trial, self._sign * leader.has),
                *((number, self._sign * level) for level, number in nearest),
            ),
            noise=noise,
            rank=rank,
            of=len(field),
            measures={
                "now": self._sign * outlook.now,
                "leader then": self._sign * abreast,
                "rise": outlook.rise,
                "scatter": outlook.scatter,
            },
        )


class _Leader(NamedTuple):
    """The trial that others must catch up with."""

    trial: int
    #: What it has for sure.
    has: float
    run: _Run
    #: Steps of its whole way.
    length: int


class _Outlook(NamedTuple):
    """What a trial may still come to."""

    now: float
    forecast: float
    #: Gain while the time grows e-fold.
    rise: float
    scatter: float
    #: Whether it rises without slowing down.
    steady: bool


class _Run:
    """A trial's merits, and what follows from them."""

    __slots__ = ("_bends", "best", "best_level", "cut", "levels", "steps", "values")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        #: At each report the average of the latest quarter.
        self.levels: list[float] = []
        #: The verdict on the latest report.
        self.cut: RuleCut | None = None
        self.best = -math.inf
        self.best_level = -math.inf
        #: Squared second differences.
        self._bends: list[float] = []

    def add(self, step: int, merit: float) -> None:
        """Take a report."""
        values = self.values
        self.steps.append(step)
        values.append(merit)
        if len(values) > 2:
            self._bends.append(bend_squared(*values[-3:]))
        self.best = max(self.best, merit)
        window = max(1, len(values) // _PARTS)
        level = sum(values[-window:]) / window
        if not math.isfinite(level):  # the sum is beyond a float, the average can't be
            level = sum(value / window for value in values[-window:])
        self.levels.append(level)
        self.best_level = max(self.best_level, level)

    @property
    def scatter(self) -> float:
        """The standard deviation about the trend, in the latter half of the reports."""
        latest = self._bends[2 - max(LEAST_REPORTS, len(self.values) // 2) :]
        return scatter_of(latest, len(latest))

    def level_at(self, step: float) -> float:
        """Return the level at the latest report up to a step."""
        return self.levels[max(0, bisect_right(self.steps, step) - 1)]
