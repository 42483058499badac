"""The places of a device, told apart by number."""

from __future__ import annotations

import itertools
from collections.abc import Container


def lowest_free(taken: Container[int | None]) -> int:
    """Return the lowest number, from 0, that is not taken."""
    return next(number for number in itertools.count() if number not in taken)


def placed(slot: int | None, taken: Container[int | None]) -> int:
    """Return where an attempt is shown: as recorded, else on the lowest that is free."""
    return lowest_free(taken) if slot is None or slot in taken else slot
