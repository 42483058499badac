"""Probes: which trial of a study is watched first, beside whom, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from smallhours.packing.cards import Card, Deck, Pause, Runner, Start, Wish
from smallhours.packing.knowledge import Knowledge

#: A first belief is taken for too low by up to this factor.
_BELIEF_MARGIN: Final = 2.5
#: A probe ends after so many reports, or after fewer where these take long.
PROBE_REPORTS: Final = 3
_PROBE_LEAST: Final = 2
_PROBE_S: Final = 20.0
#: A probe may take place beside trials that together keep the card busy for no more than this.
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
    return most_free and sum(know.demand(r.wish).busy for r in runners) <= _QUIET


def busy_of(deck: Deck, key: str, utilisation: float, know: Knowledge) -> float | None:
    """Return the share of the time that a card is busy with one of its trials; None: can't be told.

    A probe is told from what was known of the others before: they leave the card idle for a share
    of the time, and of that it takes a part.

    Args:
        deck: The card.
        key: The trial.
        utilisation: Share of the time that the card is busy.
        know: What is known of studies.
    """
    others = [runner for name, runner in deck.runners.items() if name != key]
    if not others:
        return utilisation
    if not deck.runners[key].probe or sum(know.demand(r.wish).busy for r in others) > _QUIET:
        return None
    idle = math.prod(1.0 - know.demand(runner.wish).busy for runner in others)
    return max(0.0, 1.0 - (1.0 - utilisation) / idle)


def is_over(runner: Runner, card: Card, at: float) -> bool:
    """Whether a probe on a card was watched long enough."""
    begun = at if runner.launched_at is None else runner.launched_at
    if runner.reports >= _PROBE_LEAST and at - begun >= _PROBE_S:
        return True
    heard = runner.busy is not None or not card.tells_busy
    return runner.reports >= PROBE_REPORTS and heard


def alone(decks: Sequence[Deck], wish: Wish, know: Knowledge) -> Start | list[Pause] | None:
    """Return how the first trial of a study comes to be watched alone on a card; None: not now.

    Args:
        decks: The cards that take trials.
        wish: The trial.
        know: What is known of studies.
    """
    if _is_watched(decks, wish):
        return None
    need = int((wish.believed_bytes or 0) * _BELIEF_MARGIN)
    largest = max((deck.card.room_bytes for deck in decks), default=0)
    decks = [d for d in decks if d.card.room_bytes == largest or d.card.room_bytes >= need]
    empty = [d for d in decks if not d.runners and d.kept_for in (None, wish.key)]
    if empty:
        deck = max(empty, key=lambda deck: deck.card.room_bytes)
        return Start(wish.key, deck.card.name, None, probe=True)
    calm = [deck for deck in decks if quiet(deck, know) and deck.free_bytes >= need]
    if calm:
        deck = max(calm, key=lambda deck: deck.free_bytes)
        return Start(wish.key, deck.card.name, None, probe=True)
    kept = next((deck for deck in decks if deck.kept_for == wish.key), None)
    if kept is None:
        able = [deck for deck in decks if deck.kept_for is None and not deck.probing]
        if not able:
            return None
        kept = min(able, key=lambda deck: (_clears_in(deck, know), len(deck.runners)))
        kept.kept_for = wish.key
    return _clear(kept)


def on_cores(decks: Iterable[Deck], wish: Wish, pays: Callable[[Deck], bool]) -> Start | None:
    """Return where a first trial is watched beside others: its cores can be told from theirs.

    Half of the memory that is free is kept for it meanwhile.
    """
    if _is_watched(decks, wish):
        return None
    for deck in decks:
        if not deck.full and deck.free_bytes > 0 and (not deck.runners or pays(deck)):
            half = deck.free_bytes // 2
            return Start(wish.key, deck.card.name, None, probe=True, kept_bytes=half)
    return None


def _is_watched(decks: Iterable[Deck], wish: Wish) -> bool:
    return any(r.wish.study == wish.study for deck in decks for r in deck.runners.values())


def _clears_in(deck: Deck, know: Knowledge) -> float:
    """Return the seconds until all trials on a card can be taken off: the others have ended."""
    return max((left_s for left_s, runner in know.ends(deck) if not runner.wish.saves), default=0.0)


def _clear(deck: Deck) -> list[Pause] | None:
    """Take all trials off a card; None: some of them can't be, or all are leaving."""
    staying = [runner for runner in deck.runners.values() if not runner.pausing]
    if not deck.clears or not staying:
        return None
    for runner in staying:
        runner.pausing = True
    why = "the first trial of another study is watched alone"
    return [Pause(runner.wish.key, why) for runner in staying]
