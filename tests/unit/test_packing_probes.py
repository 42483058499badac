"""Probes: what of a card's use is theirs."""

from __future__ import annotations

import pytest

from smallhours.packing import probes
from smallhours.packing.cards import Card, Deck, Runner, Wish
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
        start = probes.Start(f"{study}/0", "gpu0", packer.know.bound(wish(study)), probe=False)
        packer.started(start, wish(study), 0.0)
        packer.launched(start.key, 0.0)
    for at in (1.0, 2.0, 100.0):
        packer.reported("light/0", at, peak_bytes=12 * GIB)
        packer.reported("heavy/0", at, peak_bytes=GIB)
    # One has half of the memory and little compute, the other much compute and no memory.
    assert turns.served["light"] == pytest.approx(51.0, rel=0.15)
    assert turns.served["heavy"] > 0.2 * 100.0
