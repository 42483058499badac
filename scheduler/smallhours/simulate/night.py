"""A workload under the production core: the queue, the packer and all, on simulated devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from smallhours.backends.cards import SimulatedDevice, SimulatedDevices
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Recorded, Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Raises, Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.reasons import Completed, GpuOom, Paused
from smallhours.core.rule import RuleFactory
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.core.trial import AttemptKey, Role
from smallhours.simulate.cards import UNWIND_S, Ending, Outcome, Span
from smallhours.simulate.workload import TrialSpec, Workload

#: The devices are looked at so often.
_TICK_S: Final = 2.0
#: Steps of the simulated backend scatter evenly within a band as wide as a bell is.
_EVEN: Final = math.sqrt(3.0)
#: When the night begins, for what goes by the clock: 2027-01-04, a Monday.
_BEGAN: Final = e.WallTime(unix=1_799_020_800.0, week_minute=0.0)


class CoreRun:
    """One run; `go` returns what came of it."""

    def __init__(self, workload: Workload, make_rule: RuleFactory) -> None:
        """Set the night up.

        Args:
            workload: What is to be done, on what.
            make_rule: Makes the rules of studies (none is asked for: it stops nothing).
        """
        self._workload = workload
        self._studies = {study.name: i + 1 for i, study in enumerate(workload.studies)}
        self._numbers = _numbers(workload)
        self._trials = {self._numbers[trial.name]: trial for trial in workload.trials}
        timeline = Timeline()
        self.devices = SimulatedDevices(timeline, _devices(workload), workload.interference)
        backend = SimulatedBackend(
            1, self._script, workload.seed, timeline=timeline, devices=self.devices, ready_s=0.0
        )
        self._machine = Machine(make_rule)
        self.simulation = Simulation(
            self._machine, backend, history=self._history(), began=_BEGAN, stay=True
        )
        self.simulation.tick_s = _TICK_S
        for at in sorted({t.arrival_s for t in workload.trials if t.arrival_s > 0.0}):
            timeline.after(at, self._arrivals(at))

    def go(self) -> Outcome:
        """Run to the end."""
        last = max((trial.arrival_s for trial in self._workload.trials), default=0.0)
        simulation = self.simulation
        while simulation.finished is None:
            due = simulation.timeline.next_at()
            if due == math.inf or (due > last and not self._goes_on):
                break
            simulation.run(until=due)
        return self._outcome()

    @property
    def _goes_on(self) -> bool:
        state = self._machine.state
        return bool(state.live) or any(s.open and s.waiting for s in state.studies.values())

    # --- the workload as the core takes it -------------------------------------------------

    def _spec(self, name: str, at: float) -> StudySpec:
        """Return a study as of a time: trials that have not come yet are not wanted yet."""
        all_ = [trial for trial in self._workload.trials if trial.study == name]
        study = next(study for study in self._workload.studies if study.name == name)
        come = [trial for trial in all_ if trial.arrival_s <= at]
        return StudySpec(
            name=name,
            metric="loss",
            goal=Goal.MINIMIZE,
            space=(Dimension(name="unused", kind="float", low=0.0, high=1.0),),
            baseline=dict(all_[0].params) if all_ else {},
            trials=len(come),
            steps=max((trial.steps for trial in all_), default=1),
            stopping=Stopping(rule="none"),
            retries=0,
            weight=study.weight,
        )

    def _history(self) -> list[Recorded]:
        come = [trial for trial in self._workload.trials if trial.arrival_s <= 0.0]
        facts: list[Recorded] = [
            (0.0, self._added(name, 0.0)) for name in dict.fromkeys(trial.study for trial in come)
        ]
        return facts + [(0.0, self._created(trial)) for trial in come]

    def _added(self, name: str, at: float) -> f.StudyAdded:
        return f.StudyAdded(
            study=self._studies[name],
            spec=self._spec(name, at),
            snapshot="simulated",
            digest="simulated",
            source=f"/simulated/{name}.py",
            module=name,
            cwd="/simulated",
        )

    def _created(self, trial: TrialSpec) -> f.TrialCreated:
        study, number = self._numbers[trial.name]
        believed = trial.believed_bytes
        return f.TrialCreated(
            study=study,
            trial=number,
            params=dict(trial.params),
            seed=number,
            role=Role.SEARCH if number else Role.BASELINE,
            attrs={} if believed is None else {"believed_bytes": believed},
        )

    def _arrivals(self, at: float) -> Callable[[], None]:
        def arrive() -> None:
            state, new = (
                self._machine.state,
                [t for t in self._workload.trials if t.arrival_s == at],
            )
            for name in dict.fromkeys(trial.study for trial in new):
                number, spec = self._studies[name], self._spec(name, at)
                known = number in state.studies
                amended = f.StudyAmended(study=number, spec=spec)
                state.apply(amended if known else self._added(name, at), at)
            for trial in new:
                state.apply(self._created(trial), at)
            self.simulation.feed(e.Tick(at=at, wall=self.simulation.wall))

        return arrive

    def _script(self, order: a.Start) -> Script:
        trial = self._trials[order.key.study, order.key.trial]
        failing = trial.fails_at is not None and trial.fails_at <= trial.steps
        saves = next(s.saves for s in self._workload.studies if s.name == trial.study)
        # Its own kind of failure: a study is halted for one that comes again and again.
        trouble = Raises(step=trial.fails_at or 1, type=f"Planned{order.key.trial}")
        return Script(
            curve=lambda step: {"loss": 1.0 / step},
            steps=trial.steps,
            start_s=self._workload.launch_s,
            step_s=trial.step_s,
            jitter=min(0.9, _EVEN * self._workload.jitter),
            checkpoint_every=1 if saves else None,
            unwind_s=UNWIND_S,
            device_bytes=trial.device_bytes,
            load=trial.load,
            trouble=trouble if failing else None,
        )

    # --- what came of it -------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        names = {number: name for name, number in self._numbers.items()}
        room = {card.name: card.room_bytes for card in self._workload.cards}
        use = self.devices.use()
        found = Outcome(
            makespan_s=0.0,
            spans=[],
            finished_s={},
            admissions=0,
            overcommits=0,
            byte_s={name: one.byte_s for name, one in use.items()},
            work_s={name: one.work_s for name, one in use.items()},
            busy_s={name: one.busy_s for name, one in use.items()},
        )
        began: dict[AttemptKey, tuple[float, str]] = {}
        for at, fact in self.simulation.facts:
            if isinstance(fact, f.AttemptStarted):
                began[f.key_of(fact)] = at, fact.device
                there = (key for key, (_, card) in began.items() if card == fact.device)
                used = sum(self._trials[key.study, key.trial].device_bytes for key in there)
                found.admissions += 1
                found.overcommits += used > room[fact.device]
            elif isinstance(fact, f.AttemptEnded):
                key, (since, card) = f.key_of(fact), began.pop(f.key_of(fact))
                name = names[key.study, key.trial]
                found.spans.append(Span(name, card, since, at, _ending(fact)))
                if fact.then == "over":
                    found.finished_s[name] = at
        found.makespan_s = max(found.finished_s.values(), default=0.0)
        found.left = [t.name for t in self._workload.trials if t.name not in found.finished_s]
        return found


def _ending(fact: f.AttemptEnded) -> Ending:
    match fact.reason:
        case Completed():
            return "completed"
        case GpuOom():
            return "gpu_oom"
        case Paused():
            return "paused"
        case _:
            return "failed"


def _numbers(workload: Workload) -> dict[str, tuple[int, int]]:
    """Return study and number of each trial, in the order in which they come."""
    studies = {study.name: i + 1 for i, study in enumerate(workload.studies)}
    counts = dict.fromkeys(studies, 0)
    found = {}
    for trial in sorted(workload.trials, key=lambda trial: trial.arrival_s):
        found[trial.name] = studies[trial.study], counts[trial.study]
        counts[trial.study] += 1
    return found


def _devices(workload: Workload) -> list[SimulatedDevice]:
    return [
        SimulatedDevice(
            name=card.name,
            total_bytes=card.total_bytes,
            reserve_bytes=card.reserve_bytes,
            foreign_bytes=card.foreign_bytes,
            speed=card.speed,
        )
        for card in workload.cards
    ]
