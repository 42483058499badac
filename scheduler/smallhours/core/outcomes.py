"""How searches and studies end, and why studies halt."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

#: Why a search asks for no more configurations, though the study wants more.
SearchOutcome: TypeAlias = Literal["exhausted", "enough"]
#: How a study ended. ``exhausted``: its search found nothing new; ``enough``: little was to be
#: gained.
StudyOutcome: TypeAlias = Literal["done", "cancelled", "budget"] | SearchOutcome
HaltCause: TypeAlias = Literal[
    "same_failure", "disk", "search_failed", "no_device", "space_exhausted", "known_mistakes"
]


class Enough(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a search has found enough: all numbers that decided it (`core.enough`)."""

    version: int
    #: Trials that were over, and that were still wanted.
    ended: int
    left: int
    #: The best trial, and how many trials after it were over.
    best: int
    since_best: int
    #: Mean excess of the `top` best scores over the next one, in the metric.
    top: int
    excess: float
    #: What the trials that were left could be expected to gain, in the metric.
    gain: float
    #: What another seed changes at least, in the metric.
    noise: float
