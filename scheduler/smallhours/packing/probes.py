"""Probes: which trial of a study is watched first, beside whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from smallhours.packing.cards import Card, Deck, Runner, Wish, total_compute
from smallhours.packing.knowledge import Knowledge

#: A probe ends after so many reports, or after fewer where these take long.
PROBE_REPORTS: Final = 3
_PROBE_LEAST: Final = 2
_PROBE_S: Final = 20.0
#: A probe may take place beside trials that together ask for no more compute than this.
_QUIET: Final = 0.6


def first(wish: Wish, wishes: Sequence[Wish], decks: Iterable[Deck]) -> Wish:
    """Return the trial that is watched for a study: its smallest, where beliefs say which."""
    kept = {deck.kept_for for deck in decks}
    own = [other for other in wishes if other.study == wish.study]
    chosen = [other for other in own if other.key in kept]
    return min(chosen or own, key=lambda other: other.believed_bytes or 0)


def quiet(deck: Deck, know: Knowledge) -> bool:
    """Whether the trials on a card leave one more nearly as it would be alone."""
    runners = deck.runners.values()
    if deck.kept_for is not None or deck.probing or not all(r.settled for r in runners):
        return False
    if deck.full:
        return False
    most_free = deck.free_bytes >= deck.card.room_bytes // 2
    return most_free and total_compute(know.demand(r.wish) for r in runners) <= _QUIET


def is_over(runner: Runner, card: Card, at: float) -> bool:
    """Whether a probe on a card was watched long enough."""
    begun = at if runner.launched_at is None else runner.launched_at
    if runner.reports >= _PROBE_LEAST and at - begun >= _PROBE_S:
        return True
    heard = runner.busy is not None or not card.tells_busy
    return runner.reports >= PROBE_REPORTS and heard
