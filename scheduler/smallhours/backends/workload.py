"""What a simulated attempt does, as data: its curve, its speed, and what goes wrong with it.

Trouble at step n comes instead of the report of step n; one step after the last, it comes instead
of the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from smallhours.core.actions import Start
from smallhours.simulate.interference import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Raises:
    """The training function raises instead of its report at this step."""

    step: int
    type: str = "ValueError"
    errno: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dies:
    """The process ends without a word instead of its report at this step."""

    step: int
    exit_code: int | None = None
    signal: int | None = None
    #: Out-of-memory kills that the kernel counted.
    kernel_oom_kills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangs:
    """Nothing more is heard from this step on."""

    step: int
    #: It ignores SIGTERM too.
    deaf: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsNan:
    """All metrics are NaN from this step on."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LosesParent:
    """A process of ours between engine and trial is lost at this step."""

    step: int
    parent: Literal["slot", "zygote", "raylet"] = "zygote"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverStarts:
    """The zygote dies before the trial's process is forked."""

    exit_code: int | None = None
    signal: int | None = 11


#: A trial that has the card all the time.
_BUSY = Load(1.0)

#: What goes wrong with an attempt.
Trouble: TypeAlias = Raises | Dies | Hangs | ReportsNan | LosesParent | NeverStarts


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How one attempt goes: all that its process would do."""

    #: Its metrics at a step.
    curve: Callable[[int], dict[str, float]]
    #: Its last step.
    steps: int
    #: From the order to the process's first word.
    start_s: float = 0.1
    step_s: float = 1.0
    #: Each step takes up to this share less or more.
    jitter: float = 0.0
    #: A checkpoint follows every so many steps, and the order to stop; None: it saves none.
    checkpoint_every: int | None = None
    checkpoint_bytes: int = 1_000_000
    #: From noticing the order to stop until the training function is left.
    unwind_s: float = 0.05
    #: It does not look for an order to stop until this long after it was given.
    ignores_stop_s: float = 0.0
    resident_bytes: int = 100_000_000
    #: What it takes of its device's memory from its first step on, torch's context included.
    device_bytes: int = 0
    #: What it asks of its device's compute.
    load: Load = _BUSY
    #: Cores' worth of work that it wants.
    cores: float = 1.0
    #: What each step adds to them.
    growth_bytes: int = 0
    trouble: Trouble | None = None


#: Writes the script of an attempt that is to be started.
Model: TypeAlias = Callable[[Start], Script]
