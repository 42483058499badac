"""Nights with ASHA, in virtual time: stops at rungs, told in words, and derived again."""

from __future__ import annotations

import io
import math
import random
from collections import Counter
from pathlib import Path

import pytest

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Recorded, Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Dies, Script
from smallhours.commands import why_trial
from smallhours.core import actions as a
from smallhours.core import facts as f
from smallhours.core.machine import Machine
from smallhours.core.reasons import RungCut, tag
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import Role
from smallhours.ledger import checks
from smallhours.ledger.store import Ledger, open_to_read
from smallhours.paths import Home
from smallhours.snapshot import Snapshot

ASHA = Stopping(rule="asha", options={"eta": 3.0, "grace": 3.0, "ranked": 0.0})
TRIALS, STEPS = 40, 27


def spec(stopping: Stopping = ASHA) -> StudySpec:
    return StudySpec(
        name="digits", metric="loss", goal=Goal.MINIMIZE, baseline={"lr": 0.5}, trials=TRIALS,
        steps=STEPS, stopping=stopping, confirm=1,
        space=(Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True),),
    )  # fmt: skip


def write(order: a.Start) -> Script:
    """Let the loss fall to a floor set by the configuration.

    Some first attempts die just past the second rung, with their checkpoint before it.
    """
    floor = abs(math.log10(float(order.params["lr"] or 0) * 10)) + (order.seed % 97) / 970
    dies = order.key.trial % 5 == 2 and order.key.attempt == 1
    return Script(
        curve=lambda step: {"loss": floor + 1.0 / step}, steps=STEPS, jitter=0.3,
        checkpoint_every=2, trouble=Dies(step=10, signal=11) if dies else None,
    )  # fmt: skip


def session(
    seed: int, history: list[Recorded], disk: set[str], number: int = 1, now: float = 0.0
) -> Simulation:
    backend = SimulatedBackend(3, write, seed, timeline=Timeline(now), disk=disk)
    return Simulation(Machine(rules.make), backend, session=number, history=history)


def whole_night(stopping: Stopping = ASHA, seed: int = 1) -> list[Recorded]:
    sim = session(seed, [], set())
    sim.submit(spec(stopping))
    assert sim.run() == "dry"
    return sim.facts


def broken_night(seed: int) -> list[Recorded]:
    """Kill the engine some times; what was not committed is lost."""
    rng = random.Random(seed)
    disk: set[str] = set()
    history: list[Recorded] = []
    for number in range(1, 9):
        sim = session(seed, history, disk, number, now=rng.uniform(0.0, 1e6))
        sim.submit(spec())
        finished = sim.run(actions=rng.randint(50, 900) if number < 8 else math.inf)
        if finished is not None:
            break
        history = [*history, *sim.facts[: sim.durable]]
    assert finished == "dry"
    return [*history, *sim.facts]


def cuts(facts: list[Recorded]) -> dict[int, RungCut]:
    """Return the verdicts that ended trials, by trial."""
    return {
        fact.trial: fact.reason
        for _, fact in facts
        if isinstance(fact, f.AttemptEnded) and isinstance(fact.reason, RungCut)
    }


def roles(facts: list[Recorded]) -> dict[int, Role]:
    return {fact.trial: fact.role for _, fact in facts if isinstance(fact, f.TrialCreated)}


def check(folder: Path, facts: list[Recorded]) -> checks.Report:
    """Write a night down as the engine does, and prove it as `verify` does."""
    home = Home(folder)
    ledger = Ledger(home.ledger, home.lock, reserve=False)
    for at, fact in facts:
        ledger.append(fact, at=1e9 + at, mono=at)
    ledger.close()
    db = open_to_read(home.ledger)
    try:
        return checks.check(db, rules.make, running=False)
    finally:
        db.close()


@pytest.mark.parametrize("ranked", [0.0, 1.0])
def test_trials_are_stopped_at_rungs_and_most_steps_are_saved(ranked: float) -> None:
    stopping = Stopping(rule="asha", options={**ASHA.options, "ranked": ranked})
    facts = whole_night(stopping)
    ended = [fact for _, fact in facts if isinstance(fact, f.AttemptEnded) and fact.then == "over"]
    reasons = Counter(tag(end.reason) for end in ended)
    assert set(reasons) == {"rung_cut", "completed"}
    assert reasons["rung_cut"] >= TRIALS // 2
    assert {(cut.rung, cut.step) for cut in cuts(facts).values()} == {(1, 3), (2, 9)}
    assert all(roles(facts)[trial] is Role.SEARCH for trial in cuts(facts))
    steps = sum(isinstance(fact, f.Reported) for _, fact in facts)
    without = whole_night(Stopping(rule="none"))
    assert steps < 0.6 * sum(isinstance(fact, f.Reported) for _, fact in without)


def test_why_says_at_which_rung_in_what_place_and_what_was_needed(tmp_path: Path) -> None:
    facts = whole_night()
    assert check(tmp_path, facts).good
    trial, cut = next(iter(cuts(facts).items()))
    out = io.StringIO()
    with Snapshot(Home(tmp_path)) as snapshot:
        why_trial.why(snapshot, Home(tmp_path), 1, trial, as_json=False, out=out)
    told = " ".join(out.getvalue().split())
    assert f"digits/{trial} was stopped at step {cut.step} of 27 by the ASHA rule." in told
    assert (
        f"in place {cut.rank} of the {cut.of} trials that had come to rung {cut.rung} by then"
        in told
    )
    assert "or better. Stopping it saved" in told
    best, _ = cut.competitors[0]
    assert f"set by digits/{best} " in told


def test_verify_derives_every_stop_of_a_night_again(tmp_path: Path) -> None:
    facts = whole_night()
    report = check(tmp_path, facts)
    assert report.good, report.findings
    assert report.stops >= len(cuts(facts)) > 0


@pytest.mark.parametrize("seed", range(6))
def test_a_night_with_kills_still_has_its_stops_derived_again(tmp_path: Path, seed: int) -> None:
    facts = broken_night(seed)
    report = check(tmp_path, facts)
    assert report.good, report.findings
    assert report.stops >= len(cuts(facts)) > 0


@pytest.mark.parametrize("seed", range(6))
def test_after_kills_no_trial_counts_twice_at_a_rung(seed: int) -> None:
    facts = broken_night(seed)
    role = roles(facts)
    seen: dict[int, set[int]] = {1: set(), 2: set()}
    for _, fact in facts:
        if isinstance(fact, f.Reported) and role[fact.trial] is not Role.CONFIRMATION:
            for rung, step in ((1, 3), (2, 9)):
                if fact.step == step:
                    seen[rung].add(fact.trial)
        elif isinstance(fact, f.Intended) and isinstance(fact.reason, RungCut):
            assert fact.reason.of == len(seen[fact.reason.rung])


def test_a_restarted_engine_has_the_rule_as_it_was() -> None:
    """One state is asked at every report, the other reads the first half without being asked."""
    facts = whole_night()
    living, restarted = State(rules.make), State(rules.make)
    stops = 0
    for number, (at, fact) in enumerate(facts):
        living.apply(fact, at)
        restarted.apply(fact, at)
        if isinstance(fact, f.Reported):
            answer = ask(living, fact)
            if number > len(facts) // 2:
                assert ask(restarted, fact) == answer
                stops += answer is not None
    assert stops > 0


def ask(state: State, fact: f.Reported) -> object:
    """Ask the rule about a report that the state has just taken in."""
    study = state.studies[fact.study]
    return study.rule.decide(fact.trial, fact.step, study.trials[fact.trial].curve)
