"""What people type for a study or a trial, and what they meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from smallhours.errors import NotFoundError
from smallhours.hints import did_you_mean
from smallhours.snapshot.heads import Head, heads
from smallhours.snapshot.source import Source
from smallhours.snapshot.trials import exists
from smallhours.text import clean, count, listing


class Target(NamedTuple):
    """A study, or one of its trials."""

    study: int
    #: None: the study itself.
    trial: int | None


def resolve(source: Source, text: str, known: dict[int, Head] | None = None) -> Target:
    """Return what a name means: ``digits``, ``digits/12``, ``dig/12``, ``digits@3/12``.

    Args:
        source: The ledger.
        text: What somebody typed.
        known: The studies by id; None: they are read.

    Raises:
        NotFoundError: no study or trial has the name, or more than one study begins with it.
    """
    name, number = parse(text)
    head = study_named(name, (heads(source) if known is None else known).values())
    if number is not None and not exists(source, head.id, number):
        rows = source.rows(
            "SELECT count(*) FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ?",
            head.id,
            source.upto,
        )
        trials = int(rows[0][0])
        has = f"it has {count(trials, 'trial')}, from {head.name}/0 on" if trials else "it has none"
        raise NotFoundError(f"{head.name} has no trial {number}; {has}")
    return Target(head.id, number)


def study_named(text: str, heads: Iterable[Head]) -> Head:
    """Return the study of a name, of a unique beginning of one, or of ``name@id``.

    Raises:
        NotFoundError: there is none, or more than one.
    """
    found = {head.name: head for head in heads}
    if text in found:
        return found[text]
    # A study that was put aside is meant only where its id is given.
    meant = [
        head
        for name, head in found.items()
        if (
            f"{head.spec.name}@{head.id}" == text
            if "@" in text
            else bool(text) and not head.nameless and name.startswith(text)
        )
    ]
    if len(meant) == 1:
        return meant[0]
    shown = clean(text, 80)
    if meant:
        names = listing([head.name for head in meant])
        raise NotFoundError(f"`{shown}` could be {names}: type more of the name")
    hint = did_you_mean(text, found, cutoff=0.5) or f"; there are: {listing(sorted(found))}"
    raise NotFoundError(f"there is no study `{shown}`{hint}")


def parse(text: str) -> tuple[str, int | None]:
    """Split ``digits/12`` into the study's part and the trial's number.

    Raises:
        NotFoundError: what follows the slash is no number.
    """
    study, slash, number = text.partition("/")
    if not slash:
        return study, None
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise NotFoundError(
            f"`{clean(text, 80)}` names no trial: a trial is a study and a number, like"
            f" `{clean(study, 60) or 'digits'}/12`"
        )
    return study, int(number)
