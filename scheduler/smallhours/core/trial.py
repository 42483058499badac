"""Names, roles and states of trials and attempts."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import NamedTuple


class AttemptKey(NamedTuple):
    """One run of a trial: study id, trial number in the study, attempt from 1."""

    study: int
    trial: int
    attempt: int

    def __str__(self) -> str:
        return f"{self.study}.{self.trial}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> AttemptKey:
        """Read the form that `str()` gives."""
        study, trial, attempt = text.split(".")
        return cls(int(study), int(trial), int(attempt))


@unique
class Role(StrEnum):
    """What a trial is for."""

    #: The study's baseline configuration, always trial 0.
    BASELINE = "baseline"
    #: A configuration that the sampler proposed.
    SEARCH = "search"
    #: Another trial's configuration on a fresh seed.
    CONFIRMATION = "confirmation"


@unique
class TrialState(StrEnum):
    """Where a trial is; why it ended is its reason, kept apart."""

    #: Waits for a place (never run, to be tried again, or to be resumed).
    QUEUED = "queued"
    #: A place was given; its process has not spoken yet.
    STARTING = "starting"
    #: Its process runs.
    RUNNING = "running"
    #: It was told to end; its process still runs.
    STOPPING = "stopping"
    #: Over for good, as far as anyone decided yet.
    ENDED = "ended"


#: The transitions that exist.
MOVES: dict[TrialState, frozenset[TrialState]] = {
    TrialState.QUEUED: frozenset({TrialState.STARTING, TrialState.ENDED}),
    TrialState.STARTING: frozenset(
        {TrialState.RUNNING, TrialState.STOPPING, TrialState.QUEUED, TrialState.ENDED}
    ),
    TrialState.RUNNING: frozenset({TrialState.STOPPING, TrialState.QUEUED, TrialState.ENDED}),
    TrialState.STOPPING: frozenset({TrialState.QUEUED, TrialState.ENDED}),
    TrialState.ENDED: frozenset({TrialState.QUEUED}),
}
