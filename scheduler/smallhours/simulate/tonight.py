"""Today's queue in virtual time: the production core goes on from what is on record.

How long a step takes, how far trials come before a rule stops them and what they need of a device
are drawn from what the study's own trials did. Everything else (turns, hours, the deadline,
packing) is decided by the code that will decide it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, NamedTuple

from smallhours.backends.cards import SimulatedDevice, SimulatedDevices
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import RandomSuggester, Recorded, Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.warm import WarmSlots
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import estimates
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.footprint import Footprint
from smallhours.core.machine import Machine
from smallhours.core.model import Study
from smallhours.core.seen import DeviceSeen
from smallhours.core.settings import Settings
from smallhours.core.spec import Params, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import AttemptKey
from smallhours.rules.never import NeverRule
from smallhours.simulate.cards import Ending, Span
from smallhours.simulate.interference import Interference, Load

#: A queue that takes longer than this is not followed to its end.
HORIZON_S: Final = 14 * 86_400.0
_LOOK_S: Final = 600.0
#: From the order to the first word of a process, where its slot is up.
_LAUNCH_S: Final = 0.1
#: What a slot takes to come up, of the time of a core.
_SLOT_S: Final = 2.0
_TICK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tonight:
    """What a forecast goes on from."""

    #: What is on record: monotonic time and fact.
    history: Sequence[Recorded]
    now: e.WallTime
    devices: tuple[DeviceSeen, ...]
    settings: Settings
    #: Fixed number of trials at a time on the CPU; None: as many as pay, up to `places`.
    slots: int | None
    places: int
    #: What lies in the inbox, in order: it is carried out first.
    requests: Sequence[e.Event] = ()


@dataclass(slots=True)
class Outlook:
    """What came of one simulated run of the queue."""

    #: The studies that are not over now, by id.
    names: dict[int, str]
    #: Those of which nothing has shown how long a step takes.
    unknown: frozenset[int]
    #: By study id: seconds from now until it is done; absent: it isn't within the horizon.
    done_s: dict[int, float]
    spans: list[Span]
    #: By name of a trial in `spans`: its study.
    study_of: dict[str, int]


def run(tonight: Tonight, seed: int) -> Outlook:
    """Simulate the rest of the queue once."""
    night = _Night(tonight, seed)
    return night.go()


class _First(NamedTuple):
    """The first report of an attempt."""

    #: Seconds after its process's first word.
    after_s: float
    #: Steps that were done by then.
    steps: int


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the trials of a study have shown: the next ones are drawn from it."""

    #: What one needed, and the seconds that a step takes it alone; None: not known.
    needs: Sequence[tuple[Footprint | None, float | None]]
    #: Seconds from a process's first word to its first step.
    setup_s: float
    #: The step at which one ends, and how likely that is.
    lengths: Sequence[tuple[int, float]]

    @classmethod
    def of(cls, study: Study, cores: float | None, first: Sequence[_First]) -> _Shown:
        """Take a study's trials in.

        Args:
            study: The study.
            cores: Those of the machine; None: its trials run on a GPU.
            first: The first reports of its attempts.
        """
        footprints, timed, usual = study.footprints, study.timed, _pace(study)
        stride = estimates.stride(study)
        needs: list[tuple[Footprint | None, float | None]] = []
        for number in [n for n in timed if n in footprints] or footprints:
            log_s = timed[number].log_step_s if number in timed else None
            step_s = usual if log_s is None else math.exp(log_s) / stride
            rested = footprints[number].rested(cores) if cores else None
            needs.append((footprints[number], step_s if rested is None else rested.step_s))
        steps = [(round(step), share) for step, share in estimates.lengths(study)]
        setups = [one.after_s - one.steps * (usual or 0.0) for one in first]
        return cls(needs or [(None, usual)], max(0.0, median(setups or [0.0])), steps)


class _Night:
    def __init__(self, tonight: Tonight, seed: int) -> None:
        self._seed = seed
        self._names: dict[int, str] = {}
        #: As it was: what trials are drawn from.
        self._before = _state(tonight)
        self._shown: dict[int, _Shown] = {}
        self._reported_first = _first_reports(tonight.history)
        self._cores = next((d.cores for d in tonight.devices if d.kind == "cpu"), None)
        history, disk = _saved(tonight.history, self._before)
        timeline = Timeline()
        devices = SimulatedDevices(
            timeline, [_device(one) for one in tonight.devices], Interference()
        )
        fixed = tonight.slots is not None
        backend = SimulatedBackend(
            tonight.slots or tonight.places,
            self._script,
            seed,
            timeline=timeline,
            disk=disk,
            devices=devices,
            packed=not fixed,
            warm=WarmSlots(
                timeline,
                _SLOT_S,
                cores=self._cores or 1.0,
                free=len(self._before.live),
                devices=devices if self._cores else None,
            ),
        )
        self._machine = Machine(_never)
        self._simulation = Simulation(
            self._machine,
            backend,
            suggester=_Suggester(seed),
            session=1_000_000,
            history=history,
            began=tonight.now,
            stay=True,
        )
        self._simulation.tick_s = _TICK_S
        self._first = [e.SettingsRead(at=0.0, settings=tonight.settings), *tonight.requests]
        timeline.after(0.0, self._tell)

    def _tell(self) -> None:
        """Tell the machine what it must know, and what it was asked, before anything starts."""
        for event in self._first:
            self._simulation.feed(replace(event, at=0.0))
        for study in self._machine.state.studies.values():
            if not (study.ended or study.retired):
                self._names[study.id] = study.label

    def go(self) -> Outlook:
        """Run until the queue is dry, or nothing more happens."""
        at, simulation = 0.0, self._simulation
        while at < HORIZON_S and simulation.timeline.next_at() < math.inf:
            at = min(HORIZON_S, max(at + _LOOK_S, simulation.timeline.next_at()))
            simulation.run(until=at)
            if not any(self._goes_on(study) for study in self._machine.state.studies.values()):
                break
        return self._outlook()

    def _goes_on(self, study: Study) -> bool:
        return bool(study.living) or (study.active and self._knows(study.id))

    def _knows(self, study: int) -> bool:
        before = self._before.studies.get(study)
        return before is not None and bool(_pace(before))

    def _script(self, order: a.Start) -> Script:
        key = order.key
        study = self._machine.state.studies[key.study]
        before = self._before.studies.get(key.study, study)
        rng = random.Random(f"{self._seed}/{key.study}/{key.trial}")
        begun = order.resume[0].step if order.resume else 0
        on_cpu = order.device == "cpu"
        shown = self._shown.get(before.id)
        if shown is None:
            cores, first = self._cores if on_cpu else None, self._reported_first.get(before.id, [])
            shown = self._shown[before.id] = _Shown.of(before, cores, first)
        drawn, step_s = rng.choice(shown.needs)
        learned = before.learned.get("cores" if on_cpu else "time_slicing")
        busy = 1.0 if learned is None or learned.busy is None else learned.busy
        weight = learned.log_weight if learned is not None else None
        compute = min(1.0, math.exp(weight)) if weight is not None else 1.0
        gpu_bytes = None if drawn is None else drawn.held_bytes("gpu")
        wanted = 1.0
        asks = drawn.on_cores(self._cores) if drawn is not None and self._cores else None
        if on_cpu and asks is not None and self._cores:
            busy, compute = asks.busy, asks.weight
            wanted = busy if busy < 1.0 else compute * self._cores
        return Script(
            curve=lambda _step: {study.spec.metric: 1.0},
            steps=_length(shown, study, key.trial, begun, rng),
            start_s=_LAUNCH_S + shown.setup_s,
            step_s=step_s or _pace(study) or 1.0,
            checkpoint_every=1 if before.saves else None,
            resident_bytes=(drawn.host_bytes if drawn is not None else None) or 100_000_000,
            device_bytes=0 if on_cpu else gpu_bytes or 0,
            load=Load(busy, compute),
            cores=wanted,
        )

    def _outlook(self) -> Outlook:
        nameless = (study for study in self._names if not self._knows(study))
        found = Outlook(self._names, frozenset(nameless), {}, [], {})
        began: dict[AttemptKey, tuple[float, str]] = {}
        for at, fact in self._simulation.facts:
            match fact:
                case f.StudyEnded():
                    found.done_s.setdefault(fact.study, at)  # rechecks may open it again
                case f.AttemptStarted():
                    began[f.key_of(fact)] = at, fact.device
                case f.AttemptEnded() if f.key_of(fact) in began:
                    since, device = began.pop(f.key_of(fact))
                    name = f"{fact.study}/{fact.trial}"
                    ending: Ending = "completed" if fact.then == "over" else "paused"
                    found.spans.append(Span(name, device, since, at, ending))
                    found.study_of[name] = fact.study
                case _:
                    pass
        return found


class _Suggester(RandomSuggester):
    """Draws from declared spaces; stands in for those that are functions with the baseline."""

    def ask(self, study: Study, trial: int) -> Params:
        return study.spec.baseline if study.spec.space is None else super().ask(study, trial)


def _never(_spec: StudySpec) -> NeverRule:
    """Stop nothing: how far trials come is drawn."""
    return NeverRule()


def _state(tonight: Tonight) -> State:
    state = State(_never)
    for at, fact in tonight.history:
        state.apply(fact, at)
    return state


def _first_reports(history: Sequence[Recorded]) -> dict[int, list[_First]]:
    """Return the first reports of all attempts, by study."""
    begun: dict[AttemptKey, int] = {}
    spoke: dict[AttemptKey, float] = {}
    found: dict[int, list[_First]] = {}
    for at, fact in history:
        match fact:
            case f.AttemptStarted():
                begun[f.key_of(fact)] = fact.resume_step
            case f.AttemptRunning():
                spoke[f.key_of(fact)] = at
            case f.Reported() if (since := spoke.pop(f.key_of(fact), None)) is not None:
                steps = fact.step - begun.get(f.key_of(fact), 0)
                found.setdefault(fact.study, []).append(_First(at - since, steps))
            case _:
                pass
    return found


def _saved(history: Sequence[Recorded], state: State) -> tuple[list[Recorded], set[str]]:
    """Return the history as if all that lives had just saved a checkpoint, to go on from it."""
    found, disk = [*history], set[str]()
    for study in state.studies.values():
        disk |= {saved.path for trial in study.trials.values() for saved in trial.checkpoints}
    for key, trial in state.live.items():
        if trial.last_step:
            path = f"forecast/{key}"
            fact = f.CheckpointSaved(**key._asdict(), step=trial.last_step, path=path, size_bytes=0)
            found.append((0.0, fact))
            disk.add(path)
    return found, disk


def _device(seen: DeviceSeen) -> SimulatedDevice:
    ours = seen.ours_bytes or 0
    return SimulatedDevice(
        name=seen.name,
        kind=seen.kind,
        total_bytes=seen.total_bytes or 2**40,
        reserve_bytes=seen.reserve_bytes,
        foreign_bytes=max(0, (seen.used_bytes or 0) - ours),
        cores=seen.cores,
        places=seen.places,
    )


def _pace(study: Study) -> float | None:
    """Return the seconds that a step takes a trial of a study alone; None: nothing has shown it."""
    timed = [fact.log_step_s for fact in study.timed.values() if fact.log_step_s is not None]
    if timed:
        return math.exp(sum(timed) / len(timed)) / estimates.stride(study)
    return estimates.mean_pace_s(study, None)


def _length(shown: _Shown, study: Study, number: int, begun: int, rng: random.Random) -> int:
    """Return the step at which a trial ends that is past some: its last, or where a rule stops."""
    last = study.spec.steps
    longer = [(step, share) for step, share in shown.lengths if step > begun and share > 0.0]
    if not study.trials[number].judged or not longer:
        return max(begun + 1, last)
    steps, shares = zip(*longer, strict=True)
    return min(last, int(rng.choices(steps, shares)[0]))
