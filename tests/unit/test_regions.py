"""What failures have in common: splits and edges are told where chance doesn't make them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallhours.core.regions import boundary, edges, fisher, in_common, words


def lrs(*values: float) -> list[dict[str, float]]:
    return [{"lr": value, "depth": 3.0} for value in values]


def test_the_split_is_that_which_sets_failures_apart() -> None:
    good = lrs(*(n / 100 for n in range(1, 21)), 0.9)
    found = boundary(lrs(0.31, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0), good)
    assert found is not None
    assert (found.param, found.side, found.value) == ("lr", "from", 0.31)
    assert (found.failed, found.inside, found.failed_outside, found.outside) == (7, 8, 0, 20)
    assert words(found).startswith("7 of 8 trials with lr >= 0.31 failed so, 0 of 20 below")


def test_a_choice_can_be_what_failures_share() -> None:
    bad = [{"act": "relu"}] * 6
    good = [{"act": "tanh"}] * 6 + [{"act": "gelu"}] * 6
    found = boundary(bad, good)
    assert found is not None
    assert (found.side, found.value, found.failed) == ("is", "relu", 6)
    assert found.holds({"act": "relu"})
    assert not found.holds({"act": "tanh"})


@given(seed=st.integers(0, 10_000))
def test_a_split_of_what_fails_at_random_is_never_surer_than_fishers_test(seed: int) -> None:
    rng = random.Random(seed)
    trials = [({"a": rng.random(), "b": rng.random()}, rng.random() < 0.4) for _ in range(30)]
    found = boundary([p for p, bad in trials if bad], [p for p, bad in trials if not bad])
    if found is not None:
        everyone = found.inside + found.outside
        failures = found.failed + found.failed_outside
        alone = fisher(found.failed, found.inside, failures, everyone)
        assert alone <= found.p <= 0.01


def test_random_failures_are_seldom_told_as_a_region() -> None:
    told = held = 0
    for seed in range(300):
        rng = random.Random(seed)
        trials = [({"a": rng.random(), "b": rng.random()}, rng.random() < 0.5) for _ in range(40)]
        bad = [p for p, failed in trials if failed]
        good = [p for p, failed in trials if not failed]
        told += boundary(bad, good) is not None
        held += bool(edges(bad, good))
    assert told <= 6
    assert held <= 6


def test_the_exact_test_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for k, inside, failed, everyone in ((7, 8, 7, 28), (3, 5, 6, 20), (0, 4, 3, 9), (5, 5, 5, 12)):
        table = [[k, inside - k], [failed - k, everyone - inside - failed + k]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert fisher(k, inside, failed, everyone) == pytest.approx(expected)


def test_an_edge_reaches_no_further_in_than_its_innermost_failure() -> None:
    (edge,) = edges(lrs(0.5, 0.6, 0.7, 0.8, 0.9), lrs(*(n / 100 for n in range(1, 13))))
    assert edge.holds({"lr": 0.5})
    assert not edge.holds({"lr": 0.49})
    assert not edge.holds({"width": 3})


def test_one_that_worked_beyond_the_failures_opens_the_edge_again() -> None:
    good = lrs(*(n / 100 for n in range(1, 13)))
    bad = lrs(0.5, 0.6, 0.7, 0.8, 0.9)
    assert edges(bad, good)
    assert not edges(bad, [*good, *lrs(0.95)])


def test_four_failures_make_no_edge_however_many_worked() -> None:
    assert not edges(lrs(0.5, 0.6, 0.7, 0.8), lrs(*(n / 1000 for n in range(1, 200))))


def test_what_all_failures_have_and_no_other_trial_is_told_where_no_split_is_clear() -> None:
    said = in_common([{"a": 1, "act": "x"}, {"a": 5, "act": "x"}], [{"a": 3, "act": "y"}])
    assert said == "all of them have act=x"


def test_failures_without_anything_that_worked_point_at_the_code() -> None:
    assert "the code" in in_common([{"a": 1}, {"a": 2}], [])
