"""Sizes as people write them. Standard library only: workers use it too."""

from __future__ import annotations

import re

_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?i?B)?\s*", re.IGNORECASE)
_UNITS = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}


def in_bytes(value: object) -> int:
    """Return a size in bytes that is given as a number or as text like ``"2 GiB"``.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    size = int(float(match[1]) * _UNITS[(match[2] or "B").lower()]) if match else value
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size < 2**63:
        raise ValueError(f'expected bytes or text like "2 GiB", got {value!r}')
    return size
