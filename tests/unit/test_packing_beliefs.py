"""What is learned together: weights, paces, and the curves that paces follow."""

from __future__ import annotations

import math

import pytest

from smallhours.packing.beliefs import Belief, Beliefs
from smallhours.packing.cards import Card, Deck, Runner, Wish
from smallhours.packing.footprint import Bound
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.load import Load
from smallhours.packing.paces import Curve, Paces
from smallhours.packing.surplus import proved, ready_for_more, surplus


def test_what_shows_one_of_two_shows_the_other_where_their_sum_was_seen():
    beliefs, one, two = Beliefs(), Belief(0.0, 1.0), Belief(0.0, 1.0)
    beliefs.add(one)
    beliefs.add(two)
    beliefs.learn({one: 1.0, two: 1.0}, 2.0, 1e-6)
    assert two.mean == pytest.approx(1.0, abs=0.01)
    beliefs.learn({one: 1.0}, 2.0 - one.mean, 1e-6)
    assert one.mean == pytest.approx(2.0, abs=0.01)
    assert two.mean == pytest.approx(0.0, abs=0.01)
    assert two.sd < 0.01


def test_a_dropped_number_leaves_what_it_taught():
    beliefs, level, own = Beliefs(), Belief(0.0, 1.0), Belief(0.0, 0.1)
    beliefs.add(level)
    beliefs.add(own, {level: 1.0})
    beliefs.learn({own: 1.0}, 1.0, 1e-6)
    beliefs.drop(own)
    assert own not in beliefs
    assert level.mean == pytest.approx(1.0, abs=0.02)
    assert level.sd == pytest.approx(0.1, rel=0.02)


def test_one_that_is_far_off_moves_little_more_than_one_that_is_likely():
    near, far = Belief(0.0, 1.0), Belief(0.0, 1.0)
    for belief, seen in ((near, 4.3), (far, 1000.0)):
        beliefs = Beliefs()
        beliefs.add(belief)
        beliefs.learn({belief: 1.0}, seen, 1.0)
    assert far.mean == pytest.approx(near.mean, rel=0.02)


def test_a_curve_learns_what_drives_the_pace():
    beliefs = Beliefs()
    paces = Paces(beliefs, {})
    for width in (64, 128, 256, 64, 256):
        alone = paces.begin("s", {"width": width, "lr": 0.1}, 0.0)
        beliefs.learn({alone: 1.0}, math.log(width / 64) - alone.mean, 1e-4)
        paces.end(alone)
    expected = paces.expected("s", {"width": 512, "lr": 0.01})
    assert expected == pytest.approx(math.log(8), abs=0.2)
    assert paces.expected("other", {}) is None


def test_a_curve_is_the_same_after_a_restart():
    beliefs = Beliefs()
    paces = Paces(beliefs, {})
    for kind in ("adam", "sgd", None):
        alone = paces.begin("s", {"kind": kind, "width": 3}, 1.0)
        beliefs.learn({alone: 1.0}, 0.3, 0.01)
        paces.end(alone)
    again = Paces(Beliefs(), paces.learned)
    assert again.learned == paces.learned
    for kind in ("adam", "sgd", "new"):
        params = {"kind": kind, "width": 5}
        assert again.expected("s", params) == paces.expected("s", params)
    assert isinstance(paces.learned["s"], Curve)


def crowded(log_weight: float, *, saves: bool = True, came: float = 5.0) -> tuple[Deck, Knowledge]:
    know = Knowledge("mps")
    know.loads = type(know.loads)("mps", {"s": Load(1.0, log_weight, 0.1)})
    deck = Deck(Card(name="g", total_bytes=2**34))
    for number in range(3):
        wish = Wish(key=str(number), study="s", params={}, steps_left=9, saves=saves)
        runner = Runner(wish, Bound(1, 1, 1), probe=False, launched_at=came, steps_left=9)
        deck.runners[wish.key] = runner
    return deck, know


def test_the_newest_goes_where_the_card_does_better_without_it():
    deck, know = crowded(math.log(1.6))
    found = surplus(deck, know, behind=())
    assert found is not None
    assert found.wish.key == "2"


def test_none_goes_where_there_is_room_for_all():
    assert surplus(*crowded(math.log(0.3)), behind=()) is None


def test_none_goes_whose_study_is_behind():
    assert surplus(*crowded(math.log(1.6)), behind={"s"}) is None


def test_none_goes_that_can_not_be_paused():
    assert surplus(*crowded(math.log(1.6), saves=False), behind=()) is None


def test_those_count_as_proved_that_were_all_timed_since_the_last_of_them_came():
    deck, _ = crowded(0.0, came=5.0)
    assert proved(deck, 6.0) == 0
    for runner in deck.runners.values():
        runner.timed_at = 6.0
    assert proved(deck, 6.0) == 3
    deck.runners["2"].launched_at = 7.0
    assert proved(deck, 8.0) == 2
    deck.runners["2"].timed_at = 9.0
    assert proved(deck, 9.0) == 2  # its neighbours were not heard beside it
    for key in ("0", "1"):
        deck.runners[key].timed_at = 9.5
    assert proved(deck, 9.5) == 3
    deck.runners["2"].launched_at = 10.0
    assert proved(deck, 1000.0) == 3
    deck.runners["2"].launched_at = None
    assert proved(deck, 1000.0) == 2


def test_newcomers_may_double_what_was_proved():
    deck, _ = crowded(0.0, came=5.0)
    assert not ready_for_more(deck, 1.0, 6.0)
    for key in ("0", "1"):
        deck.runners[key].timed_at = 6.0
    assert ready_for_more(deck, 1.0, 6.0)
    deck.runners["0"].timed_at = None
    assert not ready_for_more(deck, 1.0, 6.0)


def test_what_may_add_little_waits_until_the_others_were_timed_without_it():
    deck, _ = crowded(0.0, came=5.0)
    for key in ("1", "2"):
        del deck.runners[key]
    deck.runners["0"].timed_at = 6.0
    deck.left_at = 7.0
    assert ready_for_more(deck, 0.8, 8.0)
    assert not ready_for_more(deck, 0.1, 8.0)
    deck.runners["0"].timed_at = 8.5
    assert ready_for_more(deck, 0.1, 9.0)
