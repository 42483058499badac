"""What it costs to report every 15 ms, and what the engine costs at rest.

A step spins for 15 ms of CPU time. The rate is taken between the first and the last report, from
inside the training function: start-up doesn't count. CPU time is read with psutil from all
processes of the session while it runs.

    python benchmarks/reporting.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from common import SMALLHOURS, run, save, show, smallhours_env, workplace

STEP = """
import json, time

def spin(cpu_s=0.015):
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass
"""
STUDY = (
    STEP
    + """
from smallhours import Float, Study

study = Study(
    "reporting", metric="loss", goal="minimize", trials={trials}, steps={steps},
    space={{"x": Float(0.0, 1.0)}}, baseline={{"x": 0.5}}, stopping="none", sampler="random",
)


@study.train
def train(trial):
    began = time.monotonic()
    for step in range(1, {steps} + 1):
        spin()
        trial.report(step, loss=1 / step)
    (trial.dir / "rate.json").write_text(json.dumps([began, time.monotonic()]))
"""
)
SLEEPER = """
import time

from smallhours import Float, Study

study = Study(
    "sleeper", metric="loss", goal="minimize", trials=1, steps=2, hang_s=3600,
    space={"x": Float(0.0, 1.0)}, baseline={"x": 0.5}, stopping="none", sampler="random",
)


@study.train
def train(trial):
    trial.report(1, loss=1.0)
    (trial.dir / "asleep").touch()
    time.sleep(3600)
"""
BARE = (
    STEP
    + """
import sys
began = time.monotonic()
for _ in range({steps}):
    spin()
open(sys.argv[1], "w").write(json.dumps([began, time.monotonic()]))
"""
)


class Cost(NamedTuple):
    """CPU seconds by kind of process, and the seconds over which they were spent."""

    cpu_s: dict[str, float]
    over_s: float

    def share(self, kind: str) -> float:
        """Return the share of one core, in percent."""
        return 100 * self.cpu_s.get(kind, 0.0) / self.over_s

    @property
    def total(self) -> float:
        """Return the share of one core that all but the trials took, in percent."""
        return sum(self.share(kind) for kind in self.cpu_s if kind != "trial")


def kind_of(process: psutil.Process) -> str:
    """Say what a process of the session is for."""
    line = " ".join(process.cmdline())
    for word, kind in (
        ("smallhours.engine", "engine"),
        ("smallhours.supervisor", "supervisor"),
        ("smallhours.worker.zygote", "zygote"),
        ("/smallhours run", "command"),
        ("raylet", "ray"),
        ("gcs_server", "ray"),
        ("ray::", "ray slot"),
        ("ray", "ray"),
    ):
        if word in line:
            is_trial = kind == "zygote" and _is_fork(process)
            return "trial" if is_trial else kind
    return "other"


def _is_fork(process: psutil.Process) -> bool:
    """Say whether it is a trial: a zygote's child has its command line."""
    parent = process.parent()
    return parent is not None and "smallhours.worker.zygote" in " ".join(parent.cmdline())


def cpu_of(home: Path) -> dict[int, tuple[str, float]]:
    """Return kind and CPU seconds so far of every process that works for this state directory."""
    mark, found = f"{home}", {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("SMALLHOURS_HOME") == mark:
                times = process.cpu_times()
                found[process.pid] = kind_of(process), times.user + times.system
        except psutil.Error:
            continue
    return found


def watch(home: Path, over_s: float) -> Cost:
    """Read what the session's processes spend for a while; trials that end meanwhile are missed."""
    before, began = cpu_of(home), time.monotonic()
    time.sleep(over_s)
    spent: dict[str, float] = defaultdict(float)
    for pid, (kind, cpu_s) in cpu_of(home).items():
        spent[kind] += cpu_s - before.get(pid, (kind, 0.0))[1]
    return Cost(dict(spent), time.monotonic() - began)


def _rate(file: Path, steps: int) -> float:
    began, ended = json.loads(file.read_text("ascii"))
    return float(steps / (ended - began))


def bare_rates(processes: int, steps: int) -> list[float]:
    """Return steps per second of loops that report nothing, side by side."""
    with workplace() as place:
        files = [place / f"{number}.json" for number in range(processes)]
        code = BARE.format(steps=steps)
        running = [subprocess.Popen([sys.executable, "-c", code, str(file)]) for file in files]
        for process in running:
            process.wait()
        return [_rate(file, steps) for file in files]


def _start(place: Path, study: str) -> subprocess.Popen[bytes]:
    with (place / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [SMALLHOURS, "run", place / study],
            env={**os.environ, **smallhours_env(place)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_for(place: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while not list((place / "home" / "trials").glob(pattern)):
        if process.poll() is not None or time.monotonic() > deadline:
            said = (place / "output.txt").read_text("utf-8", errors="replace")
            raise RuntimeError(f"no {pattern} appeared: {said}")
        time.sleep(0.1)


def _stop(place: Path, process: subprocess.Popen[bytes]) -> None:
    run([SMALLHOURS, "stop", "--now"], env=smallhours_env(place))
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()


def smallhours_rates(trials: int, steps: int) -> tuple[list[float], Cost]:
    """Return steps per second of trials side by side, and what the rest cost meanwhile."""
    with workplace(STUDY.format(trials=trials, steps=steps), "reporting") as place:
        process = _start(place, "reporting.py")
        _wait_for(place, "*/*/attempt-1", process)
        time.sleep(5)  # Ray goes on starting workers for a while
        cost = watch(place / "home", steps * 0.015 * 0.4)
        process.wait(300)
        files = (place / "home" / "trials").glob("*/*/rate.json")
        return [_rate(file, steps) for file in files], cost


def at_rest(over_s: float) -> Cost:
    """Return what is spent while the only trial sleeps."""
    with workplace(SLEEPER, "sleeper") as place:
        process = _start(place, "sleeper.py")
        try:
            _wait_for(place, "*/*/asleep", process)
            time.sleep(5)
            return watch(place / "home", over_s)
        finally:
            _stop(place, process)


def compare(trials: int, steps: int, rounds: int) -> tuple[tuple[object, ...], dict[str, Any]]:
    """Measure trials side by side against as many bare loops; return a row and the figures.

    Each counts with its best round: others' work on the machine only ever slows one down.
    """
    bare, ours = [], []
    costs = []
    for _ in range(rounds):
        bare.append(statistics.mean(bare_rates(trials, steps)))
        rates, cost = smallhours_rates(trials, steps)
        ours.append(statistics.mean(rates))
        costs.append(cost)
    cost = min(costs, key=lambda cost: cost.total)
    loss = 100 * (1 - max(ours) / max(bare))
    row = (
        f"{trials} trial{'s' if trials > 1 else ''}", max(bare), max(ours), loss,
        cost.share("engine"), cost.share("ray") + cost.share("ray slot"), cost.total,
    )  # fmt: skip
    return row, {"bare": bare, "smallhours": ours, "costs": [cost._asdict() for cost in costs]}


def main() -> None:
    """Measure one trial, two trials, and rest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter")
    given = parser.parse_args()
    steps, rounds = (1000, 1) if given.quick else (2000, 3)
    figures: dict[str, Any] = {}
    rows = []
    for trials in (1, 2):
        row, figures[f"trials_{trials}"] = compare(trials, steps, rounds)
        rows.append(row)
    show(
        "A report every 15 ms (steps/s of each trial; CPU in % of a core)",
        ("", "bare", "smallhours", "loss %", "engine", "Ray", "all but trials"),
        rows,
    )
    rest = at_rest(10 if given.quick else 30)
    show(
        "At rest, one sleeping trial (CPU in % of a core)",
        ("process", "CPU"),
        [*((kind, rest.share(kind)) for kind in sorted(rest.cpu_s)), ("all", rest.total)],
    )
    save("reporting", {**figures, "rest": rest._asdict()})


if __name__ == "__main__":
    main()
