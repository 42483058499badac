"""The state machine of the night: an event in, actions out, no I/O and no clock of its own."""

from __future__ import annotations

import hashlib
from typing import assert_never

from smallhours.core import actions as a
from smallhours.core import classify, guards, queue
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.desk import Desk, why_stopped
from smallhours.core.intake import Intake
from smallhours.core.reasons import Hung, InterruptCause, Reason
from smallhours.core.rule import RuleFactory
from smallhours.core.spec import stored
from smallhours.core.state import State, Study, Trial
from smallhours.core.trial import AttemptKey, Role
from smallhours.core.watch import Watch


def trial_seed(study_seed: int, purpose: str, number: int) -> int:
    """Return the seed of a trial: 31 bits of SHA-256 over the study's seed and its place."""
    digest = hashlib.sha256(f"{study_seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Machine:
    """Decides everything. Feed it events in order; carry its actions out in order."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self._desk = Desk(rule_factory)
        self._intake = Intake(self._desk)
        self._watch = Watch(self._desk)
        #: What the queue must know of the machine.
        self.places = queue.Machine()
        self._draining: InterruptCause | None = None
        self._device = ""
        self._finished = False

    def handle(self, event: e.Event) -> list[a.Action]:
        """Take an event in and return what is to be done about it."""
        assert not self._finished, f"{type(event).__name__} after Finish"
        self._desk.out = []
        match event:
            case e.ReportArrived():
                self._report_arrived(event)
                return self._desk.out
            case e.EngineStarted():
                self._engine_started(event)
            case e.BackendReady():
                self._device, self.places.slots = event.device, event.slots
            case e.BackendLost():
                self._drain(event.at, event.cause, event.detail)
            case e.StudySubmitted():
                self._intake.study_submitted(event)
            case e.ReleaseRequested():
                self._intake.release_requested(event)
            case e.CancelRequested():
                self._intake.cancel_requested(event)
            case e.RequestRefused():
                self._desk.answer(event, event.verb, ok=False, text=event.text)
            case e.ShutdownRequested():
                self._shutdown_requested(event)
            case e.Suggested():
                self._suggested(event)
            case e.SuggestFailed():
                self._suggest_failed(event)
            case e.ProcessStarted():
                self._process_started(event)
            case e.StateRestored():
                self._state_restored(event)
            case e.CheckpointWritten():
                self._checkpoint_written(event)
            case e.StopNoticed():
                if event.key in self.state.live:
                    self._desk.ladders.noticed(event.key, event.at)
            case e.ProcessExited():
                self._process_exited(event)
            case e.Tick():
                self.places.available_bytes = event.available_bytes
                self.places.total_bytes = event.total_bytes
                self._watch.tick(event)
            case _:
                assert_never(event)
        self._schedule(event.at)
        return self._desk.out

    @property
    def state(self) -> State:
        """Everything that is recorded."""
        return self._desk.state

    @property
    def asked(self) -> queue.Asked:
        """By study: numbers of trials that its search was asked for, and when."""
        return self._desk.asked

    @property
    def dry(self) -> bool:
        """Whether nothing lives, nothing is asked, and nothing could be started."""
        return not self.state.live and not self.asked and not self._startable()

    # --- the session -----------------------------------------------------------------------

    def _engine_started(self, event: e.EngineStarted) -> None:
        before = self.state.session
        cause = _cause_of_death(before, event)
        self._desk.record(
            f.SessionStarted(
                session=event.session,
                pid=event.pid,
                boot_id=event.boot_id,
                version=event.version,
                directory=event.directory,
                backend=event.backend,
                before=event.before,
            ),
            event.at,
        )
        for key, trial in list(self.state.live.items()):
            study = self.state.studies[key.study]
            sentence = classify.of_dead_session(trial, study.spec, cause)
            assert trial.live is not None
            # Both times are of the session that died; it was not heard of after that.
            seconds = max(0.0, trial.live.heard_at - trial.live.started_at)
            self._desk.end(study, trial, sentence, event.at, seconds=seconds)
        for study in self.state.studies.values():
            if study.open:
                self._desk.open(study)

    def _shutdown_requested(self, event: e.ShutdownRequested) -> None:
        count = len(self.state.live)
        self._drain(event.at, event.cause, event.detail)
        if event.now:
            for key in self.state.live:
                self._desk.ladders.kill(key, event.at)
            self._watch.climb(event.at)
        running = f"{count} running trial{'' if count == 1 else 's'}"
        self._desk.answer(event, "stop", ok=True, text=f"stopping; {running}")

    def _drain(self, at: float, cause: InterruptCause, detail: str) -> None:
        if self._draining is not None:
            return
        self._draining = cause
        self.asked.clear()
        for trial in list(self.state.live.values()):
            assert trial.live is not None
            if trial.live.intent is None:
                reason = classify.interrupted(trial, cause, detail)
                self._desk.intend(trial, reason, at, how="checkpoint", why=f"interrupted ({cause})")

    # --- the search ------------------------------------------------------------------------

    def _suggested(self, event: e.Suggested) -> None:
        if not self._answered_ask(event.study, event.trial):
            return
        study = self.state.studies[event.study]
        if study.searched >= study.spec.trials:
            return  # fewer trials are wanted than when it was asked for
        self._desk.record(
            f.TrialCreated(
                study=study.id,
                trial=event.trial,
                params=event.params,
                seed=trial_seed(study.spec.seed, "trial", event.trial),
                role=Role.SEARCH,
                dimensions=event.dimensions,
            ),
            event.at,
        )

    def _suggest_failed(self, event: e.SuggestFailed) -> None:
        if not self._answered_ask(event.study, event.trial):
            return
        study = self.state.studies[event.study]
        sentence = f"the search could not propose trial {event.trial}: {event.message}"
        self._desk.halt(study, "search_failed", sentence, event.at)

    def _answered_ask(self, study: int, trial: int) -> bool:
        """Take back an `Ask`; False where nobody wants the answer any more."""
        numbers = self.asked.get(study, {})
        if trial not in numbers:
            return False
        del numbers[trial]
        if not numbers:
            del self.asked[study]
        return True

    # --- what attempts say -----------------------------------------------------------------

    def _process_started(self, event: e.ProcessStarted) -> None:
        key = event.key
        trial = self.state.live.get(key)
        if trial is None:
            return
        ids = key._asdict()
        fact = f.AttemptRunning(**ids, pid=event.pid, pid_started=event.pid_started)
        self._desk.record(fact, event.at)

    def _state_restored(self, event: e.StateRestored) -> None:
        if event.key in self.state.live:
            self._desk.record(
                f.Restored(
                    **event.key._asdict(),
                    step=event.step,
                    path=event.path,
                    rejected=event.rejected,
                ),
                event.at,
            )

    def _report_arrived(self, event: e.ReportArrived) -> None:
        key, at = event.key, event.at
        trial = self.state.live.get(key)
        if trial is None:
            return
        study, live = self.state.studies[key.study], trial.live
        assert live is not None
        metrics = {name: stored(value) for name, value in event.metrics.items()}
        fact = f.Reported(**key._asdict(), step=event.step, metrics=metrics)
        self._desk.record(fact, at)
        if live.intent is not None:
            return
        spec = study.spec
        value = event.metrics[spec.metric]
        reason: Reason | None = guards.diverged(spec, event.step, value)
        if reason is None and event.step < spec.steps:
            if trial.role is Role.SEARCH:
                reason = study.rule.decide(trial.number, event.step, trial.curve)
            if reason is None:
                reason = guards.trial_time(spec, trial.seconds + at - live.started_at)
        if reason is not None:
            self._desk.intend(trial, reason, at, how="now", why=why_stopped(reason))

    def _checkpoint_written(self, event: e.CheckpointWritten) -> None:
        key, at = event.key, event.at
        trial = self.state.live.get(key)
        if trial is None:
            return
        spec = self.state.studies[key.study].spec
        self._desk.record(
            f.CheckpointSaved(
                **key._asdict(), step=event.step, path=event.path, size_bytes=event.size_bytes
            ),
            at,
        )
        keep = {saved.path for saved in trial.resume_points()[:2]}
        best = trial.best_step(spec) if spec.score == "best" else None
        for saved in list(trial.checkpoints):
            if saved.path not in keep and saved.step != best:
                removed = f.CheckpointRemoved(study=key.study, trial=key.trial, path=saved.path)
                self._desk.record(removed, at)
                self._desk.out.append(a.RemoveCheckpoint(path=saved.path))

    # --- ends ------------------------------------------------------------------------------

    def _process_exited(self, event: e.ProcessExited) -> None:
        trial = self.state.live.get(event.key)
        if trial is None:
            return
        study, live = self.state.studies[event.key.study], trial.live
        assert live is not None
        sentence = classify.of_exit(study, trial, event)
        if isinstance(sentence.reason, Hung):
            deeds = self._desk.ladders.deeds(event.key, live.intended_at)
            sentence = classify.with_escalation(sentence, deeds)
        peak = max((size for _, size in event.resident), default=None)
        self._desk.end(
            study, trial, sentence, event.at, seconds=event.at - live.started_at, peak_bytes=peak
        )

    # --- what to start ---------------------------------------------------------------------

    def _startable(self) -> bool:
        return any(study.open for study in self.state.studies.values())

    def _schedule(self, at: float) -> None:
        if self._draining is not None:
            if not self.state.live:
                self._finish(self._draining, at)
            return
        if not self.places.slots:
            return
        while True:
            item = queue.next_item(self.state, self.places, self.asked, at)
            match item:
                case None:
                    return
                case queue.StartWaiting():
                    self._start(item.study, item.trial, at)
                case queue.CreateBaseline():
                    self._create_baseline(item.study, at)
                case queue.AskForTrial():
                    self.asked.setdefault(item.study.id, {})[item.number] = at
                    self._desk.out.append(a.Ask(study=item.study.id, trial=item.number))
                case queue.CreateConfirmations():
                    self._create_confirmations(item.study, item.of, at)
                case queue.EndStudy():
                    self._end_study(item.study, at)
                case _:
                    assert_never(item)

    def _start(self, study: Study, trial: Trial, at: float) -> None:
        points = trial.resume_points()
        key = AttemptKey(study.id, trial.number, trial.attempts + 1)
        step = points[0].step if points else 0
        fact = f.AttemptStarted(**key._asdict(), device=self._device, resume_step=step)
        self._desk.record(fact, at)
        self._desk.out.append(
            a.Start(
                key=key,
                params=trial.params,
                seed=trial.seed,
                resume=tuple(a.ResumePoint(step=p.step, path=p.path) for p in points),
                best_known=study.best_score,
            )
        )

    def _create_baseline(self, study: Study, at: float) -> None:
        self._desk.record(
            f.TrialCreated(
                study=study.id,
                trial=0,
                params=study.spec.baseline,
                seed=trial_seed(study.spec.seed, "trial", 0),
                role=Role.BASELINE,
            ),
            at,
        )
        self._desk.out.append(a.Introduce(study=study.id, trial=0, params=study.spec.baseline))

    def _create_confirmations(self, study: Study, of: Trial, at: float) -> None:
        first = max(study.trials) + 1
        for index in range(study.spec.confirm):
            self._desk.record(
                f.TrialCreated(
                    study=study.id,
                    trial=first + index,
                    params=of.params,
                    # The same fresh seeds for baseline and winner: their difference is paired.
                    seed=trial_seed(study.spec.seed, "confirm", index),
                    role=Role.CONFIRMATION,
                    of=of.number,
                ),
                at,
            )

    def _end_study(self, study: Study, at: float) -> None:
        over = guards.study_time(study.spec, study.seconds_used(at)) is not None
        outcome = "budget" if over and study.searched < study.spec.trials else "done"
        fact = {"study": study.id, "outcome": outcome, "winner": study.best}
        self._desk.record(f.StudyEnded(**fact), at)  # type: ignore[arg-type]
        self._desk.close_if_over(study)

    def finish_if_dry(self, at: float) -> list[a.Action]:
        """Leave if nothing is left to do; the caller has looked into the inbox just before."""
        self._desk.out = []
        if self._draining is None and self.dry:
            self._finish("dry", at)
        return self._desk.out

    def _finish(self, cause: str, at: float) -> None:
        assert self.state.session is not None
        if cause != "raylet died":  # that is no good order: another engine goes on at once
            self._desk.record(f.SessionEnded(session=self.state.session.session, cause=cause), at)
        self._desk.out.append(a.Finish(cause=cause))
        self._finished = True


def _cause_of_death(before: f.SessionStarted | None, event: e.EngineStarted) -> InterruptCause:
    if before is not None and before.boot_id != event.boot_id:
        return "reboot"
    return "engine crashed" if event.before.startswith("exit") else "engine killed"
