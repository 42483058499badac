"""Searches of spaces with few configurations: none is run twice, and none is asked for ever."""

from __future__ import annotations

import pytest

from fakes.searching import LivingSearch
from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import ReportsNan, Script
from smallhours.core import actions as a
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.reasons import Refused
from smallhours.core.spec import Dimension, Goal, Sampler, Stopping, StudySpec
from smallhours.core.variety import identity


def number(name: str, count: int) -> Dimension:
    return Dimension(name=name, kind="int", low=0, high=count - 1)


def spec(sampler: str, *space: Dimension, trials: int = 40, seed: int = 0) -> StudySpec:
    return StudySpec(
        name="small",
        metric="loss",
        goal=Goal.MINIMIZE,
        space=space,
        baseline={one.name: 0 for one in space},
        trials=trials,
        steps=3,
        stopping=Stopping(rule="none"),
        sampler=Sampler(name=sampler),
        seed=seed,
    )


def write(order: a.Start) -> Script:
    floor = sum((float(value or 0) - 1.3) ** 2 for value in order.params.values())
    return Script(curve=lambda step: {"loss": floor + 1 / step}, steps=3)


def night(of: StudySpec, script=write) -> list[f.Fact]:
    backend = SimulatedBackend(2, script, 0, timeline=Timeline())
    simulation = Simulation(Machine(rules.make), backend, suggester=LivingSearch(of))
    simulation.submit(of)
    assert simulation.run(until=1e5) == "dry"
    return [fact for _, fact in simulation.facts]


def run_configurations(facts: list[f.Fact]) -> list[bytes]:
    refused = {
        fact.trial
        for fact in facts
        if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, Refused)
    }
    created = [fact for fact in facts if isinstance(fact, f.TrialCreated)]
    return [identity(fact.params) for fact in created if fact.trial not in refused]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("sampler", "most"),
    # The proposals of `gp` take long.
    [("tpe", 4), ("random", 4), ("qmc", 4), ("cmaes", 4), ("gp", 2)],
)
def test_each_configuration_is_run_once_and_then_the_study_ends(sampler: str, most: int) -> None:
    facts = night(spec(sampler, number("a", most), number("b", most)))
    run = run_configurations(facts)
    assert len(run) == len(set(run)) == most**2
    (ended,) = (fact for fact in facts if isinstance(fact, f.StudyEnded))
    assert ended.outcome == "exhausted"


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_a_space_with_more_configurations_than_trials_gives_all_trials(sampler: str) -> None:
    facts = night(spec(sampler, number("a", 8), number("b", 8), trials=40))
    run = run_configurations(facts)
    assert len(run) == len(set(run)) == 40
    (ended,) = (fact for fact in facts if isinstance(fact, f.StudyEnded))
    assert ended.outcome == "done"


def test_a_night_whose_search_meets_a_wall_ends_and_says_what_waits() -> None:
    def walled(order: a.Start) -> Script:
        bad = float(order.params["x"] or 0) > 0.6
        return Script(
            curve=lambda step: {"loss": 1.0 - float(order.params["x"] or 0) + 1 / step},
            steps=3,
            trouble=ReportsNan(step=2) if bad else None,
        )

    space = Dimension(name="x", kind="float", low=0.0, high=1.0)
    facts = night(spec("random", space, trials=60), walled)
    held = [fact for fact in facts if isinstance(fact, f.TrialHeld)]
    assert held
    assert all(float(fact.region.value or 0) > 0.6 for fact in held)
    (halted,) = (fact for fact in facts if isinstance(fact, f.StudyHalted))
    assert halted.cause == "known_mistakes"
    ended = {fact.trial for fact in facts if isinstance(fact, f.AttemptEnded)}
    assert len(ended) + len(held) == 60
