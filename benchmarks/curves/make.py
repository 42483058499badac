"""Make the curve tables that stopping rules are measured on: 6,000 real trainings of 80 steps.

Each table holds one validation metric of 400 configurations, three seeds each, after every epoch,
and the seconds that an epoch of each configuration takes when it is trained alone.

    pip install mnist1d; python benchmarks/curves/make.py [TASK...] [--seeds 3] [--jobs 2]

The same seeds give the same curves, bit for bit on one machine; the seconds are the machine's.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from stacked import Config, Task, train
from tasks import TASKS

HERE = Path(__file__).resolve().parent
STEPS = 80
SEEDS = 3
#: Epochs that are timed, after one that isn't.
_TIMED = 5
#: A stack of at most so many networks fits the processor's caches.
_STACK = 48
#: Values are rounded to so many binary digits: noise of a metric is far above it.
_BITS = 12


def main() -> None:
    """Train what was asked for and write one table a task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", type=_task, metavar="TASK", help="all without")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        for name in args.tasks or TASKS:
            started = time.perf_counter()
            table = make(name, args.seeds, pool)
            path = args.out / f"{name}.npz"
            np.savez_compressed(path, **table)
            taken = time.perf_counter() - started
            print(f"{name}: {table['curves'].shape} in {taken:.0f} s, {path.stat().st_size} bytes",
                  flush=True)  # fmt: skip


def _task(text: str) -> str:
    if text not in TASKS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(TASKS)}, got {text!r}")
    return text


def make(name: str, seeds: int, pool: ProcessPoolExecutor) -> dict[str, np.ndarray]:
    """Train all configurations of a task and return its table."""
    task = TASKS[name]()
    stacks: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)
    for seed in range(seeds):
        for number, config in enumerate(task.configs):
            stacks[(config.width, config.batch, config.optimizer)].append((number, seed))
    parts = [
        members[first : first + _STACK]
        for members in stacks.values()
        for first in range(0, len(members), _STACK)
    ]
    curves = np.empty((len(task.configs), seeds, STEPS), np.float32)
    seconds = np.empty(len(task.configs), np.float32)
    stacked = ([task.configs[number] for number, _ in part] for part in parts)
    done = pool.map(_train, [name] * len(parts), stacked, range(len(parts)))
    for part, trained in zip(parts, done, strict=True):
        for (number, seed), curve in zip(part, trained, strict=True):
            curves[number, seed] = curve
    for members in stacks.values():
        numbers = [number for number, _ in members]
        seconds[numbers] = _epoch_s(task, task.configs[numbers[0]])
    return {
        "curves": _rounded(curves),
        "goal": np.array(task.goal),
        "seconds_per_step": seconds,
    }


def _train(name: str, configs: list[Config], seed: int) -> np.ndarray:
    torch.set_num_threads(1)
    return train(TASKS[name](), configs, STEPS, seed, lambda: None).numpy()


def _epoch_s(task: Task, config: Config) -> float:
    """Return what an epoch of one network takes when it is trained alone, in seconds.

    It is the time on one core, which other work on the machine doesn't lengthen much.
    """
    torch.set_num_threads(1)
    ticks: list[float] = []
    train(task, [config], 1 + _TIMED, 0, lambda: ticks.append(time.process_time()))
    return float(np.diff(ticks).min())


def _rounded(curves: np.ndarray) -> np.ndarray:
    """Round to a few binary digits, which is what makes a compressed table small."""
    mantissa, exponent = np.frexp(curves)
    return np.ldexp(np.round(mantissa * 2**_BITS) / 2**_BITS, exponent).astype(np.float32)


if __name__ == "__main__":
    main()
