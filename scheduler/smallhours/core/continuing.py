"""Takes stopped trials up again: at somebody's wish, or to recheck the rule."""

from __future__ import annotations

from typing import Literal

from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import guards
from smallhours.core.desk import Desk
from smallhours.core.gates import gate
from smallhours.core.model import Study, Trial
from smallhours.core.queue import could_run
from smallhours.core.reasons import STOPPED, Cancelled, Completed, tag
from smallhours.core.trial import TrialState

#: Reasons after which a trial may be taken up again: nothing is wrong with it.
CONTINUABLE = (*STOPPED, Cancelled)


class Continuing:
    """Puts trials that were stopped back into the queue."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def requested(self, event: e.ContinueRequested) -> None:
        """Take a trial up again for whoever asks."""
        study = self._desk.state.studies.get(event.study)
        trial = None if study is None else study.trials.get(event.trial)
        if study is None or trial is None or study.removed:
            self._desk.answer(event, "continue", ok=False, text="there is no such trial")
            return
        problem = self._problem(study, trial, event.at)
        if problem:
            self._desk.answer(event, "continue", ok=False, text=problem)
            return
        self._take_up(study, trial, "operator", event.by, event.at)
        self._desk.answer(event, "continue", ok=True, text=_said(study, trial))

    def take_up_rechecks(self) -> bool:
        """Take up what was drawn to be rechecked, if nothing else could be started now."""
        night = self._desk.night
        studies = night.state.studies.values()
        ready = [study for study in studies if study.rechecks and self._may_recheck(study)]
        if not ready or any(could_run(study, night) for study in studies):
            return False
        for study in ready:
            for number in list(study.rechecks):
                self._take_up(study, study.trials[number], "recheck", "", night.at)
        return True

    def _may_recheck(self, study: Study) -> bool:
        """Whether a study's rechecks may run: it is over, and would be let run if it were not."""
        if study.ended is None or study.ended.outcome == "cancelled" or study.retired:
            return False
        night = self._desk.night
        over = guards.study_time(study.spec, study.seconds_used(night.at)) is not None
        return not over and gate(study, night).open_s > 0

    def _take_up(
        self, study: Study, trial: Trial, cause: Literal["operator", "recheck"], by: str, at: float
    ) -> None:
        fact = f.TrialContinued(study=study.id, trial=trial.number, cause=cause, by=by)
        self._desk.record(fact, at)
        self._desk.go_on(study, by, at)
        self._desk.reopen_in_search(study, trial)

    def _problem(self, study: Study, trial: Trial, at: float) -> str:
        """Return why a trial can't be taken up again; empty: it can."""
        name = study.name_of(trial.number)
        if trial.number in study.held:
            return f"{name} waits as a known mistake: `smallhours release {name}` runs it"
        if trial.state is not TrialState.ENDED:
            return f"{name} is not over: it goes on by itself"
        if isinstance(trial.reason, Completed):
            return f"{name} ran to its end: there is nothing to continue"
        if not isinstance(trial.reason, CONTINUABLE):
            assert trial.reason is not None
            return (
                f"{name} can't be continued: it ended with {tag(trial.reason)}; only what a rule, a"
                " limit of time or somebody stopped can go on"
            )
        if study.retired:
            return f"{study.label} was put aside for a newer study: its trials stay as they are"
        if guards.study_time(study.spec, study.seconds_used(at)) is not None:
            return (
                f"the time of {study.label} is used up (study_time_s={study.spec.study_time_s:g});"
                " raise it in the study's file and add that again, then continue"
            )
        return ""


def _said(study: Study, trial: Trial) -> str:
    points = trial.resume_points()
    whence = (
        f"goes on from step {points[0].step}" if points else "begins again: it has no checkpoint"
    )
    said = f"{study.name_of(trial.number)} {whence}, and no rule stops it any more"
    if study.halted or study.paused:
        held = "halted" if study.halted else "paused"
        said += f"; {study.label} is {held}, `smallhours resume {study.label}` lets it run"
    return said
