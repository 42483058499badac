"""Winner against baseline: how much better, and whether that is more than noise."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from smallhours.core.spec import Goal
from smallhours.snapshot.views import Spread, StudyView
from smallhours.text import number, percent

#: 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How much better the winner is than the baseline; above 0 is better."""

    gain: float
    #: Share of the baseline's size; None: that is 0.
    share: float | None
    #: Bounds of the 95 % interval; None: fewer than two seeds on a side.
    low: float | None
    high: float | None
    #: Whether the interval lies above 0; None: there is none.
    stands_out: bool | None
    of: Literal["fresh seeds", "scores"]


def difference(study: StudyView) -> Difference | None:
    """Compare winner and baseline on fresh seeds, else by their scores; None: not both known.

    The winner's own score is the best of many and so better than it deserves; the confirmations'
    seeds had no part in the choice. With two or more on each side the interval is Welch's:
    gain ± t(0.975, df) · se, se² = s₁²/n₁ + s₂²/n₂, df = se⁴ / Σ (sᵢ²/nᵢ)² / (nᵢ - 1), rounded
    down (B. L. Welch, "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34, 1947).
    """
    best, baseline = study.best, study.baseline
    if best is None or baseline is None or best.trial == baseline.trial:
        return None
    if best.fresh is not None and baseline.fresh is not None:
        interval = _half_interval(best.fresh, baseline.fresh)
        return _difference(study, best.fresh.mean, baseline.fresh.mean, interval, of="fresh seeds")
    if best.score is None or baseline.score is None:
        return None
    return _difference(study, best.score, baseline.score, None, of="scores")


def against_baseline(study: StudyView, *, whose: bool = False) -> str:
    """Return the best score beside the baseline's in a few words, by the trials' own scores.

    Args:
        study: The study.
        whose: Say that the second score is the baseline's (a table's title may say so).
    """
    best, baseline, metric = study.best, study.baseline, study.spec.metric
    if best is None or best.score is None:
        return "–"
    if baseline is None or baseline.score is None:
        return f"{metric} {number(best.score)}"
    if best.trial == baseline.trial:
        return f"{metric} {number(best.score)}, the baseline itself"
    gain = _difference(study, best.score, baseline.score, None, of="scores")
    owner = "the baseline's " if whose else ""
    return (
        f"{metric} {number(best.score)}, {side_words(study.spec.goal, gain)} than"
        f" {owner}{number(baseline.score)}"
    )


def side_words(goal: Goal, gain: Difference) -> str:
    """Return which way and how far the winner is off: ``49 % lower``."""
    lower = (gain.gain > 0) == (goal is Goal.MINIMIZE)
    far = number(abs(gain.gain)) if gain.share is None else percent(abs(gain.share))
    return f"{far} {'lower' if lower else 'higher'}"


def _difference(
    study: StudyView,
    best: float,
    baseline: float,
    half: float | None,
    of: Literal["fresh seeds", "scores"],
) -> Difference:
    gain = baseline - best if study.spec.goal is Goal.MINIMIZE else best - baseline
    return Difference(
        gain=gain,
        share=gain / abs(baseline) if baseline else None,
        low=None if half is None else gain - half,
        high=None if half is None else gain + half,
        stands_out=None if half is None else gain - half > 0,
        of=of,
    )


def _half_interval(a: Spread, b: Spread) -> float | None:
    if a.sd is None or b.sd is None:
        return None
    parts = [(a.sd**2 / a.n, a.n), (b.sd**2 / b.n, b.n)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / (n - 1) for part, n in parts)
    return _T975[min(30, max(1, int(freedom))) - 1] * math.sqrt(variance)
