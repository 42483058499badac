"""Epochs per second with two slots: smallhours beside a bare loop, Optuna and Ray Tune.

The same training function and budget for all (`task.py`: 9 epochs of about 17 ms), one peer after
the other, each in processes of its own. *Warm* is the rate between the first 20 % and the last 5 %
of all epochs: start-up and the tail on one slot are in the wall time only.

    python benchmarks/throughput.py [--quick] [--peers bare,smallhours] [--trials 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from common import HERE, SMALLHOURS, Ran, query, run, save, show, smallhours_env, workplace

STUDY = """
import task
from smallhours import Choice, Float, Study

study = Study(
    "throughput", metric="val_loss", goal="minimize", trials={trials}, steps=task.EPOCHS,
    space={{"lr": Float(*task.LR, log=True), "dropout": Float(*task.DROPOUT),
           "momentum": Choice(list(task.MOMENTUM))}},
    baseline=task.BASELINE, stopping="{stopping}", sampler="tpe", seed=0,
)


@study.prepare
def prepare():
    return task.load()


@study.train
def train(trial):
    for step, value in task.epochs(trial.params, trial.seed, trial.data):
        trial.report(step, val_loss=value)
"""
NAMES = ("bare", "smallhours", "optuna", "tune-reuse", "tune")
#: Tune's defaults manage about 3 epochs a second: fewer trials say as much.
TUNE_TRIALS = 16


class Variant(NamedTuple):
    """How many trials, and whether hopeless ones are stopped."""

    name: str
    trials: int
    stopping: bool


class Measured(NamedTuple):
    """One run of one peer."""

    trials: int
    epochs: int
    wall_s: float
    warm: float
    load: float


def warm_rate(times: list[float]) -> float:
    """Return epochs per second between the first 20 % and the last 5 %."""
    ordered = sorted(times)
    first, last = int(0.2 * len(ordered)), int(0.95 * len(ordered)) - 1
    return (last - first) / (ordered[last] - ordered[first])


def _smallhours(trials: int, *, stopping: bool) -> tuple[Ran, list[float]]:
    text = STUDY.format(trials=trials, stopping="median" if stopping else "none")
    with workplace(text, "throughput") as place:
        ran = run([SMALLHOURS, "run", place / "throughput.py"], env=smallhours_env(place))
        return ran, [at for (at,) in query(place, "SELECT at FROM report")]


def _peer(name: str, trials: int, *, stopping: bool) -> tuple[Ran, list[float]]:
    with workplace() as place:
        times = place / "times"
        times.mkdir()
        command: list[str | Path] = [sys.executable, HERE / "peers.py", name]
        command += ["--trials", str(trials), "--times", times]
        command += ["--stopping"] if stopping else []
        ran = run(command)
        lines = [line for file in times.iterdir() for line in file.read_text("ascii").split()]
        return ran, [float(line) for line in lines]


def measure(name: str, variant: Variant) -> Measured:
    """Run one peer once."""
    trials = min(variant.trials, TUNE_TRIALS) if name == "tune" else variant.trials
    if name == "smallhours":
        ran, times = _smallhours(trials, stopping=variant.stopping)
    else:
        ran, times = _peer(name, trials, stopping=variant.stopping)
    return Measured(trials, len(times), ran.wall_s, warm_rate(times), ran.load)


def main() -> None:
    """Run all peers in turn, round by round, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="24 trials, one round")
    parser.add_argument("--peers", default=",".join(NAMES), help="which, separated by commas")
    parser.add_argument("--trials", type=int, help="instead of 64 (128 with stopping)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--variant", choices=("whole", "stopping"), help="only this one")
    given = parser.parse_args()
    names = [name for name in NAMES if name in given.peers.split(",")]
    few = 24 if given.quick else None
    variants = [
        Variant("whole", given.trials or few or 64, stopping=False),
        Variant("stopping", given.trials or few or 128, stopping=True),
    ]
    kept: dict[str, Any] = {}
    for variant in variants:
        if given.variant in (None, variant.name):
            kept[variant.name] = compare(names, variant, given.rounds)
    save("throughput", kept)


def compare(names: list[str], variant: Variant, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Measure the peers, interleaved, and print a table."""
    runs: dict[str, list[Measured]] = defaultdict(list)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            runs[name].append(measure(name, variant))
            print(f"  {variant.name} {name}: {runs[name][-1].warm:.1f} epochs/s warm", flush=True)
    bare = statistics.median(m.warm for m in runs["bare"]) if "bare" in runs else None
    rows = []
    for name in names:
        last = runs[name][-1]
        warm, wall_s, load = (
            statistics.median(getattr(measured, key) for measured in runs[name])
            for key in ("warm", "wall_s", "load")
        )
        of_bare = warm / bare if bare else None
        rows.append((name, last.trials, last.epochs, warm, of_bare, wall_s, load))
    show(
        f"{variant.name}: {os.cpu_count()} cores, two slots, median of {rounds}",
        ("peer", "trials", "epochs", "epochs/s warm", "of bare", "wall s", "load"),
        rows,
    )
    return {name: [m._asdict() for m in runs[name]] for name in names}


if __name__ == "__main__":
    main()
