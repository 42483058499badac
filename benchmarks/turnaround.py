"""From the end of a trial to the first training instruction of the next one in that slot.

The study itself writes the monotonic clock down where `train` begins and where it ends; a start is
paired with the latest earlier end that no other start has taken. Beside it, what it replaces: a
fresh Python process for each trial, two at a time.

    python benchmarks/turnaround.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import threading
from bisect import bisect_right, insort
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, SimpleQueue

from common import HERE, SMALLHOURS, quantile, run, save, show, smallhours_env, workplace

STUDY = """
import time

import task
from smallhours import Choice, Float, Study

study = Study(
    "turnaround", metric="val_loss", goal="minimize", trials={trials}, steps=task.EPOCHS,
    space={{"lr": Float(*task.LR, log=True), "dropout": Float(*task.DROPOUT),
           "momentum": Choice(list(task.MOMENTUM))}},
    baseline=task.BASELINE, stopping="none", sampler="tpe", seed=0,
)


@study.prepare
def prepare():
    return task.load()


@study.train
def train(trial):
    began = time.monotonic()
    try:
        for step, value in task.epochs(trial.params, trial.seed, trial.data):
            trial.report(step, val_loss=value)
    finally:
        (trial.dir / "times.txt").write_text(f"{{began}} {{time.monotonic()}}")
"""
FRESH = f"""
import random, sys, time
sys.path.insert(0, {str(HERE)!r})
import task, torch
torch.set_num_threads(1)
data = task.load()
began = time.monotonic()
for _ in task.epochs(task.BASELINE, 0, data):
    pass
open(sys.argv[1], "w").write(f"{{began}} {{time.monotonic()}}")
"""
SLOTS = 2

Span = tuple[float, float]


def turnarounds(spans: Iterable[Span]) -> list[float]:
    """Return, for each trial but the first in each slot, seconds since that slot's last end."""
    marks = sorted([(s, 1, s) for s, _ in spans] + [(e, 0, e) for _, e in spans])
    free: list[float] = []
    found = []
    for at, is_start, _ in marks:
        if not is_start:
            insort(free, at)
        elif free:
            found.append(at - free.pop(bisect_right(free, at) - 1))
    return found


def _read(files: Iterable[Path]) -> list[Span]:
    spans = []
    for file in files:
        began, ended = file.read_text("ascii").split()
        spans.append((float(began), float(ended)))
    return spans


def of_smallhours(trials: int) -> list[float]:
    """Measure smallhours, from its command line."""
    with workplace(STUDY.format(trials=trials), "turnaround") as place:
        run([SMALLHOURS, "run", place / "turnaround.py"], env=smallhours_env(place))
        return turnarounds(_read((place / "home" / "trials").glob("*/*/times.txt")))


def of_fresh_processes(trials: int) -> list[float]:
    """Measure a new Python for each trial, started as soon as one ends."""
    with workplace() as place:
        todo: SimpleQueue[int] = SimpleQueue()
        for number in range(trials):
            todo.put(number)

        def slot() -> None:
            while True:
                try:
                    number = todo.get_nowait()
                except Empty:
                    return
                run([sys.executable, "-c", FRESH, place / f"{number}.times"])

        threads = [threading.Thread(target=slot) for _ in range(SLOTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return turnarounds(_read(place.glob("*.times")))


def main() -> None:
    """Measure both and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="24 trials instead of 128")
    parser.add_argument("--peers", default="smallhours,fresh", help="which, separated by commas")
    given = parser.parse_args()
    peers = given.peers.split(",")
    found: dict[str, list[float]] = {}
    if "smallhours" in peers:
        found["smallhours"] = of_smallhours(24 if given.quick else 128)
    if "fresh" in peers:
        found["fresh process"] = of_fresh_processes(8 if given.quick else 16)
    rows = [
        (name, len(gaps), *(quantile(gaps, q) for q in (0.5, 0.95, 1.0)))
        for name, gaps in found.items()
    ]
    show("Turnaround in seconds", ("peer", "turns", "median", "p95", "worst"), rows)
    save("turnaround", {"seconds": found})


if __name__ == "__main__":
    main()
