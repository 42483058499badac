"""The end of a trial's log, however long the log is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from smallhours.logs import last_drawn

#: What is read of a log, from its end.
_READ_BYTES: Final = 1 << 16


def last_lines(path: Path, most: int) -> list[str]:
    """Return the last lines of a log as bytes decode, carriage returns obeyed; not made inert.

    Empty: there is no log, or nothing in it.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ_BYTES))
            end = file.read()
    except OSError:
        return []
    # What was cut out of the middle of a log reads as zeros.
    lines = end.rpartition(b"\0")[2].split(b"\n")
    if size > _READ_BYTES:
        lines = lines[1:]
    told = [last_drawn(line).decode("utf-8", "replace") for line in lines]
    while told and not told[-1].strip():
        told.pop()
    return told[-most:]
