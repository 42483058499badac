"""What only time brings: silence, memory running out, budgets of time, signals that are due."""

from __future__ import annotations

from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import guards
from smallhours.core.desk import Desk, why_stopped
from smallhours.core.reasons import HostOom, Hung
from smallhours.core.state import Live, Trial
from smallhours.core.trial import AttemptKey, TrialState


class Watch:
    """Looks at every tick whether something must be ended."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def tick(self, event: e.Tick) -> None:
        """Look at everything that runs."""
        at = event.at
        self._watch_memory(event)
        for trial in list(self._desk.state.live.values()):
            live = trial.live
            assert live is not None
            if live.intent is None:
                self._watch_silence(trial, live, event)
        self._watch_study_time(at)
        self.climb(at)

    def _watch_silence(self, trial: Trial, live: Live, event: e.Tick) -> None:
        spec, silent = self._desk.state.studies[trial.study].spec, event.at - live.heard_at
        starting = trial.state is TrialState.STARTING
        limit = guards.STARTING_LIMIT_S if starting else guards.silence_limit_s(spec, live.gap_s)
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
