"""Proposes configurations: Optuna as a cache that is rebuilt from what the ledger keeps.

What counts is the list of `PastTrial`s, one per trial number. The Optuna study mirrors it, and is
made anew where Optuna can't follow (a trial is told again, a lower number comes late, an ask fails
half way). So a search that lived through the night and one that was rebuilt propose the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Goal, Params, ParamValue, StudySpec
from smallhours.errors import UsageError
from smallhours.samplers import check_sampler

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

#: Asks an `Asking` for the values of a trial number; hands back the configuration where that
#: holds more than what was asked for.
Define: TypeAlias = Callable[["Asking", int], Params | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """What the search must know of a trial; everything in it comes from the ledger."""

    trial: int
    params: Params
    #: Where the space is a function: what it asked for; None there: the search leaves it out.
    dimensions: tuple[Dimension, ...] | None = None
    #: None: still running, or waiting to go on.
    outcome: Outcome | None = None
    #: The score, or the last value of a pruned trial; None: it has none.
    value: float | None = None
    #: The step of `value`: pruned trials are ranked by it first.
    step: int | None = None

    @property
    def finite_value(self) -> float | None:
        """The value where it counts: that of a complete or pruned trial, and a number."""
        if self.outcome not in ("complete", "pruned") or self.value is None:
            return None
        return self.value if math.isfinite(self.value) else None

    @property
    def takes_worst(self) -> bool:
        """Whether it stands in the search with the worst value instead of its own."""
        return self.outcome == "worst" or (self.outcome == "complete" and self.finite_value is None)


class Asking:
    """One configuration in the making: values are asked for by name, one after the other."""

    def __init__(self, trial: optuna.Trial) -> None:
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
            value = _suggest(self._trial, dimension)
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
        return not self._trial.relative_params.keys() <= self._params.keys()


class Search:
    """The search of one study; used from one thread at a time.

    TPE and random sampling take a fresh sampler for each trial, seeded from the study's seed and
    the trial's number: a proposal depends on the trials that are known and on nothing else, so it
    can be repeated after any restart.

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
            UsageError: the sampler or one of its options is unknown.
        """
        check_sampler(spec.sampler)
        self._spec = spec
        self._declared = None if spec.space is None else _distributions(spec.space)
        self._past = {past.trial: past for past in history}
        self._worst = self._worst_of(self._past.values())
        #: None: to be made from `_past` before its next use.
        self._mirror: _Mirror | None = self._mirrored()

    def ask(self, trial: int) -> Params:
        """Propose the configuration of a trial, where the space is declared; see `ask_with`."""
        assert self._declared is not None, "the space is a function: use ask_with()"
        params, _ = self.ask_with(trial, self._ask_declared)
        return params

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
        kept = None if self._declared is not None else dimensions
        self._past[trial] = PastTrial(trial=trial, params=params, dimensions=kept)
        if asking.has_surplus:
            self._mirror = None  # Optuna would go by values that the ledger doesn't have
        return params, dimensions

    def add(self, past: PastTrial) -> None:
        """Let the search know of a trial that it did not propose (the baseline)."""
        self._past[past.trial] = past
        self._worst = self._worst_of(self._past.values())
        self._mirror = None

    def tell(
        self, trial: int, outcome: Outcome, value: float | None, step: int | None = None
    ) -> None:
        """Let the search know how a trial ended; a trial may be told again.

        Args:
            trial: A number that was asked for or added.
            outcome: ``complete`` without a finite value counts as ``worst``; ``worst`` counts as
                ``fail`` until some trial has a finite value.
            value: The score; for ``pruned`` the last value, NaN ranks last at its step.
            step: The step of `value`; pruned trials are ranked by it first.
        """
        before = self._past[trial]
        told = replace(before, outcome=outcome, value=value, step=step)
        if told == before:
            return
        self._past[trial] = told
        if before.outcome is not None:
            self._worst = self._worst_of(self._past.values())
            self._mirror = None
        elif self._moves_worst(told):
            self._mirror = None
        elif self._mirror is not None and self._distributions_of(told) is not None:
            self._mirror.finish(told, self._worst)

    def _ask_declared(self, asking: Asking, _trial: int) -> None:
        for dimension in self._spec.space or ():
            asking.suggest_dimension(dimension)

    def _begin(self, trial: int) -> Asking:
        if self._mirror is None or trial != self._mirror.count:
            self._mirror = self._mirrored(asked=trial)
        return Asking(self._mirror.ask(trial, self._sampler(trial)))

    def _sampler(self, trial: int) -> BaseSampler:
        from optuna.samplers import RandomSampler, TPESampler

        digest = hashlib.sha256(f"{self._spec.seed}/{trial}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        if self._spec.sampler.name == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, constant_liar=True, **self._spec.sampler.options)

    def _mirrored(self, asked: int | None = None) -> _Mirror:
        """Make the mirror; the number `asked` is left open in it for the next ask."""
        mirror = _Mirror(self._spec.goal)
        count = max(self._past, default=-1) + 1
        for number in range(count if asked is None else max(count, asked)):
            past = self._past.get(number)
            distributions = None if past is None else self._distributions_of(past)
            if number == asked:
                mirror.add_number("WAITING")
            elif past is None or distributions is None:
                mirror.add_number("FAIL")
            else:
                mirror.add(past, distributions, self._worst)
        return mirror

    def _distributions_of(self, past: PastTrial) -> dict[str, BaseDistribution] | None:
        """Return the space the trial was drawn from; None: not known, the search leaves it out."""
        if self._declared is not None:
            return self._declared
        return None if past.dimensions is None else _distributions(past.dimensions)

    def _worst_of(self, trials: Iterable[PastTrial]) -> float | None:
        values = [value for past in trials if (value := past.finite_value) is not None]
        return max(values, key=self._badness, default=None)

    def _moves_worst(self, told: PastTrial) -> bool:
        """Take note of a new worst value; say whether the mirror holds the old one somewhere."""
        value = told.finite_value
        if value is None:
            return False
        if self._worst is not None and self._badness(value) <= self._badness(self._worst):
            return False
        self._worst = value
        return any(past.takes_worst for past in self._past.values())

    def _badness(self, value: float) -> float:
        return value if self._spec.goal is Goal.MINIMIZE else -value


class _Mirror:
    """An Optuna study that holds the trials that are known, under their own numbers."""

    def __init__(self, goal: Goal) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            direction=goal.value, storage=self._storage, pruner=optuna.pruners.NopPruner()
        )
        self._id = self._storage.get_study_id_from_name(self._study.study_name)
        #: Trials in it; the next one gets this number.
        self.count = 0

    def add(
        self, past: PastTrial, distributions: dict[str, BaseDistribution], worst: float | None
    ) -> None:
        """Take up a trial that has its configuration."""
        import optuna

        state, value = _standing(past, worst)
        steps = {past.step or 0: value} if state == "PRUNED" and value is not None else None
        self._add(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=None if value is None or math.isnan(value) else value,
                params={name: past.params[name] for name in distributions},
                distributions=distributions,
                intermediate_values=steps,
            )
        )

    def add_number(self, state: Literal["FAIL", "WAITING"]) -> None:
        """Use up a number: by nothing (a failed trial), or for the next ask (a waiting one)."""
        import optuna

        self._add(optuna.trial.create_trial(state=optuna.trial.TrialState[state]))

    def ask(self, number: int, sampler: BaseSampler) -> optuna.Trial:
        """Open the trial that was kept open, or else the next one."""
        self._study.sampler = sampler
        trial = self._study.ask()
        assert trial.number == number, (trial.number, number)
        self.count = max(self.count, number + 1)
        return trial

    def finish(self, told: PastTrial, worst: float | None) -> None:
        """End a trial that runs."""
        import optuna

        state, value = _standing(told, worst)
        if state == "PRUNED" and value is not None:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, told.trial)
            self._storage.set_trial_intermediate_value(trial_id, told.step or 0, value)
            value = None  # Optuna takes that of the last step
        self._study.tell(told.trial, value, optuna.trial.TrialState[state])

    def _add(self, trial: optuna.trial.FrozenTrial) -> None:
        self._study.add_trial(trial)
        self.count += 1


def _standing(past: PastTrial, worst: float | None) -> tuple[str, float | None]:
    """Return the state and value that a trial has in Optuna."""
    if past.outcome is None:
        return "RUNNING", None
    if past.outcome == "pruned":
        unranked = None if past.value is None else math.nan
        return "PRUNED", unranked if past.finite_value is None else past.finite_value
    if past.outcome == "fail" or (past.takes_worst and worst is None):
        return "FAIL", None
    return "COMPLETE", worst if past.takes_worst else past.finite_value


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


def _distributions(space: Iterable[Dimension]) -> dict[str, BaseDistribution]:
    return {dimension.name: _distribution(dimension) for dimension in space}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if dimension.kind == "choice":
        return distributions.CategoricalDistribution(dimension.choices)
    low, high = _bounds(dimension)
    if dimension.kind == "int":
        step = int(dimension.step or 1)
        return distributions.IntDistribution(int(low), int(high), log=dimension.log, step=step)
    return distributions.FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def _bounds(dimension: Dimension) -> tuple[float, float]:
    """Return the bounds, the upper one brought down to a whole number of steps.

    Raises:
        ValueError: there are none.
    """
    low, high = dimension.low, dimension.high
    if low is None or high is None:
        raise ValueError("low and high are needed")
    if dimension.step is None or not dimension.step > 0 or high < low:
        return low, high
    exact_low, exact_step = Decimal(str(low)), Decimal(str(dimension.step))
    steps = (Decimal(str(high)) - exact_low) // exact_step
    return low, float(exact_low + steps * exact_step)


def _suggest(trial: optuna.Trial, dimension: Dimension) -> ParamValue:
    """Have Optuna choose; the distributions are those of `_distribution`, exactly."""
    name = dimension.name
    if dimension.kind == "choice":
        value: ParamValue = trial.suggest_categorical(name, dimension.choices)
        return value
    low, high = _bounds(dimension)
    if dimension.kind == "int":
        step = int(dimension.step or 1)
        return trial.suggest_int(name, int(low), int(high), step=step, log=dimension.log)
    return trial.suggest_float(name, low, high, step=dimension.step, log=dimension.log)
