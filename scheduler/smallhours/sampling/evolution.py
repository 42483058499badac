"""CMA-ES: a population that moves towards what was good and learns which parameters go together.

The optimizer is never stored. A trial notes the generation it was drawn in and the point that was
drawn, and the first trial of a generation notes which trials the optimizer learned from before it:
told the same points in the same order, a fresh optimizer comes to the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from smallhours.core.spec import Dimension, Goal, Params, ParamValue
from smallhours.sampling import axes
from smallhours.sampling.past import Attrs, PastTrial, trial_rng_seed

if TYPE_CHECKING:
    import cmaes

#: The points of a generation as they were drawn, best first.
_Lesson: TypeAlias = list[list[float]]

#: Step size at the start, as a share of each parameter's range.
_SIGMA = 0.2
#: Decimals of a drawn point (shares of the ranges) that count; the ledger keeps as many.
_DECIMALS = 9
#: How a trial that the optimizer may learn from has ended; failures say nothing.
_INSTRUCTIVE = ("complete", "pruned", "worst")


class Evolution:
    """Proposes from a normal distribution that is moved after each generation.

    It starts at the baseline. A generation is over when as many of its trials as the population
    is large have ended; those that still run then count no more. Only the ranking matters: complete
    trials by value, behind them the stopped ones by how far they came, last what diverged. Whole
    numbers and steps are handled with a margin (CMA-ES with margin), so that the search doesn't
    get stuck on one of them.
    """

    def __init__(
        self,
        space: tuple[Dimension, ...],
        baseline: Params,
        goal: Goal,
        seed: int,
        *,
        popsize: int | None = None,
        sigma0: float = _SIGMA,
    ) -> None:
        """Describe the search; nothing is computed before the first proposal.

        Args:
            space: What is searched; no choices but of one value.
            baseline: Where it starts.
            goal: Which direction is better.
            seed: The study's.
            popsize: Trials of a generation; None: 4 + 3 ln(parameters).
            sigma0: Step size at the start, as a share of each parameter's range.
        """
        self._space = space
        self._moving = [axis for axis in space if axes.count(axis) != 1]
        self._start = [_locate(axis, baseline[axis.name]) for axis in self._moving]
        self._steps = [_step(axis) for axis in self._moving]
        self._goal, self._seed = goal, seed
        self._popsize, self._sigma = popsize, sigma0
        #: The latest optimizer and what it was told, see `_optimizer`.
        self._cached: tuple[cmaes.CMAwM, list[_Lesson]] | None = None

    def propose(self, trial: int, past: Mapping[int, PastTrial]) -> tuple[Params, Attrs]:
        """Draw the configuration of a trial from the latest generation."""
        told = {
            known.attrs["generation"]: known.attrs["told"]
            for known in past.values()
            if "told" in known.attrs
        }
        generation = len(told)
        lessons = [self._lesson(told[number + 1], past) for number in range(generation)]
        optimizer = self._optimizer(lessons)
        attrs: dict[str, Any] = {"generation": generation}
        ended = sorted(
            known.trial
            for known in past.values()
            if known.attrs.get("generation") == generation and known.outcome in _INSTRUCTIVE
        )
        if len(ended) >= optimizer.population_size:
            latest = ended[: optimizer.population_size]
            attrs = {"generation": generation + 1, "told": latest}
            optimizer = self._optimizer([*lessons, self._lesson(latest, past)])
        optimizer.reseed_rng(trial_rng_seed(self._seed, trial))
        point, raw = optimizer.ask()
        attrs["x"] = [round(float(share), _DECIMALS) for share in raw]
        return self._params([float(share) for share in point]), attrs

    def _lesson(self, trials: list[int], past: Mapping[int, PastTrial]) -> _Lesson:
        """Return the points of a generation, best first."""
        ranked = sorted((past[trial] for trial in trials), key=self._rank)
        return [known.attrs["x"] for known in ranked]

    def _rank(self, known: PastTrial) -> tuple[int, int, float]:
        value = known.finite_value
        if value is None:
            return 2, 0, 0.0
        badness = value if self._goal is Goal.MINIMIZE else -value
        return (1, -(known.step or 0), badness) if known.outcome == "pruned" else (0, 0, badness)

    def _optimizer(self, lessons: list[_Lesson]) -> cmaes.CMAwM:
        """Return the optimizer that learned these lessons, going on from the one at hand."""
        if self._cached is None or self._cached[1] != lessons[: len(self._cached[1])]:
            self._cached = self._fresh(), []
        optimizer, learned = self._cached
        import numpy as np

        for lesson in lessons[len(learned) :]:
            optimizer.tell([(np.array(x), float(rank)) for rank, x in enumerate(lesson)])
        self._cached = optimizer, lessons
        return optimizer

    def _fresh(self) -> cmaes.CMAwM:
        import cmaes
        import numpy as np

        return cmaes.CMAwM(
            mean=np.array(self._start),
            sigma=self._sigma,
            bounds=np.array([[0.0, 1.0]] * len(self._moving)),
            steps=np.array(self._steps),
            n_max_resampling=10 * len(self._moving),
            population_size=self._popsize,
        )

    def _params(self, point: list[float]) -> Params:
        shares = dict(zip((axis.name for axis in self._moving), point, strict=True))
        return {axis.name: _value(axis, shares.get(axis.name, 0.0)) for axis in self._space}


def _step(axis: Dimension) -> float:
    """Return the distance of neighbouring values as a share of the range; 0: a continuum."""
    number = axes.count(axis)
    return 0.0 if number is None or axis.log else 1 / (number - 1)


def _locate(axis: Dimension, value: ParamValue) -> float:
    """Return the share of the range at which a number lies."""
    low, high = axes.bounds(axis)
    number = float(value or 0.0)
    share = (
        math.log(number / low) / math.log(high / low) if axis.log else (number - low) / (high - low)
    )
    return min(max(share, 0.0), 1.0)


def _value(axis: Dimension, share: float) -> ParamValue:
    """Return the value that lies nearest to a share of the range."""
    number = axes.count(axis)
    if number is None:
        return axes.between(axis, share)
    if axis.log:
        return round(axes.between(axis, share))
    return axes.nth(axis, round(share * (number - 1)))
