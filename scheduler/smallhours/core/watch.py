"""What only time brings: silence, memory running out, budgets of time, signals that are due."""

from __future__ import annotations

from smallhours.core import actions as a
from smallhours.core import estimates, guards
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.desk import Desk, why_stopped
from smallhours.core.gates import gate_of_running
from smallhours.core.model import Live, Study, Trial
from smallhours.core.night import Night
from smallhours.core.reasons import HostOom, Hung
from smallhours.core.trial import AttemptKey, TrialState
from smallhours.core.waiting import Why

#: A process that the machine was yielded to must be gone this long.
_GONE_FOR_S = 30.0
#: Seconds between two ticks.
_TICK_S = 1.0
#: Where a place is needed at once, its trial has this long; the last of it after SIGTERM.
_AT_ONCE_S = 9.0
_LAST_CALL_S = 2.0


class Watch:
    """Looks at every tick whether something must be ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        #: When a process that goes first was last seen.
        self._foreign_at: float | None = None

    def tick(self, event: e.Tick) -> None:
        """Look at everything that runs."""
        at = event.at
        self._watch_yield(event)
        self._watch_memory(event)
        for trial in list(self._desk.state.live.values()):
            live = trial.live
            assert live is not None
            if live.intent is None:
                self._watch_silence(trial, live, event)
        self._watch_study_time(at)
        self.climb(at)

    def _watch_silence(self, trial: Trial, live: Live, event: e.Tick) -> None:
        study = self._desk.state.studies[trial.study]
        spec, silent = study.spec, event.at - live.heard_at
        starting = trial.state is TrialState.STARTING
        gap = live.gap_s or estimates.pace_s(study, None, estimates.CAUTIOUS)
        limit = guards.STARTING_LIMIT_S if starting else guards.silence_limit_s(spec, gap)
        sample = event.processes.get(live.key)
        if silent <= limit:
            self._desk.ladders.heard(live.key, live.heard_at, sample)
            return
        reason = Hung(
            silent_s=round(silent, 3),
            threshold_s=round(limit, 3),
            last_step=trial.last_step,
            process_state=sample.state if sample else None,
            cpu_s=self._desk.ladders.cpu_since(live.key, sample),
        )
        self._desk.record(f.Intended(**live.key._asdict(), reason=reason), event.at)
        self._desk.out.append(a.DumpStack(key=live.key))
        self._desk.ladders.hung(live.key, event.at)

    def _watch_memory(self, event: e.Tick) -> None:
        """Kill the largest trial when the host runs out, and any that outgrows its own limit."""
        sizes = {
            key: sample.resident_bytes
            for key, sample in event.processes.items()
            if key in self._desk.state.live and not self._desk.ladders.killed(key)
        }
        for key, size in sizes.items():
            limit = self._desk.state.studies[key.study].spec.memory_bytes
            if limit is not None and size > limit:
                self._kill_for_memory(key, event, limit)
                return
        if self._desk.ladders.killed_since(event.at - guards.GRACE_S):
            return  # what that one gives back is on its way
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
        live = self._desk.state.live[key].live
        if live is not None and live.intent is None:  # else: what was decided before stands
            self._desk.record(f.Intended(**key._asdict(), reason=reason), event.at)
        self._desk.ladders.kill(key, event.at)

    def _watch_yield(self, event: e.Tick) -> None:
        """Yield to the processes that go first, and take the machine back when its time has come.

        One that is started again and again would have everything paused as often: it has to be
        gone for a while.
        """
        if event.foreign:
            self._foreign_at = event.at
        yielded = self._desk.state.yielded
        if yielded is not None and not self._is_over(yielded, event):
            return
        if event.foreign:
            names = ", ".join(event.foreign)
            self._desk.record(f.Yielded(until=None, by=names, cause="foreign process"), event.at)
        elif yielded is not None:
            self._desk.record(f.YieldEnded(by="clock" if yielded.until else yielded.by), event.at)

    def _is_over(self, yielded: f.Yielded, event: e.Tick) -> bool:
        if yielded.until is None:
            return self._foreign_at is None or event.at - self._foreign_at >= _GONE_FOR_S
        return event.wall is not None and event.wall.unix >= yielded.until

    def see_to_gates(self) -> None:
        """Take off what runs where a gate is shut, or shuts before it would hear of it."""
        night = self._desk.night
        for trial in list(self._desk.state.live.values()):
            study, live = self._desk.state.studies[trial.study], trial.live
            assert live is not None
            until = gate_of_running(study, night)
            if until.open_s <= estimates.notice_s(study, trial):
                assert until.shut is not None
                self._desk.pause(trial, *_who_and_why(until.shut, study, night), night.at)
                # A tick before: it must be gone by then, and is only looked at once a tick.
                left = max(0.0, until.open_s - _TICK_S) if until.open_s > 0 else _AT_ONCE_S
                kill_at = night.at + left
                self._desk.ladders.needed(live.key, kill_at - _LAST_CALL_S, kill_at)
            elif study.paused:  # nobody needs its place at a certain time
                self._desk.pause(trial, *_who_and_why(Why.PAUSED, study, night), night.at)

    def _watch_study_time(self, at: float) -> None:
        for number in {key.study for key in self._desk.state.live}:
            study = self._desk.state.studies[number]
            reason = guards.study_time(study.spec, study.seconds_used(at))
            if reason is None:
                continue
            for trial in [study.trials[number] for number in study.living]:
                if trial.live is not None and trial.live.intent is None:
                    self._desk.intend(trial, reason, at, how="checkpoint", why=why_stopped(reason))

    def climb(self, at: float) -> None:
        """Send the signals that are due."""
        for key, signal in self._desk.ladders.due(at):
            self._desk.out.append(a.Signal(key=key, signal=signal))


def _who_and_why(why: Why, study: Study, night: Night) -> tuple[str, str]:
    match why:
        case Why.PAUSED:
            assert study.paused is not None
            return "operator", f"{study.label} was paused by {study.paused.by}"
        case Why.YIELDED:
            assert night.state.yielded is not None
            return "operator", f"the machine was yielded to {night.state.yielded.by}"
        case Why.DEADLINE:
            return "clock", "the deadline"
        case _:
            return "clock", why.value
