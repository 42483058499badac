"""What a training function is given: its parameters, and how it talks about its progress."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from smallhours.hints import did_you_mean
from smallhours.worker import checkpoint
from smallhours.worker.link import Link, LinkLostError, Message, stored
from smallhours.worker.order import Order
from smallhours.worker.usage import Meter

#: Reports whose gaps say how long an epoch takes.
_GAPS = 9
#: Share of a gap that a report may wait for the verdict, and its bounds in seconds.
_WAIT_SHARE, _WAIT_LEAST_S, _WAIT_MOST_S = 0.01, 0.001, 0.05
#: Every report keeps its names, for ever.
_MOST_METRICS, _LONGEST_NAME = 100, 100

_Result = TypeVar("_Result")


class TrialStopped(BaseException):
    """Raised by `report` and `checkpoint` when the trial must end; let it pass."""


class ReportError(ValueError):
    """What was reported can't be used; the message says what was expected."""


class Trial:
    """One configuration being trained.

    Attributes:
        name: What people call it: ``digits/12``.
        params: Its configuration, by parameter.
        seed: The seed that random, numpy and torch were seeded with.
        device: Where to train, as torch's ``.to()`` takes it.
        dir: A directory of its own; later attempts find what earlier ones left there.
        data: What the study's ``prepare`` function returned; shared, so don't change it.
        steps: The step after which the trial is complete.
    """

    def __init__(self, order: Order, link: Link, data: object = None) -> None:
        self.name = order.name
        self.params: dict[str, Any] = dict(order.params)
        self.seed = order.seed
        self.device = order.device
        self.dir: Path = order.trial_dir
        self.data: Any = data
        self.steps = order.steps
        self._order = order
        self._link = link
        self._pid = os.getpid()
        self._last_step = 0
        #: The step that `restore` returned.
        self._restored_step = 0
        #: The study's metric at the last report; None before the first.
        self._value: float | None = None
        #: The best value of all reports, those before a restored checkpoint included.
        self._best: float | None = None
        self._improved = False
        self._reported_at: float | None = None
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._meter = Meter()
        self._verdicts_owed = 0
        self._stop: Message | None = None
        self._told_stopping = False
        self._saves = False
        self._written_at = time.monotonic()
        self._written_step = 0
        self._shielded = False
        self._terminated = False

    @property
    def finished(self) -> bool:
        """Whether it reached its own last step."""
        return self._last_step >= self.steps

    @property
    def stopped(self) -> bool:
        """Whether it was told to end."""
        return self._stop is not None

    @property
    def reported(self) -> bool:
        """Whether it reported anything, in this attempt or before the restored checkpoint."""
        return self._value is not None or self._restored_step > 0

    @property
    def last_metric(self) -> float | None:
        """The study's metric at the last report of this attempt; None: nothing was reported."""
        return self._value

    def log(self, text: object) -> None:
        """Write a line to the trial's log (``print`` goes there as well)."""
        print(text, flush=True)

    def report(self, /, step: int, **metrics: Any) -> None:
        """Give the metrics of a step; raises where the trial must end.

        Args:
            step: The step that is done, from 1; higher than at the last report.
            **metrics: Real numbers, numpy scalars or tensors of one number; the study's metric is
                one of them.

        Raises:
            TrialStopped: the trial must end (or has passed its last step); let it pass.
            ReportError: the step or a metric can't be used.
        """
        if self._stop is not None and self._stop["how"] == "now":
            self._end()
        step = self._checked_step(step)
        values = {name: _number(name, value) for name, value in metrics.items()}
        self._check_metric(values)
        if step > self.steps:
            self._last_step = self.steps
            raise TrialStopped("it has passed its last step")
        wait_s = self._verdict_wait_s()
        message: Message = {
            "t": "report", "s": step, "m": {name: stored(v) for name, v in values.items()}
        }  # fmt: skip
        if wait_s:
            message["w"] = 1
        steps = step - self._last_step
        self._note(step, values[self._order.metric])
        self._shield(lambda: self._exchange(message, wait_s))
        if self._stop is None and (usage := self._meter.reported(steps)) is not None:
            self._shield(lambda: self._exchange(usage, 0.0))
        if self._stop is not None and (self._stop["how"] == "now" or not self._saves):
            self._end()

    def restore(self, state: dict[str, Any]) -> int:
        """Go on from the newest good checkpoint of this trial, if there is one.

        Args:
            state: What `checkpoint` is given as well: things with ``state_dict`` (modules,
                optimizers), random generators, or plain data, by name. They are filled in place;
                plain values are replaced in the dict.

        Returns:
            The step that was done last, 0 at first: go on with the one after it.
        """
        self._saves = True
        rejected: list[tuple[str, str]] = []
        found: str | None = None
        for step, path in self._order.resume:
            try:
                saved = checkpoint.load(self._order.home / path, step)
            except checkpoint.BadCheckpointError as error:
                rejected.append((path, str(error)))
                continue
            saved.fill(state)
            found = path
            self._last_step = self._restored_step = self._written_step = step
            self._best = saved.best
            break
        message = {
            "t": "restored", "s": self._restored_step, "path": found, "rejected": rejected
        }  # fmt: skip
        self._shield(lambda: self._exchange(message, 0.0))
        return self._restored_step

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Save the state where it is time to; call it after every report, it is cheap.

        Args:
            state: As `restore` takes it.

        Raises:
            TrialStopped: the trial must end; let it pass.
            OSError: the checkpoint can't be written.
        """
        self._saves = True
        self._shield(self._listen)
        if self._stop is not None and self._stop["how"] == "now":
            self._end()
        if self._due():
            self._shield(lambda: self._save(state))
        if self._stop is not None:
            self._end()

    def measure(self) -> None:
        """Tell the engine what the attempt has needed so far, if it still listens."""
        with contextlib.suppress(LinkLostError):
            self._shield(lambda: self._link.send(self._meter.measure()))

    def on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Unwind where the engine ordered to stop; without an order, end as SIGTERM always does."""
        if self._shielded and os.getpid() == self._pid:
            self._terminated = True
            return
        self._terminate()

    def _terminate(self) -> None:
        if os.getpid() == self._pid:
            self._shielded = True
            try:
                self._listen()
            finally:
                self._shielded = False
        if self._stop is None or os.getpid() != self._pid:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        # Once is enough: what unwinds is left alone from here on.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._end()

    def _shield(self, deed: Callable[[], _Result]) -> _Result:
        """Do something that a signal must not cut in two; a SIGTERM counts after it."""
        self._shielded = True
        try:
            return deed()
        finally:
            self._shielded = False
            if self._terminated:
                self._terminated = False
                self._terminate()

    def _checked_step(self, step: object) -> int:
        try:
            number = step.__index__()  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            number = None
        if not isinstance(number, int) or isinstance(step, bool):
            raise ReportError(f"report(step, ...): the step must be a whole number, got {step!r}")
        if number < 1:
            raise ReportError(f"report(step, ...): steps count from 1, got {number}")
        if number <= self._last_step:
            last = "restore() returned" if self._last_step == self._restored_step else "reported"
            raise ReportError(
                f"report(step, ...): steps must rise; got {number}, {last} {self._last_step}"
            )
        return number

    def _check_metric(self, values: dict[str, float]) -> None:
        metric = self._order.metric
        if metric not in values:
            given = ", ".join(values) or "nothing"
            hint = did_you_mean(metric, values)
            raise ReportError(f"the study's metric {metric!r} is not reported, but {given}{hint}")
        if len(values) > _MOST_METRICS:
            raise ReportError(f"{len(values)} metrics at once; {_MOST_METRICS} are the most")
        longest = max(values, key=len)
        if len(longest) > _LONGEST_NAME:
            name = f"{longest[:40]}..."
            raise ReportError(f"the metric name {name!r} has over {_LONGEST_NAME} characters")

    def _note(self, step: int, value: float) -> None:
        """Remember what a report says before it is sent."""
        self._last_step = step
        self._value = value
        self._improved = self._best is None or self._order.better(value, self._best)
        if value != value:  # noqa: PLR0124 - NaN is the best of nothing
            self._improved = False
        if self._improved:
            self._best = value

    def _verdict_wait_s(self) -> float:
        """Return how long this report waits for the verdict; 0: steps are too short for it."""
        now = time.monotonic()
        if self._reported_at is not None:
            self._gaps.append(now - self._reported_at)
        self._reported_at = now
        if not self._gaps:
            return 0.0
        wait_s = min(_WAIT_SHARE * statistics.median(self._gaps), _WAIT_MOST_S)
        return wait_s if wait_s >= _WAIT_LEAST_S else 0.0

    def _exchange(self, message: Message, wait_s: float) -> None:
        """Send a message, wait for the verdict where it asks for one, and hear what arrived."""
        try:
            self._link.send(message)
        except LinkLostError as error:
            self._lost(error)
        if wait_s:
            self._verdicts_owed += 1
        deadline = time.monotonic() + wait_s
        self._listen()
        while self._verdicts_owed and self._stop is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            self._listen(left_s)

    def _listen(self, timeout_s: float = 0.0) -> None:
        try:
            messages = self._link.poll(timeout_s)
        except LinkLostError as error:
            self._lost(error)
        for message in messages:
            if message["t"] == "go":
                self._verdicts_owed = max(0, self._verdicts_owed - 1)
            elif message["t"] == "stop" and (self._stop is None or message["how"] == "now"):
                self._stop = message

    def _lost(self, error: LinkLostError) -> NoReturn:
        """Without an engine nobody keeps what this trial does."""
        self._stop = {"t": "stop", "how": "now", "why": str(error)}
        self._told_stopping = True
        raise TrialStopped(str(error)) from None

    def _end(self) -> NoReturn:
        assert self._stop is not None
        if not self._told_stopping:
            self._told_stopping = True
            self._shielded = True
            try:
                self._link.send({"t": "stopping"})
            except LinkLostError as error:
                self._lost(error)
            finally:
                self._shielded = False
        raise TrialStopped(self._stop["why"])

    def _due(self) -> bool:
        """Say whether the state must be saved now."""
        if self._last_step <= self._written_step:
            return False
        if self._stop is not None:
            return True
        if time.monotonic() - self._written_at >= self._order.checkpoint_every_s:
            return True
        if self._order.score == "best":
            return self._improved and self._beats_study()
        return self.finished and self._beats_study()

    def _beats_study(self) -> bool:
        known, value = self._order.best_known, self._value
        return value is not None and (known is None or self._order.better(value, known))

    def _save(self, state: dict[str, Any]) -> None:
        step = self._last_step
        target = self.dir / "checkpoints" / f"{step}-{self._order.number}"
        size_bytes = checkpoint.save(
            state, target, step=step, attempt=self._order.number, best=self._best
        )
        self._written_at = time.monotonic()
        self._written_step = step
        path = str(target.relative_to(self._order.home))
        self._exchange({"t": "ckpt", "s": step, "path": path, "bytes": size_bytes}, 0.0)


def _number(name: str, value: Any) -> float:
    """Return a metric as a float, or say why it can't be one."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a numpy scalar or a tensor of one number
    if isinstance(value, Real | Decimal):
        try:
            return float(value)
        except (OverflowError, ValueError):
            pass
    shape = getattr(value, "shape", None)
    if shape is not None:
        raise ReportError(
            f"metric {name!r} must be one number, got shape {tuple(shape)}: report its .mean() or"
            " .item()"
        )
    raise ReportError(f"metric {name!r} must be a real number, got {value!r}")
