"""What people wrote about studies and trials."""

from __future__ import annotations

from typing import NamedTuple

from smallhours.core import facts as f
from smallhours.snapshot.source import Source

_NOTES = (
    "SELECT at, body FROM event WHERE kind = 'study_noted' AND study = ? AND seq <= ? ORDER BY seq"
)


class Note(NamedTuple):
    """A line that somebody wrote."""

    #: Wall time (Unix seconds).
    at: float
    by: str
    text: str
    #: None: it is about the study.
    trial: int | None


def notes(source: Source, study: int, trial: int | None = None) -> list[Note]:
    """Return what was written about a study and its trials, or about one trial; oldest first."""
    found = []
    for at, body in source.rows(_NOTES, study, source.upto):
        fact = source.fact(body)
        assert isinstance(fact, f.StudyNoted)
        if trial is None or fact.trial == trial:
            found.append(Note(at, fact.by, fact.text, fact.trial))
    return found
