"""What failures of a study have in common, from what the ledger has of its trials."""

from __future__ import annotations

import msgspec

from smallhours.core import facts as f
from smallhours.core import regions
from smallhours.core.failures import KINDS, Kind, cause
from smallhours.core.spec import Params
from smallhours.core.trial import Role
from smallhours.snapshot.source import Source

_CREATED = msgspec.json.Decoder(f.TrialCreated)
_ENDED = msgspec.json.Decoder(f.AttemptEnded)
_CREATIONS = (
    "SELECT body FROM event WHERE kind = 'trial_created' AND study = ? AND seq <= ? ORDER BY seq"
)
_ENDS = (
    "SELECT trial, reason, seq FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ?"
    " ORDER BY seq"
)
_BODY = "SELECT body FROM event WHERE seq = ?"


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Trials that failed in the same way, beside those that did not fail."""

    kind: Kind
    #: A fingerprint, ``diverged``, ``gpu_oom`` or ``host_oom``.
    cause: str
    trials: tuple[int, ...]
    #: Trials that ran to their end, or until a rule or a limit stopped them.
    others: int
    #: The part of the space in which they lie, where that is clear.
    boundary: regions.Boundary | None
    #: What they share and the others have not, in words.
    words: str


def mistakes(source: Source, study: int) -> list[Mistake]:
    """Return a study's failures by cause, the most frequent first; confirmations are left out."""
    params = _configurations(source, study)
    latest = {trial: (reason, seq) for trial, reason, seq in source.rows(_ENDS, study, source.upto)}
    failed: dict[tuple[Kind, str], list[int]] = {}
    others: list[int] = []
    for trial, (reason, seq) in latest.items():
        kind = KINDS[reason]
        if trial not in params or kind is Kind.OTHER:
            continue
        if kind is Kind.RESULT:
            others.append(trial)
            continue
        mark = cause(_ENDED.decode(source.rows(_BODY, seq)[0][0]).reason)
        if mark is not None:
            failed.setdefault((kind, mark), []).append(trial)
    good = [params[trial] for trial in others][-regions.COMPARED :]
    found = []
    for (kind, mark), trials in sorted(failed.items(), key=lambda group: -len(group[1])):
        bad = [params[trial] for trial in trials][-regions.COMPARED :]
        found.append(
            Mistake(
                kind=kind,
                cause=mark,
                trials=tuple(trials),
                others=len(others),
                boundary=regions.boundary(bad, good),
                words=regions.in_common(bad, good),
            )
        )
    return found


def _configurations(source: Source, study: int) -> dict[int, Params]:
    created = (_CREATED.decode(body) for (body,) in source.rows(_CREATIONS, study, source.upto))
    return {fact.trial: fact.params for fact in created if fact.role is not Role.CONFIRMATION}
