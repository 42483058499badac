"""A study as data: what the loader read out of the user's file, checked field by field."""

from __future__ import annotations

import math
from enum import StrEnum, unique
from typing import Any, Literal, TypeAlias

import msgspec

#: What a parameter may be in a configuration.
ParamValue: TypeAlias = bool | int | float | str | None
Params: TypeAlias = dict[str, ParamValue]

#: A metric as it is stored: JSON has no NaN or infinity, so these are the strings
#: ``"nan"``, ``"inf"`` and ``"-inf"``; ``float(value)`` reads all of them back.
StoredNumber: TypeAlias = float | Literal["nan", "inf", "-inf"]


def stored(value: float) -> StoredNumber:
    """Return `value` in the form that JSON can hold."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


@unique
class Goal(StrEnum):
    """Which direction of the metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    def better(self, a: float, b: float) -> bool:
        """Say whether `a` is strictly better than `b`; NaN is never better."""
        return a < b if self is Goal.MINIMIZE else a > b


@unique
class ScoreKind(StrEnum):
    """Which report of a trial is its score."""

    LAST = "last"
    BEST = "best"


@unique
class Priority(StrEnum):
    """Which studies go before which; within one, they share the machine by weight."""

    #: Goes first, at once: others are paused to their checkpoints for it.
    URGENT = "urgent"
    NORMAL = "normal"
    #: Runs where nothing else wants the place.
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 goes first."""
        return list(Priority).index(self)


#: What trials run on.
DeviceKind: TypeAlias = Literal["cpu", "gpu"]


class Dimension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter of a search space."""

    name: str
    kind: Literal["float", "int", "choice"]
    #: Bounds, both included; None for a choice.
    low: float | None = None
    high: float | None = None
    log: bool = False
    #: Distance of neighbouring values; None means continuous (float) or 1 (int).
    step: float | None = None
    #: The values of a choice, else empty.
    choices: tuple[ParamValue, ...] = ()


class Stopping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rule stops hopeless trials, with its parameters."""

    rule: str = "extrapolate"
    options: dict[str, float] = {}
    #: The rules that this one is made of; empty: it is none of others.
    parts: tuple[Stopping, ...] = ()


class Sampler(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sampler proposes configurations, with its options."""

    name: str = "tpe"
    options: dict[str, Any] = {}


class StudySpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything about a study that the scheduler needs; the code stays in the snapshot."""

    name: str
    question: str = ""
    hypothesis: str = ""
    metric: str
    goal: Goal
    score: ScoreKind = ScoreKind.LAST
    #: None: the space is a function of the study's (define-by-run), asked in its own process.
    space: tuple[Dimension, ...] | None
    baseline: Params
    #: Configurations in all, baseline included, also after a resume; confirmations come on top.
    trials: int
    #: Reports of a whole trial: its last step.
    steps: int
    stopping: Stopping = Stopping()
    sampler: Sampler = Sampler()
    seed: int = 0
    #: Whether the search ends once little is to be gained (`core.enough`).
    enough: bool = True
    #: Fresh seeds on which baseline and winner are repeated at the end.
    confirm: int = 0
    #: Share of the trials that the rule stops which are run to their end later, to measure it.
    recheck: float = 0.0
    #: Seconds without a report before a trial counts as hung; None: `guards.silence_limit_s`.
    hang_s: float | None = None
    #: Seconds between checkpoints, at least.
    checkpoint_every_s: float = 30.0
    #: Seconds that one trial may run in all; None: no limit.
    trial_time_s: float | None = None
    #: Seconds that the trials of the study may run in all; None: no limit.
    study_time_s: float | None = None
    #: Resident bytes of one trial's process tree; None: what the machine has.
    memory_bytes: int | None = None
    #: A metric beyond this (in the worse direction) is divergence; None: only NaN and infinity.
    diverged_at: float | None = None
    #: How often a crashed, hung or lost trial is tried again.
    retries: int = 1
    #: Its place among the studies; `move` changes it later.
    priority: Priority = Priority.NORMAL
    #: Its share of the machine's time, beside the others of its priority.
    weight: float = 1.0
    #: When it may run, local time (`core.hours.parse`); empty: always.
    hours: tuple[str, ...] = ()
    #: Where its trials run; ``auto``: on a GPU where there is one.
    device: Literal["auto", "cpu", "gpu"] = "auto"


#: Keys that may change when a study of the same name is added again.
AMENDABLE = frozenset(
    {"question", "hypothesis", "trials", "enough", "confirm", "recheck", "hang_s",
     "checkpoint_every_s",
     "trial_time_s", "study_time_s", "memory_bytes", "retries", "priority", "weight", "hours"}
)  # fmt: skip
