"""Why a trial waits, in words."""

from __future__ import annotations

from smallhours.snapshot import Waiting

_WAITING = {
    "place": "for a free place",
    "alone": "to run alone: it ran out of memory beside others",
    "known_mistake": "as a known mistake, until `release` or `cancel`",
    "study_halted": "because its study is halted",
    "study_over": "in vain: its study is over",
    "engine_down": "for the engine: `smallhours resume`",
    "engine_restarts": "for the engine, which died and is being started again",
}


def waiting_words(waiting: Waiting) -> str:
    """Return why a trial waits, and what it will do."""
    whence = f"to go on from step {waiting.from_step}" if waiting.from_step else "to begin again"
    what = {"start": "", "retry": ", to be tried again", "resume": f", {whence}"}[waiting.to]
    return f"{_WAITING[waiting.why]}{what}"
