"""How long `verify` takes to derive every stop again, rule by rule.

Nights of 1,000 trials on recorded curves (`curves/mnist1d-mlp.npz`, 80 steps), played by the
simulated backend and written by the production ledger; `smallhours verify` is a process of its own.

    python benchmarks/verifying.py [--trials 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from common import HERE, SMALLHOURS, save, show

from smallhours import rules, stopping
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import Simulation
from smallhours.backends.timeline import Timeline
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core.machine import Machine
from smallhours.core.spec import Dimension, Stopping, StudySpec
from smallhours.ledger.store import Ledger
from smallhours.paths import Home
from smallhours.replay.table import Table, read

_SLOTS = 8
RULES: tuple[Any, ...] = (
    "none", "extrapolate", "median", "asha", "halving", stopping.Patience(),
    stopping.Threshold(0.4), stopping.Wilcoxon(), stopping.AnyOf("asha", "median"),
    stopping.AllOf("asha", "extrapolate"), stopping.After(20, "asha"),
)  # fmt: skip


def main() -> None:
    """Write a ledger for each rule, verify it, and print how long that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="100 trials")
    args = parser.parse_args()
    table = read(HERE / "curves" / "mnist1d-mlp.npz")
    found = []
    for rule in RULES:
        with TemporaryDirectory() as folder:
            write(Path(folder), table, rule, 100 if args.quick else args.trials)
            found.append({"rule": str(rule)} | verify(Path(folder)))
    show(
        f"verify, {100 if args.quick else args.trials} trials",
        ("rule", "reports", "stops", "s"),
        [(one["rule"], one["reports"], one["stops"], f"{one['wall_s']:.1f}") for one in found],
    )
    save("verifying", {"trials": args.trials, "rules": found})


def write(folder: Path, table: Table, rule: object, trials: int) -> None:
    """Play a night and write it down as the engine does."""

    def script(order: a.Start) -> Script:
        number = order.key.trial
        values = table.curves[number % table.configs, number // table.configs % 3].tolist()
        return Script(
            curve=lambda step: {"accuracy": values[step - 1]}, steps=table.steps, jitter=0.3
        )

    spec = StudySpec(
        name="mnist", metric="accuracy", goal=table.goal, baseline={"x": 0.5}, trials=trials,
        steps=table.steps, confirm=3,
        stopping=msgspec.convert(stopping.as_data(rule, table.steps), Stopping),
        space=(Dimension(name="x", kind="float", low=0.0, high=1.0),),
    )  # fmt: skip
    home = Home(folder)
    home.prepare()
    ledger = Ledger(home.ledger, home.lock, reserve=False)
    backend = SimulatedBackend(_SLOTS, script, 1, timeline=Timeline(0.0), disk=set())
    night = Simulation(
        Machine(rules.make), backend,
        sink=lambda at, fact: ledger.append(fact, at=1e9 + at, mono=at),
    )  # fmt: skip
    night.submit(spec)
    assert night.run() == "dry"
    ledger.close()


def verify(folder: Path) -> dict[str, Any]:
    """Run `smallhours verify`; return what it counted, and its seconds, start included."""
    command = [str(SMALLHOURS), "verify", "--json"]
    env = os.environ | {"SMALLHOURS_HOME": str(folder)}
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    wall_s = time.perf_counter() - begun
    counted: dict[str, Any] = json.loads(done.stdout)
    assert counted["good"], counted["findings"]
    return counted | {"wall_s": wall_s}


if __name__ == "__main__":
    main()
