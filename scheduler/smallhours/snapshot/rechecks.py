"""How often stopping was wrong: what became of the stopped trials that were run to their end.

A seeded coin at each stop draws the trials, so they are a fair sample of all stops, and the share
of false ones among them estimates the share of all without bias. It needs no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from smallhours.core.noise import pooled_sd
from smallhours.core.spec import Goal
from smallhours.snapshot.source import Source
from smallhours.snapshot.studies import END_BODY, continued
from smallhours.snapshot.views import StudyView

#: A stop was false if the trial ended better than the pick by more than so many seed-SD.
CLEARLY = 2.0
#: Coverage of the interval.
LEVEL = 0.9
#: Rechecked trials from which on a study's own rate is told; below, only that of all its rule's.
OWN_FROM = 20

_DRAWN = "SELECT trial FROM event WHERE kind = 'recheck_drawn' AND study = ? AND seq <= ?"
_ENDED = (
    "SELECT trial, reason, body FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
    " ORDER BY seq"
)
_CONFIRMATIONS = (
    "SELECT trial, json_extract(body, '$.of') FROM event WHERE kind = 'trial_created' AND study = ?"
    " AND seq <= ? AND json_extract(body, '$.of') IS NOT NULL"
)
#: Ends after which it is clear that a trial would not have won, though it has no final score.
_OUT = ("diverged", "budget")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share of false stops with its exact interval."""

    #: Rechecked trials that tell.
    n: int
    false: int
    #: Bounds of the interval of `LEVEL`; without a trial they are 0 and 1.
    low: float
    high: float

    @classmethod
    def of(cls, studies: Sequence[tuple[int, int]]) -> Rate:
        """Return the rate over studies, given false stops and rechecked trials of each.

        Trials of a study share its pick, so that they are false together more often than chance
        has it: each counts as less than one, as many times less as the rates of the studies scatter
        more than chance (E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with
        small expected number of positive counts estimated from survey data", Survey Methodology
        24, 1998).
        """
        false, n = (sum(counts) for counts in zip(*studies, strict=True)) if studies else (0, 0)
        effect = _design_effect(studies, false, n)
        low, high = interval(false / effect, n / effect)
        return cls(n=n, false=false, low=low, high=high)

    @property
    def share(self) -> float | None:
        """The estimate; None: no trial tells."""
        return self.false / self.n if self.n else None


class Rechecks(msgspec.Struct, frozen=True, kw_only=True):
    """A study's rechecked trials, and what they say of its rule."""

    #: Numbers of the trials that were drawn, and of those that came to their end.
    drawn: tuple[int, ...]
    finished: tuple[int, ...]
    #: Those that beat the pick clearly; None: nobody knows what another seed changes.
    false: tuple[int, ...] | None
    #: The best trial that came to its end without being taken up again; None: there is none.
    pick: int | None
    #: Pooled standard deviation of scores that differ by their seed only; None: not known.
    seed_sd: float | None
    #: Studies with the same rule that tell, this one included, and what all of them say.
    studies: int
    pooled: Rate

    @property
    def own(self) -> Rate | None:
        """The study's own rate; None: too few trials, or nobody knows what another seed changes."""
        if self.false is None or len(self.finished) < OWN_FROM:
            return None
        return Rate.of([(len(self.false), len(self.finished))])

    @property
    def unfinished(self) -> int:
        """Trials that were drawn and did not come to their end, or not yet: they are censored."""
        return len(self.drawn) - len(self.finished)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the rechecked trials of one study came to."""

    drawn: tuple[int, ...]
    finished: tuple[int, ...]
    false: tuple[int, ...] | None
    pick: int | None
    seed_sd: float | None


def interval(false: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a share: `false` of `n`, which need not be whole.

    C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 26, 1934: the bounds are quantiles of the beta distribution.
    """
    if not n:
        return 0.0, 1.0
    from scipy.special import betaincinv  # not above: few studies have rechecks

    tail = (1.0 - level) / 2.0
    low = float(betaincinv(false, n - false + 1, tail)) if false else 0.0
    high = float(betaincinv(false + 1, n - false, 1.0 - tail)) if false < n else 1.0
    return low, high


def drawn(source: Source, study: int) -> tuple[int, ...]:
    """Return the trials of a study that were drawn to be rechecked."""
    return tuple(sorted(trial for (trial,) in source.rows(_DRAWN, study, source.upto)))


def sample(source: Source, study: StudyView) -> Sample:
    """Return what the rechecked trials of a study came to."""
    chosen = drawn(source, study.id)
    if not chosen:
        return Sample(drawn=(), finished=(), false=None, pick=None, seed_sd=None)
    again = continued(source, study.id)
    ends: dict[int, tuple[str, float | None]] = {}
    for trial, reason, body in source.rows(_ENDED, study.id, source.upto):
        score = END_BODY.decode(body).score
        ends[trial] = reason, None if score is None else float(score)
    open_ = set(study.open)
    finished = tuple(
        n for n in chosen if n not in open_ and n in again and ends[n][0] in ("completed", *_OUT)
    )
    pick = next((number for number in study.ranking if number not in again), None)
    seed_sd = pooled_sd(_fresh(source, study, ends))
    false = None
    if seed_sd is not None and pick is not None:
        best = ends[pick][1]
        assert best is not None, "what is ranked has a score"
        scores = {n: ends[n][1] for n in finished if ends[n][0] == "completed"}
        false = tuple(n for n, it in scores.items() if _beats(study, it, best, seed_sd))
    return Sample(drawn=chosen, finished=finished, false=false, pick=pick, seed_sd=seed_sd)


def summed_up(own: Sample, others: Sequence[Sample]) -> Rechecks:
    """Return what a study's rechecked trials say, beside those of others with the same rule."""
    telling = [each for each in (own, *others) if each.false is not None and each.finished]
    return Rechecks(
        drawn=own.drawn,
        finished=own.finished,
        false=own.false,
        pick=own.pick,
        seed_sd=own.seed_sd,
        studies=len(telling),
        pooled=Rate.of([(len(each.false or ()), len(each.finished)) for each in telling]),
    )


def _design_effect(studies: Sequence[tuple[int, int]], false: int, n: int) -> float:
    """Return how many times the variance of the share is what independent trials would have."""
    if len(studies) < 2 or false in (0, n):
        return 1.0
    share = false / n
    scatter = math.fsum((own - share * of) ** 2 for own, of in studies)
    variance = scatter * len(studies) / ((len(studies) - 1) * n**2)
    return max(1.0, variance * n / (share * (1.0 - share)))


def _fresh(
    source: Source, study: StudyView, ends: Mapping[int, tuple[str, float | None]]
) -> list[list[float]]:
    """Return the scores of each configuration on the fresh seeds on which it was confirmed."""
    scores: dict[int, list[float]] = {}
    for trial, of in source.rows(_CONFIRMATIONS, study.id, source.upto):
        reason, score = ends.get(trial, ("", None))
        if reason == "completed" and score is not None:
            scores.setdefault(of, []).append(score)
    return list(scores.values())


def _beats(study: StudyView, score: float | None, best: float, seed_sd: float) -> bool:
    if score is None:
        return False
    gain = best - score if study.spec.goal is Goal.MINIMIZE else score - best
    return gain > CLEARLY * seed_sd
