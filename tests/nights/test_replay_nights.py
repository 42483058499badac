"""A replay decides as the scheduler does: the same curves, the same stops, the same evidence."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.reasons import Diverged, RuleCut, RungCut
from smallhours.core.rule import Curve, Rule
from smallhours.core.spec import Dimension, Goal, Stopping
from smallhours.replay.contenders import Setting
from smallhours.replay.night import Recorded, play

TRIALS, STEPS = 40, 27


def trials() -> list[Recorded]:
    """Curves that fall to a floor, noisily; some diverge."""
    rng = np.random.default_rng(3)
    floors, pace = rng.uniform(0, 1, (TRIALS, 1)), rng.uniform(1, 8, (TRIALS, 1))
    steps = np.arange(1, STEPS + 1)
    values = floors + np.exp(-steps / pace) + rng.normal(0, 0.02, (TRIALS, STEPS))
    values[7, 20:] = values[9, 2:] = math.nan
    return [Recorded(number, row.tolist(), [1.0] * STEPS) for number, row in enumerate(values)]


class Noting:
    """Passes calls on to a rule and keeps the verdicts that stop a trial."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.cuts: dict[int, Any] = {}
        self.observe, self.close, self.versions = rule.observe, rule.close, dict[str, int]()
        self.observe_noise = rule.observe_noise

    def decide(self, trial: int, step: int, curve: Curve) -> Any:
        cut = self._rule.decide(trial, step, curve)
        if cut is not None:
            self.cuts[trial] = cut
        return cut


@pytest.mark.parametrize(
    "stopping",
    [
        Stopping(rule="median"),
        Stopping(rule="asha", options={"eta": 3.0, "grace": 3.0, "ranked": 0.0}),
        Stopping(rule="asha", options={"eta": 2.0, "grace": 1.0, "ranked": 1.0}),
    ],
    ids=["median", "asha", "asha by rank"],
)
def test_a_replay_with_one_worker_stops_what_a_night_with_one_slot_stops(
    stopping: Stopping,
) -> None:
    recorded = trials()
    space = (Dimension(name="x", kind="float", low=0.0, high=1.0),)
    spec = Setting(Goal.MINIMIZE, STEPS, TRIALS, 1).spec(stopping)

    def write(order: a.Start) -> Script:
        values = recorded[order.key.trial].values
        return Script(curve=lambda step: {"value": values[step - 1]}, steps=STEPS)

    backend = SimulatedBackend(1, write, 1, timeline=Timeline(0.0), disk=set())
    night = Simulation(Machine(rules.make), backend, session=1, history=[])
    night.submit(msgspec.structs.replace(spec, space=space, baseline={"x": 0.5}))
    assert night.run() == "dry"
    ended = {fact.trial: fact.reason for _, fact in night.facts if isinstance(fact, f.AttemptEnded)}
    cuts = {n: reason for n, reason in ended.items() if isinstance(reason, RuleCut | RungCut)}

    noting = Noting(rules.make(spec))
    outcome = play(recorded, noting, 1)
    assert noting.cuts == cuts
    assert outcome.stopped == tuple(sorted(cuts))
    assert len(cuts) > TRIALS // 4
    diverged = [number for number, reason in ended.items() if isinstance(reason, Diverged)]
    assert set(diverged) == set(range(TRIALS)) - set(outcome.stopped) - set(outcome.completed)
