"""What is seen of a card as it is: whether it is ready for more, or has one too many."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from typing import Final

from smallhours.packing.cards import Deck, Runner
from smallhours.packing.guard import LONGEST_S
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.load import LEAST_GAIN, SPARED

#: So many times the trials that showed how they get on beside each other may be there at once.
_GROWS: Final = 2
#: Where a trial is likely to add less than this to the progress of one that is alone, and so many
#: times less to that of several, those that are there are timed without it first: little is lost
#: meanwhile, and only the difference tells its weight from their paces.
_MODEST: Final = 0.5


def surplus(deck: Deck, know: Knowledge, behind: Collection[str]) -> Runner | None:
    """Return the trial without which a card gets on best; None: with all of them.

    Args:
        deck: The card.
        know: What is known of studies. The trials get the benefit of the doubt.
        behind: Studies that were served less than others: theirs stay, or the one that asks for
            most would be started and undone for as long as there are others.
    """
    there = [runner for runner in deck.runners.values() if runner.launched_at is not None]
    if len(there) < 2 or any(r.pausing or r.probe for r in deck.runners.values()):
        return None
    wishes = [runner.wish for runner in there]
    found, most = None, know.progress(wishes, SPARED) + LEAST_GAIN
    seen: set[Hashable] = set()
    for runner in reversed(there):
        kind = know.kind(runner.wish)
        if kind in seen or not runner.can_pause or runner.wish.study in behind:
            continue
        seen.add(kind)
        without = know.progress([wish for wish in wishes if wish is not runner.wish], SPARED)
        if without > most:
            found, most = runner, without
    return found


def ready_for_more(deck: Deck, likely: float, at: float) -> bool:
    """Whether enough was seen of the trials on a card for one that may not pay to be tried there.

    Args:
        deck: The card.
        likely: The progress that it is likely to add.
        at: Now.
    """
    there = len(deck.runners)
    if there >= _GROWS * proved(deck, at):
        return False
    return likely > _MODEST / there**2 or heard_since(deck, deck.left_at, at)


def proved(deck: Deck, at: float) -> int:
    """Return how many of the trials on a card showed by now how they get on beside each other.

    They are counted in the order in which they came: as many as were all timed since the last of
    them came.
    """
    there = [runner for runner in deck.runners.values() if runner.launched_at is not None]
    there.sort(key=lambda runner: runner.launched_at or 0.0)
    timed, found = math.inf, 0
    for number, runner in enumerate(there, 1):
        came = runner.launched_at or 0.0
        timed = min(timed, -math.inf if runner.timed_at is None else runner.timed_at)
        if at - came >= LONGEST_S or timed > came:
            found = number
    return found


def heard_since(deck: Deck, since: float, at: float) -> bool:
    """Whether all trials on a card were timed since something happened there."""
    if at - since >= LONGEST_S:
        return True
    return all(r.timed_at is not None and r.timed_at > since for r in deck.runners.values())
