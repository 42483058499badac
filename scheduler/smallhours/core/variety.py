"""How many configurations a space has, and when two are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from smallhours.core.spec import Dimension, Params


def identity(params: Params) -> bytes:
    """Return what equal configurations have in common and others have not."""
    return msgspec.json.encode(params, order="sorted")


def size(space: Sequence[Dimension] | None) -> int | None:
    """Return how many configurations a space has; None: endlessly many, or nobody knows."""
    if space is None:
        return None
    numbers = [_count(dimension) for dimension in space]
    return None if None in numbers else math.prod(n for n in numbers if n is not None)


def _count(dimension: Dimension) -> int | None:
    if dimension.kind == "choice":
        return len(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.low == dimension.high:
        return 1
    step = dimension.step or (1.0 if dimension.kind == "int" else None)
    return None if step is None else int((dimension.high - dimension.low) / step + 1e-9) + 1
