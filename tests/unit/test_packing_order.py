"""Whose turn it is on devices that are packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from smallhours.packing.cards import Card, Start, Wish
from smallhours.packing.order import Turns
from smallhours.packing.packer import Packer
from smallhours.packing.work import Work
from smallhours.packing.work import of as work_of

GIB = 2**30


def wish(study: str, number: int = 0, *, turn: int = 0, weight: float = 1.0) -> Wish:
    return Wish(
        key=f"{study}/{number}", study=study, params={}, steps_left=10, turn=turn, weight=weight
    )


def first(
    turns: Turns,
    wishes: Sequence[Wish],
    lengths: dict[str, float] | None = None,
    running: Sequence[str] = (),
) -> str:
    """Return the study whose trial is tried first."""
    return ordered(turns, wishes, lengths, running)[0].study


def ordered(
    turns: Turns,
    wishes: Sequence[Wish],
    lengths: dict[str, float] | None = None,
    running: Sequence[str] = (),
    **changes: Any,
) -> list[Wish]:
    """Return the trials in the order in which they are tried; each takes a whole card."""
    of = {w.key: (lengths or {}).get(w.study, 100.0) for w in wishes}
    return turns.order(wishes, running, Work(of, of, **changes), lambda _: True)


def served(turns: Turns, wishes: Sequence[Wish], lengths: dict[str, float], trials: int) -> None:
    """Run so many trials one after the other, each the first in turn."""
    for _ in range(trials):
        study = first(turns, wishes, lengths)
        turns.serve(study, lengths[study])


def test_weights_decide_what_studies_are_served():
    turns, lengths = Turns(), {"a": 40.0, "b": 10.0}
    wishes = [wish("a"), wish("b", weight=3.0)]
    served(turns, wishes, lengths, 400)
    assert turns.served["a"] == pytest.approx(turns.served["b"], abs=60.0)


def test_among_those_in_turn_the_longest_trial_goes_first():
    turns, lengths = Turns(), {"short": 40.0, "long": 100.0}
    assert first(turns, [wish("short"), wish("long")], lengths) == "long"
    turns.serve("long", 49.0)
    assert first(turns, [wish("short"), wish("long")], lengths) == "long"
    turns.serve("long", 12.0)
    assert first(turns, [wish("short"), wish("long")], lengths) == "short"


def test_what_running_trials_will_still_take_counts_as_served():
    turns, lengths = Turns(), {"short": 10.0, "long": 100.0}
    wishes = [wish("short"), wish("long")]
    assert first(turns, wishes, lengths) == "long"
    after = ordered(turns, wishes, lengths, ["long"], committed={"long": 100.0})
    assert [w.study for w in after] == ["short", "long"]


def test_what_is_on_the_critical_path_goes_first_whosever_turn_it_is():
    turns, lengths = Turns(), {"short": 40.0, "long": 100.0}
    wishes = [wish("short"), wish("long")]
    first(turns, wishes, lengths)
    turns.serve("long", 70.0)
    assert ordered(turns, wishes, lengths, horizon_s=500.0)[0].study == "short"
    assert ordered(turns, wishes, lengths, horizon_s=150.0)[0].study == "long"
    urgent = [wish("short", turn=-1), wish("long")]
    assert ordered(turns, urgent, lengths, horizon_s=150.0)[0].study == "short"


def test_what_is_ahead_goes_before_one_that_is_owed_only_if_it_takes_all_the_time_there_is():
    turns, lengths = Turns(), {"short": 40.0, "long": 100.0}
    wishes = [wish("short"), wish("long")]
    first(turns, wishes, lengths)
    turns.serve("long", 500.0)
    assert ordered(turns, wishes, lengths, horizon_s=150.0)[0].study == "short"
    assert ordered(turns, wishes, lengths, horizon_s=100.0)[0].study == "long"


def test_the_horizon_is_the_compute_or_the_memory_that_is_left_and_counts_what_is_to_come():
    packer = Packer([Card("gpu0", 10 * GIB)], sharing="mps")
    packer.know.loads.probed("a", 0.5)
    packer.know.measure("a", {}, 5 * GIB)
    alone = packer.know.paces.begin("a", {}, math.log(2.0))
    packer.know.paces.end(alone)
    one = wish("a")  # ten steps of two seconds, half of the card's memory, a quarter of its compute
    there_is = work_of(packer.decks, [one], packer.know)
    assert there_is.lengths == {"a/0": pytest.approx(20.0)}
    assert there_is.service == {"a/0": pytest.approx(10.0, rel=0.01)}
    assert there_is.horizon_s == pytest.approx(10.0, rel=0.01)
    more = work_of(packer.decks, [replace(one, to_come=3)], packer.know)
    assert more.horizon_s == pytest.approx(40.0, rel=0.01)
    packer.started(Start("a/0", "gpu0", packer.know.bound(one), probe=False), one, 0.0)
    begun = work_of(packer.decks, [], packer.know)
    assert begun.horizon_s == pytest.approx(10.0, rel=0.01)
    assert begun.committed == {"a": pytest.approx(10.0, rel=0.01)}


def test_studies_of_short_trials_keep_their_turn_for_a_while():
    turns, studies = Turns(), [f"s{n}" for n in range(5)]
    lengths = dict.fromkeys(studies, 1.0)
    wishes = [wish(study) for study in studies]
    in_turn = []
    for _ in range(500):
        study = first(turns, wishes, lengths)
        in_turn.append(study)
        turns.serve(study, 1.0)
    changes = sum(one != other for one, other in pairwise(in_turn))
    assert changes < 40
    assert max(turns.served.values()) - min(turns.served.values()) <= 22.0


def test_one_that_had_nothing_to_run_does_not_save_up():
    turns = Turns()
    both = [wish("busy"), wish("idle")]
    first(turns, both)
    turns.serve("busy", 10.0)
    first(turns, both[:1])
    turns.serve("busy", 1000.0)
    first(turns, both)
    assert turns.served["idle"] == turns.served["busy"]


def test_one_whose_last_trial_runs_keeps_what_it_is_owed():
    turns = Turns()
    both = [wish("busy"), wish("last")]
    first(turns, both)
    first(turns, both[:1], running=["last"])
    turns.serve("busy", 1000.0)
    assert first(turns, both, running=["last"]) == "last"


def test_what_was_served_in_another_turn_is_no_matter():
    turns = Turns()
    first(turns, [wish("moved", turn=0), wish("normal", turn=1)])
    turns.serve("moved", 1000.0)
    turns.serve("normal", 100.0)
    first(turns, [wish("moved", turn=1), wish("normal", turn=1)])
    assert turns.served["moved"] == turns.served["normal"] == 100.0


def test_those_of_a_lower_turn_go_first_whatever_was_served():
    turns = Turns()
    wishes = [wish("normal", turn=1), wish("urgent", turn=0)]
    first(turns, wishes)
    turns.serve("urgent", 1000.0)
    assert first(turns, wishes) == "urgent"


def test_a_study_with_rechecks_takes_its_own_turn():
    turns = Turns()
    wishes = [wish("a", 1, turn=3), wish("a", 2, turn=1), wish("b", turn=1)]
    first(turns, wishes)
    turns.serve("a", 500.0)
    lengths = {"a": 10.0, "b": 10.0}
    assert [w.key for w in ordered(turns, wishes, lengths)] == ["b/0", "a/2", "a/1"]
    assert turns.served == {"a": 500.0, "b": 0.0}


def test_one_far_behind_is_owed_a_turn():
    turns = Turns()
    wishes = [wish("a"), wish("b"), wish("urgent", turn=-1)]
    first(turns, wishes)
    turns.serve("urgent", 5000.0)
    first(turns, wishes)
    assert turns.owed == set(), "what those of another turn had is no matter"
    turns.serve("b", 190.0)
    first(turns, wishes)
    assert turns.owed == set()
    turns.serve("b", 20.0)
    first(turns, wishes)
    assert turns.owed == {"a"}
    assert turns.ahead == ["b"]
    first(turns, wishes[1:], running=["a"])
    assert turns.owed == {"a"}, "nothing of it waits any more"


CARD = Card("gpu0", 24 * GIB)


def night(loads: dict[str, float], card: Card = CARD) -> Packer:
    """Return a packer that knows how busy a card is with each study's trials, 100 s each."""
    packer = Packer([card], sharing="time_slicing")
    for study, busy in loads.items():
        packer.know.loads.probed(study, busy)
        packer.know.measure(study, {}, GIB)
        packer.know.paces.recall(study, {}, math.log(10.0))
    return packer


def step(packer: Packer, wishes: dict[str, Wish], at: float) -> list[str]:
    """Start what may be started; return the studies in that order."""
    began = []
    while True:
        choice = packer.next([*wishes.values()], at)
        if not isinstance(choice, Start):
            return began
        chosen = wishes.pop(choice.key)
        packer.started(choice, chosen, at)
        packer.launched(choice.key, at)
        began.append(chosen.study)


def test_a_study_that_never_pays_beside_others_is_made_room_for():
    packer = night({"light": 0.3, "heavy": 0.99})
    wishes = {w.key: w for w in (wish(s, n) for s in ("light", "heavy") for n in range(40))}
    at, ends, began = 0.0, {}, []
    for _ in range(60):
        began += step(packer, wishes, at)
        running = [*packer.deck("gpu0").runners]
        ends |= {key: at + 100.0 for key in running if key not in ends}
        first_out = min(running, key=lambda key: ends[key])
        at = max(at + 1.0, ends[first_out])
        packer.ended(first_out, at, peak_bytes=None, well=True)
    heavy = [n for n, study in enumerate(began) if study == "heavy"]
    assert len(heavy) >= 5
    served = packer.turns.served
    assert served["heavy"] > 0.5 * served["light"]
    assert "light" in began[heavy[0] : heavy[-1]]


def crowded(steps: int) -> tuple[Packer, Wish]:
    """Fill a card's memory with trials of a study; return it when another's is owed a turn."""
    packer = night({"busy": 0.3, "late": 0.3}, Card("gpu0", 5 * GIB))
    busy = {w.key: replace(w, steps_left=steps) for w in (wish("busy", n) for n in range(9))}
    step(packer, busy, 0.0)
    late = wish("late")
    for at in range(1, 100):
        assert packer.next([late, *busy.values()], float(at)) is None
    assert packer.turns.owed == {"late"}
    return packer, late


def test_trials_of_a_study_that_is_ahead_give_way_to_one_that_is_owed_a_turn():
    packer, late = crowded(steps=100)
    there = [*packer.deck("gpu0").runners]
    assert len(there) == 3
    assert packer.next([late], 119.0) is None, "they have not been there for long"
    choice = packer.next([late], 120.0)
    assert isinstance(choice, list)
    assert len(choice) == 1, "no more than need be"
    assert "is owed a turn" in choice[0].why
    small = replace(wish("busy", 9), steps_left=1)
    assert packer.next([late, small], 125.0) is None, "room is kept, and nobody else gives way"
    packer.ended(choice[0].key, 130.0, peak_bytes=None, well=True)
    found = packer.next([late, small], 130.0)
    assert isinstance(found, Start)
    assert found.key == late.key


def test_nobody_gives_way_where_there_is_room_soon():
    packer, late = crowded(steps=3)
    assert all(packer.next([late], float(at)) is None for at in range(120, 150))
