"""What holds for every rule on any stream of reports, those included that are no numbers."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smallhours import rules
from smallhours.core.reasons import Reason, RuleCut, RungCut
from smallhours.core.rule import Rule
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec

STEPS = 12
BELOW = Stopping(rule="threshold", options={"limit": 0.5, "warmup": 2.0})
STILL = Stopping(rule="patience", options={"steps": 3.0, "warmup": 2.0})
EVERY_RULE = [
    Stopping(rule="none"),
    Stopping(rule="median", options={"warmup": 2.0, "startup": 1.0}),
    Stopping(rule="asha"),
    Stopping(rule="asha", options={"ranked": 1.0}),
    Stopping(rule="halving", options={"bracket": 3.0}),
    Stopping(rule="extrapolate", options={"warmup": 3.0}),
    Stopping(rule="extrapolate", options={"warmup": 3.0, "caution": 0.0}),
    STILL,
    BELOW,
    Stopping(rule="wilcoxon"),
    Stopping(rule="wilcoxon", options={"running_mean": 1.0}),
    Stopping(rule="any", parts=(STILL, BELOW)),
    Stopping(rule="all", parts=(STILL, BELOW)),
    Stopping(rule="after", options={"step": 4.0}, parts=(BELOW,)),
]
plain = st.integers(-10, 10).map(lambda tenths: tenths / 10)
any_value = st.one_of(
    plain, plain, st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 1.7e308, -1.7e308])
)
streams = st.lists(st.lists(any_value, min_size=1, max_size=STEPS), min_size=2, max_size=6)


def every_number(verdict: object) -> list[float]:
    """Return all floats in a verdict."""
    match verdict:
        case float():
            return [verdict]
        case dict():
            return every_number(list(verdict.values()))
        case list() | tuple():
            return [found for each in verdict for found in every_number(each)]
        case _:
            return []


def play(rule: Rule, trials: list[list[float]]) -> list[RuleCut | RungCut]:
    """Report trial after trial, as the engine does, to its stop, its divergence or its end."""
    cuts = []
    for trial, values in enumerate(trials):
        curve: dict[int, float] = {}
        completed = False
        for step, value in enumerate(values, start=1):
            curve[step] = value
            rule.observe(trial, step, curve)
            if not math.isfinite(value):
                break
            completed = step == len(values)
            cut = None if completed else rule.decide(trial, step, curve)
            if cut is not None:
                cuts.append(cut)
                break
        rule.close(trial, curve, completed=completed)
    return cuts


@pytest.mark.parametrize("stopping", EVERY_RULE, ids=str)
@given(trials=streams, goal=st.sampled_from(Goal), sd=st.one_of(st.none(), st.floats(0)))
@example(
    trials=[[0.9] * STEPS, [0.2, 0.3, 0.2, math.nan], [0.1, math.inf], [0.1] * 11, [0.2] * 11],
    goal=Goal.MAXIMIZE,
    sd=None,
)
@settings(max_examples=40, deadline=None)
def test_verdicts_are_made_of_numbers_and_survive_the_ledger(stopping, trials, goal, sd):
    spec = StudySpec(
        name="s", metric="m", goal=goal, space=(Dimension(name="x", kind="int", low=0, high=9),),
        baseline={"x": 1}, trials=len(trials), steps=STEPS, stopping=stopping,
    )  # fmt: skip
    rule = rules.make(spec)
    if sd is not None:
        rule.observe_noise(sd)
    for cut in play(rule, trials):
        numbers = every_number(msgspec.structs.asdict(cut))
        assert all(map(math.isfinite, numbers)), cut
        assert msgspec.json.decode(msgspec.json.encode(cut), type=Reason) == cut
