"""Room on the cards: for those that fit on one only."""

from __future__ import annotations

from collections.abc import Sequence

from smallhours.packing.cards import Deck, Obstacle, Wish
from smallhours.packing.footprint import Bound
from smallhours.packing.holds import Hold
from smallhours.packing.knowledge import Knowledge


def claim(decks: Sequence[Deck], wishes: Sequence[Wish], know: Knowledge) -> None:
    """Keep the largest card for those that fit on no other, where they are enough to fill it."""
    for deck in decks:
        deck.claimed_bytes = 0
    open_ = [deck for deck in decks if not deck.card.closed]
    if len(open_) < 2:
        return
    large = max(open_, key=lambda deck: deck.card.room_bytes)
    elsewhere = _elsewhere(open_, large)
    captive = others = 0.0
    claimed = 0
    for wish in wishes:
        bound = know.bound(wish)
        if bound is None:
            continue
        only = bound.upper_bytes > elsewhere
        room = large.card.room_bytes if only else elsewhere
        work = (know.expected_s(wish) or 0.0) * know.part(wish, room)
        if only:
            captive += work
            claimed = max(claimed, bound.upper_bytes)
        else:
            others += work
    if captive > others / (len(open_) - 1):
        large.claimed_bytes = min(claimed, large.card.room_bytes)


def leaves_claim(decks: Sequence[Deck], deck: Deck, wish: Wish, know: Knowledge) -> bool:
    """Whether a trial leaves a card to those for which it is kept, or ends before they could go."""
    bound = know.bound(wish)
    assert bound is not None
    if not deck.claimed_bytes:
        return True
    elsewhere = _elsewhere(decks, deck)
    if bound.upper_bytes > elsewhere:
        return True
    charges = [runner.charge_bytes or 0 for runner in deck.runners.values()]
    taken = sum(charge for charge in charges if charge <= elsewhere)
    if taken + bound.upper_bytes <= deck.card.room_bytes - deck.claimed_bytes:
        return True
    ready_in, _ = know.room_in(deck, deck.claimed_bytes)
    return know.beside_s(deck, wish) <= ready_in


def fits_empty(decks: Sequence[Deck], deck: Deck, bound: Bound) -> bool:
    """Whether a trial may be tried on an empty card: it fits, or there is no larger one."""
    room = deck.card.room_bytes
    largest = max(d.card.room_bytes for d in decks if not d.card.closed)
    return bound.upper_bytes <= room or room == largest


def obstacle(decks: Sequence[Deck], wish: Wish, bound: Bound | None, hold: Hold | None) -> Obstacle:
    """Say why a trial that no card admits must wait."""
    open_ = [deck for deck in decks if not deck.card.closed]
    if not open_:
        return "closed"
    if bound is None:
        return "probe"
    if wish.alone:
        return "alone"
    if all(deck.free_bytes < bound.upper_bytes for deck in open_):
        return "memory"
    if hold is not None or any(deck.kept_for not in (None, wish.key) for deck in open_):
        return "making_room"
    return "full"


def _elsewhere(decks: Sequence[Deck], deck: Deck) -> int:
    """Return the room of the largest of the other cards that take trials."""
    rooms = [d.card.room_bytes for d in decks if d is not deck and not d.card.closed]
    return max(rooms, default=0)
