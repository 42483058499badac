"""A backend without processes: attempts run in virtual time, after a model of the workload."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from smallhours.backends.base import Post
from smallhours.core import events as e
from smallhours.core.actions import Start, Stop
from smallhours.core.reasons import InterruptCause
from smallhours.core.trial import AttemptKey

#: From a signal, or the end of the training function, to the end of the process.
_EXIT_S = 0.01
_PID_OF_FIRST = 1000


class Timeline:
    """A virtual clock and what is due on it; what is due at the same time comes in order."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def mono(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def wall(self) -> float:
        """Return the virtual time of day: the night begins in 1970."""
        return self._now

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have something called later."""
        assert delay_s >= 0
        self._count += 1
        heapq.heappush(self._due, (self._now + delay_s, self._count, call))

    def next_at(self) -> float:
        """Return when the next thing is due; infinity: never."""
        return self._due[0][0] if self._due else math.inf

    def step(self) -> None:
        """Go on to the next thing that is due, and call it."""
        self._now, _, call = heapq.heappop(self._due)
        call()


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
    #: What each step adds to them.
    growth_bytes: int = 0
    trouble: Trouble | None = None


#: Writes the script of an attempt that is to be started.
Model: TypeAlias = Callable[[Start], Script]


@dataclass(slots=True)
class _Process:
    """An attempt that lives."""

    order: Start
    script: Script
    pid: int
    jitter: random.Random
    step: int = 0
    stop: Stop | None = None
    stop_ordered_at: float = 0.0
    #: It reports and looks for orders no more: it hangs, or its end is near.
    quiet: bool = False
    exiting: bool = False
    fault: str = ""
    cpu_s: float = 0.0

    @property
    def resident_bytes(self) -> int:
        return self.script.resident_bytes + self.step * self.script.growth_bytes


class SimulatedBackend:
    """Runs attempts on a timeline; see `Backend` for what it promises.

    The same seed, model and orders give the same events at the same times.
    """

    def __init__(
        self,
        slots: int,
        model: Model,
        seed: int = 0,
        *,
        timeline: Timeline | None = None,
        disk: set[str] | None = None,
        ready_s: float = 1.0,
    ) -> None:
        """Describe the machine.

        Args:
            slots: How many attempts may run at a time.
            model: Says how each attempt goes.
            seed: Of the jitter of the steps.
            timeline: Where everything happens.
            disk: Paths of the checkpoints that exist; hand over the same to survive a restart.
            ready_s: From `open` to `BackendReady`.
        """
        self.timeline = timeline or Timeline()
        self.disk = set() if disk is None else disk
        self._slots = slots
        self._model = model
        self._seed = seed
        self._ready_s = ready_s
        self._post: Post | None = None
        self._studies: set[int] = set()
        self._processes: dict[AttemptKey, _Process] = {}
        self._started = 0

    async def open(self, post: Post) -> None:
        """Get ready; `BackendReady` is due after `ready_s`."""
        self.open_now(post)

    def open_now(self, post: Post) -> None:
        """Do what `open` does, where nothing is awaited."""
        self._post = post
        ready = e.BackendReady
        self.timeline.after(
            self._ready_s,
            lambda: self._say(ready(at=self.timeline.mono(), device="cpu", slots=self._slots)),
        )

    def open_study(self, study: int) -> None:
        """Take note that the study's attempts may come."""
        self._studies.add(study)

    def close_study(self, study: int) -> None:
        """Take note that no more of the study's attempts come."""
        self._studies.discard(study)

    def start(self, order: Start) -> None:
        """Run an attempt after the model's script."""
        assert order.key.study in self._studies, f"{order.key}: its study is not open"
        assert order.key not in self._processes, f"{order.key} runs already"
        assert len(self._processes) < self._slots, f"{order.key}: no slot is free"
        script = self._model(order)
        self._started += 1
        process = _Process(
            order=order,
            script=script,
            pid=_PID_OF_FIRST + self._started,
            jitter=random.Random(f"{self._seed}/{order.key}"),
        )
        self._processes[order.key] = process
        self._after(script.start_s, process, self._begin)

    def stop(self, order: Stop) -> None:
        """Let the process see the order at its next report."""
        process = self._processes.get(order.key)
        if process is not None and process.stop is None:
            process.stop, process.stop_ordered_at = order, self.timeline.mono()

    def dump_stack(self, key: AttemptKey) -> None:
        """Have the process write where it is."""
        process = self._processes.get(key)
        if process is not None:
            process.fault = f'File "study.py", line {process.step + 1} in train'

    def signal(self, key: AttemptKey, signal: Literal["SIGTERM", "SIGKILL"]) -> None:
        """End the process, unless it is deaf to SIGTERM."""
        process = self._processes.get(key)
        if process is None:
            return
        trouble = process.script.trouble
        deaf = isinstance(trouble, Hangs) and trouble.deaf and process.quiet
        if signal == "SIGKILL" or not deaf:
            self._exit(process, signal=9 if signal == "SIGKILL" else 15)

    def settled(self) -> None:
        """Nobody waits here."""

    async def close(self) -> None:
        """Let everything go, without a word."""
        self._processes.clear()
        self._post = None

    def lose(self, cause: InterruptCause) -> None:
        """Let what runs the trials die, and every process with it."""
        self._processes.clear()
        self._say(e.BackendLost(at=self.timeline.mono(), cause=cause))

    def samples(self) -> dict[AttemptKey, e.ProcessSample]:
        """Return what would be seen of the processes now."""
        return {
            key: e.ProcessSample(
                resident_bytes=process.resident_bytes,
                cpu_s=process.cpu_s,
                state="S" if process.quiet else "R",
            )
            for key, process in self._processes.items()
            if process.step or not process.quiet
        }

    # --- the life of a process -------------------------------------------------------------

    def _say(self, event: e.Event) -> None:
        if self._post is not None:
            self._post(event)

    def _after(
        self, delay_s: float, process: _Process, call: Callable[[_Process], None]
    ) -> None:
        """Have something happen to a process, if it is still the one that lives then."""
        key = process.order.key

        def if_alive() -> None:
            if self._processes.get(key) is process:
                call(process)

        self.timeline.after(delay_s, if_alive)

    def _begin(self, process: _Process) -> None:
        key, at, trouble = process.order.key, self.timeline.mono(), process.script.trouble
        if process.exiting:
            return
        if isinstance(trouble, NeverStarts):
            self._gone(
                process,
                e.ProcessExited(
                    at=at,
                    key=key,
                    zygote_died=True,
                    lost_parent="zygote",
                    exit_code=trouble.exit_code,
                    signal=trouble.signal,
                ),
            )
            return
        self._say(e.ProcessStarted(at=at, key=key, pid=process.pid, pid_started=process.pid))
        if process.order.resume:
            self._restore(process)
        self._next_step(process)

    def _restore(self, process: _Process) -> None:
        rejected = []
        for point in process.order.resume:
            if point.path in self.disk:
                process.step = point.step
                break
            rejected.append((point.path, "no such file"))
        self._say(
            e.StateRestored(
                at=self.timeline.mono(),
                key=process.order.key,
                step=process.step,
                path=next((p.path for p in process.order.resume if p.path in self.disk), None),
                rejected=tuple(rejected),
            )
        )
