"""A configuration that was not tried yet: where a sampler repeats itself in a small space."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Sequence

from smallhours.core.spec import Dimension, Params
from smallhours.core.variety import identity
from smallhours.sampling import axes

#: So often is drawn at random before the space is gone through from its beginning.
_DRAWS = 100


def draw(space: Sequence[Dimension], tried: Collection[bytes], seed: int) -> Params | None:
    """Draw a configuration evenly from those that are left; None: there is none.

    Args:
        space: A space of finitely many configurations.
        tried: What has been tried (`variety.identity`).
        seed: Of the draw.
    """
    rng = random.Random(seed)
    counts = [axes.count(axis) or 1 for axis in space]
    drawn = (tuple(rng.randrange(count) for count in counts) for _ in range(_DRAWS))
    for places in itertools.chain(drawn, itertools.product(*map(range, counts))):
        params = {axis.name: axes.nth(axis, n) for axis, n in zip(space, places, strict=True)}
        if identity(params) not in tried:
            return params
    return None
