"""What to start next: pure questions to the state, answered in the order of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smallhours.core.guards import reserve_bytes, study_time
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


#: By study: numbers of trials that its search was asked for, and when.
Asked: TypeAlias = dict[int, dict[int, float]]

#: A search that takes longer to answer gives the place that waits for it to others.
ASK_PATIENCE_S = 5.0


def next_item(state: State, machine: Machine, asked: Asked, at: float) -> Item | None:
    """Return what to do next, or None when nothing can be started now.

    Args:
        state: What is.
        machine: How many places there are, and how much memory.
        asked: What searches were asked for.
        at: What time it is.
    """
    kept = sum(
        at - asked_at < ASK_PATIENCE_S for own in asked.values() for asked_at in own.values()
    )
    places = machine.slots - len(state.live) - kept
    if any(trial.alone for trial in state.live.values()):
        places = 0
    elif (lonely := _to_run_alone(state, at)) is not None:
        if not state.live:
            return lonely
        places = 0  # it would never find the machine empty if others went on to start
    for study in state.studies.values():
        if study.open:
            own = asked.get(study.id, {})
            budget_over = _time_is_up(study, at)
            item = _next_of(study, state, machine, own, places, budget_over=budget_over)
            if isinstance(item, AskForTrial) and _is_slow(own, at):
                continue
            if item is not None:
                return item
    return None


def _is_slow(asked: dict[int, float], at: float) -> bool:
    return any(at - asked_at >= ASK_PATIENCE_S for asked_at in asked.values())


def _to_run_alone(state: State, at: float) -> StartWaiting | None:
    """Return the first trial that must run alone and has nothing of its study before it."""
    for study in state.studies.values():
        first = next(iter(study.waiting), None)
        if first is None or not study.open or _time_is_up(study, at):
            continue
        if study.trials[first].alone:
            return StartWaiting(study, study.trials[first])
    return None


def _next_of(
    study: Study,
    state: State,
    machine: Machine,
    asked: dict[int, float],
    places: int,
    *,
    budget_over: bool,
) -> Item | None:
    work_left = not budget_over and (bool(study.waiting) or study.searched < study.spec.trials)
    if not work_left and not study.living and not asked:
        return _next_at_the_end(study, budget_over=budget_over)
    if budget_over or places <= 0 or not _memory_for(study, state, machine):
        return None
    for number in study.waiting:
        if not study.trials[number].alone:
            return StartWaiting(study, study.trials[number])
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


def _time_is_up(study: Study, at: float) -> bool:
    return study_time(study.spec, study.seconds_used(at)) is not None


def _memory_for(study: Study, state: State, machine: Machine) -> bool:
    """Whether one more trial of the study may start: what it has needed so far must be free.

    With nothing running there is nothing to wait for: it is tried, and judged by what it does.
    """
    if machine.available_bytes is None or not state.live:
        return True
    return machine.available_bytes >= reserve_bytes(machine.total_bytes) + study.peak_bytes
