"""A backend without processes: attempts run in virtual time, after a model of the workload."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, assert_never

from smallhours.backends.base import Post
from smallhours.backends.cards import SimulatedDevices
from smallhours.backends.pretence import Process
from smallhours.backends.sayings import footprint_of, shortage_of, simulated_note
from smallhours.backends.timeline import Timeline
from smallhours.backends.warm import WarmSlots
from smallhours.backends.workload import (
    Dies,
    Hangs,
    LosesParent,
    Model,
    NeverStarts,
    Raises,
    ReportsNan,
)
from smallhours.core import events as e
from smallhours.core.actions import Start, Stop
from smallhours.core.reasons import InterruptCause
from smallhours.core.trial import AttemptKey

#: From a signal, or the end of the training function, to the end of the process.
_EXIT_S = 0.01
_PID_OF_FIRST = 1000
#: Reports at which a process measures itself, besides its last.
_MEASURED_AT = (1, 3)

#: ``starting``: it was woken or renewed, and does not serve yet.
_State: TypeAlias = Literal["asleep", "starting", "awake", "resting", "lost"]


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
        devices: SimulatedDevices | None = None,
        packed: bool = False,
        ready_s: float = 1.0,
        renew_s: float = 0.5,
        rest_s: float = 1.5,
        warm: WarmSlots | None = None,
    ) -> None:
        """Describe the machine.

        Args:
            slots: How many attempts may run at a time.
            model: Says how each attempt goes.
            seed: Of the jitter of the steps.
            timeline: Where everything happens.
            disk: Paths of the checkpoints that exist; hand over the same to survive a restart.
            devices: Where attempts run, sharing memory and compute; None: at no cost to each other.
            packed: The slots on the CPU are used as far as they pay.
            ready_s: From `wake` to `BackendReady`.
            renew_s: From `renew` to `BackendReady`.
            rest_s: From `rest` to `BackendClosed`.
            warm: How the slots come up; None: they are there.
        """
        self.timeline = timeline or Timeline()
        self.disk = set() if disk is None else disk
        self._slots, self._packed = slots, packed
        self.devices = devices
        self._model = model
        self._seed = seed
        self._ready_s, self._renew_s, self._rest_s = ready_s, renew_s, rest_s
        self._state: _State = "asleep"
        #: Counts the changes of `_state`: what was due before one does not happen.
        self._changes = 0
        #: `wake` was called while the slots were being let go.
        self._wanted = False
        self._post: Post | None = None
        self._studies: set[int] = set()
        self._processes: dict[AttemptKey, Process] = {}
        self._started = 0
        self._warm = warm or WarmSlots(self.timeline)

    async def open(self, post: Post) -> None:
        """Listen; nothing is posted before `wake`."""
        self.open_now(post)

    def open_now(self, post: Post) -> None:
        """Do what `open` does, where nothing is awaited."""
        self._post = post

    def wake(self) -> None:
        """Get ready; `BackendReady` is due after `ready_s`."""
        if self._state == "resting":
            self._wanted = True
        elif self._state == "asleep":
            self._become("starting", self._ready_s, self._ready)

    def renew(self) -> None:
        """Get ready again; `BackendReady` is due after `renew_s`."""
        assert not self._processes, "renewed while an attempt lives"
        if self._state == "awake":
            self._become("starting", self._renew_s, self._ready)

    def rest(self) -> None:
        """Let the slots go; `BackendClosed` is due after `rest_s`."""
        assert not self._processes, "let go while an attempt lives"
        self._wanted = False
        if self._state == "asleep":
            self._become("resting", 0.0, self._rested)
        elif self._state in ("starting", "awake"):
            self._become("resting", self._rest_s, self._rested)

    def open_study(self, study: int) -> None:
        """Take note that the study's attempts may come."""
        self._studies.add(study)

    def close_study(self, study: int) -> None:
        """Take note that no more of the study's attempts come."""
        self._studies.discard(study)

    def start(self, order: Start) -> None:
        """Run an attempt after the model's script."""
        assert self._state == "awake", f"{order.key}: the backend is {self._state}"
        assert order.key.study in self._studies, f"{order.key}: its study is not open"
        assert order.key not in self._processes, f"{order.key} runs already"
        if self.devices is None:
            assert len(self._processes) < self._slots, f"{order.key}: no slot is free"
        script = self._model(order)
        self._started += 1
        process = Process(
            order=order,
            script=script,
            pid=_PID_OF_FIRST + self._started,
            jitter=random.Random(f"{self._seed}/{order.key}"),
        )
        self._processes[order.key] = process
        self._warm.take(order.key, lambda: self._after(script.start_s, process, self._begin))

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
        if signal == "SIGKILL":
            self._exit(process, signal=9)
        elif not (isinstance(trouble, Hangs) and trouble.deaf and process.quiet):
            self._exit(process, signal=15)

    async def close(self) -> None:
        """Let everything go, without a word."""
        self._processes.clear()
        self._post = None

    def lose(self, cause: InterruptCause) -> None:
        """Let what runs the trials die, and every process with it."""
        self._processes.clear()
        self._become("lost")
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
            if process.begun
        }

    # --- the life of the slots -------------------------------------------------------------

    def _become(
        self, state: _State, after_s: float = 0.0, then: Callable[[], None] | None = None
    ) -> None:
        """Be in a state, and have something called later unless another state came first."""
        self._state = state
        self._changes += 1
        mine = self._changes
        if then is not None:
            call = then
            self.timeline.after(after_s, lambda: call() if mine == self._changes else None)

    def _ready(self) -> None:
        self._become("awake")
        now, slots = self.timeline.mono(), self._slots
        self._say(e.BackendReady(at=now, device="cpu", slots=slots, packed=self._packed))

    def _rested(self) -> None:
        self._become("asleep")
        self._say(e.BackendClosed(at=self.timeline.mono()))
        if self._wanted:
            self._wanted = False
            self.wake()

    # --- the life of a process -------------------------------------------------------------

    def _say(self, event: e.Event) -> None:
        if self._post is not None:
            self._post(event)

    def _after(self, delay_s: float, process: Process, call: Callable[[Process], None]) -> None:
        """Have something happen to a process, if it is still the one that lives then."""
        key = process.order.key

        def if_alive() -> None:
            if self._processes.get(key) is process:
                call(process)

        self.timeline.after(delay_s, if_alive)

    def _begin(self, process: Process) -> None:
        script, trouble = process.script, process.script.trouble
        if process.exiting:
            return
        if isinstance(trouble, NeverStarts):
            self._exit(
                process, zygote_died=True, exit_code=trouble.exit_code, signal=trouble.signal
            )
            return
        process.begun = True
        if self.devices is not None:
            order = process.order
            cap = script.device_bytes if order.memory_bytes is None else order.memory_bytes
            taken = min(script.device_bytes, cap)  # beyond its cap it runs into its own wall
            self.devices.enter(order.key, order.device, script.load, taken, process.pid)
        at, key, pid = self.timeline.mono(), process.order.key, process.pid
        self._say(e.ProcessStarted(at=at, key=key, pid=pid, pid_started=pid))
        if process.order.resume:
            self._restore(process)
        self._go_on(process)

    def _restore(self, process: Process) -> None:
        points = process.order.resume
        good = next((i for i, point in enumerate(points) if point.path in self.disk), len(points))
        taken = points[good] if good < len(points) else None
        process.step = taken.step if taken else 0
        self._say(
            e.StateRestored(
                at=self.timeline.mono(),
                key=process.order.key,
                step=process.step,
                path=taken.path if taken else None,
                rejected=tuple((point.path, "it is gone") for point in points[:good]),
            )
        )

    def _go_on(self, process: Process) -> None:
        """Do the next step, or return from the training function after the last."""
        script = process.script
        if process.step >= script.steps:
            if not self._meets_trouble(process):
                self._exit(process, finished=True, exit_code=0)
            return
        took_s = script.step_s * (1.0 + script.jitter * process.jitter.uniform(-1.0, 1.0))
        if self.devices is None:
            self._after(took_s, process, lambda process: self._step(process, took_s))
            return
        key = process.order.key

        def done() -> None:
            if self._processes.get(key) is process:
                self._step(process, took_s)

        self.devices.step(key, took_s, done)

    def _step(self, process: Process, took_s: float) -> None:
        if process.quiet:
            return
        process.cpu_s += took_s
        if self._meets_trouble(process):
            return
        if not process.met and self.devices is not None:
            process.met = True
            message = shortage_of(process.order, process.script, self.devices)
            if message is not None:
                note = simulated_note("torch.OutOfMemoryError", message, process.step + 1)
                self._exit(process, exit_code=1, note=note)
                return
        process.step += 1
        metrics = process.script.curve(process.step)
        trouble = process.script.trouble
        if isinstance(trouble, ReportsNan) and process.step >= trouble.step:
            metrics = dict.fromkeys(metrics, math.nan)
        at, key = self.timeline.mono(), process.order.key
        self._say(e.ReportArrived(at=at, key=key, step=process.step, metrics=metrics))
        process.reported(at)
        last = process.step >= process.script.steps
        if self.devices is not None and (process.reports in _MEASURED_AT or last):
            footprint = footprint_of(process.order, process.script, process.mean_step_s(at))
            self._say(e.FootprintMeasured(at=at, key=key, footprint=footprint))
        if process.exiting:
            return
        if process.stop and at >= process.stop_ordered_at + process.script.ignores_stop_s:
            self._unwind(process, process.stop)
            return
        every = process.script.checkpoint_every
        if every and process.step % every == 0:
            self._save(process)
        self._go_on(process)

    def _meets_trouble(self, process: Process) -> bool:
        """Let go wrong what is to go wrong at the step that is about to end."""
        trouble = process.script.trouble
        if isinstance(trouble, NeverStarts | ReportsNan | None):
            return False
        if process.step + 1 != trouble.step:
            return False
        match trouble:
            case Hangs():
                process.quiet = True
            case Raises():
                message = f"planned for step {trouble.step}"
                note = simulated_note(trouble.type, message, trouble.step, trouble.errno)
                self._exit(process, exit_code=1, note=note)
            case Dies():
                self._exit(
                    process,
                    exit_code=trouble.exit_code,
                    signal=trouble.signal,
                    kernel_oom_kills=trouble.kernel_oom_kills,
                )
            case LosesParent():
                self._exit(process, lost_parent=trouble.parent, signal=9)
            case _:
                assert_never(trouble)
        return True

    def _unwind(self, process: Process, order: Stop) -> None:
        """Leave the training function, with a checkpoint where one is wanted."""
        if order.how == "checkpoint" and process.script.checkpoint_every:
            self._save(process)
        self._say(e.StopNoticed(at=self.timeline.mono(), key=order.key))
        process.quiet = True
        finished = process.step >= process.script.steps
        self._after(
            process.script.unwind_s,
            process,
            lambda process: self._exit(process, finished=finished, exit_code=0),
        )

    def _save(self, process: Process) -> None:
        key, step = process.order.key, process.step
        path = f"trials/{key.study}/{key.trial}/checkpoints/{step}-{key.attempt}"
        self.disk.add(path)
        self._say(
            e.CheckpointWritten(
                at=self.timeline.mono(),
                key=key,
                step=step,
                path=path,
                size_bytes=process.script.checkpoint_bytes,
            )
        )

    def _exit(self, process: Process, **how: Any) -> None:
        """End the process a moment from now; the first cause counts."""
        if process.exiting:
            return
        process.exiting = process.quiet = True
        key = process.order.key

        def gone(process: Process) -> None:
            del self._processes[key]
            self._warm.give(key)
            if self.devices is not None:
                self.devices.leave(key)
            resident = ((0.0, process.resident_bytes),) if process.begun else ()
            at, fault = self.timeline.mono(), process.fault
            self._say(e.ProcessExited(at=at, key=key, resident=resident, fault=fault, **how))

        self._after(_EXIT_S, process, gone)
