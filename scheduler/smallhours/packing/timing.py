"""What is learned of paces and loads from how long steps take beside what is on a card."""

from __future__ import annotations

from smallhours.packing.cards import Deck, Runner
from smallhours.packing.guard import Pace
from smallhours.packing.knowledge import Knowledge


def take_in(know: Knowledge, deck: Deck, key: str, at: float, *, at_least: int | None) -> bool:
    """Learn from a trial's pace; whether there was anything to learn from.

    Args:
        know: What is known of studies.
        deck: The card.
        key: The trial.
        at: Now.
        at_least: Steps that tell; None: it tells just when it was heard often enough.
    """
    guard = deck.guard
    pace = guard.just_timed(key) if at_least is None else guard.pace(key, least=at_least)
    if pace is None:
        return False
    _learn(know, deck, deck.runners[key], pace, at)
    return True


def take_in_rest(know: Knowledge, deck: Deck, at: float) -> None:
    """Learn from what was heard since a card's trials changed, of those that told nothing yet."""
    for key in [trial for trial in deck.guard.trials if not deck.guard.told(trial)]:
        take_in(know, deck, key, at, at_least=1)


def _learn(know: Knowledge, deck: Deck, runner: Runner, pace: Pace, at: float) -> None:
    runner.timed_at = at
    if not runner.paced:
        there = [deck.runners[other] for other in deck.guard.trials]
        know.timed(there, runner, pace.mean_s * deck.card.speed, pace.error)
