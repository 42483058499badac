"""What slots hand back of an attempt's end, in the form in which the ledger can keep it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from smallhours.backends.base import SlotReturn
from smallhours.backends.links import Usage
from smallhours.core import classify
from smallhours.core.death import DeathNote, MemoryLeft
from smallhours.core.footprint import Footprint, GpuPeak
from smallhours.core.trial import AttemptKey

#: Longest texts, in characters: the worker keeps to them, the user's code need not.
TEXT_CHARS = 4_000
_NOTE_CHARS = {"traceback": 21_000}
_CAUSES = 5


def note_of(data: dict[str, Any] | None) -> DeathNote | None:
    """Return a death note as the core takes it, whatever the user's code made of the file."""
    if data is None:
        return None
    errno = data.get("errno")
    texts = {
        name: text(data.get(name, ""), _NOTE_CHARS.get(name, TEXT_CHARS))
        for name in ("type", "message", "fingerprint", "where", "traceback", "phase", "path")
    }
    causes, memory = data.get("causes"), data.get("memory")
    return DeathNote(
        **texts,
        errno=errno if isinstance(errno, int) else None,
        causes=_causes(causes) if isinstance(causes, list) else (),
        memory=_memory(memory) if isinstance(memory, dict) else MemoryLeft(),
    )


def _causes(data: list[Any]) -> tuple[tuple[str, str], ...]:
    pairs = [pair for pair in data if isinstance(pair, list) and len(pair) == 2]
    return tuple((text(type_), text(message)) for type_, message in pairs[:_CAUSES])


def _memory(data: dict[str, Any]) -> MemoryLeft:
    sizes = {
        field.name: size
        for field in dataclasses.fields(MemoryLeft)
        if isinstance(size := data.get(field.name.removesuffix("_bytes")), int) and size >= 0
    }
    return MemoryLeft(**sizes)


def footprint_of(usage: Usage) -> Footprint:
    """Return what a process said that it needed as the core takes it."""
    return Footprint(
        step_s=_short(usage.step_s),
        mean_step_s=_short(usage.mean_step_s),
        cores=_short(usage.cores),
        wanted_cores=_short(usage.wanted),
        host_bytes=usage.host,
        host_source="pss" if usage.pss else "rss",
        gpus=tuple(GpuPeak(*gpu) for gpu in usage.gpus),
    )


def _short(value: float | None) -> float | None:
    """Return a measured value with the digits that mean something."""
    return None if value is None else float(f"{value:.4g}")


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
