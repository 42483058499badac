"""What a forecast said of a night, beside what the night took: real trials on real cores.

Each night has two studies that compute and wait in shares drawn from a seed. A few trials of each
are run first; from what these showed, the rest is forecast on the simulated backend; then it is
run. So what the forecast knows is measured minutes before what it is compared with.

    python benchmarks/simtoreal.py [--nights 10] [--first 0] [--quick] [--local]
"""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from statistics import median
from typing import Any

from common import SMALLHOURS, query, run, save, show, smallhours_env, workplace

from smallhours.commands.forecast import tonight_of
from smallhours.paths import Home
from smallhours.simulate import tonight

STUDY = """
import os
import time
from smallhours import Float, Int, Study

study = Study("{name}", metric="loss", goal="minimize",
              space={{"x": Float(0, 1), "work": Int(1, 3)}}, baseline={{"x": 0.5, "work": 2}},
              trials=int(os.environ["TRIALS"]),
              steps={steps}, stopping="{stopping}", sampler="random", seed={seed})

@study.train
def train(trial):
    state = {{}}
    for step in range(trial.restore(state) + 1, {steps} + 1):
        until = time.thread_time() + {cpu_s} * trial.params["work"] / 2
        while time.thread_time() < until:
            pass
        time.sleep({wait_s})
        trial.report(step, loss=trial.params["x"] + 1 / step)
        trial.checkpoint(state)
"""
#: Trials that are run before the forecast.
KNOWN = 8
#: Of the whole night.
TRIALS = 24
#: How often the rest is simulated; the middle counts.
RUNS = 5


def write(place: Path, seed: int, stopping: str) -> list[Path]:
    """Write a night's studies."""
    rng = random.Random(seed)
    paths = []
    for name in ("one", "two"):
        step_s, share = rng.uniform(0.05, 0.3), rng.choice((0.1, 0.4, 0.7, 1.0))
        keys = {"cpu_s": step_s * share, "wait_s": step_s * (1.0 - share)}
        text = STUDY.format(
            name=name, steps=rng.randint(15, 40), seed=seed, stopping=stopping, **keys
        )
        paths.append(place / f"{name}.py")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def night(seed: int, trials: int, stopping: str, *, local: bool) -> dict[str, Any]:
    """Run a night and return what it took beside what was forecast of it, in seconds."""
    with workplace() as place:
        env = smallhours_env(place) | {"SMALLHOURS_CONFIG": str(place / "none.toml")}
        env |= {"SMALLHOURS_LAUNCHER": "local"} if local else {}
        paths, more = write(place, seed, stopping), {"TRIALS": str(trials)}
        _work(paths, env | {"TRIALS": str(KNOWN)})
        before = query(place, "SELECT max(seq) FROM event")[0][0]
        # The studies are wanted longer now; what they need is known from their first trials.
        for path in paths:
            run([SMALLHOURS, "add", path], env=env | more)
        home = Home(Path(env["SMALLHOURS_HOME"]))
        start = tonight_of(home)
        spans = [tonight.run(start, seed).spans for seed in range(RUNS)]
        told = median(max(s.end_s for s in one) - min(s.start_s for s in one) for one in spans)
        load = os.getloadavg()[0]
        run([SMALLHOURS, "resume"], env=env | more)
        ((began, ended),) = query(
            place, "SELECT min(at), max(at) FROM event WHERE seq > ? AND kind IN"
            " ('attempt_started', 'attempt_ended')", before
        )  # fmt: skip
        return {
            "seed": seed,
            "forecast_s": told,
            "real_s": ended - began,
            "load": load,
            "stopping": stopping,
        }


def _work(paths: list[Path], env: dict[str, str]) -> None:
    for path in paths[:-1]:
        run([SMALLHOURS, "add", path], env=env)
    run([SMALLHOURS, "run", paths[-1]], env=env)
    run([SMALLHOURS, "resume"], env=env)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=10, help="nights (10)")
    parser.add_argument("--first", type=int, default=0, help="the first night's seed (0)")
    parser.add_argument("--stopping", default="none", help="the studies' rule (none)")
    parser.add_argument("--quick", action="store_true", help="two nights")
    parser.add_argument("--local", action="store_true", help="without Ray")
    given = parser.parse_args()
    nights = 2 if given.quick else given.nights
    found = [
        night(given.first + number, TRIALS, given.stopping, local=given.local)
        for number in range(nights)
    ]
    rows = [
        (one["seed"], one["forecast_s"], one["real_s"], one["forecast_s"] / one["real_s"] - 1,
         one["load"])
        for one in found
    ]  # fmt: skip
    show(
        "A forecast beside what came, in seconds",
        ("night", "forecast", "real", "off", "load"),
        rows,
    )
    off = [abs(row[3]) for row in rows]
    show("Off by", ("", "median", "worst"), [("of what came", median(off), max(off))])
    save("simtoreal", {"nights": found})


if __name__ == "__main__":
    main()
