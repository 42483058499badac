"""Probes: what of a card's use is theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smallhours.packing import probes
from smallhours.packing.cards import Card, Deck, Runner, Start, Wish
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.order import Turns
from smallhours.packing.packer import Packer

GIB = 2**30
CARD = Card("gpu0", 24 * GIB)


def wish(study: str, number: int = 0) -> Wish:
    return Wish(key=f"{study}/{number}", study=study, params={"x": 1.0}, steps_left=100)


def deck_of(*busy: float) -> tuple[Deck, Knowledge]:
    """Return a card with trials that keep it busy for known shares, and a probe beside them."""
    know, deck = Knowledge("mps"), Deck(CARD)
    for number, share in enumerate(busy):
        know.loads.probed(f"s{number}", share)
        deck.runners[f"s{number}/0"] = Runner(wish(f"s{number}"), None, probe=False)
    deck.runners["new/0"] = Runner(wish("new"), None, probe=True)
    return deck, know


def test_alone_all_use_of_a_card_is_the_probes():
    deck, know = deck_of()
    assert probes.busy_of(deck, "new/0", 0.7, know) == 0.7


def test_beside_others_a_probe_takes_its_part_of_what_they_left():
    deck, know = deck_of(0.2, 0.25)
    # Idle for 0.8 x 0.75 of the time without it, for half of that with it.
    assert probes.busy_of(deck, "new/0", 0.7, know) == pytest.approx(0.5)
    assert probes.busy_of(deck, "new/0", 0.3, know) == 0.0


def test_beside_others_that_leave_little_nothing_can_be_told():
    deck, know = deck_of(0.9)
    assert probes.busy_of(deck, "new/0", 1.0, know) is None
    assert probes.busy_of(deck, "s0/0", 1.0, know) is None


def test_no_probe_is_started_beside_one_that_keeps_the_card_busy():
    deck, know = deck_of(0.9)
    del deck.runners["new/0"]
    runner = deck.runners["s0/0"]
    runner.peak_bytes, runner.reports = GIB, 3
    assert not probes.quiet(deck, know)
    know.loads.probed("s0", 0.3)
    assert probes.quiet(deck, know)


def test_what_a_study_has_more_of_counts_as_served():
    turns = Turns()
    packer = Packer([CARD], turns=turns)
    for study, share, peak in (("light", 0.2, 12 * GIB), ("heavy", 0.6, GIB)):
        packer.know.loads.probed(study, share)
        packer.know.measure(study, {"x": 1.0}, peak)
        start = Start(f"{study}/0", "gpu0", packer.know.bound(wish(study)), probe=False)
        packer.started(start, wish(study), 0.0)
        packer.launched(start.key, 0.0)
    for at in (1.0, 2.0, 100.0):
        packer.reported("light/0", at, peak_bytes=12 * GIB)
        packer.reported("heavy/0", at, peak_bytes=GIB)
    # One has half of the memory and little compute, the other much compute and no memory.
    assert turns.served["light"] == pytest.approx(51.0, rel=0.15)
    assert turns.served["heavy"] > 0.2 * 100.0


def running(*studies: str, saves: bool = True) -> tuple[Packer, float]:
    """Return a packer with a settled trial of each study on its card, and the time."""
    packer = Packer([CARD], sharing="mps")
    for study in studies:
        packer.know.loads.probed(study, 0.9)
        packer.know.measure(study, {"x": 1.0}, GIB)
        one = replace(wish(study), saves=saves)
        packer.started(Start(one.key, "gpu0", packer.know.bound(one), probe=False), one, 0.0)
        packer.launched(one.key, 0.0)
        for at in (1.0, 2.0):
            packer.reported(one.key, at, peak_bytes=GIB)
    return packer, 3.0


def test_a_card_is_cleared_for_the_first_trial_of_another_study():
    packer, at = running("a", "b")
    found = packer.next([wish("new")], at)
    assert isinstance(found, list)
    assert {pause.key for pause in found} == {"a/0", "b/0"}
    assert packer.next([wish("new")], at) is None  # they are on their way
    for key in ("a/0", "b/0"):
        packer.ended(key, at, peak_bytes=None, well=True)
    started = packer.next([wish("new")], at)
    assert isinstance(started, Start)
    assert started.probe


def test_a_card_is_cleared_once_its_trials_are_known_to_save():
    packer, at = running("a", saves=False)
    assert packer.next([wish("new")], at) is None
    packer.saves("a/0")
    found = packer.next([wish("new")], at)
    assert isinstance(found, list)
    assert [pause.key for pause in found] == ["a/0"]


def test_none_that_can_not_be_paused_is_started_where_a_first_trial_waits():
    packer, at = running("a", saves=False)
    packer.know.loads.probed("b", 0.9)
    packer.know.measure("b", {"x": 1.0}, GIB)
    new, more, saver = wish("new"), replace(wish("a", 1), saves=False), wish("b")
    packer.deck("gpu0").runners["a/0"].timed_at = at
    without = packer.next([more], at)
    assert isinstance(without, Start)
    assert packer.next([new, more], at) is None
    beside = packer.next([new, saver], at)
    assert isinstance(beside, Start)
    assert beside.key == saver.key


def test_a_peak_from_before_the_first_step_teaches_nothing():
    packer, at = running("a")
    one = wish("a", 1)
    packer.started(Start(one.key, "gpu0", packer.know.bound(one), probe=False), one, at)
    packer.launched(one.key, at)
    before = packer.know.footprints["a"].measured
    packer.ended(one.key, at + 1.0, peak_bytes=GIB // 4, well=True)
    assert packer.know.footprints["a"].measured == before
    packer.started(Start(one.key, "gpu0", packer.know.bound(one), probe=False), one, at)
    packer.ended(one.key, at + 1.0, peak_bytes=3 * GIB, well=False)  # too much is too much
    assert packer.know.footprints["a"].largest_bytes == 3 * GIB
