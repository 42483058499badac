"""Optuna: a study in memory that holds the trials that are known, under their own numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from smallhours.core.spec import Dimension, Goal, Params, ParamValue, Sampler
from smallhours.sampling import axes
from smallhours.sampling.past import PastTrial
from smallhours.sampling.sequence import load_directions

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

#: A space as Optuna has it.
Distributions: TypeAlias = "dict[str, BaseDistribution]"
#: The state and value of a trial as Optuna has them.
Standing: TypeAlias = tuple[str, float | None]


class OpenTrial:
    """A trial that Optuna is asked for values of."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def suggest(self, dimension: Dimension) -> ParamValue:
        """Have Optuna choose.

        Raises:
            ValueError: Optuna can't have such a dimension, or not beside those of other trials.
        """
        # The distributions are those of `_distribution`, exactly.
        name = dimension.name
        if dimension.kind == "choice":
            value: ParamValue = self._trial.suggest_categorical(name, dimension.choices)
            return value
        low, high = axes.bounds(dimension)
        if dimension.kind == "int":
            step = int(dimension.step or 1)
            return self._trial.suggest_int(name, int(low), int(high), step=step, log=dimension.log)
        return self._trial.suggest_float(name, low, high, step=dimension.step, log=dimension.log)

    def drew_more_than(self, params: Params) -> bool:
        """Whether the sampler drew values beside these, which nobody asked for."""
        return not self._trial.relative_params.keys() <= params.keys()


class Mirror:
    """An Optuna study; see the module."""

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

    def add(self, past: PastTrial, distributions: Distributions, last: Standing) -> None:
        """Take up a trial that has its configuration.

        Args:
            past: The trial.
            distributions: The space that it was drawn from.
            last: How a trial is shown that ranks behind all others.
        """
        import optuna

        state, value = _standing(past, last)
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

    def ask(self, number: int, sampler: Sampler, seed: int) -> OpenTrial:
        """Open the trial that was kept open, or else the next one, with a fresh sampler."""
        self._study.sampler = _fresh(sampler, seed)
        trial = self._study.ask()
        assert trial.number == number, (trial.number, number)
        self.count = max(self.count, number + 1)
        return OpenTrial(trial)

    def finish(self, told: PastTrial, last: Standing) -> None:
        """End a trial that runs; see `add`."""
        import optuna

        state, value = _standing(told, last)
        if state == "PRUNED" and value is not None:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, told.trial)
            self._storage.set_trial_intermediate_value(trial_id, told.step or 0, value)
            value = None  # Optuna takes that of the last step
        self._study.tell(told.trial, value, optuna.trial.TrialState[state])

    def standing(self) -> list[tuple[str, float | None, dict[int, float]]]:
        """Return state, value and values by step of each trial, as Optuna has them."""
        return [
            (trial.state.name, trial.values[0] if trial.values else None, trial.intermediate_values)
            for trial in self._study.get_trials(deepcopy=False)
        ]

    def _add(self, trial: optuna.trial.FrozenTrial) -> None:
        self._study.add_trial(trial)
        self.count += 1


def distributions_of(space: Iterable[Dimension]) -> Distributions:
    """Return the space as Optuna has it."""
    return {dimension.name: _distribution(dimension) for dimension in space}


def _fresh(sampler: Sampler, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler, RandomSampler, TPESampler

    match sampler.name:
        case "random":
            return RandomSampler(seed=seed)
        case "gp":
            load_directions()  # it takes points of Sobol's sequence, in a thread of its own
            return GPSampler(seed=seed, **sampler.options)
        case _:
            return TPESampler(seed=seed, constant_liar=True, **sampler.options)


def _standing(past: PastTrial, last: Standing) -> Standing:
    """Return how Optuna is shown a trial."""
    if past.outcome is None:
        return "RUNNING", None
    if past.outcome == "pruned":
        unranked = None if past.value is None else math.nan
        return "PRUNED", unranked if past.finite_value is None else past.finite_value
    if past.outcome == "fail":
        return "FAIL", None
    return last if past.ranks_last else ("COMPLETE", past.finite_value)


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if dimension.kind == "choice":
        return distributions.CategoricalDistribution(dimension.choices)
    low, high = axes.bounds(dimension)
    if dimension.kind == "int":
        step = int(dimension.step or 1)
        return distributions.IntDistribution(int(low), int(high), log=dimension.log, step=step)
    return distributions.FloatDistribution(low, high, log=dimension.log, step=dimension.step)
