"""The Wilcoxon rule: fold by fold, a trial that is significantly worse than the best is stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from smallhours.core.reasons import RuleCut
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal

#: Differences up to which the exact distribution is counted, as SciPy has it: without ties, with.
_EXACT, _EXACT_WITH_TIES = 50, 13


class WilcoxonRule:
    """Stop a trial whose folds are worse than the same folds of the best, by a signed-rank test.

    For studies in which each step is another fold (or data set, or instance) that a configuration
    is tried on, and not further training: there the folds' difficulty is the noise, and comparing
    fold with fold takes it out. After F. Wilcoxon, "Individual Comparisons by Ranking Methods",
    Biometrics Bulletin 1945, in the form of Optuna's `WilcoxonPruner`: one-sided, zeros split, `p`
    exact up to 50 folds (13 with ties or zeros), else normal. The best is the completed trial with
    the best mean over its folds. Nothing is stopped before `startup` common folds, nor where the
    trial's own mean so far is as good as the best's.

    With `running_mean` the trials report the mean over the folds so far, from which the folds'
    own values are found again: so a trial's last report is its mean, as a score should be.
    """

    name = "wilcoxon"
    version = 1
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def __init__(
        self, goal: Goal, p: float = 0.1, startup: float = 2, running_mean: float = 0
    ) -> None:
        self._goal = goal
        self._sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        self._p = p
        self._startup = max(2, int(startup))
        self._running_mean = bool(running_mean)
        #: The best completed trial, the mean over its folds, and their values.
        self._best: tuple[int, float, dict[int, float]] | None = None

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take no note: a curve has all that counts."""

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | None:
        """Test the folds that the trial has against those of the best."""
        if self._best is None:
            return None
        rival, threshold, theirs = self._best
        own = self._folds(curve, step)
        if own is None:
            return None
        common = [fold for fold in own if fold in theirs]
        if len(common) < self._startup:
            return None
        mean = sum(own.values()) / len(own)
        if not (math.isfinite(mean) and self._goal.better(threshold, mean)):
            return None
        chance = one_sided_p([self._sign * (theirs[fold] - own[fold]) for fold in common])
        if not chance < self._p:
            return None
        return RuleCut(
            rule=self.name,
            version=self.version,
            options={
                "p": self._p,
                "startup": self._startup,
                "running_mean": float(self._running_mean),
            },
            step=step,
            value=mean,
            threshold=threshold,
            goal=self._goal.value,
            compared=len(common),
            competitors=((rival, threshold),),
            measures={"p": chance},
        )

    def observe_noise(self, sd: float) -> None:
        """Take no note: the folds tell how much they scatter."""

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Let a completed trial be the one to beat if its mean is the best."""
        folds = self._folds(curve, max(curve, default=0)) if completed else None
        if not folds:
            return
        mean = sum(folds.values()) / len(folds)
        if math.isfinite(mean) and (self._best is None or self._goal.better(mean, self._best[1])):
            self._best = (trial, mean, folds)

    def _folds(self, curve: Curve, last: int) -> dict[int, float] | None:
        """Return each fold's own value in rising order; None: some are not to be had."""
        steps = sorted(step for step in curve if step <= last)
        values = {step: curve[step] for step in steps}
        if self._running_mean:
            if steps != list(range(1, len(steps) + 1)):
                return None
            sums = [0.0, *(step * value for step, value in values.items())]
            values = {step: sums[step] - sums[step - 1] for step in steps}
        return values if all(map(math.isfinite, values.values())) else None


def one_sided_p(differences: Sequence[float]) -> float:
    """Return how likely so high a signed-rank sum is where the median difference is 0.

    Zeros count half to either side. As `scipy.stats.wilcoxon(differences, alternative="greater",
    zero_method="zsplit")` has it, without its import.
    """
    count = len(differences)
    # Twice the ranks, so that those of ties are whole numbers.
    ranks, ties = _double_ranks([abs(difference) for difference in differences])
    zeros = sum(rank for rank, d in zip(ranks, differences, strict=True) if d == 0)
    above = sum(rank for rank, d in zip(ranks, differences, strict=True) if d > 0)
    tied = any(size > 1 for size in ties) or zeros > 0
    if count <= (_EXACT_WITH_TIES if tied else _EXACT):
        signed = [rank for rank, d in zip(ranks, differences, strict=True) if d != 0]
        return _share_at_least(signed, above)
    mean = count * (count + 1) / 4
    spread = count * (count + 1) * (2 * count + 1) - sum(size**3 - size for size in ties) / 2
    z = ((above + zeros / 2) / 2 - mean) / math.sqrt(spread / 24)
    return math.erfc(z / math.sqrt(2)) / 2


def _double_ranks(sizes: Sequence[float]) -> tuple[list[int], list[int]]:
    """Return twice the rank of each size, ties sharing theirs, and how many share each."""
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    ranks, ties = [0] * len(sizes), []
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and sizes[order[end]] == sizes[order[at]]:
            end += 1
        for place in order[at:end]:
            ranks[place] = at + 1 + end
        ties.append(end - at)
        at = end
    return ranks, ties


def _share_at_least(ranks: Sequence[int], least: int) -> float:
    """Return the share of all sign patterns whose positive ranks add up to at least `least`."""
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return sum(ways[least:]) / float(2 ** len(ranks))
