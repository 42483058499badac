"""Quasi-random sampling: Sobol' and Halton points cover the space more evenly than chance does.

A trial gets the point of its own number: there is no state to keep.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from smallhours.core.spec import Dimension, Params, ParamValue
from smallhours.sampling import axes
from smallhours.sampling.past import Attrs, PastTrial

if TYPE_CHECKING:
    from scipy.stats import qmc

_loading = threading.Lock()


class QuasiRandom:
    """Proposes the points of a scrambled low-discrepancy sequence, in its order."""

    def __init__(
        self,
        space: tuple[Dimension, ...],
        seed: int,
        *,
        qmc_type: str = "sobol",
        scramble: bool = True,
    ) -> None:
        """Choose the sequence.

        Args:
            space: What is searched.
            seed: Scrambles the sequence.
            qmc_type: ``sobol`` or ``halton``.
            scramble: Whether to scramble it; without, it begins in a corner of the space, whatever
                the seed.
        """
        self._space, self._seed = space, seed
        self._type, self._scramble = qmc_type, scramble

    def propose(self, trial: int, past: Mapping[int, PastTrial]) -> tuple[Params, Attrs]:
        """Return the point of the trial's number; the baseline, number 0, has none."""
        del past
        engine = self._engine()
        if trial > 1:  # scipy refuses to go forward by nothing
            engine.fast_forward(trial - 1)
        point = engine.random(1)[0]
        pairs = zip(self._space, point, strict=True)
        return {axis.name: spread(axis, float(share)) for axis, share in pairs}, {}

    def _engine(self) -> qmc.QMCEngine:
        from scipy.stats import qmc

        load_directions()
        maker = qmc.Sobol if self._type == "sobol" else qmc.Halton
        return maker(len(self._space), scramble=self._scramble, rng=self._seed)


def spread(axis: Dimension, share: float) -> ParamValue:
    """Return the value at a share of an axis on which all values have the same room.

    Args:
        axis: The parameter.
        share: From 0 up to, but not including, 1.
    """
    number = axes.count(axis)
    if number is None:
        return axes.between(axis, share)
    if axis.log:
        low, high = axes.bounds(axis)
        bottom, top = math.log(low - 0.5), math.log(high + 0.5)
        return round(min(max(math.exp(bottom + share * (top - bottom)), low), high))
    return axes.nth(axis, min(int(share * number), number - 1))


@functools.cache
def load_directions() -> None:
    """Have scipy load the tables of Sobol's sequence, once and in one thread.

    It does so at first use and is not safe then: a second thread finds the tables half filled.
    """
    from scipy.stats import qmc

    with _loading:
        qmc.Sobol(1, scramble=False)
