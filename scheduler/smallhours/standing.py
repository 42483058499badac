"""A study's standing in the queue, as people type it."""

from __future__ import annotations

from smallhours.core.spec import Priority
from smallhours.errors import UsageError
from smallhours.hints import expected


def read_priority(text: str) -> str:
    """Return a priority that was typed.

    Raises:
        UsageError: there is no such one.
    """
    known = [str(priority) for priority in Priority]
    if text not in known:
        raise UsageError(f"--priority: {expected(text, known)}")
    return text


def read_weight(text: str) -> float:
    """Return a weight that was typed.

    Raises:
        UsageError: it is none.
    """
    from smallhours.study_keys import MOST_WEIGHT

    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= MOST_WEIGHT:
        raise UsageError(
            f"--weight: expected a number above 0, {MOST_WEIGHT:.0f} at most, got {text!r}"
        )
    return weight
