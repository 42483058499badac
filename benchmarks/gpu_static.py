"""The peers of `gpu.py`: a fixed number of trials at a time on a device, and nothing else.

Each trial is a process that is forked from one that has imported torch, has done once what every
trial would else do for its first time, and has not touched CUDA: it costs as much to start as a
trial of ours, which is forked from a warm process in the same way. The peers neither write
checkpoints nor record what is reported: ours has to make up for that too.

    python benchmarks/gpu_static.py OUT ORDER    # appends lines of JSON to the file OUT

ORDER is `Order` as JSON.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpu_train
import torch

from smallhours.worker.limits import die_with_parent

#: A step shall take so long when a trial is alone; found in about twice as much time.
STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run."""

    kind: str
    device: str
    tiny: bool
    trials: int
    steps: int
    #: Trials at a time, one run for each number.
    at_a_time: Sequence[int]
    #: Batches in each step; None: as many as take `STEP_S`, which is found first.
    batches: int | None

    def json(self) -> str:
        """Return it as the command line has it."""
        return json.dumps(asdict(self))


class Bare:
    """Stands in for a trial of ours; keeps nothing."""

    def __init__(self, device: str, rate: float) -> None:
        self.params: dict[str, Any] = {"lr": rate}
        self.device = device

    def restore(self, state: dict[str, Any]) -> int:
        """Say that there is no checkpoint."""
        return 0

    def report(self, step: int, **metrics: float) -> None:
        """Drop it."""

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Write nothing."""


def warm_up() -> None:
    """Do once what every trial would else do for its first time, without touching CUDA."""
    importlib.import_module("torch._dynamo")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    optimizer.zero_grad()
    optimizer.step()
    torch.save({}, io.BytesIO())


def fork(work: Callable[[], None]) -> int:
    """Do something in a process of its own, which ends with this one; returns its pid."""
    own = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent(own)
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def answer(work: Callable[[], object]) -> Any:
    """Return what a function returns in a process of its own; None: it failed."""
    reading, writing = os.pipe()

    def tell() -> None:
        os.write(writing, json.dumps(work()).encode())

    pid = fork(tell)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else None


def find_batches(order: Order) -> int:
    """Return how many batches take `STEP_S`, measured past the first ones."""
    training = gpu_train.Training(order.kind, order.device, 1e-3, tiny=order.tiny)
    training.run(2)
    batches = 1
    while True:
        started = time.perf_counter()
        training.run(batches)
        taken = time.perf_counter() - started
        if taken >= STEP_S / 2:
            return max(1, round(batches * STEP_S / taken))
        batches *= 2


def makespan(order: Order, batches: int, at_a_time: int) -> dict[str, Any]:
    """Run all trials, so many at a time."""

    def work(number: int) -> None:
        torch.manual_seed(number)
        trial = Bare(order.device, gpu_train.LEARNING_RATES[0])
        gpu_train.train(trial, order.kind, order.steps, batches, tiny=order.tiny)

    running: set[int] = set()
    failed = 0
    started = time.perf_counter()
    for number in range(order.trials):
        if len(running) == at_a_time:
            failed += _reap(running)
        running.add(fork(lambda: work(number)))  # noqa: B023 - it is called at once
    while running:
        failed += _reap(running)
    return {"at_a_time": at_a_time, "s": time.perf_counter() - started, "failed": failed}


def _reap(running: set[int]) -> bool:
    """Wait for one to end; returns whether it failed."""
    pid, status = os.wait()
    running.discard(pid)
    return status != 0


def main() -> None:
    """Run what is ordered; each figure is written as soon as it is there."""
    die_with_parent(os.getppid())
    out, order = Path(sys.argv[1]), Order(**json.loads(sys.argv[2]))
    warm_up()
    batches = order.batches or answer(lambda: find_batches(order))
    if batches is None:
        sys.exit("the training fails when it is alone")
    with out.open("a", encoding="utf-8") as lines:
        print(json.dumps({"batches": batches}), file=lines, flush=True)
        for at_a_time in order.at_a_time:
            print(json.dumps(makespan(order, batches, at_a_time)), file=lines, flush=True)


if __name__ == "__main__":
    main()
