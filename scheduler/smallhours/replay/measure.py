"""Many studies drawn from a table under each contender: what was saved, what was lost."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

from smallhours.core.spec import Goal
from smallhours.replay.contenders import NO_STOPPING, Contender, Setting
from smallhours.replay.night import Outcome, Recorded, draw
from smallhours.replay.table import Table

#: Trials of a study, where the table has as many configurations.
TRIALS = 48
#: A stopped trial is clearly better than the pick if it is so many seed-SD better.
CLEARLY = 2.0
#: Regret is told in percentage points, whatever the metric: hundredths of its unit.
_POINTS = 100.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a table is replayed."""

    trials: int = TRIALS
    workers: int = 4
    studies: int = 300
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What one study came to."""

    #: Compute of all its trials, what they take without stopping being 1.
    used: float
    #: By how many percentage points the pick is worse than the pick without stopping.
    regret: float
    #: Whether a stopped trial is clearly better than the pick; None: the table can't tell.
    lost: bool | None


@dataclass(frozen=True, slots=True)
class Score:
    """What a contender saved and lost over all studies."""

    rule: str
    #: Compute without stopping for each unit of compute with; every study counts the same.
    speedup: float
    mean_regret: float
    p95_regret: float
    #: Share of studies with a clear false stop; None: the table can't tell, it has one seed.
    false_stop_share: float | None

    @classmethod
    def of(cls, rule: str, results: Sequence[Result]) -> Score:
        """Sum up the results of all studies, of one table or of several."""
        regrets = sorted(result.regret for result in results)
        lost = [result.lost for result in results if result.lost is not None]
        return cls(
            rule=rule,
            speedup=len(results) / math.fsum(result.used for result in results),
            mean_regret=math.fsum(regrets) / len(regrets),
            p95_regret=regrets[math.ceil(0.95 * len(regrets)) - 1],
            false_stop_share=sum(lost) / len(lost) if lost else None,
        )


def replay(
    table: Table, contenders: Sequence[Contender], plan: Plan, jobs: int = 1
) -> list[list[Result]]:
    """Play the same studies under each contender; return its results, study by study.

    The studies are a function of the table and the plan's seed: every contender gets the same
    trials with the same seeds, whoever else is replayed, and however many processes do it.
    """
    play = partial(_play_all, table, tuple(contenders), plan)
    share = math.ceil(plan.studies / max(1, jobs))
    shares = [
        range(first, min(first + share, plan.studies)) for first in range(0, plan.studies, share)
    ]
    if len(shares) == 1:
        parts = [play(shares[0])]
    else:
        with ProcessPoolExecutor(len(shares)) as pool:
            parts = list(pool.map(play, shares))
    return [list(chain.from_iterable(each)) for each in zip(*parts, strict=True)]


def setting(table: Table, plan: Plan) -> Setting:
    """Return what all studies of a replay have in common."""
    return Setting(table.goal, table.steps, plan.trials, plan.workers)


def _play_all(
    table: Table, contenders: Sequence[Contender], plan: Plan, studies: range
) -> list[list[Result]]:
    """Play some of the studies; return each contender's results."""
    common = setting(table, plan)
    results: list[list[Result]] = [[] for _ in contenders]
    for number in studies:
        trials = draw(table, plan.trials, random.Random(f"{plan.seed}/{number}"))
        study = _Study(table, trials, NO_STOPPING.outcome(trials, common))
        for contender, own in zip(contenders, results, strict=True):
            own.append(study.judge(contender.outcome(trials, common)))
    return results


class _Study:
    """The trials of one study and what their configurations are truly worth."""

    def __init__(self, table: Table, trials: Sequence[Recorded], whole: Outcome) -> None:
        self._trials = trials
        self._sign = 1.0 if table.goal is Goal.MAXIMIZE else -1.0
        #: True scores, more being better.
        self._merits = [self._sign * table.scores[trial.config] for trial in trials]
        self._margin = None if table.seed_sd is None else CLEARLY * table.seed_sd
        self._whole_s = self._seconds(whole)
        self._best = self._pick(whole)

    def judge(self, outcome: Outcome) -> Result:
        """Compare an outcome with the one without stopping."""
        pick = self._pick(outcome)
        lost = None
        if self._margin is not None:
            lost = any(self._merits[number] > pick + self._margin for number in outcome.stopped)
        return Result(
            used=self._seconds(outcome) / self._whole_s,
            regret=_POINTS * max(0.0, self._best - pick),
            lost=lost,
        )

    def _pick(self, outcome: Outcome) -> float:
        """Return what the pick is worth: the best of the trials that were completed.

        They are told apart by their true scores, as if each had been confirmed on all seeds: the
        mistakes that one noisy value makes at the end are not the rule's. Where nothing was
        completed, the last value that was seen decides.
        """
        if outcome.completed:
            return max(self._merits[number] for number in outcome.completed)
        return self._merits[max(range(len(self._trials)), key=lambda n: self._last(outcome, n))]

    def _last(self, outcome: Outcome, number: int) -> float:
        """Return a trial's last value that is a number, more being better."""
        seen = self._trials[number].values[: outcome.steps[number]]
        sound = [value for value in seen if math.isfinite(value)]
        return self._sign * sound[-1] if sound else -math.inf

    def _seconds(self, outcome: Outcome) -> float:
        used = zip(self._trials, outcome.steps, strict=True)
        return math.fsum(trial.took_s(steps) for trial, steps in used)
