"""Nights on simulated cards: the production machine packs, undoes, survives what cards do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from smallhours import rules
from smallhours.backends.cards import SimulatedDevice, SimulatedDevices
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Recorded, Simulation, Suggester
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.reasons import GpuOom, Paused, Refused, tag
from smallhours.core.spec import Dimension, Goal, Priority, Stopping, StudySpec
from smallhours.core.trial import AttemptKey
from smallhours.core.waiting import Why
from smallhours.packing.cards import Pause
from smallhours.simulate.interference import Interference, Load

GIB = 2**30
GPU, SMALL_GPU = "GPU-a", "GPU-b"
SPACE = (
    Dimension(name="width", kind="int", low=1, high=16),
    Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True),
)


def spec(name: str = "nets", **changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": name,
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": SPACE,
        "baseline": {"width": 4, "lr": 0.1},
        "trials": 12,
        "steps": 20,
        "stopping": Stopping(rule="none"),
    }
    return StudySpec(**{**values, **changes})


def bytes_of(order: a.Start) -> int:
    """What a configuration takes: a context and a part that grows with its width."""
    return int((0.5 + 0.25 * float(order.params["width"] or 0)) * GIB)


def write(order: a.Start, **changes: Any) -> Script:
    values: dict[str, Any] = {
        "curve": lambda step: {"loss": 1.0 / (step + float(order.params["lr"] or 0))},
        "steps": 20,
        "step_s": 2.0,
        "jitter": 0.03,
        "checkpoint_every": 5,
        "device_bytes": bytes_of(order),
        "load": Load(0.3),
    }
    return Script(**{**values, **changes})


CARD = SimulatedDevice(name=GPU, total_bytes=24 * GIB)
CPU = SimulatedDevice(name="cpu", kind="cpu", total_bytes=64 * GIB, cores=4.0)


class Night:
    """A session on simulated devices."""

    def __init__(
        self,
        *devices: SimulatedDevice,
        model: Callable[[a.Start], Script] = write,
        interference: Interference | None = None,
        suggester: Suggester | None = None,
        history: list[Recorded] | None = None,
        packed: bool = False,
        seed: int = 0,
    ) -> None:
        timeline = Timeline()
        self.devices = SimulatedDevices(timeline, devices or (CARD, CPU), interference)
        self.backend = SimulatedBackend(
            32 if packed else 2,
            model,
            seed,
            timeline=timeline,
            devices=self.devices,
            packed=packed,
        )
        self.machine = Machine(rules.make)
        self.simulation = Simulation(
            self.machine,
            self.backend,
            suggester=suggester,
            history=history or (),
            began=e.WallTime(unix=1.8e9, week_minute=0.0),
        )

    def run(self, *specs: StudySpec, until: float = 1e7) -> list[f.Fact]:
        for one in specs:
            self.simulation.submit(one)
        self.simulation.run(until=until)
        return self.facts

    @property
    def facts(self) -> list[f.Fact]:
        return [fact for _, fact in self.simulation.facts]

    def ends(self) -> Counter[str]:
        return Counter(tag(fact.reason) for fact in self.facts if isinstance(fact, f.AttemptEnded))

    def at_once(self, device: str | None = None) -> int:
        """Return the most attempts that ran at a time."""
        most, living = 0, set()
        for fact in self.facts:
            if isinstance(fact, f.AttemptStarted) and device in (None, fact.device):
                living.add(f.key_of(fact))
                most = max(most, len(living))
            elif isinstance(fact, f.AttemptEnded):
                living.discard(f.key_of(fact))
        return most

    def makespan_s(self) -> float:
        return self.simulation.facts[-1][0]


def test_a_gpu_is_used_without_being_told_and_trials_are_packed_onto_it() -> None:
    night = Night()
    night.run(spec())
    assert night.ends() == Counter(completed=12)
    devices = {fact.device for fact in night.facts if isinstance(fact, f.AttemptStarted)}
    assert devices == {GPU}
    assert night.at_once() >= 3
    alone_s = 12 * 20 * 2.0
    assert night.makespan_s() < alone_s / 1.5


def test_the_first_trial_of_a_study_is_watched_alone() -> None:
    night = Night()
    night.run(spec())
    started = [fact for fact in night.facts if isinstance(fact, f.AttemptStarted)]
    assert started[0].probe
    assert not any(fact.probe for fact in started[1:])
    reports = 0
    for fact in night.facts:
        if isinstance(fact, f.Reported):
            reports += 1
        if fact is started[1]:
            break
    assert reports >= 2


def test_predictions_are_put_on_record_and_hold() -> None:
    night = Night()
    night.run(spec(trials=20))
    started = {f.key_of(x): x for x in night.facts if isinstance(x, f.AttemptStarted)}
    ended = [fact for fact in night.facts if isinstance(fact, f.AttemptEnded)]
    told = 0
    for fact in ended:
        predicted = started[f.key_of(fact)].predicted
        if predicted is None:
            continue
        told += 1
        assert fact.footprint is not None
        assert fact.footprint.gpu_bytes is not None
        assert fact.footprint.gpu_bytes <= predicted.upper_bytes
    assert told >= 18


def test_cpu_studies_run_beside_those_on_the_gpu() -> None:
    night = Night()
    night.run(spec("a", device="cpu"), spec("b"))
    by_study = {}
    for fact in night.facts:
        if isinstance(fact, f.AttemptStarted):
            by_study.setdefault(fact.study, set()).add(fact.device)
    assert by_study == {1: {"cpu"}, 2: {GPU}}
    assert night.at_once("cpu") == 2


def test_a_study_that_needs_a_gpu_halts_where_there_is_none() -> None:
    night = Night(CPU)
    night.run(spec(device="gpu"), until=100)
    halted = night.machine.state.studies[1].halted
    assert halted is not None
    assert halted.cause == "no_device"
    assert "GPU" in halted.sentence


def test_saturating_trials_are_not_packed_for_long() -> None:
    night = Night(model=lambda order: write(order, load=Load(1.0), step_s=5.0))
    night.run(spec(trials=10))
    alone_s = 10 * 20 * 5.0
    assert night.makespan_s() <= 1.08 * alone_s
    assert night.ends()["completed"] == 10


def test_how_busy_a_study_keeps_the_card_is_learned_beside_one_that_saturates() -> None:
    def saturating(order: a.Start) -> Script:
        return write(order, step_s=10.0, load=Load(0.95, compute=1.0, memory_bound=0.5))

    night = Night(model=saturating, interference=Interference("mps"))
    night.run(spec("a", trials=6), spec("b", trials=6))
    learned = {fact.study: fact for fact in night.facts if isinstance(fact, f.LoadLearned)}
    assert {study: fact.busy for study, fact in learned.items()} == {
        1: pytest.approx(0.95, abs=0.03),
        2: pytest.approx(0.95, abs=0.03),
    }
    assert night.makespan_s() < 1.08 * 2 * 6 * 20 * 10.0


def test_small_processes_of_many_sizes_do_not_fill_the_host() -> None:
    def light(order: a.Start) -> Script:
        size = 5_000_000 if order.key.trial % 3 else 18_000_000
        return write(order, resident_bytes=size, step_s=1.0, cores=0.1, load=Load(0.1, 0.25))

    night = Night(CPU, model=light, packed=True)
    night.run(spec(trials=48, confirm=0))
    # 48 trials of 20 s: one at a time is 960 s, and beside the probe there is room for all.
    assert night.makespan_s() < 120.0


def test_a_trial_that_does_harm_is_paused_to_its_checkpoint_and_runs_later() -> None:
    thrashing = Interference(switch=5.0)  # what two do to each other, their busy shares hide
    night = Night(
        model=lambda order: write(order, load=Load(0.5), step_s=5.0), interference=thrashing
    )
    night.run(spec(trials=8))
    by_packer = [
        fact.reason
        for fact in night.facts
        if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, Paused)
    ]
    assert by_packer
    assert {reason.by for reason in by_packer} == {"packer"}
    assert night.ends()["completed"] == 8
    weights = [fact.log_weight for fact in night.facts if isinstance(fact, f.LoadLearned)]
    assert weights[-1] is not None
    assert weights[-1] > 0.5  # they were believed to weigh 1: a logarithm of 0


def test_the_trial_that_the_packer_names_is_paused_whoever_reported() -> None:
    night = Night(
        model=lambda order: write(order, load=Load(0.5), step_s=5.0 + order.key.trial),
        interference=Interference(switch=5.0),
    )
    named: list[tuple[str, int]] = []
    placement = night.machine.night.placement
    reported = placement.reported

    def listen(key: AttemptKey, *given: Any) -> Pause | None:
        undo = reported(key, *given)
        if undo is not None:
            named.append((undo.key, key.trial))
        return undo

    placement.reported = listen  # type: ignore[method-assign]
    night.run(spec(trials=8))
    paused = [
        f"{fact.study}/{fact.trial}"
        for fact in night.facts
        if isinstance(fact, f.Intended) and isinstance(fact.reason, Paused)
    ]
    assert paused == [name for name, _ in named]
    assert any(name != f"1/{reporter}" for name, reporter in named)


def test_a_new_study_gets_its_turn_beside_one_that_was_there_first() -> None:
    night = Night(model=lambda order: write(order, step_s=20.0, load=Load(0.9)))
    night.simulation.submit(spec("first", trials=12, confirm=0))
    night.simulation.submit(spec("second", trials=4, confirm=0), after_s=100.0)
    night.simulation.run(until=1000)
    began = [
        at
        for at, fact in night.simulation.facts
        if isinstance(fact, f.AttemptStarted) and fact.study == 2
    ]
    assert began
    assert began[0] < 200  # the first trial of all is still there, and was asked to save


def test_what_was_learned_outlives_the_session() -> None:
    first = Night()
    first.simulation.submit(spec(trials=30))
    first.simulation.run(until=150)
    second = Night(history=first.simulation.facts, seed=1)
    second.run()
    started = [fact for fact in second.facts if isinstance(fact, f.AttemptStarted)]
    assert started
    assert any(x.log_step_s for x in first.facts if isinstance(x, f.LoadLearned))
    assert not any(fact.probe for fact in started)
    assert all(fact.predicted is not None for fact in started)
    ended = first.ends() + second.ends()
    assert ended["completed"] == 30


def test_the_sum_of_what_is_promised_never_exceeds_the_card() -> None:
    night = Night(CARD, SimulatedDevice(name=SMALL_GPU, total_bytes=6 * GIB), CPU)
    night.run(spec(trials=40))
    room = {GPU: 24 * GIB, SMALL_GPU: 6 * GIB}
    true: dict[AttemptKey, tuple[str, int]] = {}
    params = {x.trial: x.params for x in night.facts if isinstance(x, f.TrialCreated)}
    for fact in night.facts:
        if isinstance(fact, f.AttemptStarted):
            size = int((0.5 + 0.25 * float(params[fact.trial]["width"] or 0)) * GIB)
            true[f.key_of(fact)] = (fact.device, size)
            for device, most in room.items():
                assert sum(s for d, s in true.values() if d == device) <= most
        elif isinstance(fact, f.AttemptEnded):
            true.pop(f.key_of(fact), None)
    assert night.ends() == Counter(completed=40)
    assert {x.device for x in night.facts if isinstance(x, f.AttemptStarted)} == set(room)


def test_configurations_that_no_card_can_hold_are_refused_and_not_counted() -> None:
    night = Night(
        model=lambda order: write(
            order, device_bytes=int(4.0 * float(order.params["width"] or 0) * GIB)
        )
    )
    night.run(spec(trials=16, baseline={"width": 1, "lr": 0.1}))
    refused = [
        fact.reason
        for fact in night.facts
        if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, Refused)
    ]
    assert refused
    for reason in refused:
        assert reason.needed_bytes is not None
        assert reason.available_bytes is not None
        assert reason.needed_bytes > reason.available_bytes
    over = [
        fact for fact in night.facts if isinstance(fact, f.AttemptEnded) and fact.then == "over"
    ]
    short = {fact.trial for fact in over if isinstance(fact.reason, GpuOom)}
    assert night.ends()["completed"] + len(short) == 16
    assert len([trial for trial in short if trial > 10]) <= 2


def test_a_trial_that_ran_out_of_memory_is_tried_again_alone() -> None:
    grown: set[int] = set()
    caps: dict[int, int | None] = {}

    def model(order: a.Start) -> Script:
        # The third trial takes four times what its like take: nobody could know.
        size = bytes_of(order) * (4 if order.key.trial == 3 else 1)
        if order.key.trial == 3:
            grown.add(order.key.attempt)
            caps[order.key.attempt] = order.memory_bytes
        return write(order, device_bytes=size)

    night = Night(model=model)
    night.run(spec(trials=10))
    ends = night.ends()
    assert ends["completed"] == 10
    ooms = [
        fact
        for fact in night.facts
        if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, GpuOom)
    ]
    assert {fact.trial for fact in ooms} == {3}
    assert all(fact.then == "retry" for fact in ooms)
    assert grown == {1, 2}
    assert caps[1] is not None
    assert caps[2] is None  # alone it has no neighbour to be kept from


def test_an_urgent_study_gets_room_on_a_full_card() -> None:
    night = Night(model=lambda order: write(order, device_bytes=7 * GIB, steps=200))
    night.simulation.submit(spec("long", trials=9, steps=200))
    night.simulation.submit(
        spec("now", trials=2, steps=20, priority=Priority.URGENT), after_s=120.0
    )
    night.simulation.run(until=400)
    began = next(
        at
        for at, fact in night.simulation.facts
        if isinstance(fact, f.AttemptStarted) and fact.study == 2
    )
    assert began <= 140
    assert night.machine.state.studies[2].searched == 2


def test_nothing_starts_on_a_card_that_is_too_hot_and_waits_say_so() -> None:
    night = Night()
    night.devices.close(GPU, "hot")
    night.run(spec(), until=60)
    assert not any(isinstance(fact, f.AttemptStarted) for fact in night.facts)
    assert {why for why, _ in night.machine.waits.values()} == {Why.HOT}
    night.devices.close(GPU, None)
    night.simulation.run(until=1e6)
    assert night.ends()["completed"] == 12


def test_a_card_that_goes_away_leaves_its_work_to_the_other() -> None:
    night = Night(CARD, SimulatedDevice(name=SMALL_GPU, total_bytes=12 * GIB), CPU)
    night.simulation.submit(spec(trials=30))
    night.simulation.run(until=100)
    night.devices.close(GPU, "gone")
    seen = len(night.facts)
    night.simulation.run(until=1e6)
    later = [x.device for x in night.facts[seen + 5 :] if isinstance(x, f.AttemptStarted)]
    assert set(later[1:]) == {SMALL_GPU}
    assert night.machine.state.studies[1].ended is not None


@pytest.mark.parametrize(
    ("cores", "most"),
    [(1.0, 4), (0.1, 12)],
    ids=["a study that computes", "a study that waits for data"],
)
def test_the_cpu_finds_its_number_of_slots(cores: float, most: int) -> None:
    night = Night(
        CPU,
        packed=True,
        model=lambda order: write(order, load=Load(cores, compute=0.25), cores=cores),
    )
    night.run(spec(trials=40))
    assert night.ends()["completed"] == 40
    assert (night.at_once() == most) if cores == 1.0 else (night.at_once() >= most)
