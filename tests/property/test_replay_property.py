"""What holds for a replay whatever the curves: it repeats itself, and no rule sees the future."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smallhours import rules, stopping
from smallhours.core.rule import Curve, Rule
from smallhours.core.spec import Goal
from smallhours.replay.contenders import NO_STOPPING, PEERS, ByRule, Setting, parse
from smallhours.replay.measure import Plan, Score, replay
from smallhours.replay.night import draw, play
from smallhours.replay.table import Table

EVERY_RULE = tuple(
    parse(text, Setting(Goal.MINIMIZE, 8, 16, 3))
    for text in (
        *stopping.NAMES,
        "asha:eta=2,grace=1,cutoff=rank",
        "median:warmup=1,startup=1",
        "patience:steps=2,warmup=1",
        "Threshold(0.0, warmup=2)",
        "wilcoxon:p=0.4",
        "AnyOf(Median(1, 1), After(4, Patience(steps=2, warmup=1)))",
        "AllOf(Median(1, 1), Patience(steps=2, warmup=1))",
    )
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a small table: noisy curves, some of which diverge."""
    configs, seeds = draw(st.integers(2, 16)), draw(st.integers(1, 3))
    steps = draw(st.integers(8, 24))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    ends, noise = rng.normal(0, 1, (configs, 1, 1)), rng.normal(0, 0.1, (configs, seeds, steps))
    values = ends * (1 - np.exp(-np.arange(1, steps + 1) / rng.uniform(1, steps))) + noise
    if draw(st.booleans()):
        values[rng.random((configs, seeds, steps)) < 0.02] = math.nan
    return Table(
        name="t",
        curves=values.round(3),
        goal=draw(st.sampled_from(Goal)),
        seconds=np.broadcast_to(rng.uniform(0.1, 5.0, (configs, 1, 1)).round(3), values.shape),
        recorded=(seeds,) * configs,
    )


def plan_for(table: Table, seed: int, workers: int = 3) -> Plan:
    return Plan(trials=table.configs, workers=workers, studies=3, seed=seed)


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(0, 99), st.integers(1, 6))
def test_the_same_seed_gives_the_same_answer(table: Table, seed: int, workers: int) -> None:
    plan = plan_for(table, seed, workers)
    everyone = [*PEERS, *EVERY_RULE]
    together = replay(table, everyone, plan)
    assert together == replay(table, everyone, plan)
    for contender, results in zip(everyone, together, strict=True):
        assert replay(table, [contender], plan) == [results]


@settings(max_examples=50, deadline=None)
@given(tables(), st.integers(0, 99), st.integers(1, 6))
def test_no_stopping_saves_nothing_and_loses_nothing(table: Table, seed: int, workers: int) -> None:
    (results,) = replay(table, [NO_STOPPING], plan_for(table, seed, workers))
    score = Score.of("none", results)
    assert (score.speedup, score.mean_regret, score.p95_regret) == (1.0, 0.0, 0.0)
    assert not score.false_stop_share


@settings(max_examples=50, deadline=None)
@given(tables(), st.integers(0, 99))
def test_no_rule_uses_more_than_no_stopping_or_picks_better(table: Table, seed: int) -> None:
    for results in replay(table, [*PEERS, *EVERY_RULE], plan_for(table, seed)):
        for result in results:
            assert 0 < result.used <= 1 + 1e-12
            assert 0 <= result.regret < math.inf


class Witness:
    """Passes every call on to a rule, and sees that no curve is longer than what was reported."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.versions = {"witness": 1}
        self._reported: dict[int, dict[int, float]] = {}
        self.verdicts: list[tuple[int, int, Any]] = []

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        known = self._reported.setdefault(trial, {})
        assert step == len(known) + 1
        known[step] = curve[step]
        assert repr(dict(curve)) == repr(known)
        self._rule.observe(trial, step, curve)

    def decide(self, trial: int, step: int, curve: Curve) -> Any:
        assert repr(dict(curve)) == repr(self._reported[trial])
        verdict = self._rule.decide(trial, step, curve)
        self.verdicts.append((trial, step, verdict))
        return verdict

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        self._rule.close(trial, curve, completed=completed)


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(0, 99), st.sampled_from(EVERY_RULE), st.data())
def test_a_rule_sees_only_what_had_been_reported(
    table: Table, seed: int, contender: ByRule, data: st.DataObject
) -> None:
    common = Setting(table.goal, table.steps, table.configs, 2)
    trials = draw(table, table.configs, random.Random(seed))
    first = Witness(rules.make(common.spec(contender.stopping)))
    play(trials, first, 2)
    assume(first.verdicts)
    # What a trial would have reported after a point can't have changed what was decided before.
    cut = data.draw(st.integers(0, len(first.verdicts) - 1))
    trial, step, _ = first.verdicts[cut]
    changed = trials[trial]._replace(
        values=[*trials[trial].values[:step], *(1e6 for _ in trials[trial].values[step:])]
    )
    again = Witness(rules.make(common.spec(contender.stopping)))
    play([*trials[:trial], changed, *trials[trial + 1 :]], again, 2)
    assert again.verdicts[: cut + 1] == first.verdicts[: cut + 1]


@settings(max_examples=200, deadline=None)
@given(tables(), st.integers(0, 99), st.sampled_from(EVERY_RULE))
def test_every_verdict_is_the_same_when_it_was_stored_and_read_back(
    table: Table, seed: int, contender: ByRule
) -> None:
    common = Setting(table.goal, table.steps, table.configs, 2)
    witness = Witness(rules.make(common.spec(contender.stopping)))
    play(draw(table, table.configs, random.Random(seed)), witness, 2)
    for _, _, verdict in witness.verdicts:
        if verdict is not None:
            assert msgspec.json.decode(msgspec.json.encode(verdict), type=type(verdict)) == verdict
