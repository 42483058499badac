"""Nights on simulated cards, put on record with the real writer, for readers' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.ledgers import EVENING
from smallhours import nameplates, rules
from smallhours.backends.cards import SimulatedDevice, SimulatedDevices
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core.machine import Machine
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.ledger.store import Ledger
from smallhours.nameplates import Nameplate
from smallhours.paths import Home
from smallhours.simulate.interference import Interference, Load

GIB = 2**30
GPU = "GPU-8f932f93-70aa-4d1c-9a53-1d9f5a5f0a11"
CARD = SimulatedDevice(name=GPU, total_bytes=24 * GIB)
CPU = SimulatedDevice(name="cpu", kind="cpu", total_bytes=64 * GIB, cores=4.0)
PLATES = {
    GPU: Nameplate(kind="gpu", label="NVIDIA GeForce RTX 3090", index=0, total_bytes=24 * GIB),
    "cpu": Nameplate(kind="cpu", label="CPU", index=None),
}


def spec(name: str = "nets", **changes: Any) -> StudySpec:
    """Return a study whose trials take more memory the wider they are."""
    values: dict[str, Any] = {
        "name": name,
        "metric": "loss",
        "goal": Goal.MINIMIZE,
        "space": (
            Dimension(name="width", kind="int", low=1, high=16),
            Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True),
        ),
        "baseline": {"width": 4, "lr": 0.1},
        "trials": 12,
        "steps": 20,
        "stopping": Stopping(rule="none"),
    }
    return StudySpec(**{**values, **changes})


def script(order: a.Start, **changes: Any) -> Script:
    """Return what a trial does that takes 0.25 GiB for each unit of width."""
    values: dict[str, Any] = {
        "curve": lambda step: {"loss": 1.0 / (step + float(order.params["lr"] or 0))},
        "steps": 20,
        "step_s": 2.0,
        "jitter": 0.03,
        "checkpoint_every": 5,
        "device_bytes": int((0.5 + 0.25 * float(order.params["width"] or 0)) * GIB),
        "load": Load(0.3),
    }
    return Script(**{**values, **changes})


class GpuNight:
    """A session on simulated devices; `record` puts it into a state directory."""

    def __init__(
        self,
        *devices: SimulatedDevice,
        model: Callable[[a.Start], Script] = script,
        interference: Interference | None = None,
        packed: bool = False,
    ) -> None:
        self.timeline = Timeline()
        self.devices = SimulatedDevices(self.timeline, devices or (CARD, CPU), interference)
        backend = SimulatedBackend(
            32 if packed else 2, model, 0,
            timeline=self.timeline, devices=self.devices, packed=packed,
        )  # fmt: skip
        self.machine = Machine(rules.make)
        self.simulation = Simulation(
            self.machine, backend, began=e.WallTime(unix=EVENING, week_minute=0.0)
        )

    def run(self, *specs: StudySpec, until: float = 1e7) -> GpuNight:
        """Run studies, until a virtual time at most."""
        for one in specs:
            self.simulation.submit(one)
        self.simulation.run(until=until)
        return self

    def record(self, root: Path) -> Home:
        """Write all that happened into a state directory; the session may be under way."""
        home = Home(root)
        home.prepare()
        ledger = Ledger(home.ledger, home.lock, reserve=False)
        for at, fact in self.simulation.facts:
            ledger.append(fact, at=EVENING + at, mono=at)
        ledger.commit()
        ledger.close()
        nameplates.write(home, PLATES)
        return home
