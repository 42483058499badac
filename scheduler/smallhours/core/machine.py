"""The state machine of the night: an event in, actions out, no I/O and no clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar, assert_never

from smallhours.core import actions as a
from smallhours.core import classify, guards, recheck
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.continuing import Continuing
from smallhours.core.desk import Desk, why_stopped
from smallhours.core.intake import Intake
from smallhours.core.items import Waiter
from smallhours.core.keeping import Keeping
from smallhours.core.model import Study, Trial
from smallhours.core.night import Asked, Night
from smallhours.core.reasons import Hung, InterruptCause, Reason
from smallhours.core.rule import RuleFactory
from smallhours.core.scheduling import Scheduler
from smallhours.core.seen import DevicesSeen, FaultSeen
from smallhours.core.shortage import Neighbour, Surroundings
from smallhours.core.spec import stored
from smallhours.core.standby import Standby
from smallhours.core.state import State
from smallhours.core.waiting import Why
from smallhours.core.watch import Watch
from smallhours.core.wishes import Wishes

_Told = TypeVar("_Told", e.ReportArrived, e.FootprintMeasured, DevicesSeen)
_FAULTS_KEPT: Final = 64


class Machine:
    """Decides everything. Feed it events in order; carry its actions out in order."""

    def __init__(self, rule_factory: RuleFactory) -> None:
        self._desk = Desk(rule_factory)
        self._intake = Intake(self._desk)
        self._wishes = Wishes(self._desk)
        self._continuing = Continuing(self._desk)
        self._watch = Watch(self._desk)
        self._standby = Standby(self._desk)
        self._scheduler = Scheduler(self._desk)
        self._keeping = Keeping(self._desk)
        self._draining: InterruptCause | None = None
        self._finished = False
        #: Faults of GPUs, as their driver told of them.
        self._faults: deque[FaultSeen] = deque(maxlen=_FAULTS_KEPT)

    def handle(self, event: e.Event) -> list[a.Action]:
        """Take an event in and return what is to be done about it."""
        assert not self._finished, f"{type(event).__name__} after Finish"
        self._desk.out = []
        self.night.at = event.at
        match event:
            case e.ReportArrived():
                if not self._room_after(self._report_arrived, event):
                    return self._desk.out
            case e.SettingsRead():
                self.night.settings = event.settings
                self._keeping.budget_bytes = event.settings.checkpoint_bytes
                return self._desk.out  # the session need not have begun; a tick is never far
            case e.CheckpointsFound():
                self._keeping.found(event)
            case e.EngineStarted():
                self._engine_started(event)
            case DevicesSeen():
                if not self._room_after(self._devices_seen, event):
                    return self._desk.out
            case e.BackendReady():
                self._standby.ready(event.device, event.slots, packed=event.packed)
            case e.BackendClosed():
                self._standby.closed()
            case e.BackendLost():
                self._drain(event.at, event.cause, event.detail)
            case e.StudySubmitted():
                self._intake.study_submitted(event)
            case e.ReleaseRequested():
                self._intake.release_requested(event)
            case e.CancelRequested():
                self._intake.cancel_requested(event)
            case e.ContinueRequested():
                self._continuing.requested(event)
            case e.PauseRequested():
                self._wishes.pause(event)
            case e.MoveRequested():
                self._wishes.move(event)
            case e.YieldRequested():
                self._wishes.yield_machine(event)
            case e.DeadlineRequested():
                self._wishes.deadline(event)
            case e.ArchiveRequested():
                self._wishes.archive(event)
            case e.NoteRequested():
                self._wishes.note(event)
            case e.RequestRefused():
                self._desk.answer(event, event.verb, ok=False, text=event.text)
            case e.ShutdownRequested():
                self._shutdown_requested(event)
            case e.Suggested():
                self._scheduler.suggested(event)
            case e.SuggestFailed():
                self._scheduler.suggest_failed(event)
            case e.ProcessStarted():
                self._process_started(event)
            case e.StateRestored():
                self._state_restored(event)
            case e.CheckpointWritten():
                self._keeping.written(event)
            case e.FootprintMeasured():
                if not self._room_after(self._footprint_measured, event):
                    return self._desk.out
            case e.StopNoticed():
                if event.key in self.state.live:
                    self._desk.ladders.noticed(event.key, event.at)
            case e.ProcessExited():
                self._process_exited(event)
            case e.Tick():
                self._tick(event)
            case _:
                assert_never(event)
        if self._draining is None:
            self._watch.see_to_gates()
            self._standby.see_to()
            self._scheduler.fill()
            if self._continuing.take_up_rechecks():
                self._standby.see_to()
                self._scheduler.fill()
        elif not self.state.live:
            self._finish(self._draining, event.at)
        return self._desk.out

    @property
    def state(self) -> State:
        """Everything that is recorded."""
        return self._desk.state

    @property
    def night(self) -> Night:
        """What is not recorded: the time, the machine, the user's settings."""
        return self._desk.night

    @property
    def asked(self) -> Asked:
        """By study: numbers of trials that its search was asked for, and when."""
        return self.night.asked

    @property
    def over(self) -> Literal["dry", "deadline"] | None:
        """Why nothing runs and nothing will unless somebody asks for something; None: it does."""
        return self._standby.over

    @property
    def waits(self) -> Mapping[Waiter, tuple[Why, float]]:
        """Why each trial waits, and since when it was seen to (seconds of the monotonic clock)."""
        return self._scheduler.look_at_waits()

    # --- the session -----------------------------------------------------------------------

    def _engine_started(self, event: e.EngineStarted) -> None:
        before = self.state.session
        same_boot = before is None or before.boot_id == event.boot_id
        cause = classify.death_of_engine(event.before, same_boot=same_boot)
        self._desk.record(
            f.SessionStarted(
                session=event.session,
                pid=event.pid,
                boot_id=event.boot_id,
                version=event.version,
                directory=event.directory,
                backend=event.backend,
                before=event.before,
                rules=event.rules,
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
        self.night.wall, self._standby.stay = event.wall, event.stay
        if not (event.stay or event.before):
            self._standby.lift_old_deadline()

    def _devices_seen(self, event: DevicesSeen) -> None:
        self.night.placement.see(event)
        self._faults.extend(event.faults)
        self._scheduler.halt_without_device()

    def _tick(self, event: e.Tick) -> None:
        night = self.night
        night.available_bytes, night.total_bytes = event.available_bytes, event.total_bytes
        night.wall = event.wall
        self._watch.tick(event)

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

    # --- what attempts say -----------------------------------------------------------------

    def _process_started(self, event: e.ProcessStarted) -> None:
        key = event.key
        trial = self.state.live.get(key)
        if trial is None:
            return
        ids = key._asdict()
        fact = f.AttemptRunning(**ids, pid=event.pid, pid_started=event.pid_started)
        self._desk.record(fact, event.at)
        self.night.placement.launched(key, event.at)

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

    def _room_after(self, take: Callable[[_Told], None], event: _Told) -> bool:
        """Take in what is told; say whether something may be started for it."""
        placement = self.night.placement
        before = placement.changes
        take(event)
        return placement.changes != before

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
        undo = self.night.placement.reported(key, at, self.night.footprints.get(key))
        if live.intent is None:
            self._judge(study, trial, event)
        if undo is not None:  # often another trial than the one that reports
            self._desk.take_off(undo, at)

    def _judge(self, study: Study, trial: Trial, event: e.ReportArrived) -> None:
        """End an attempt where guards, the study's rule or its time say so."""
        at, spec = event.at, study.spec
        value = event.metrics[spec.metric]
        reason: Reason | None = guards.diverged(spec, event.step, value)
        if reason is None and event.step < spec.steps:
            if trial.judged:
                reason = study.rule.decide(trial.number, event.step, trial.curve)
            if reason is None:
                reason = guards.trial_time(spec, trial.seconds_counted(at))
        if reason is not None:
            how = "checkpoint" if recheck.keeps(study, trial, reason) else "now"
            self._desk.intend(trial, reason, at, how=how, why=why_stopped(reason))

    def _footprint_measured(self, event: e.FootprintMeasured) -> None:
        if event.key in self.state.live:
            known = self.night.footprints
            known[event.key] = event.footprint.after(known.get(event.key))
            self.night.placement.measured(event.key, event.footprint)

    @property
    def storage_short_bytes(self) -> int:
        """Bytes of checkpoints beyond the budget that have to be kept."""
        return self._keeping.short_bytes

    # --- ends ------------------------------------------------------------------------------

    def _process_exited(self, event: e.ProcessExited) -> None:
        trial = self.state.live.get(event.key)
        if trial is None:
            return
        study, live = self.state.studies[event.key.study], trial.live
        assert live is not None
        sentence = classify.of_exit(study, trial, event, self._surroundings(trial))
        if isinstance(sentence.reason, Hung):
            deeds = self._desk.ladders.deeds(event.key, live.intended_at)
            sentence = classify.with_escalation(sentence, deeds)
        self._desk.end(
            study,
            trial,
            sentence,
            event.at,
            seconds=event.at - live.started_at,
            peak_bytes=self._peak_bytes(event),
        )
        self._standby.served()

    def _peak_bytes(self, event: e.ProcessExited) -> int | None:
        """Return the most that was seen resident, by the engine or by the process itself."""
        sizes = [size for _, size in event.resident]
        footprint = self.night.footprints.get(event.key)
        if footprint is not None and footprint.host_bytes is not None:
            sizes.append(footprint.host_bytes)
        return max(sizes, default=None)

    def _surroundings(self, trial: Trial) -> Surroundings:
        """Return what is known of the trials on the same device as this one."""
        assert trial.live is not None
        neighbours = []
        for key, other in self.state.live.items():
            if other is trial or other.live is None or other.live.device != trial.live.device:
                continue
            footprint = self.night.footprints.get(key)
            neighbours.append(
                Neighbour(
                    name=self.state.studies[key.study].name_of(key.trial),
                    pid=other.live.pid,
                    used_bytes=footprint.gpu_bytes if footprint is not None else None,
                    predicted_bytes=_promised(other),
                )
            )
        live = trial.live
        faults = [
            fault.xid
            for fault in self._faults
            if fault.device in (None, live.device) and fault.at >= live.started_at
        ]
        return Surroundings(
            predicted_bytes=_promised(trial),
            neighbours=tuple(neighbours),
            device=live.device,
            xid=faults[-1] if faults else None,
        )

    def finish_if_dry(self, at: float) -> list[a.Action]:
        """Leave if nothing is left to do; the caller has looked into the inbox just before."""
        self._desk.out = []
        if self._draining is None and not self._standby.stay and self.over is not None:
            self._finish(self.over, at)
        return self._desk.out

    def _finish(self, cause: str, at: float) -> None:
        assert self.state.session is not None
        if cause != "raylet died":  # that is no good order: another engine goes on at once
            self._desk.record(f.SessionEnded(session=self.state.session.session, cause=cause), at)
        self._desk.out.append(a.Finish(cause=cause))
        self._finished = True


def _promised(trial: Trial) -> int | None:
    """Return the bytes of its device's memory that a trial was promised; None: nobody knew."""
    return None if trial.predicted is None else trial.predicted.upper_bytes
