"""What slots hand back of an attempt's end, in the form in which the ledger can keep it."""

from __future__ import annotations

import os
from typing import Any

from smallhours.backends.base import SlotReturn
from smallhours.core import classify
from smallhours.core import events as e
from smallhours.core.trial import AttemptKey

#: Longest texts, in characters: the worker keeps to them, the user's code need not.
TEXT_CHARS = 4_000
_NOTE_CHARS = {"traceback": 21_000}


def note_of(data: dict[str, Any] | None) -> e.DeathNote | None:
    """Return a death note as the core takes it, whatever the user's code made of the file."""
    if data is None:
        return None
    errno = data.get("errno")
    texts = {
        name: text(data.get(name, ""), _NOTE_CHARS.get(name, TEXT_CHARS))
        for name in ("type", "message", "fingerprint", "where", "traceback", "phase", "path")
    }
    return e.DeathNote(**texts, errno=errno if isinstance(errno, int) else None)


def text(value: object, limit: int = TEXT_CHARS) -> str:
    """Return a text that the ledger can keep: not too long, and no half of a surrogate pair."""
    words = str(value)[: limit + 1].encode(errors="backslashreplace").decode()
    return words if len(words) <= limit else words[: limit - 1] + "…"


def not_started(key: AttemptKey, error: OSError) -> SlotReturn:
    """Return the end of an attempt for which the machine had no room, or no process."""
    if error.errno in classify.DISK_ERRORS:
        path = os.fsdecode(error.filename) if error.filename else ""
        note = {
            "type": "OSError", "message": str(error), "where": "", "phase": "start",
            "errno": error.errno, "path": path,
        }  # fmt: skip
        return SlotReturn(key=key, note=note)
    return SlotReturn(
        key=key,
        exit_code=os.EX_OSERR,
        zygote_died=True,
        stderr=f"smallhours could not start its process: {error}",
    )
