"""What adding a study does to the queue, by name, settings and code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from smallhours.core.events import StudySubmitted
from smallhours.core.model import Study
from smallhours.core.spec import AMENDABLE, StudySpec


@dataclass(frozen=True, slots=True)
class Add:
    """It is new; `retire` gives its name up."""

    retire: Study | None


@dataclass(frozen=True, slots=True)
class Amend:
    """It is there; these keys change."""

    study: Study
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is there and differs in what may not change."""

    text: str


Decision: TypeAlias = Add | Amend | Refuse


def decide(existing: Study | None, event: StudySubmitted) -> Decision:
    """Say what becomes of a study that somebody adds.

    The same settings and the same code go on with the study that is there. Settings that compare
    nothing (`AMENDABLE`) may change. Anything else would mix results that are not comparable:
    refused, unless nothing of the old study is worth keeping apart (no trial of it got anywhere) or
    the user says `replace`; then the old one is retired, and nothing of it is lost.
    """
    if existing is None:
        return Add(None)
    changed = _changed(existing.spec, event.spec)
    fixed = [key for key in changed if key not in AMENDABLE]
    same_code = existing.digest == event.digest
    if not fixed and same_code:
        return Amend(existing, changed)
    if event.replace or not _got_anywhere(existing):
        return Add(existing)
    differs = [
        f"{key} ({_short(existing.spec, key)} -> {_short(event.spec, key)})" for key in fixed
    ]
    if not same_code:
        differs.append("its code")
    name = existing.spec.name
    return Refuse(
        f"study {name!r} is there already with {_count(existing)} and differs in "
        f"{', '.join(differs)}. Results of both would not be comparable. Give it a name of its own "
        f"(--as NAME), or put the old one aside as {name}@{existing.id} (--replace)."
    )


def _got_anywhere(study: Study) -> bool:
    return bool(study.living) or any(
        study.reasons[reason] for reason in ("completed", "rule_cut", "rung_cut", "interrupted")
    )


def _changed(old: StudySpec, new: StudySpec) -> tuple[str, ...]:
    return tuple(
        key for key in StudySpec.__struct_fields__ if getattr(old, key) != getattr(new, key)
    )


def _short(spec: StudySpec, key: str) -> str:
    text = msgspec.json.encode(getattr(spec, key)).decode()
    return text if len(text) <= 40 else text[:37] + "..."


def _count(study: Study) -> str:
    ended = sum(study.reasons.values())
    return f"{ended} ended attempt{'' if ended == 1 else 's'}"
