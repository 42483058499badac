"""The ledger as readers see it: read-only, in short reads, bounded by a sequence number."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from smallhours.core.facts import Fact
from smallhours.errors import LedgerError, UsageError
from smallhours.ledger.rows import VERSION
from smallhours.paths import read_only

Row: TypeAlias = tuple[Any, ...]

#: How long a read waits for the writer, at most (it only has to at a checkpoint of the WAL).
_BUSY_S = 2.0
_NOTHING_YET = "no study has been run yet: start one with `smallhours run STUDY.py`"


class Source:
    """Reads rows and facts up to a sequence number.

    Nothing in the ledger is ever changed, so all rows up to one number are a snapshot, and no
    transaction needs to be held for it.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger.

        Raises:
            UsageError: there is none yet.
            LedgerError: it can't be read, or is of another version.
        """
        if not path.exists():
            raise UsageError(f"{_NOTHING_YET} (looked in {path.parent})")
        self._path = path
        self._facts: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
        try:
            self._db = sqlite3.connect(
                read_only(path),
                uri=True,
                timeout=_BUSY_S,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        self.upto = 0
        version = int(self.rows("PRAGMA user_version")[0][0])
        if version not in (0, VERSION):
            raise LedgerError(
                f"{path} is of version {version}, this smallhours reads version {VERSION}: use the"
                " version that wrote it, or another SMALLHOURS_HOME"
            )
        self.refresh()

    def refresh(self) -> bool:
        """Take in what was recorded meanwhile; False: nothing was."""
        before = self.upto
        row = self.rows(
            "SELECT max(coalesce((SELECT max(seq) FROM event), 0),"
            " coalesce((SELECT max(seq) FROM report), 0))"
        )
        self.upto = int(row[0][0])
        return self.upto != before

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Run one read to its end.

        Raises:
            UsageError: the ledger is empty still.
            LedgerError: it can't be read.
        """
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                raise UsageError(f"{_NOTHING_YET} (looked in {self._path.parent})") from error
            raise self._unreadable(error) from error

    def fact(self, body: str) -> Fact:
        """Decode a fact.

        Raises:
            LedgerError: it isn't one.
        """
        try:
            return self._facts.decode(body)
        except msgspec.MsgspecError as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Let the ledger go."""
        self._db.close()

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(
            f"{self._path}: can't be read ({error}); `smallhours verify` says what is wrong"
        )
