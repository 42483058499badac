"""Cards that are kept for a trial which finds no place as long as others go before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smallhours.packing.cards import Deck, Pause, Runner, Wish, total_compute
from smallhours.packing.footprint import Bound
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.load import HOPED, LEAST_GAIN, LIKELY
from smallhours.packing.order import Turns

#: One that lacks memory waits this long before room is kept for it.
PATIENCE_S: Final = 60.0
#: A trial stays at least this long before it gives way to one that is owed a turn: a start costs
#: seconds.
_STAY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Hold:
    """A card that is being emptied for a trial."""

    deck: Deck
    #: When there will be room.
    at: float
    #: What is free then beside it.
    spare_bytes: int
    #: Trials that are taken off for it now: else it would wait for long.
    pauses: tuple[Pause, ...] = ()

    def lets(self, deck: Deck, wish: Wish, bound: Bound, know: Knowledge, at: float) -> bool:
        """Whether another trial may be started on a card before that one is."""
        if deck is not self.deck or bound.upper_bytes <= self.spare_bytes:
            return True
        return at + know.beside_s(deck, wish) <= self.at


class Holds:
    """Says for whom a card is kept."""

    def __init__(self) -> None:
        #: Trials that lack memory, and since when.
        self._since: dict[str, float] = {}

    def started(self, key: str) -> None:
        """Take note that a trial was given its place."""
        self._since.pop(key, None)

    def hold(
        self, decks: Sequence[Deck], wish: Wish, know: Knowledge, turns: Turns, at: float
    ) -> Hold | None:
        """Return the card that is kept for a trial which found no place; None: none is.

        One that lacks memory is given room after a while. One that would not pay beside what is
        there is given room where its study is owed a turn: others that pay would take each place
        that gets free, for as long as there are any. Where it would take long until there is room
        for one that is owed a turn, trials of studies that are ahead give way.

        Args:
            decks: The cards.
            wish: The trial.
            know: What is known of studies.
            turns: What studies are owed.
            at: Now.
        """
        bound = know.bound(wish)
        if bound is None:
            return None
        open_ = [deck for deck in decks if not deck.card.closed]
        found = None
        owed = wish.study in turns.owed
        if wish.alone or all(deck.free_bytes < bound.upper_bytes for deck in open_):
            since = self._since.setdefault(wish.key, at)
            if at - since >= PATIENCE_S:
                found = _for_memory(open_, wish, bound, know, at)
        elif owed:
            fitting = [deck for deck in open_ if deck.free_bytes >= bound.upper_bytes]
            found = _until_it_pays(fitting, wish, know, at)
        if found is None or not owed or wish.alone or found.at - at < PATIENCE_S:
            return found
        return _give_way(open_, wish, know, turns, at) or found


def _for_memory(
    decks: Sequence[Deck], wish: Wish, bound: Bound, know: Knowledge, at: float
) -> Hold | None:
    """Return the card on which there is memory for a trial first; None: on none."""
    found: Hold | None = None
    for deck in decks:
        if deck.card.room_bytes < bound.lower_bytes:
            continue
        left_s, free = know.room_in(deck, math.inf if wish.alone else bound.upper_bytes)
        if found is None or at + left_s < found.at:
            spare = 0 if wish.alone else max(0, free - bound.upper_bytes)
            found = Hold(deck, at + left_s, spare)
    return found


def _until_it_pays(decks: Sequence[Deck], wish: Wish, know: Knowledge, at: float) -> Hold | None:
    """Return the card on which a trial pays first if no other is started; None: on none."""
    found: tuple[float, Deck] | None = None
    for deck in decks:
        if deck.shut or deck.kept_for is not None:
            continue
        ends = know.ends(deck)
        there = [runner.wish for _, runner in ends]
        for left_s, _ in ends:
            del there[0]
            if not there or _pays(deck, there, wish, know):
                if found is None or left_s < found[0]:
                    found = left_s, deck
                break
    return None if found is None else Hold(found[1], at + found[0], 0)


def _give_way(
    decks: Sequence[Deck], wish: Wish, know: Knowledge, turns: Turns, at: float
) -> Hold | None:
    """Return the card on which the fewest trials of studies that are ahead give way; None: none."""
    found: tuple[Deck, list[Runner]] | None = None
    for deck in decks:
        if deck.shut or deck.kept_for is not None:
            continue
        ahead = [r for r in deck.runners.values() if r.wish.study in turns.ahead and _may_go(r, at)]
        # Last those of the study that is foremost, and of these the one that has most to do.
        ahead.sort(key=lambda r: (-turns.ahead.index(r.wish.study), know.left_s(r) or 0.0))
        staying = [runner for runner in deck.runners.values() if not runner.pausing]
        going: list[Runner] = []
        while ahead and not _has_room(deck, staying, wish, know):
            going.append(ahead.pop())
            staying.remove(going[-1])
        if not _has_room(deck, staying, wish, know):
            continue
        if found is None or len(going) < len(found[1]):
            found = deck, going
    if found is None:
        return None
    deck, going = found
    for runner in going:
        runner.pausing = True
    why = "another study, which was served less, is owed a turn"
    return Hold(deck, at, 0, tuple(Pause(runner.wish.key, why) for runner in going))


def _may_go(runner: Runner, at: float) -> bool:
    if runner.probe or runner.launched_at is None:
        return False
    return runner.can_pause and at - runner.launched_at >= _STAY_S


def _has_room(deck: Deck, staying: Sequence[Runner], wish: Wish, know: Knowledge) -> bool:
    bound = know.bound(wish)
    assert bound is not None
    charges = [runner.charge_bytes or deck.card.room_bytes for runner in staying]
    if sum(charges) + bound.upper_bytes > deck.card.room_bytes:
        return False
    return not staying or _pays(deck, [runner.wish for runner in staying], wish, know)


def _pays(deck: Deck, there: Sequence[Wish], wish: Wish, know: Knowledge) -> bool:
    together = total_compute(know.demand(other) for other in (*there, wish))
    if deck.cap is not None and together > deck.cap:
        return False
    doubt = LIKELY if know.loads.sharing == "cores" else HOPED
    return know.progress([*there, wish], doubt) > know.progress(there, doubt) + LEAST_GAIN
