"""What a search knows of its trials: all that its proposals depend on, and all from the ledger."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Params

#: What a sampler notes of a proposal of its own, to go on from: data as JSON has it.
Attrs: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTrial:
    """What the search must know of a trial; everything in it comes from the ledger."""

    trial: int
    params: Params
    #: Where the space is a function: what it asked for; None there: the search leaves it out.
    dimensions: tuple[Dimension, ...] | None = None
    #: What its sampler noted when it proposed it.
    attrs: Attrs = field(default_factory=dict)
    #: None: still running, or waiting to go on.
    outcome: Outcome | None = None
    #: The score, or the last value of a pruned trial; None: it has none.
    value: float | None = None
    #: The step of `value`: pruned trials are ranked by it first.
    step: int | None = None

    @property
    def finite_value(self) -> float | None:
        """The value where it counts: that of a complete or pruned trial, and a number."""
        if self.outcome not in ("complete", "pruned") or self.value is None:
            return None
        return self.value if math.isfinite(self.value) else None

    @property
    def ranks_last(self) -> bool:
        """Whether it stands behind all others in the search: it has no value that could count."""
        return self.outcome == "worst" or (self.outcome == "complete" and self.finite_value is None)


class Proposer(Protocol):
    """A sampler of our own: a function of what is known of the trials, and of nothing else."""

    def propose(self, trial: int, past: Mapping[int, PastTrial]) -> tuple[Params, Attrs]:
        """Return the configuration of a new trial, and what is to be noted with it."""
        ...


def trial_rng_seed(study_seed: int, trial: int) -> int:
    """Return the seed of a trial's proposal: 32 bits."""
    digest = hashlib.sha256(f"{study_seed}/{trial}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
