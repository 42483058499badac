"""What the dashboard was started with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the dashboard looks and what it may do."""

    #: Show, and ask for nothing: keys that change anything are not there.
    readonly: bool = False
    #: Draw with ASCII only.
    ascii: bool = False
    #: None: what ``TEXTUAL_THEME`` says, else dark.
    theme: str | None = None
    #: Take clicks and the wheel; else the terminal keeps them, for selecting text.
    mouse: bool = True
    #: Wall time (Unix seconds) to look at; None: now.
    at: float | None = None
    #: Wall time from which on what happened is shown; None: the latest.
    since: float | None = None
    #: A study or a trial to begin with; None: the night.
    target: str | None = None
