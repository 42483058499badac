"""Reads parts of the ledger: what an engine needs to begin, and one study later.

A study that is over and of which nothing lives is *closed*: its trials and reports stay where they
are until somebody asks for more of it. So a year of nights costs an engine's start little.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import get_args

from smallhours.core import facts as f
from smallhours.errors import LedgerError
from smallhours.ledger import rows
from smallhours.ledger.rows import Entry


def _kinds_without_trial() -> tuple[str, ...]:
    kinds = (
        kind.__struct_config__.tag
        for kind in get_args(f.Fact)
        if "trial" not in kind.__struct_fields__ and kind is not f.RequestAnswered
    )
    return tuple(sorted(str(kind) for kind in kinds))


#: Facts about studies, sessions and the machine: few, and always read.
STUDY_KINDS = _kinds_without_trial()
_EVENTS = f"SELECT {rows.EVENT_COLUMNS} FROM event"
_REPORTS = f"SELECT {rows.REPORT_COLUMNS} FROM report"
# All of these are answered by the indices, whatever the number of reports.
_TURNS = (
    "SELECT kind, study FROM event WHERE kind IN ('study_amended', 'trial_continued',"
    " 'study_ended', 'study_retired', 'study_removed') ORDER BY seq"
)
# Of an archived study nothing is rechecked any more.
_TO_RECHECK = (
    "SELECT DISTINCT study FROM event AS drawn WHERE kind = 'recheck_drawn' AND NOT EXISTS (SELECT"
    " 1 FROM event WHERE study = drawn.study AND (kind = 'trial_continued' AND trial = drawn.trial"
    " OR kind IN ('study_archived', 'study_removed') AND seq > drawn.seq))"
)
_LIVING = (
    "SELECT study FROM event WHERE kind IN ('attempt_started', 'attempt_ended') GROUP BY study"
    " HAVING sum(kind = 'attempt_started') != sum(kind = 'attempt_ended')"
)
_ENDS = (
    "SELECT trial, reason, score FROM event WHERE kind = 'attempt_ended' AND study = ?"
    " ORDER BY trial, attempt"
)
_CONFIRMATIONS = (
    "SELECT trial FROM event WHERE kind = 'trial_created' AND study = ?"
    " AND json_extract(body, '$.of') IS NOT NULL"
)
_NAMED = "SELECT study FROM event WHERE kind = 'study_added' AND json_extract(body, '$.spec.name')"
_COUNTED = "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM report)"
_LAST_SESSION = (
    "SELECT kind FROM event WHERE kind IN ('session_started', 'session_ended')"
    " ORDER BY seq DESC LIMIT 1"
)


def ended_well(db: sqlite3.Connection) -> bool:
    """Whether the latest session let the ledger go in good order."""
    row = db.execute(_LAST_SESSION).fetchone()
    return row is not None and row[0] == "session_ended"


def closed(db: sqlite3.Connection) -> frozenset[int]:
    """Return the studies that are over, with nothing of them that lives or is to be rechecked."""
    ended: set[int] = set()
    gone: set[int] = set()
    for kind, study in db.execute(_TURNS):
        if kind == "study_ended":
            ended.add(study)
        elif kind in ("study_amended", "trial_continued"):
            ended.discard(study)
        else:  # retired or removed: for good
            gone.add(study)
    living = {study for (study,) in db.execute(_LIVING)}
    rechecked = {study for (study,) in db.execute(_TO_RECHECK)}
    return frozenset((ended - rechecked | gone) - living)


def named(db: sqlite3.Connection, names: Collection[str]) -> frozenset[int]:
    """Return the studies that were added under any of some names."""
    sql = f"{_NAMED} IN ({_marks(names)})"
    return frozenset(study for (study,) in db.execute(sql, [*names]))


def check_count(db: sqlite3.Connection, last_seq: int) -> None:
    """Check that no row is missing.

    Raises:
        LedgerError: one is; `smallhours verify` says which.
    """
    found = int(db.execute(_COUNTED).fetchone()[0])
    if found != last_seq:
        raise LedgerError(
            f"the ledger has {found} rows, and its last one is number {last_seq}: some are missing;"
            " see smallhours verify"
        )


def read_without(
    db: sqlite3.Connection, left_out: Collection[int], requests: Collection[str]
) -> Iterator[Entry]:
    """Yield in order what is recorded, but for the trials and reports of some studies.

    Args:
        db: The ledger.
        left_out: Ids of studies.
        requests: Answers to these requests are yielded, to others not.

    Raises:
        LedgerError: a row that is read is damaged.
    """
    wanted = [study for study in sorted(_ids(db, "study_added")) if study not in left_out]
    streams = [_events(db, f"kind IN ({_marks(STUDY_KINDS)})", *STUDY_KINDS)]
    if requests:
        answers = _events(db, "kind = 'request_answered'")
        streams.append(entry for entry in answers if _answers_one(entry.fact, requests))
    if wanted:
        mine = f"study IN ({_marks(wanted)})"
        streams.append(_events(db, f"{mine} AND trial IS NOT NULL", *wanted))
        streams.append(_reports(db, mine, *wanted))
    yield from _in_order(streams)


def read_study(db: sqlite3.Connection, study: int) -> Iterator[Entry]:
    """Yield in order everything that is recorded of a study.

    Raises:
        LedgerError: a row is damaged.
    """
    yield from _in_order([_events(db, "study = ?", study), _reports(db, "study = ?", study)])


def latest_ends(db: sqlite3.Connection, study: int) -> dict[int, tuple[str, float | None]]:
    """Return how the latest ended attempt of each trial of a study ended: reason and score.

    Raises:
        LedgerError: the ledger is damaged.
    """
    with _damage_told():
        return {
            trial: (reason, score)
            for trial, reason, score in db.execute(_ENDS, (study,))  # in order of the attempts
        }


def confirmations(db: sqlite3.Connection, study: int) -> set[int]:
    """Return the trials of a study that confirm others.

    Raises:
        LedgerError: the ledger is damaged.
    """
    with _damage_told():
        return {trial for (trial,) in db.execute(_CONFIRMATIONS, (study,))}


def _in_order(streams: list[Iterator[Entry]]) -> Iterator[Entry]:
    with _damage_told():
        yield from heapq.merge(*streams, key=attrgetter("seq"))


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise LedgerError(f"the ledger is damaged: {error}") from error


def _events(db: sqlite3.Connection, where: str, *values: object) -> Iterator[Entry]:
    return map(rows.event_entry, db.execute(f"{_EVENTS} WHERE {where} ORDER BY seq", values))


def _reports(db: sqlite3.Connection, where: str, *values: object) -> Iterator[Entry]:
    return map(rows.report_entry, db.execute(f"{_REPORTS} WHERE {where} ORDER BY seq", values))


def _answers_one(fact: f.Fact, requests: Collection[str]) -> bool:
    return isinstance(fact, f.RequestAnswered) and fact.request in requests


def _ids(db: sqlite3.Connection, kind: str) -> set[int]:
    return {study for (study,) in db.execute("SELECT study FROM event WHERE kind = ?", (kind,))}


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
