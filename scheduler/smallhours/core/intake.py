"""What people ask for: studies added, cancelled, released."""

from __future__ import annotations

from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import submission
from smallhours.core.desk import Desk
from smallhours.core.model import Study, Trial
from smallhours.core.reasons import Cancelled
from smallhours.core.trial import TrialState


class Intake:
    """Carries requests out, and answers each of them once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def study_submitted(self, event: e.StudySubmitted) -> None:
        """Add a study, go on with one of its name, or refuse."""
        if event.request in self._desk.state.answered:
            return
        number = self._desk.state.names.get(event.spec.name)
        decision = submission.decide(
            None if number is None else self._desk.state.studies[number], event
        )
        match decision:
            case submission.Refuse():
                self._desk.answer(event, "add", ok=False, text=decision.text)
            case submission.Amend():
                self._amend(decision, event)
            case submission.Add():
                self._add(decision, event)

    def _amend(self, decision: submission.Amend, event: e.StudySubmitted) -> None:
        study, at = decision.study, event.at
        text = f"going on with {study.spec.name}"
        if decision.changed:
            self._desk.record(f.StudyAmended(study=study.id, spec=event.spec, by=event.by), at)
            text += f" (changed: {', '.join(decision.changed)})"
        elif study.ended:
            text = f"{study.spec.name} is done already; raise trials to go on"
        if study.halted or study.paused:
            self._desk.record(f.StudyReleased(study=study.id, by=event.by), at)
        self._desk.answer(event, "add", ok=True, text=text)

    def _add(self, decision: submission.Add, event: e.StudySubmitted) -> None:
        at, old = event.at, decision.retire
        text = f"added {event.spec.name}"
        if old is not None:
            self._cancel_study(old, "a newer study of the same name", at)
            self._desk.record(f.StudyRetired(study=old.id), at)
            text += f"; the older one is {old.label}"
        study = max(self._desk.state.studies, default=0) + 1
        self._desk.record(
            f.StudyAdded(
                study=study,
                spec=event.spec,
                snapshot=event.snapshot,
                digest=event.digest,
                source=event.source,
                module=event.module,
                cwd=event.cwd,
                by=event.by,
            ),
            at,
        )
        self._desk.answer(event, "add", ok=True, text=text)

    def release_requested(self, event: e.ReleaseRequested) -> None:
        """Let halted and paused studies go on, or trials that wait as known mistakes."""
        if event.trial is not None:
            self._release_trial(event, event.trial)
            return
        released = []
        for study in self._desk.state.studies.values():
            held = (study.halted or study.paused) and not (study.ended or study.retired)
            if event.study not in (None, study.id):
                continue
            if event.study is not None and not (study.ended or study.retired):
                for number in list(study.held):
                    fact = f.TrialReleased(study=study.id, trial=number, by=event.by)
                    self._desk.record(fact, event.at)
                    released.append(study.name_of(number))
            if event.only_held:
                self._desk.go_on(study, event.by, event.at)
            elif held:
                self._desk.record(f.StudyReleased(study=study.id, by=event.by), event.at)
                released.append(study.label)
        nothing = "nothing was halted or paused"
        if event.only_held:
            nothing = "nothing of it waits as a known mistake"
        text = f"released {', '.join(released)}" if released else nothing
        self._desk.answer(event, "release", ok=True, text=text)

    def _release_trial(self, event: e.ReleaseRequested, number: int) -> None:
        study = None if event.study is None else self._desk.state.studies.get(event.study)
        if study is None or number not in study.held:
            text = "it does not wait as a known mistake"
            self._desk.answer(event, "release", ok=False, text=text)
            return
        fact = f.TrialReleased(study=study.id, trial=number, by=event.by)
        self._desk.record(fact, event.at)
        self._desk.go_on(study, event.by, event.at)
        text = f"released {study.name_of(number)}"
        self._desk.answer(event, "release", ok=True, text=text)

    def cancel_requested(self, event: e.CancelRequested) -> None:
        """End a trial or a study for good."""
        study = self._desk.state.studies.get(event.study)
        at = event.at
        if study is None or (event.trial is not None and event.trial not in study.trials):
            self._desk.answer(event, "cancel", ok=False, text="there is no such trial")
            return
        if event.trial is None:
            self._cancel_study(study, event.by, at)
            text = f"cancelled {study.label}"
        else:
            trial = study.trials[event.trial]
            name = study.name_of(trial.number)
            if trial.state is TrialState.ENDED:
                text = f"{name} has ended already"
            else:
                self._cancel_trial(study, trial, event.by, "trial", at)
                if not study.held:
                    self._desk.go_on(study, event.by, at)
                text = f"cancelled {name}"
        self._desk.answer(event, "cancel", ok=True, text=text)

    def _cancel_study(self, study: Study, by: str, at: float) -> None:
        self._desk.night.asked.pop(study.id, None)
        for trial in list(study.trials.values()):
            if trial.state is not TrialState.ENDED:
                self._cancel_trial(study, trial, by, "study", at)
        if not study.ended:
            before = study.ended_before
            outcome = "cancelled" if before is None else before.outcome
            self._desk.record(f.StudyEnded(study=study.id, outcome=outcome, winner=study.best), at)
        self._desk.close_if_over(study)

    def _cancel_trial(self, study: Study, trial: Trial, by: str, scope: str, at: float) -> None:
        reason = Cancelled(by=by, scope="trial" if scope == "trial" else "study", checkpoint=None)
        if trial.live is not None:
            if not isinstance(trial.live.intent, Cancelled):
                self._desk.intend(trial, reason, at, how="checkpoint", why="cancelled")
            return
        self._desk.end_unstarted(study, trial, reason, at)
