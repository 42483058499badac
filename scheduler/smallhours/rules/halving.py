"""Successive halving in brackets: the verdicts of the synchronous form, and nobody waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from smallhours.core.reasons import RungCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal

#: Competitors that a verdict names: those that went on, from the cutoff up.
_NAMED = 6


class HalvingRule:
    """Let the best 1/`eta` of a bracket of trials go on from each rung, all of them compared.

    After K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization", AISTATS 2016. Trials join brackets of `bracket` in the order of their first
    reports. There the trials of a bracket wait at a rung until the last has come; on a machine that
    never idles, and where a rule only says stop or go on, they run on meanwhile. Once the last has
    come (or is over), those that are not among the best 1/`eta` at the rung are stopped at their
    next report. So the same trials go on as in the synchronous form, and they are compared at equal
    steps, whoever came first; the price is the steps that were run while the others came.

    A value equal to the cutoff goes on. What a trial has at a rung counts from its first report at
    or after it; a report that supersedes that before the rung is judged stands in for it. NaN and
    infinity count as last. The study's last bracket has as many trials as are left for it.
    """

    name = "halving"
    version = 1
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self,
        goal: Goal,
        steps: int,
        trials: int,
        *,
        eta: float = 3,
        grace: float = 3,
        bracket: float = 9,
    ) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._steps = steps
        self._trials = trials
        self._eta = int(eta)
        self._size = int(bracket)
        self._rungs: list[int] = []
        at = int(grace)
        while at < steps:
            self._rungs.append(at)
            at *= self._eta
        self._brackets: list[_Bracket] = []
        self._bracket_of: dict[int, _Bracket] = {}

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Let the trial's value count at the rungs that it has come to."""
        bracket = self._bracket_of.get(trial)
        if bracket is None:
            bracket = self._join(trial)
        for number, rung in enumerate(self._rungs):
            known = bracket.counted[number].get(trial)
            if step >= rung and (known is None or step <= known[0]):
                value = curve[step]
                merit = self._sign * value if math.isfinite(value) else -math.inf
                bracket.counted[number][trial] = (step, merit)
        self._judge(bracket)

    def decide(self, trial: int, step: int, curve: Curve) -> RungCut | None:
        """Return the verdict on the trial, if one of its rungs was judged and it lost there."""
        bracket = self._bracket_of[trial]
        number = bracket.lost_at.get(trial)
        if number is None:
            return None
        ranked = bracket.ranked[number]
        keep = _keep(len(ranked), self._eta)
        cutoff = ranked[keep - 1][0]
        own = bracket.counted[number][trial][1]
        if not math.isfinite(own):
            return None
        named = ranked[max(0, keep - _NAMED) : keep]
        return RungCut(
            rule=self.name,
            version=self.version,
            step=step,
            rung=number + 1,
            value=self._sign * own,
            cutoff=self._sign * cutoff,
            goal=self._goal.value,
            rank=1 + sum(merit > own for merit, _ in ranked),
            of=len(ranked),
            competitors=tuple((rival, self._sign * merit) for merit, rival in named),
        )

    def observe_noise(self, sd: float) -> None:
        """Take no note: ranks decide, whatever lies between them."""

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Nobody waits for a trial that is over."""
        bracket = self._bracket_of.get(trial)
        if bracket is not None:
            bracket.over.add(trial)
            self._judge(bracket)

    def _join(self, trial: int) -> _Bracket:
        if not self._brackets or len(self._brackets[-1].trials) == self._brackets[-1].size:
            left = self._trials - len(self._bracket_of)
            size = min(self._size, left) if left > 0 else self._size
            self._brackets.append(_Bracket(size, len(self._rungs)))
        bracket = self._bracket_of[trial] = self._brackets[-1]
        bracket.trials.append(trial)
        return bracket

    def _judge(self, bracket: _Bracket) -> None:
        """Judge the rungs of a bracket that all have come to who are still in it."""
        if len(bracket.trials) < bracket.size:
            return
        while len(bracket.ranked) < len(self._rungs):
            number = len(bracket.ranked)
            counted = bracket.counted[number]
            contenders = [t for t in bracket.trials if t not in bracket.lost_at]
            if any(t not in counted and t not in bracket.over for t in contenders):
                return
            came = ((counted[t][1], t) for t in contenders if t in counted)
            ranked = sorted(came, key=lambda one: (-one[0], one[1]))
            bracket.ranked.append(ranked)
            if not ranked:
                continue
            cutoff = ranked[_keep(len(ranked), self._eta) - 1][0]
            bracket.lost_at.update((t, number) for merit, t in ranked if merit < cutoff)


class _Bracket:
    """Trials that are compared with each other."""

    __slots__ = ("counted", "lost_at", "over", "ranked", "size", "trials")

    def __init__(self, size: int, rungs: int) -> None:
        self.size = size
        self.trials: list[int] = []
        self.over: set[int] = set()
        #: For each rung and trial the step of the report that counts, and its merit.
        self.counted: list[dict[int, tuple[int, float]]] = [{} for _ in range(rungs)]
        #: For each rung that was judged: (merit, trial), best first.
        self.ranked: list[list[tuple[float, int]]] = []
        #: The rung at which a trial was found not to go on.
        self.lost_at: dict[int, int] = {}


def _keep(count: int, eta: int) -> int:
    """Return how many of so many go on."""
    return max(1, count // eta)
