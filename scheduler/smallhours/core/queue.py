"""What to start next: pure questions to the state, answered in the order of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smallhours.core.guards import reserve_bytes
from smallhours.core.reasons import Completed
from smallhours.core.state import State, Study, Trial


@dataclass(frozen=True, slots=True)
class StartWaiting:
    """Give the place to a trial that waits."""

    study: Study
    trial: Trial


@dataclass(frozen=True, slots=True)
class CreateBaseline:
    """Create the study's baseline."""

    study: Study


@dataclass(frozen=True, slots=True)
class AskForTrial:
    """Ask the study's search for a configuration."""

    study: Study
    number: int


@dataclass(frozen=True, slots=True)
class CreateConfirmations:
    """Repeat a trial's configuration on fresh seeds."""

    study: Study
    of: Trial


@dataclass(frozen=True, slots=True)
class EndStudy:
    """Nothing is left to do for the study."""

    study: Study


Item: TypeAlias = StartWaiting | CreateBaseline | AskForTrial | CreateConfirmations | EndStudy


@dataclass(slots=True)
class Machine:
    """What the queue must know of the machine."""

    slots: int = 0
    available_bytes: int | None = None
    total_bytes: int | None = None


def next_item(state: State, machine: Machine, asked: dict[int, set[int]]) -> Item | None:
    """Return what to do next, or None when nothing can be started now.

    Args:
        state: What is.
        machine: How many places there are, and how much memory.
        asked: Numbers of trials that a search was asked for, by study.
    """
    places = machine.slots - len(state.live) - sum(len(numbers) for numbers in asked.values())
    for study in state.studies.values():
        if study.open:
            item = _next_of(study, state, machine, asked.get(study.id, set()), places)
            if item is not None:
                return item
    return None


def _next_of(
    study: Study, state: State, machine: Machine, asked: set[int], places: int
) -> Item | None:
    budget_over = _time_is_up(study)
    work_left = not budget_over and (bool(study.waiting) or study.searched < study.spec.trials)
    if not work_left and not study.living and not asked:
        return _next_at_the_end(study, budget_over=budget_over)
    if budget_over or places <= 0 or not _memory_for(study, state, machine):
        return None
    trial = _first_startable(study, state)
    if trial is not None:
        return StartWaiting(study, trial)
    if any(t.alone for t in state.live.values()):
        return None
    if not study.trials:
        return CreateBaseline(study)
    if study.searched + len(asked) < study.spec.trials:
        return AskForTrial(study, max(study.trials | dict.fromkeys(asked)) + 1)
    return None


def _next_at_the_end(study: Study, *, budget_over: bool) -> Item:
    if study.spec.confirm and not budget_over and study.best is not None:
        for number in (0, study.best):
            completed = isinstance(study.trials[number].reason, Completed)
            if completed and number not in study.confirmed:
                return CreateConfirmations(study, study.trials[number])
    return EndStudy(study)


def _time_is_up(study: Study) -> bool:
    limit = study.spec.study_time_s
    return limit is not None and study.seconds > limit


def _first_startable(study: Study, state: State) -> Trial | None:
    if any(trial.alone for trial in state.live.values()):
        return None
    for number in study.waiting:
        trial = study.trials[number]
        if not trial.alone or not state.live:
            return trial
    return None


def _memory_for(study: Study, state: State, machine: Machine) -> bool:
    """Whether one more trial of the study may start: what it has needed so far must be free.

    With nothing running there is nothing to wait for: it is tried, and judged by what it does.
    """
    if machine.available_bytes is None or not state.live:
        return True
    return machine.available_bytes >= reserve_bytes(machine.total_bytes) + study.peak_bytes
