"""What is seen of a card as it is: whether all was heard, and whether a trial is one too many."""

from __future__ import annotations

from collections.abc import Hashable

from smallhours.packing.cards import Deck, Runner
from smallhours.packing.guard import LONGEST_S
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.load import HOPED, LEAST_GAIN


def surplus(deck: Deck, know: Knowledge) -> Runner | None:
    """Return the trial without which a card gets on best; None: with all of them.

    Args:
        deck: The card.
        know: What is known of studies. The trials get the benefit of the doubt, as newcomers do.
    """
    there = [runner for runner in deck.runners.values() if runner.launched_at is not None]
    if len(there) < 2 or any(r.pausing or r.probe for r in deck.runners.values()):
        return None
    wishes = [runner.wish for runner in there]
    found, most = None, know.progress(wishes, HOPED) + LEAST_GAIN
    seen: set[Hashable] = set()
    for runner in reversed(there):
        kind = know.kind(runner.wish)
        if kind in seen or not runner.wish.saves or runner.steps_left < 2:
            continue
        seen.add(kind)
        without = know.progress([wish for wish in wishes if wish is not runner.wish], HOPED)
        if without > most:
            found, most = runner, without
    return found


def all_heard(deck: Deck, at: float) -> bool:
    """Whether all on a card showed by now how they get on beside the last that came."""
    came = 0.0
    for runner in deck.runners.values():
        if runner.launched_at is None:
            return False
        came = max(came, runner.launched_at)
    timed = [runner.timed_at for runner in deck.runners.values()]
    return at - came >= LONGEST_S or all(t is not None and t > came for t in timed)
