"""Which checkpoints go when all of them together take more than the user wants: the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from smallhours.core.model import Saved, Study, Trial
from smallhours.core.reasons import Completed
from smallhours.core.spec import Goal, ScoreKind
from smallhours.core.state import State
from smallhours.core.trial import Role, TrialState

#: A living trial goes on from its newest checkpoint, or from the one before should that be bad.
_KEPT_OF_LIVING = 2
#: Once the budget is exceeded, this share of it is freed besides: the next look comes later.
_MARGIN = 0.05
#: Where not enough may go, it is looked again when so much of the budget has come on top.
_LOOK_AGAIN = 0.01


class Worth(IntEnum):
    """What a checkpoint within a study is good for; least goes first."""

    CONFIRMATION = 0
    STOPPED = 1
    #: Of a trial that may yet go on: one that is not among its newest.
    UNFINISHED = 2
    COMPLETED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A checkpoint, with what decides when it goes."""

    study: int
    trial: int
    path: str
    size_bytes: int
    worth: Worth
    #: The trial's score; None: it has none, which is worse than any.
    score: float | None
    #: Whether it must not go: its trial is the study's best or the baseline, or needs it.
    kept: bool
    #: The trial's best of several goes last: its newest, or that of its best step.
    spare: bool = False


class Victim(NamedTuple):
    """A checkpoint that goes."""

    study: int
    trial: int
    path: str


class Storage:
    """Keeps all checkpoints within a number of bytes.

    The checkpoints of studies whose trials are in the state are counted there; those of the others
    (`Study.loaded`) have to be told of, as `holdings`.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        """Keep within a budget.

        Args:
            budget_bytes: What all checkpoints together may take; None: as much as there is.
        """
        self.budget_bytes = budget_bytes
        #: Bytes above the budget that nothing could be found for: what is left must be kept.
        self.short_bytes = 0
        #: It is looked for something to remove when more than this is used.
        self._patience_bytes = 0
        self._told: dict[int, list[Holding]] = {}
        self._told_bytes: dict[int, int] = {}

    def tell(self, holdings: Iterable[Holding]) -> None:
        """Take note of the checkpoints of studies that are not loaded, in place of any before."""
        self._told.clear()
        self._told_bytes.clear()
        for holding in holdings:
            self._told.setdefault(holding.study, []).append(holding)
        for study in self._told:
            self._count(study)

    def of_study(self, state: State, study: int) -> list[Victim]:
        """Return all checkpoints that a study has."""
        return [_victim(holding) for holding in self._holdings(state.studies[study])]

    def used_bytes(self, state: State) -> int:
        """Return what all checkpoints take."""
        return sum(
            study.saved_bytes if study.loaded else self._told_bytes.get(study.id, 0)
            for study in state.studies.values()
            if not study.emptied
        )

    def over(self, state: State) -> list[Victim]:
        """Return what has to go for the budget to be kept, in the order in which it goes.

        Record and remove all of it. As long as the budget is kept it costs a sum over the studies.
        """
        budget = self.budget_bytes
        if budget is None:
            return []
        used = self.used_bytes(state)
        if used <= max(budget, self._patience_bytes):
            self.short_bytes = max(0, used - budget)
            return []
        everything = [h for study in state.studies.values() for h in self._holdings(study)]
        victims = to_remove(state, everything, used - int(budget * (1 - _MARGIN)))
        used -= sum(holding.size_bytes for holding in victims)
        self.short_bytes = max(0, used - budget)
        self._patience_bytes = used + int(budget * _LOOK_AGAIN) if self.short_bytes else 0
        return [_victim(holding) for holding in victims]

    def removed(self, victims: Iterable[Victim]) -> None:
        """Take note that these went (only those of studies that are not loaded matter)."""
        for victim in victims:
            told = self._told.get(victim.study)
            if told is not None:
                self._told[victim.study] = [h for h in told if h.path != victim.path]
                self._count(victim.study)

    def _count(self, study: int) -> None:
        self._told_bytes[study] = sum(holding.size_bytes for holding in self._told[study])

    def _holdings(self, study: Study) -> Iterable[Holding]:
        if study.emptied:
            return ()
        return _of_loaded(study) if study.loaded else self._told.get(study.id, ())


def to_remove(state: State, holdings: Iterable[Holding], excess_bytes: int) -> list[Holding]:
    """Return what has to go for so many bytes to be freed, in the order in which it goes.

    Studies that are over go first, oldest first, then the others. Within a study confirmations go
    first, then stopped trials, then completed ones; among these the worst. What is `kept` never
    goes, though it may not be enough then.
    """

    def turn(holding: Holding) -> tuple[float, ...]:
        study = state.studies[holding.study]
        over = bool(study.ended or study.retired)
        score = _badness(study.spec.goal, holding.score)
        return (not over, study.id, holding.worth, -score, holding.trial, not holding.spare)

    chosen: list[Holding] = []
    for holding in sorted((h for h in holdings if not h.kept), key=turn):
        if excess_bytes <= 0:
            break
        chosen.append(holding)
        excess_bytes -= holding.size_bytes
    return chosen


def worth_of(*, confirmation: bool, over: bool, completed: bool) -> Worth:
    """Return what a checkpoint is good for by what became of its trial."""
    if not over:
        return Worth.UNFINISHED
    if confirmation:
        return Worth.CONFIRMATION
    return Worth.COMPLETED if completed else Worth.STOPPED


def _of_loaded(study: Study) -> Iterator[Holding]:
    for trial in study.trials.values():
        if not trial.checkpoints:
            continue
        over = trial.state is TrialState.ENDED
        worth = worth_of(
            confirmation=trial.role is Role.CONFIRMATION,
            over=over,
            completed=isinstance(trial.reason, Completed),
        )
        score = trial.score(study.spec)
        prized = trial.number in (0, study.best)
        needed = _needed(study, trial)
        best = _best_of(study, trial)
        for saved in trial.checkpoints:
            yield Holding(
                study=study.id,
                trial=trial.number,
                path=saved.path,
                size_bytes=saved.size_bytes,
                worth=worth,
                score=score,
                kept=prized or saved.path in needed,
                spare=saved is not best,
            )


def _needed(study: Study, trial: Trial) -> set[str]:
    """Return the checkpoints that the trial would go on from."""
    if trial.live is not None:
        return {saved.path for saved in trial.resume_points()[:_KEPT_OF_LIVING]}
    waits = trial.state is TrialState.QUEUED and not (study.ended or study.retired)
    if waits or trial.number in study.rechecks:
        return {saved.path for saved in trial.resume_points()[:1]}
    return set()


def _best_of(study: Study, trial: Trial) -> Saved:
    if study.spec.score is ScoreKind.BEST:
        step = trial.best_step(study.spec)
        for saved in trial.checkpoints:
            if saved.step == step:
                return saved
    return trial.resume_points()[0]


def _badness(goal: Goal, score: float | None) -> float:
    """Return a number that is greater the worse a score is; no score and NaN are the worst."""
    if score is None or score != score:  # noqa: PLR0124 - NaN
        return float("inf")
    return score if goal is Goal.MINIMIZE else -score


def _victim(holding: Holding) -> Victim:
    return Victim(holding.study, holding.trial, holding.path)
