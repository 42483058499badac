"""Fair shares: whose turn it is, from the slot time that each study was served."""

from __future__ import annotations

import pytest

from fakes.core import make_spec
from smallhours import rules
from smallhours.core.model import Standing, Study
from smallhours.core.shares import ROUND_S, Shares
from smallhours.core.spec import Priority


def study(number: int, weight: float = 1.0, priority: Priority = Priority.NORMAL) -> Study:
    """Return a study that nothing runs of."""
    spec = make_spec(f"s{number}", weight=weight, priority=priority)
    return Study(
        id=number,
        spec=spec,
        snapshot="",
        digest="",
        source="",
        module="",
        cwd="",
        rule=rules.make(spec),
        standing=Standing.of(spec, float(number)),
    )


def serve(shares: Shares, chosen: Study, there: list[Study], at: float, seconds: float) -> float:
    """Let one study have a slot for a while; return the time after it."""
    chosen.living = {0}
    shares.settle(there, at)
    at += seconds
    shares.settle(there, at)
    chosen.living = set()
    return at


def take_turns(shares: Shares, there: list[Study], at: float, turns: int) -> dict[int, float]:
    """Give second after second to whoever is first; return the seconds of each."""
    used = dict.fromkeys((one.id for one in there), 0.0)
    for _ in range(turns):
        first = min(there, key=lambda one: (shares.round_of(one), one.standing.place))
        at = serve(shares, first, there, at, 1.0)
        used[first.id] += 1.0
    return used


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (1.0, 10.0), (1.0, 2.0, 3.0)])
def test_whole_rounds_give_each_study_its_share(weights: tuple[float, ...]) -> None:
    there = [study(n, weight) for n, weight in enumerate(weights, start=1)]
    shares = Shares()
    shares.settle(there, 0.0)
    used = take_turns(shares, there, 0.0, turns=int(10 * ROUND_S * sum(weights)))
    for one in there:
        due = 10 * ROUND_S * one.standing.weight
        assert used[one.id] == pytest.approx(due, rel=0.02)


def test_who_comes_later_begins_at_the_round_that_is_on() -> None:
    old, new = study(1), study(2)
    shares = Shares()
    shares.settle([old], 0.0)
    at = serve(shares, old, [old], 0.0, 1000.0)
    shares.settle([old, new], at)
    assert shares.round_of(new) == shares.round_of(old)


def test_who_had_nothing_to_run_for_a_while_does_not_save_up() -> None:
    busy, idle = study(1), study(2)
    shares = Shares()
    shares.settle([busy, idle], 0.0)
    at = serve(shares, busy, [busy], 0.0, 1000.0)
    shares.settle([busy, idle], at)
    used = take_turns(shares, [busy, idle], at, turns=int(4 * ROUND_S))
    assert used[1] == pytest.approx(used[2], abs=ROUND_S)


def test_who_had_more_does_not_lose_the_debt_by_leaving() -> None:
    greedy, other = study(1), study(2)
    shares = Shares()
    shares.settle([greedy, other], 0.0)
    at = serve(shares, greedy, [greedy, other], 0.0, 10 * ROUND_S)
    shares.settle([other], at)
    shares.settle([greedy, other], at + 1.0)
    assert shares.round_of(greedy) == 10
    assert shares.round_of(other) == 0


def test_what_a_study_had_in_another_priority_does_not_count() -> None:
    """One that was urgent for a night would else wait a night for the others to catch up."""
    was_urgent, normal = study(1, priority=Priority.URGENT), study(2)
    shares = Shares()
    shares.settle([was_urgent, normal], 0.0)
    at = serve(shares, was_urgent, [was_urgent, normal], 0.0, 100 * ROUND_S)
    was_urgent.standing.priority = Priority.NORMAL
    shares.settle([was_urgent, normal], at)
    assert shares.round_of(was_urgent) == shares.round_of(normal) == 0


def test_rounds_are_longer_where_more_studies_take_turns_than_stay_warm() -> None:
    there = [study(n) for n in range(1, 7)]
    shares = Shares()
    shares.settle(there, 0.0)
    at = serve(shares, there[0], there, 0.0, 7.9 * ROUND_S)
    assert shares.round_of(there[0]) == 0
    serve(shares, there[0], there, at, 0.2 * ROUND_S)
    assert shares.round_of(there[0]) == 1


def test_an_attempt_that_ends_is_charged_up_to_its_end() -> None:
    """Else short trials would be free: each change of what runs is settled after the fact."""
    one = study(1)
    shares = Shares()
    one.living = {0}
    shares.settle([one], 0.0)
    one.living = set()
    shares.settle([one], 3.5 * ROUND_S)
    assert shares.round_of(one) == 3
