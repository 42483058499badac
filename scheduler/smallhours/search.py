"""Proposes configurations; what it goes by is rebuilt from what the ledger keeps.

What counts is the list of `PastTrial`s, one per trial number. Everything else (Optuna's study, the
optimizer of CMA-ES) mirrors it, and is made anew where it can't follow (a trial is told again, a
lower number comes late, an ask fails half way). So a search that lived through the night and one
that was rebuilt propose the same.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from smallhours import samplers
from smallhours.core import variety
from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Goal, Params, ParamValue, StudySpec
from smallhours.errors import UsageError
from smallhours.sampling import untried
from smallhours.sampling.evolution import Evolution
from smallhours.sampling.grid import Grid, GridError
from smallhours.sampling.mirror import (
    Distributions,
    Mirror,
    OpenTrial,
    Standing,
    distributions_of,
)
from smallhours.sampling.past import Attrs, PastTrial, Proposer, trial_rng_seed
from smallhours.sampling.sequence import QuasiRandom

#: After so many repeats in a row the next configuration is drawn from those that are left.
_REPEATS = 3

__all__ = ["Asking", "Define", "PastTrial", "Search"]

#: Asks an `Asking` for the values of a trial number; hands back the configuration where that
#: holds more than what was asked for.
Define: TypeAlias = Callable[["Asking", int], Params | None]


class Asking:
    """One configuration in the making: values are asked for by name, one after the other."""

    def __init__(self, trial: OpenTrial) -> None:
        self._trial = trial
        self._dimensions: dict[str, Dimension] = {}
        self._params: Params = {}

    def suggest(self, kind: str, name: str, options: Mapping[str, Any]) -> ParamValue:
        """Choose a value for a parameter.

        Args:
            kind: ``float``, ``int`` or ``choice``.
            name: The parameter; asked for again with the same options it gives the same value.
            options: ``low``, ``high``, ``log``, ``step``, ``choices``, as far as the kind has them.

        Raises:
            UsageError: the options describe no dimension, or another one than before.
        """
        given = {key: value for key, value in options.items() if value is not None}
        try:
            dimension = msgspec.convert({"name": name, "kind": kind, **given}, Dimension)
        except msgspec.ValidationError as error:
            raise UsageError(f"parameter {name!r}: {error}") from error
        return self.suggest_dimension(dimension)

    def suggest_dimension(self, dimension: Dimension) -> ParamValue:
        """Choose a value for a parameter that is described already; raises as `suggest` does."""
        name = dimension.name
        if name in self._dimensions:
            if self._dimensions[name] != dimension:
                raise UsageError(f"parameter {name!r}: asked for twice, with different options")
            return self._params[name]
        try:
            value = self._trial.suggest(dimension)
        except ValueError as error:
            raise UsageError(f"parameter {name!r}: {error}") from error
        self._dimensions[name], self._params[name] = dimension, value
        return value

    def dimensions(self) -> tuple[Dimension, ...]:
        """Return what was asked for so far, in order."""
        return tuple(self._dimensions.values())

    def params(self) -> Params:
        """Return the values that were chosen so far."""
        return dict(self._params)

    @property
    def has_surplus(self) -> bool:
        """Whether the sampler drew values that nobody asked for."""
        return self._trial.drew_more_than(self._params)


class Search:
    """The search of one study; used from one thread at a time.

    Every proposal depends on the trials that are known and on nothing else, so it can be repeated
    after any restart:

    - ``tpe``, ``random`` and ``gp`` are Optuna's, a fresh sampler for each trial, seeded from the
      study's seed and the trial's number. For ``gp`` this is no promise: its likelihood is
      maximised in floating point by torch and scipy, whose last digits may differ with their
      versions and with how many threads they use. It goes on from all that is known, and learns
      from stopped trials, which Optuna's own passes over, as if they had ended with their last
      value or the median of the complete ones, whichever is worse.
    - ``qmc``, ``cmaes`` and ``grid`` are our own, see the modules of `smallhours.sampling`. What
      CMA-ES must know of a proposal beside its values is in the `attrs` of the trial.

    TPE is multivariate unless the study says otherwise (parameters are drawn jointly, which finds
    interactions such as that of learning rate and batch size) and always has its constant liar:
    trials run side by side, and without it those that ask while others still run are sent to the
    same neighbourhood again. Trial numbers are Optuna's trial numbers; numbers that the search
    doesn't know (confirmations) are failed trials there, which samplers pass over.
    """

    def __init__(self, spec: StudySpec, history: Iterable[PastTrial] = ()) -> None:
        """Build the search from what is known.

        Args:
            spec: The study.
            history: Its trials in any order, baseline included, confirmations left out.

        Raises:
            UsageError: the sampler or one of its options is unknown, or it can't search the space.
        """
        samplers.check_study(spec)
        self._spec = spec
        self._past = {past.trial: past for past in history}
        self._own = _proposer(spec)
        #: The declared space as Optuna has it, where Optuna searches it.
        self._declared: Distributions | None = None
        if spec.space is not None and self._own is None:
            self._declared = distributions_of(spec.space)
        #: None: to be made from `_past` before its next use.
        self._mirror: Mirror | None = None if self._own is not None else self._mirrored()

    def ask(self, trial: int) -> Params:
        """Propose the configuration of a trial, where the space is declared; see `ask_with`."""
        assert self._spec.space is not None, "the space is a function: use ask_with()"
        left = self._untried(trial, self._spec.space) if trial not in self._past else None
        if left is not None:
            self.add(PastTrial(trial=trial, params=left))
            return left
        if self._own is None or trial in self._past:
            params, _ = self.ask_with(trial, self._ask_declared)
            return params
        params, attrs = self._own.propose(trial, self._past)
        self._past[trial] = PastTrial(trial=trial, params=params, attrs=attrs)
        return params

    def _untried(self, trial: int, space: tuple[Dimension, ...]) -> Params | None:
        """Return a configuration that is new, where the latest ones all repeat earlier ones.

        None: the sampler is to be asked.
        """
        latest = heapq.nlargest(_REPEATS, self._past)
        stuck = len(latest) == _REPEATS and all(
            self._past[number].outcome == "worst" for number in latest
        )
        if not stuck or variety.size(space) is None:
            return None
        first: dict[bytes, int] = {}
        for number in sorted(self._past):
            first.setdefault(variety.identity(self._past[number].params), number)
        if not set(latest).isdisjoint(first.values()):
            return None
        return untried.draw(space, first, trial_rng_seed(self._spec.seed, trial))

    def attrs(self, trial: int) -> Attrs:
        """Return what must be kept with a proposal, beside its values, to go on from it."""
        return self._past[trial].attrs

    def ask_with(self, trial: int, define: Define) -> tuple[Params, tuple[Dimension, ...]]:
        """Propose the configuration of a trial by running `define`; return what it asked for too.

        A running trial that is asked for again gets the same proposal again.

        Raises:
            UsageError: what `define` asked for, or handed back, can't be kept.
        """
        known = self._past.get(trial)
        if known is not None:
            assert known.outcome is None, f"trial {trial} has ended and is asked for"
            return known.params, known.dimensions or self._spec.space or ()
        asking = self._begin(trial)
        try:
            params = _merge(define(asking, trial), asking.params())
        except BaseException:
            self._mirror = None  # Optuna can't take back the trial that it opened
            raise
        dimensions = asking.dimensions()
        kept = None if self._spec.space is not None else dimensions
        self._past[trial] = PastTrial(trial=trial, params=params, dimensions=kept)
        if asking.has_surplus:
            self._mirror = None  # Optuna would go by values that the ledger doesn't have
        return params, dimensions

    def add(self, past: PastTrial) -> None:
        """Let the search know of a trial that it did not propose (the baseline), or anew."""
        self._past[past.trial] = past
        self._mirror = None

    def tell(
        self, trial: int, outcome: Outcome, value: float | None, step: int | None = None
    ) -> None:
        """Let the search know how a trial ended; a trial may be told again.

        Args:
            trial: A number that was asked for or added.
            outcome: ``complete`` without a finite value counts as ``worst``, which ranks behind all
                others.
            value: The score; for ``pruned`` the last value, NaN ranks last at its step.
            step: The step of `value`; pruned trials are ranked by it first.
        """
        before = self._past[trial]
        told = replace(before, outcome=outcome, value=value, step=step)
        if told == before:
            return
        last = self._last()
        self._past[trial] = told
        if before.outcome is not None or self._completes_all:
            self._mirror = None  # with `_completes_all`, values that stand in may have moved
        elif last != self._last() and any(past.ranks_last for past in self._past.values()):
            self._mirror = None
        elif self._mirror is not None and self._distributions_of(told) is not None:
            self._mirror.finish(told, self._last())

    def _ask_declared(self, asking: Asking, _trial: int) -> None:
        for dimension in self._spec.space or ():
            asking.suggest_dimension(dimension)

    def _begin(self, trial: int) -> Asking:
        if self._mirror is None or trial != self._mirror.count:
            self._mirror = self._mirrored(asked=trial)
        seed = trial_rng_seed(self._spec.seed, trial)
        return Asking(self._mirror.ask(trial, self._spec.sampler, seed))

    def _mirrored(self, asked: int | None = None) -> Mirror:
        """Make the mirror; the number `asked` is left open in it for the next ask."""
        mirror = Mirror(self._spec.goal)
        median = self._median() if self._completes_all else None
        last = self._last()
        count = max(self._past, default=-1) + 1
        for number in range(count if asked is None else max(count, asked)):
            past = self._past.get(number)
            distributions = None if past is None else self._distributions_of(past)
            if number == asked:
                mirror.add_number("WAITING")
            elif past is None or distributions is None:
                mirror.add_number("FAIL")
            else:
                shown = past if median is None else self._completed(past, median)
                mirror.add(shown, distributions, last)
        return mirror

    def _distributions_of(self, past: PastTrial) -> Distributions | None:
        """Return the space the trial was drawn from; None: not known, the search leaves it out."""
        if self._declared is not None:
            return self._declared
        return None if past.dimensions is None else distributions_of(past.dimensions)

    @property
    def _completes_all(self) -> bool:
        """Whether Optuna is shown all trials as complete ones: its GP passes others over.

        It would propose what was stopped, or did not fit, again and again.
        """
        return self._spec.sampler.name == "gp"

    def _completed(self, past: PastTrial, median: float) -> PastTrial:
        """Return a stopped trial as a complete one, no better than half of those."""
        if past.outcome != "pruned" or past.finite_value is None:
            return past
        value = max(past.finite_value, median, key=self._badness)
        return replace(past, outcome="complete", value=value)

    def _median(self) -> float | None:
        """Return the median value of the complete trials; None: there are none."""
        values = [
            value
            for past in self._past.values()
            if past.outcome == "complete" and (value := past.finite_value) is not None
        ]
        return statistics.median(values) if values else None

    def _last(self) -> Standing:
        """Return how Optuna is shown a trial that ranks behind all others.

        TPE ranks a stopped trial without a value last. A complete one, whatever its value, would
        count as one of the best where hardly any other is complete (ADR 9). While no trial has a
        value it would count as one of the best, too: until then it has failed.
        """
        values = (v for past in self._past.values() if (v := past.finite_value) is not None)
        if self._completes_all:
            worst = max(values, key=self._badness, default=None)
            return ("FAIL", None) if worst is None else ("COMPLETE", worst)
        return ("FAIL", None) if next(values, None) is None else ("PRUNED", None)

    def _badness(self, value: float) -> float:
        return value if self._spec.goal is Goal.MINIMIZE else -value


def _proposer(spec: StudySpec) -> Proposer | None:
    """Return the study's sampler where it is one of our own; None: it is Optuna's."""
    name, options = spec.sampler.name, spec.sampler.options
    if name not in ("qmc", "cmaes", "grid"):
        return None
    assert spec.space is not None, "refused by check_study()"
    if name == "qmc":
        return QuasiRandom(spec.space, spec.seed, **options)
    if name == "cmaes":
        return Evolution(spec.space, spec.baseline, spec.goal, spec.seed, **options)
    return _GridSearch(Grid(spec.space, options.get("points"), spec.seed))


class _GridSearch:
    """Proposes the points of a grid in its order, but none that a trial has had already."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def propose(self, trial: int, past: Mapping[int, PastTrial]) -> tuple[Params, Attrs]:
        """Return the first point that is free."""
        try:
            return self._grid.first_free(known.params for known in past.values()), {}
        except GridError as error:
            raise UsageError(str(error)) from error


def _merge(returned: Params | None, asked: Params) -> Params:
    """Return the configuration with all that was asked for in it.

    Without the values that were asked for, the search could not be rebuilt from the ledger.
    """
    if returned is None:
        return asked
    for name in returned.keys() & asked.keys():
        if returned[name] != asked[name]:
            raise UsageError(
                f"parameter {name!r}: suggested {asked[name]!r} but handed back as "
                f"{returned[name]!r}; give what you derive from it a name of its own"
            )
    return {**asked, **returned}
