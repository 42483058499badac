"""The ledger's only writer, and the way to read all of it back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from smallhours.core import facts as f
from smallhours.core.state import State
from smallhours.errors import LedgerError
from smallhours.ledger import parts, rows
from smallhours.ledger.rows import Entry
from smallhours.paths import read_only

#: Kept on disk to be given back when the disk is full, so that the end itself can be recorded.
_RESERVE_BYTES = 8 * 2**20

#: The pages of a ledger up to this size are checked at every start (2 s a GB); of a larger one only
#: where the last session did not end in good order.
_CHECKED_BYTES = 512 * 2**20

_INSERT_EVENT = f"INSERT INTO event ({rows.EVENT_COLUMNS}) VALUES ({','.join('?' * 12)})"
_INSERT_REPORT = f"INSERT INTO report ({rows.REPORT_COLUMNS}) VALUES ({','.join('?' * 10)})"


class DiskFullError(LedgerError):
    """The ledger can't grow; the reserve has been given back once, so one last word fits."""


class Ledger:
    """Appends facts. One per machine: the engine holds the lock for as long as it lives.

    `append` is cheap and keeps the fact in memory; `commit` makes everything appended so far
    durable in one transaction (WAL, synchronous=FULL), in order, or nothing of it.
    """

    def __init__(self, path: Path, lock: Path, *, reserve: bool = True) -> None:
        """Open or create the ledger and take the lock.

        Raises:
            LedgerError: another engine holds it, it is damaged, or of another version.
        """
        self._path = path
        self._reserve = path.with_suffix(".reserve") if reserve else None
        self._lock = _take(lock)
        try:
            self._db = self._open()
            self._make_reserve()
        except BaseException:
            os.close(self._lock)
            raise
        self.session = 0
        self._seq = self._last_seq()
        self._pending: list[Entry] = []

    @property
    def dirty(self) -> bool:
        """Whether something was appended since the last commit."""
        return bool(self._pending)

    def append(self, fact: f.Fact, *, at: float, mono: float) -> None:
        """Append a fact; it is durable only after the next `commit`."""
        if isinstance(fact, f.SessionStarted):
            self.session = fact.session
        self._seq += 1
        self._pending.append(Entry(self._seq, self.session, at, mono, fact))

    def commit(self) -> None:
        """Make everything that was appended durable.

        A commit that fails may or may not have reached the disk: the database is opened again, and
        what is missing is written once more.

        Raises:
            DiskFullError: there is no room; what was appended is kept and may be committed later.
            LedgerError: it can't be written.
        """
        if not self._pending:
            return
        try:
            self._write(self._pending)
        except sqlite3.Error as error:
            self._recover(error)
        self._pending.clear()

    def replay(self) -> Iterator[Entry]:
        """Yield every fact in order.

        Raises:
            LedgerError: a row is damaged or missing.
        """
        return read_all(self._db)

    def rebuild(self, state: State, requests: Collection[str]) -> int:
        """Bring a fresh state up to date, without what closed studies are made of.

        Every row that is read is checked, and the rows are counted; `smallhours verify` checks
        those that are not read.

        Args:
            state: Nothing has been applied to it. Studies that are left out are marked.
            requests: Ids of the requests that may still lie in the inbox.

        Returns:
            How many facts were read.

        Raises:
            LedgerError: a row is damaged or missing.
        """
        read = 0
        try:
            closed = parts.closed(self._db)
            if closed:
                parts.check_count(self._db, self._seq)
            entries = parts.read_without(self._db, closed, requests) if closed else self.replay()
            for entry in entries:
                state.apply(entry.fact, entry.mono)
                read += 1
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"the ledger is damaged: {error}") from error
        for number in closed:
            state.studies[number].loaded = False
        return read

    def load(self, state: State, study: int) -> None:
        """Take in what a study is made of that `rebuild` left out; does nothing where it is there.

        Raises:
            LedgerError: a row is damaged.
        """
        known = state.studies.get(study)
        if known is None or known.loaded:
            return
        stored = ((entry.fact, entry.mono) for entry in parts.read_study(self._db, study))
        # What was appended since the last commit is of the study as well.
        pending = [
            (entry.fact, entry.mono)
            for entry in self._pending
            if getattr(entry.fact, "study", None) == study
        ]
        state.load([*stored, *pending])  # all of it is read, or nothing is taken in

    def close(self) -> None:
        """Commit, let go of the lock; the ledger is one file again (no WAL left)."""
        try:
            self.commit()
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                _create(db)
            check_version(db, self._path)
            large = self._path.stat().st_size > _CHECKED_BYTES
            if not (large and parts.ended_well(db)):
                _check_pages(db, self._path)
        except sqlite3.DatabaseError as error:
            db.close()
            raise LedgerError(f"{self._path} can't be opened: {error}") from error
        return db

    def _write(self, entries: Iterable[Entry]) -> None:
        reports = [rows.report_row(e) for e in entries if isinstance(e.fact, f.Reported)]
        events = [rows.event_row(e) for e in entries if not isinstance(e.fact, f.Reported)]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_INSERT_REPORT, reports)
            self._db.executemany(_INSERT_EVENT, events)
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def _recover(self, error: sqlite3.Error) -> None:
        """Write what a failed commit did not, on a fresh connection and with the reserve."""
        had_reserve = self._give_reserve()
        try:
            self._db.close()
            self._db = self._open()
            last = self._last_seq()
            self._write([entry for entry in self._pending if entry.seq > last])
        except (sqlite3.Error, LedgerError) as again:
            raise DiskFullError(f"{self._path} can't be written: {again}") from error
        self._pending.clear()
        if had_reserve and not self._make_reserve():
            raise DiskFullError(f"{self._path}: no room on disk ({error}); the reserve is in use")

    def _last_seq(self) -> int:
        tables = ("event", "report")
        queries = (f"SELECT coalesce(max(seq), 0) FROM {table}" for table in tables)
        return max(int(self._db.execute(query).fetchone()[0]) for query in queries)

    def _make_reserve(self) -> bool:
        """Take room on disk for a last word; False where there is none."""
        if self._reserve is None:
            return True
        try:
            fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
                raise
            self._reserve.unlink(missing_ok=True)
            return False
        return True

    def _give_reserve(self) -> bool:
        if self._reserve is None or not self._reserve.exists():
            return False
        self._reserve.unlink()
        return True


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a ledger for reading only; hold no transaction on it.

    Raises:
        LedgerError: it is not there, can't be read, or is of another version.
    """
    if not path.exists():
        raise LedgerError(f"{path} does not exist")
    try:
        db = sqlite3.connect(read_only(path), uri=True, isolation_level=None)
        check_version(db, path)
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} can't be opened: {error}") from error
    return db


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a ledger that this version can't read."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != rows.VERSION:
        raise LedgerError(
            f"{path} is of version {version}, this smallhours reads version {rows.VERSION}: "
            "use the version that wrote it, or another SMALLHOURS_HOME"
        )


def read_all(db: sqlite3.Connection) -> Iterator[Entry]:
    """Yield every fact in order of `seq`.

    Raises:
        LedgerError: a row is damaged, or one is missing.
    """
    try:
        yield from _read_in_order(db)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise LedgerError(f"the ledger is damaged: {error}") from error


def _read_in_order(db: sqlite3.Connection) -> Iterator[Entry]:
    events = db.execute(f"SELECT {rows.EVENT_COLUMNS} FROM event ORDER BY seq")
    reports = db.execute(f"SELECT {rows.REPORT_COLUMNS} FROM report ORDER BY seq")
    event, report = events.fetchone(), reports.fetchone()
    expected = 1
    while event is not None or report is not None:
        if report is None or (event is not None and event[0] < report[0]):
            entry, event = rows.event_entry(event), events.fetchone()
        else:
            entry, report = rows.report_entry(report), reports.fetchone()
        if entry.seq != expected:
            raise LedgerError(f"ledger row {expected} is missing (the next is {entry.seq})")
        expected += 1
        yield entry


def _create(db: sqlite3.Connection) -> None:
    script = (files("smallhours.ledger") / "schema.sql").read_text(encoding="utf-8")
    db.executescript("BEGIN;\n" + script + "\nCOMMIT;")


def _check_pages(db: sqlite3.Connection, path: Path) -> None:
    answer = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise LedgerError(
            f"{path} is damaged ({answer}). Nothing was changed; copy it, and see smallhours verify"
        )


def _take(lock: Path) -> int:
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise LedgerError(f"another engine holds {lock}") from error
    return fd
