"""The state machine of the night: an event in, actions out, no I/O and no clock of its own."""

from __future__ import annotations

import hashlib
from typing import TypeAlias, assert_never

from smallhours.core import actions as a
from smallhours.core import classify, guards, queue, submission
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.ladder import Ladders
from smallhours.core.reasons import (
    Budget,
    Cancelled,
    Diverged,
    HostOom,
    Hung,
    InterruptCause,
    Reason,
    RuleCut,
    RungCut,
    tag,
)
from smallhours.core.rule import RuleFactory
from smallhours.core.spec import stored
from smallhours.core.state import Live, State, Study, Trial, fingerprint
from smallhours.core.trial import AttemptKey, Role, TrialState


def trial_seed(study_seed: int, purpose: str, number: int) -> int:
    """Return the seed of a trial: 31 bits of SHA-256 over the study's seed and its place."""
    digest = hashlib.sha256(f"{study_seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


#: Events that somebody waits for an answer to.
_Request: TypeAlias = (
    e.StudySubmitted | e.ReleaseRequested | e.CancelRequested | e.ShutdownRequested
)


class Machine:
    """Decides everything. Feed it events in order; carry its actions out in order."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self.state = State(rule_factory)
        #: What the queue must know of the machine.
        self.places = queue.Machine()
        #: Numbers of trials that a search was asked for, by study.
        self.asked: dict[int, set[int]] = {}
        self._draining: InterruptCause | None = None
        self._device = ""
        self._ladders = Ladders()
        self._opened: set[int] = set()
        self._finished = False
        self._out: list[a.Action] = []

    def handle(self, event: e.Event) -> list[a.Action]:
        """Take an event in and return what is to be done about it."""
        assert not self._finished, f"{type(event).__name__} after Finish"
        self._out = []
        match event:
            case e.ReportArrived():
                self._report_arrived(event)
                return self._out
            case e.EngineStarted():
                self._engine_started(event)
            case e.BackendReady():
                self._device, self.places.slots = event.device, event.slots
            case e.BackendLost():
                self._drain(event.at, event.cause, event.detail)
            case e.StudySubmitted():
                self._study_submitted(event)
            case e.ReleaseRequested():
                self._release_requested(event)
            case e.CancelRequested():
                self._cancel_requested(event)
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
                    self._ladders.noticed(event.key, event.at)
            case e.ProcessExited():
                self._process_exited(event)
            case e.Tick():
                self._tick(event)
            case _:
                assert_never(event)
        self._schedule(event.at)
        return self._out

    @property
    def dry(self) -> bool:
        """Whether nothing lives, nothing is asked, and nothing could be started."""
        return not self.state.live and not self.asked and not self._startable()

    # --- recording -------------------------------------------------------------------------

    def _record(self, fact: f.Fact, at: float) -> None:
        self._out.append(a.Record(fact=fact))
        self.state.apply(fact, at)

    def _answer(self, event: _Request, verb: str, *, ok: bool, text: str) -> None:
        if event.request:
            fact = f.RequestAnswered(
                request=event.request, verb=verb, uid=event.uid, ok=ok, text=text
            )
            self._record(fact, event.at)
            self._out.append(a.Answer(request=event.request, ok=ok, text=text))

    # --- the session -----------------------------------------------------------------------

    def _engine_started(self, event: e.EngineStarted) -> None:
        before = self.state.session
        cause = _cause_of_death(before, event)
        self._record(
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
            self._end(study, trial, sentence, event.at, seconds=0.0)
        for study in self.state.studies.values():
            if study.open:
                self._open(study)

    def _open(self, study: Study) -> None:
        if study.id not in self._opened:
            self._opened.add(study.id)
            self._out.append(a.OpenStudy(study=study.id))

    def _close(self, study: Study) -> None:
        if study.id in self._opened:
            self._opened.discard(study.id)
            self._out.append(a.CloseStudy(study=study.id))

    def _shutdown_requested(self, event: e.ShutdownRequested) -> None:
        count = len(self.state.live)
        self._drain(event.at, event.cause, event.detail)
        if event.now:
            for key in self.state.live:
                self._ladders.kill(key, event.at)
            self._climb(event.at)
        running = f"{count} running trial{'' if count == 1 else 's'}"
        self._answer(event, "stop", ok=True, text=f"stopping; {running}")

    def _drain(self, at: float, cause: InterruptCause, detail: str) -> None:
        if self._draining is not None:
            return
        self._draining = cause
        self.asked.clear()
        for trial in list(self.state.live.values()):
            assert trial.live is not None
            if trial.live.intent is None:
                reason = classify.interrupted(trial, cause, detail)
                self._intend(trial, reason, at, how="checkpoint", why=f"interrupted ({cause})")

    # --- requests --------------------------------------------------------------------------

    def _study_submitted(self, event: e.StudySubmitted) -> None:
        if event.request in self.state.answered:
            return
        number = self.state.names.get(event.spec.name)
        decision = submission.decide(None if number is None else self.state.studies[number], event)
        match decision:
            case submission.Refuse():
                self._answer(event, "add", ok=False, text=decision.text)
            case submission.Amend():
                self._amend(decision, event)
            case submission.Add():
                self._add(decision, event)

    def _amend(self, decision: submission.Amend, event: e.StudySubmitted) -> None:
        study, at = decision.study, event.at
        text = f"going on with {study.spec.name}"
        if decision.changed:
            self._record(f.StudyAmended(study=study.id, spec=event.spec), at)
            text += f" (changed: {', '.join(decision.changed)})"
        elif study.ended:
            text = f"{study.spec.name} is done already; raise trials to go on"
        if study.halted:
            self._record(f.StudyReleased(study=study.id), at)
        if study.open:
            self._open(study)
        self._answer(event, "add", ok=True, text=text)

    def _add(self, decision: submission.Add, event: e.StudySubmitted) -> None:
        at, old = event.at, decision.retire
        text = f"added {event.spec.name}"
        if old is not None:
            self._cancel_study(old, "a newer study of the same name", at)
            self._record(f.StudyRetired(study=old.id), at)
            self._close(old)
            text += f"; the older one is {old.label}"
        study = max(self.state.studies, default=0) + 1
        self._record(
            f.StudyAdded(
                study=study,
                spec=event.spec,
                snapshot=event.snapshot,
                digest=event.digest,
                source=event.source,
                module=event.module,
                cwd=event.cwd,
            ),
            at,
        )
        self._answer(event, "add", ok=True, text=text)
        self._open(self.state.studies[study])

    def _release_requested(self, event: e.ReleaseRequested) -> None:
        released = []
        for study in self.state.studies.values():
            if study.halted and not study.retired and event.study in (None, study.id):
                self._record(f.StudyReleased(study=study.id), event.at)
                self._open(study)
                released.append(study.spec.name)
        text = f"released {', '.join(released)}" if released else "nothing was halted"
        self._answer(event, "release", ok=True, text=text)

    def _cancel_requested(self, event: e.CancelRequested) -> None:
        study = self.state.studies.get(event.study)
        at = event.at
        if study is None or (event.trial is not None and event.trial not in study.trials):
            self._answer(event, "cancel", ok=False, text="there is no such trial")
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
                text = f"cancelled {name}"
        self._answer(event, "cancel", ok=True, text=text)

    def _cancel_study(self, study: Study, by: str, at: float) -> None:
        self.asked.pop(study.id, None)
        for trial in list(study.trials.values()):
            if trial.state is not TrialState.ENDED:
                self._cancel_trial(study, trial, by, "study", at)
        if not study.ended:
            self._record(f.StudyEnded(study=study.id, outcome="cancelled", winner=study.best), at)

    def _cancel_trial(self, study: Study, trial: Trial, by: str, scope: str, at: float) -> None:
        reason = Cancelled(by=by, scope="trial" if scope == "trial" else "study", checkpoint=None)
        if trial.live is not None:
            self._intend(trial, reason, at, how="checkpoint", why="cancelled")
            return
        # It waits: the refusal to start it is an attempt of its own.
        attempt = trial.attempts + 1
        ids = {"study": study.id, "trial": trial.number, "attempt": attempt}
        self._record(f.AttemptStarted(**ids, device="", resume_step=0), at)
        self._end(study, trial, classify.Sentence(reason, "over"), at, seconds=0.0)

    # --- the search ------------------------------------------------------------------------

    def _suggested(self, event: e.Suggested) -> None:
        if not self._answered_ask(event.study, event.trial):
            return
        study = self.state.studies[event.study]
        self._record(
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
        self._halt(study, "search_failed", sentence, event.at)

    def _answered_ask(self, study: int, trial: int) -> bool:
        """Take back an `Ask`; False where nobody wants the answer any more."""
        numbers = self.asked.get(study, set())
        if trial not in numbers:
            return False
        numbers.discard(trial)
        if not numbers:
            del self.asked[study]
        return True

    def _halt(self, study: Study, cause: str, sentence: str, at: float) -> None:
        self.asked.pop(study.id, None)
        if not study.halted:
            fact = {"study": study.id, "cause": cause, "sentence": sentence}
            self._record(f.StudyHalted(**fact), at)  # type: ignore[arg-type]

    # --- what attempts say -----------------------------------------------------------------

    def _process_started(self, event: e.ProcessStarted) -> None:
        key = event.key
        trial = self.state.live.get(key)
        if trial is None:
            return
        ids = key._asdict()
        fact = f.AttemptRunning(**ids, pid=event.pid, pid_started=event.pid_started)
        self._record(fact, event.at)

    def _state_restored(self, event: e.StateRestored) -> None:
        if event.key in self.state.live:
            self._record(
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
        self._record(fact, at)
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
            self._intend(trial, reason, at, how="now", why=_why(reason))

    def _checkpoint_written(self, event: e.CheckpointWritten) -> None:
        key, at = event.key, event.at
        trial = self.state.live.get(key)
        if trial is None:
            return
        spec = self.state.studies[key.study].spec
        self._record(
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
                self._record(removed, at)
                self._out.append(a.RemoveCheckpoint(path=saved.path))

    # --- ends ------------------------------------------------------------------------------

    def _intend(self, trial: Trial, reason: Reason, at: float, *, how: str, why: str) -> None:
        """Decide to end an attempt: on record first, then the order, then ever less politely."""
        live = trial.live
        assert live is not None
        self._record(f.Intended(**live.key._asdict(), reason=reason), at)
        order = "checkpoint" if how == "checkpoint" else "now"
        self._out.append(a.Stop(key=live.key, how=order, why=why))  # type: ignore[arg-type]
        self._ladders.ordered(live.key, at, guards.notice_limit_s(live.gap_s))

    def _process_exited(self, event: e.ProcessExited) -> None:
        trial = self.state.live.get(event.key)
        if trial is None:
            return
        study, live = self.state.studies[event.key.study], trial.live
        assert live is not None
        sentence = classify.of_exit(study, trial, event)
        if isinstance(sentence.reason, Hung):
            deeds = self._ladders.deeds(event.key, live.intended_at)
            sentence = classify.with_escalation(sentence, deeds)
        peak = max((size for _, size in event.resident), default=None)
        self._end(
            study, trial, sentence, event.at, seconds=event.at - live.started_at, peak_bytes=peak
        )

    def _end(
        self,
        study: Study,
        trial: Trial,
        sentence: classify.Sentence,
        at: float,
        *,
        seconds: float,
        peak_bytes: int | None = None,
    ) -> None:
        assert trial.live is not None
        key, score = trial.live.key, trial.score(study.spec)
        self._record(
            f.AttemptEnded(
                **key._asdict(),
                reason=sentence.reason,
                seconds=round(seconds, 6),
                last_step=trial.last_step,
                score=None if score is None else stored(score),
                then=sentence.then,
                peak_bytes=peak_bytes,
            ),
            at,
        )
        self._ladders.forget(key)
        if study.ended and not study.living:
            self._close(study)
        if sentence.then == "over" and trial.role is not Role.CONFIRMATION:
            outcome, value, step = classify.for_search(study, trial)
            self._out.append(
                a.Tell(study=study.id, trial=trial.number, outcome=outcome, value=value, step=step)
            )
        self._halt_on_failures(study, sentence.reason, at)

    def _halt_on_failures(self, study: Study, reason: Reason, at: float) -> None:
        if tag(reason) == "disk":
            text = f"{study.label} has no room on disk: free some, then smallhours resume"
            self._halt(study, "disk", text, at)
            return
        mark, ends = fingerprint(reason), study.latest_ends
        if mark is None or set(ends) != {mark}:
            return
        needed = guards.SAME_FAILURES_AT_FIRST if study.best is None else ends.maxlen
        assert needed is not None
        if len(ends) >= needed:
            text = f"the last {len(ends)} attempts all failed in the same way"
            self._halt(study, "same_failure", text, at)

    # --- time ------------------------------------------------------------------------------

    def _tick(self, event: e.Tick) -> None:
        at = event.at
        self.places.available_bytes = event.available_bytes
        self.places.total_bytes = event.total_bytes
        self._watch_memory(event)
        for trial in list(self.state.live.values()):
            live = trial.live
            assert live is not None
            if live.intent is None:
                self._watch_silence(trial, live, event)
        self._watch_study_time(at)
        self._climb(at)

    def _watch_silence(self, trial: Trial, live: Live, event: e.Tick) -> None:
        spec, silent = self.state.studies[trial.study].spec, event.at - live.heard_at
        starting = trial.state is TrialState.STARTING
        limit = guards.STARTING_LIMIT_S if starting else guards.silence_limit_s(spec, live.gap_s)
        sample = event.processes.get(live.key)
        if silent <= limit:
            self._ladders.heard(live.key, live.heard_at, sample)
            return
        reason = Hung(
            silent_s=round(silent, 3),
            threshold_s=round(limit, 3),
            last_step=trial.last_step,
            process_state=sample.state if sample else None,
            cpu_s=self._ladders.cpu_since(live.key, sample),
        )
        self._record(f.Intended(**live.key._asdict(), reason=reason), event.at)
        self._out.append(a.DumpStack(key=live.key))
        self._ladders.hung(live.key, event.at)

    def _watch_memory(self, event: e.Tick) -> None:
        """Kill the largest trial when the host runs out, and any that outgrows its own limit."""
        sizes = {
            key: sample.resident_bytes
            for key, sample in event.processes.items()
            if (trial := self.state.live.get(key)) and not _killed_for_memory(trial)
        }
        for key, size in sizes.items():
            limit = self.state.studies[key.study].spec.memory_bytes
            if limit is not None and size > limit:
                self._kill_for_memory(key, event, limit)
                return
        available = event.available_bytes
        if available is None or available >= guards.reserve_bytes(event.total_bytes) or not sizes:
            return
        self._kill_for_memory(max(sizes, key=lambda key: sizes[key]), event, None)

    def _kill_for_memory(self, key: AttemptKey, event: e.Tick, limit: int | None) -> None:
        reason = HostOom(
            killer="smallhours",
            resident=((0.0, event.processes[key].resident_bytes),),
            limit_bytes=limit,
            available_bytes=event.available_bytes,
        )
        self._record(f.Intended(**key._asdict(), reason=reason), event.at)
        self._ladders.kill(key, event.at)

    def _watch_study_time(self, at: float) -> None:
        for number in {key.study for key in self.state.live}:
            study = self.state.studies[number]
            lives = [study.trials[n].live for n in study.living]
            used = study.seconds + sum(at - live.started_at for live in lives if live)
            reason = guards.study_time(study.spec, used)
            if reason is None:
                continue
            for live in lives:
                if live is not None and live.intent is None:
                    trial = study.trials[live.key.trial]
                    self._intend(trial, reason, at, how="checkpoint", why=_why(reason))

    def _climb(self, at: float) -> None:
        for key, signal in self._ladders.due(at):
            self._out.append(a.Signal(key=key, signal=signal))

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
            item = queue.next_item(self.state, self.places, self.asked)
            match item:
                case None:
                    return
                case queue.StartWaiting():
                    self._start(item.study, item.trial, at)
                case queue.CreateBaseline():
                    self._create_baseline(item.study, at)
                case queue.AskForTrial():
                    self.asked.setdefault(item.study.id, set()).add(item.number)
                    self._out.append(a.Ask(study=item.study.id, trial=item.number))
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
        self._record(fact, at)
        self._out.append(
            a.Start(
                key=key,
                params=trial.params,
                seed=trial.seed,
                resume=tuple(a.ResumePoint(step=p.step, path=p.path) for p in points),
                best_known=study.best_score,
            )
        )

    def _create_baseline(self, study: Study, at: float) -> None:
        self._record(
            f.TrialCreated(
                study=study.id,
                trial=0,
                params=study.spec.baseline,
                seed=trial_seed(study.spec.seed, "trial", 0),
                role=Role.BASELINE,
            ),
            at,
        )
        self._out.append(a.Introduce(study=study.id, trial=0, params=study.spec.baseline))

    def _create_confirmations(self, study: Study, of: Trial, at: float) -> None:
        first = max(study.trials) + 1
        for index in range(study.spec.confirm):
            self._record(
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
        over = guards.study_time(study.spec, study.seconds) is not None
        outcome = "budget" if over and study.searched < study.spec.trials else "done"
        fact = {"study": study.id, "outcome": outcome, "winner": study.best}
        self._record(f.StudyEnded(**fact), at)  # type: ignore[arg-type]
        self._close(study)

    def finish_if_dry(self, at: float) -> list[a.Action]:
        """Leave if nothing is left to do; the caller has looked into the inbox just before."""
        self._out = []
        if self._draining is None and self.dry:
            self._finish("dry", at)
        return self._out

    def _finish(self, cause: str, at: float) -> None:
        assert self.state.session is not None
        self._record(f.SessionEnded(session=self.state.session.session, cause=cause), at)
        self._out.append(a.Finish(cause=cause))
        self._finished = True


def _cause_of_death(before: f.SessionStarted | None, event: e.EngineStarted) -> InterruptCause:
    if before is not None and before.boot_id != event.boot_id:
        return "reboot"
    return "engine crashed" if event.before.startswith("exit") else "engine killed"


def _killed_for_memory(trial: Trial) -> bool:
    return trial.live is not None and isinstance(trial.live.intent, HostOom)


def _why(reason: Reason) -> str:
    match reason:
        case RuleCut() | RungCut():
            return f"stopped by the {reason.rule} rule at step {reason.step}"
        case Diverged():
            return f"{reason.metric} is {reason.value} at step {reason.step}"
        case Budget():
            return f"budget {reason.budget} of {reason.limit:g} s is used up"
        case _:
            return tag(reason)
