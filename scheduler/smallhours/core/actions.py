"""What the machine wants done, in order; the engine does it and decides nothing.

Before anything but a `Record` is carried out, every record before it is durable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from smallhours.core import facts as f
from smallhours.core.spec import Params
from smallhours.core.trial import AttemptKey

#: How a trial counts for the search. ``worst``: behind all others, whatever they are worth.
Outcome: TypeAlias = Literal["complete", "pruned", "fail", "worst"]

#: Facts that may wait a moment for the next commit. They say what happened, not what was decided:
#: should they be lost with the engine, the attempt counts as interrupted, and nobody was told more.
LAZY = (
    f.Reported, f.AttemptRunning, f.Restored, f.CheckpointRemoved, f.AttemptEnded, f.RecheckDrawn,
    f.LoadLearned, f.CapLearned,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Append the fact to the ledger."""

    fact: f.Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBackend:
    """Start what runs the trials; answer with `BackendReady`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewBackend:
    """Replace what runs the trials by a fresh one; nothing lives. Answer with `BackendReady`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseBackend:
    """Let what runs the trials go for now; nothing lives. Answer with `BackendClosed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFiles:
    """Delete a study's files: its trials' directories and its copy of the code."""

    study: int
    #: Only the trials' checkpoints; logs, notes and code stay.
    checkpoints_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study will want processes and suggestions soon: warm them up."""

    study: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseStudy:
    """Nothing more is wanted of a study: its processes and its search may go."""

    study: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Have the search propose the configuration of a trial; answer with `Suggested`."""

    study: int
    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduce:
    """Let the search know of a configuration that it did not propose (the baseline)."""

    study: int
    trial: int
    params: Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell the search how a trial of its own ended."""

    study: int
    trial: int
    outcome: Outcome
    #: Its score, or the last value of a pruned one; None: it never reported.
    value: float | None
    #: The step of `value`; None: it never reported.
    step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """Let the search know that a trial which it was told of runs again."""

    study: int
    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """A checkpoint to go on from."""

    step: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Run an attempt."""

    key: AttemptKey
    params: Params
    seed: int
    #: Newest first; the process takes the first good one.
    resume: tuple[ResumePoint, ...]
    #: The study's best score when it starts; None: none yet.
    best_known: float | None
    #: The UUID of a GPU, or ``cpu``.
    device: str = "cpu"
    #: The most that it may take of that device's memory; None: no cap.
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Ask an attempt's process to end at its next report or checkpoint."""

    key: AttemptKey
    #: ``checkpoint``: save first, where the trial saves checkpoints.
    how: Literal["now", "checkpoint"]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpStack:
    """Have an attempt's process write the stacks of its threads."""

    key: AttemptKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Send a signal to an attempt's process group."""

    key: AttemptKey
    signal: Literal["SIGTERM", "SIGKILL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveCheckpoint:
    """Delete a checkpoint."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer a request from the inbox."""

    request: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Nothing is left to do, or the engine was told to end: leave."""

    #: ``dry``: the queue is empty.
    cause: str


Action: TypeAlias = (
    Record | OpenBackend | RenewBackend | CloseBackend | RemoveFiles | OpenStudy | CloseStudy
    | Ask | Introduce | Tell | Reopen | Start | Stop | DumpStack | Signal | RemoveCheckpoint
    | Answer | Finish
)  # fmt: skip
