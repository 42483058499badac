"""The places of a device, told apart by number."""

from __future__ import annotations

import itertools
from collections.abc import Container


def lowest_free(taken: Container[int | None]) -> int:
    """Return the lowest number, from 0, that is not taken."""
    return next(number for number in itertools.count() if number not in taken)
