"""How much there is to do, as far as is known: what each trial takes of the cards, and how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smallhours.packing.cards import Deck, Wish
from smallhours.packing.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do."""

    #: Seconds that a trial takes alone, by its key; one that isn't there is not known.
    lengths: Mapping[str, float]
    #: Card time that it takes: its seconds times its share of a card.
    service: Mapping[str, float]
    #: Card time that the running trials of each study will still take.
    committed: Mapping[str, float] = field(default_factory=dict)
    #: Seconds that all of it takes at least: of compute or of memory, of which there is more.
    horizon_s: float = 0.0

    def is_critical(self, wish: Wish, share: float) -> bool:
        """Whether a trial takes so much of the time that is left: all may end later if it waits."""
        return self.lengths.get(wish.key, 0.0) >= share * self.horizon_s > 0.0


def of(decks: Sequence[Deck], wishes: Sequence[Wish], know: Knowledge) -> Work:
    """Return what there is to do.

    Args:
        decks: The cards, with what is on them.
        wishes: The trials that could be started.
        know: What is known of studies.
    """
    largest = max((deck.card.room_bytes for deck in decks), default=0)
    open_ = [deck for deck in decks if not deck.card.closed]
    lengths: dict[str, float] = {}
    service: dict[str, float] = {}
    committed: dict[str, float] = {}
    compute_s = byte_s = 0.0
    to_come = {wish.study: wish.to_come for wish in wishes}
    for wish in wishes:
        length = know.expected_s(wish)
        if length is None:
            continue
        lengths[wish.key], service[wish.key] = length, length * know.part(wish, largest)
        times = 1 + to_come.pop(wish.study, 0)  # those to come are like the first
        compute_s += times * length * know.demand(wish).compute
        byte_s += times * length * know.expected_bytes(wish)
    for deck in decks:
        for runner in deck.runners.values():
            wish, left_s = runner.wish, know.left_s(runner) or 0.0
            taken = left_s * know.part(wish, largest)
            committed[wish.study] = committed.get(wish.study, 0.0) + taken
            compute_s += left_s * know.demand(wish).compute
            byte_s += left_s * know.expected_bytes(wish)
    horizon_s = 0.0
    room = sum(deck.card.room_bytes for deck in open_)
    if room:
        horizon_s = max(compute_s / sum(deck.card.speed for deck in open_), byte_s / room)
    return Work(lengths, service, committed, horizon_s)
