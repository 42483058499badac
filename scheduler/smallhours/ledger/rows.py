"""How a fact becomes a row of the ledger and a row a fact again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from smallhours.core import facts as f
from smallhours.core.reasons import tag
from smallhours.core.spec import StoredNumber
from smallhours.errors import LedgerError

#: Version of the schema that this code writes and reads.
VERSION = 1

EVENT_COLUMNS = "seq, session, at, mono, kind, study, trial, attempt, reason, score, body, crc"
REPORT_COLUMNS = "seq, session, at, mono, study, trial, attempt, step, metrics, crc"

#: A row as SQLite takes and gives it, in the order of the columns above.
Row: TypeAlias = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode
_decode_fact: msgspec.json.Decoder[f.Fact] = msgspec.json.Decoder(f.Fact)
_decode_metrics = msgspec.json.Decoder(dict[str, StoredNumber])


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact with its place in the ledger."""

    seq: int
    session: int
    #: Seconds since 1970.
    at: float
    #: Seconds of the monotonic clock of that boot.
    mono: float
    fact: f.Fact


def event_row(entry: Entry) -> Row:
    """Return the row of table `event` for a fact that is no report.

    Raises:
        LedgerError: it could not be read back (JSON has no NaN); it must not get into the ledger.
    """
    fact = entry.fact
    try:
        body = _encode(fact).decode()
        _decode_fact.decode(body)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise LedgerError(f"a {_kind(fact)} fact can't be kept: {error}") from error
    reason = score = None
    if isinstance(fact, f.AttemptEnded):
        reason = tag(fact.reason)
        score = None if fact.score is None else _finite(float(fact.score))
    head = (entry.seq, entry.session, entry.at, entry.mono)
    ids = (
        getattr(fact, "study", None),
        getattr(fact, "trial", None),
        getattr(fact, "attempt", None),
    )
    return (*head, _kind(fact), *ids, reason, score, body, _crc(*head, body))


def report_row(entry: Entry) -> Row:
    """Return the row of table `report` for a report."""
    fact = entry.fact
    assert isinstance(fact, f.Reported)
    head = (entry.seq, entry.session, entry.at, entry.mono)
    body = (fact.study, fact.trial, fact.attempt, fact.step, _encode(fact.metrics).decode())
    return (*head, *body, _crc(*head, *body))


def event_entry(row: Row) -> Entry:
    """Return what a row of table `event` says.

    Raises:
        LedgerError: the row is not as it was written.
    """
    seq, session, at, mono, *_copies, body, crc = row
    if _crc(seq, session, at, mono, body) != crc:
        raise LedgerError(f"ledger row {seq} (event) is damaged: its checksum does not match")
    try:
        fact = _decode_fact.decode(body)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"ledger row {seq} (event) can't be read: {error}") from error
    return Entry(seq, session, at, mono, fact)


def report_entry(row: Row) -> Entry:
    """Return what a row of table `report` says.

    Raises:
        LedgerError: the row is not as it was written.
    """
    seq, session, at, mono, study, trial, attempt, step, metrics, crc = row
    if _crc(seq, session, at, mono, study, trial, attempt, step, metrics) != crc:
        raise LedgerError(f"ledger row {seq} (report) is damaged: its checksum does not match")
    try:
        values = _decode_metrics.decode(metrics)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"ledger row {seq} (report) can't be read: {error}") from error
    fact = f.Reported(study=study, trial=trial, attempt=attempt, step=step, metrics=values)
    return Entry(seq, session, at, mono, fact)


def columns_of(entry: Entry) -> Row:
    """Return the columns of an event row that only copy what its body says."""
    return event_row(entry)[4:10]


def _kind(fact: f.Fact) -> str:
    kind = type(fact).__struct_config__.tag
    assert isinstance(kind, str)
    return kind


def _finite(value: float) -> float | None:
    # SQLite has no NaN (it would store NULL) and shows infinity as such: neither can be a rank.
    return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124


def _crc(*parts: object) -> int:
    return zlib.crc32("|".join(map(str, parts)).encode())
