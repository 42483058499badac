"""``smallhours note``: a line about a study or a trial, kept with it; and how notes are shown."""

from __future__ import annotations

from smallhours import inbox
from smallhours.commands import asking
from smallhours.errors import UsageError
from smallhours.inbox import MOST_NOTE
from smallhours.paths import Home
from smallhours.snapshot import Note, Snapshot
from smallhours.text import Page, Toned, clean, moment


def note(home: Home, target: str, words: list[str]) -> int:
    """Write a line about a study or a trial.

    Args:
        home: The state directory.
        target: Its name, or the beginning of it.
        words: The line, as typed.

    Returns:
        The exit code.

    Raises:
        UsageError: the line is empty, or too long.
    """
    text = clean(" ".join(words)).strip()
    if not text or len(text) > MOST_NOTE:
        raise UsageError(f"note: expected a line of 1 to {MOST_NOTE} characters, got {len(text)}")
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        head = snapshot.head(found.study)
    body = {"study": found.study, "trial": found.trial, "text": text, "by": inbox.who()}
    return asking.ask(home, "note", body, f"the note of {head.name} is kept: {inbox.WAITS}")


def said(note: Note, study: str) -> str:
    """Return a note in words: ``2026-11-23 02:14, ada@pts/1: lr too big``.

    Args:
        note: What was written.
        study: Name of the study where the trial is to be named; empty: it is clear.
    """
    of = f", of {study}/{note.trial}" if study and note.trial is not None else ""
    return f"{moment(note.at)}, {clean(note.by, 60)}{of}: {clean(note.text)}"


def print_notes(page: Page, notes: list[Note], study: str = "") -> None:
    """Print notes, where there are any, below a title."""
    if notes:
        page.line()
        page.line(Toned("Notes", "bold"), indent=2)
    for item in notes:
        page.paragraph(said(item, study), indent=4)
