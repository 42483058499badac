"""A full machine shared by two studies, asked things, and interrupted by an urgent one.

Two studies of weight 1 and 3 train without a break. Measured from the ledger: the slot time that
each got; from outside: whole processes of commands that ask the busy engine for something, beside
a Python that does nothing; at the end: how long an urgent study waits for its first trial.

    python benchmarks/sharing.py [--minutes 10] [--quick] [--local]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import SMALLHOURS, quantile, query, run, save, show, smallhours_env, workplace

STUDY = """
import task
from smallhours import Float, Study

study = Study(
    "{name}", metric="val_loss", goal="minimize", trials=100000, steps={steps}, weight={weight},
    space={{"lr": Float(*task.LR, log=True)}}, baseline={{"lr": 0.05}}, stopping="none",
    sampler="random", priority="{priority}",
)


@study.prepare
def prepare():
    return task.load()


@study.train
def train(trial):
    training = task.Training({{**task.BASELINE, **trial.params}}, trial.seed, trial.data)
    state = {{"net": training.net, "optimizer": training.optimizer}}
    for step in range(trial.restore(state) + 1, {steps} + 1):
        trial.report(step, val_loss=training.epoch())
        trial.checkpoint(state)
"""
WEIGHTS = {"one": 1.0, "three": 3.0}
#: It waits for its hours. Without torch, as what its file imports is not what is measured.
SMALL = """
from smallhours import Float, Study
study = Study("{name}", metric="loss", goal="minimize", space={{"x": Float(0, 1)}},
              baseline={{"x": 0.5}}, trials=1, steps=1, hours="{hours}")

@study.train
def train(trial):
    trial.report(1, loss=trial.params["x"])
"""
TIMES = 12


def shares(place: Path, since: float) -> dict[str, float]:
    """Return the slot seconds of each study since a wall time, what runs now included."""
    rows = query(
        place,
        "SELECT study, trial, attempt, kind, at FROM event WHERE kind IN"
        " ('attempt_started', 'attempt_ended') ORDER BY seq",
    )
    names = dict(
        query(place, "SELECT study, json_extract(body, '$.spec.name') FROM event"
              " WHERE kind = 'study_added'")
    )  # fmt: skip
    begun: dict[tuple[int, int, int], float] = {}
    served: dict[str, float] = {}
    now = time.time()
    for study, trial, attempt, kind, at in rows:
        key = (study, trial, attempt)
        if kind == "attempt_started":
            begun[key] = at
        else:
            name = names[study]
            served[name] = served.get(name, 0.0) + max(0.0, at - max(begun.pop(key), since))
    for (study, _, _), at in begun.items():
        served[names[study]] = served.get(names[study], 0.0) + now - max(at, since)
    return served


def timed(words: list[str | Path], env: dict[str, str]) -> float:
    """Return the seconds that a whole command takes."""
    return run(words, env=env).wall_s


def ask(place: Path, env: dict[str, str]) -> dict[str, list[float]]:
    """Time commands against the busy engine."""
    found: dict[str, list[float]] = {}
    later = time.strftime("%H:00-%H:30", time.localtime(time.time() + 12 * 3600))
    for number in range(TIMES):
        name = f"small{number}"
        text = SMALL.format(name=name, hours=later)
        (place / f"{name}.py").write_text(text, encoding="utf-8")
        for label, words in {
            "python -c pass": [sys.executable, "-c", "pass"],
            "add (a study without torch)": [SMALLHOURS, "add", place / f"{name}.py"],
            "ls": [SMALLHOURS, "ls"],
            "status": [SMALLHOURS, "status"],
            "move": [SMALLHOURS, "move", name, "--weight", "2"],
            "pause": [SMALLHOURS, "pause", name],
            "cancel": [SMALLHOURS, "cancel", name],
        }.items():
            found.setdefault(label, []).append(timed(words, env))
    return found


def urgent(place: Path, env: dict[str, str]) -> dict[str, float | None]:
    """Add an urgent study to the full machine; return the seconds until it ran, and reported."""
    text = STUDY.format(name="now", steps=5, weight=1.0, priority="urgent")
    (place / "now.py").write_text(text.replace("trials=100000", "trials=2"), encoding="utf-8")
    run([SMALLHOURS, "add", place / "now.py"], env=env)
    ((study, added),) = query(
        place, "SELECT study, at FROM event WHERE kind = 'study_added' ORDER BY seq DESC LIMIT 1"
    )
    until = time.monotonic() + 60
    sql = {
        "place given": "SELECT at FROM event WHERE kind = 'attempt_started' AND study = ?",
        "process speaks": "SELECT at FROM event WHERE kind = 'attempt_running' AND study = ?",
        "first report": "SELECT at FROM report WHERE study = ?",
    }
    found: dict[str, float | None] = dict.fromkeys(sql)
    while None in found.values() and time.monotonic() < until:
        for label, text in sql.items():
            rows = query(place, text + " ORDER BY seq LIMIT 1", study)
            if rows and found[label] is None:
                found[label] = rows[0][0] - added
        time.sleep(0.2)
    return found


def measure(minutes: float, *, local: bool) -> dict[str, Any]:
    """Run the night."""
    with workplace() as place:
        env = smallhours_env(place) | ({"SMALLHOURS_LAUNCHER": "local"} if local else {})
        for name, weight in WEIGHTS.items():
            text = STUDY.format(name=name, steps=60, weight=weight, priority="normal")
            (place / f"{name}.py").write_text(text, encoding="utf-8")
            run([SMALLHOURS, "add", place / f"{name}.py"], env=env)
        run([SMALLHOURS, "start", "--detach"], env=env)
        try:
            while not query(place, "SELECT 1 FROM report LIMIT 1"):
                time.sleep(0.2)
            since = time.time()
            time.sleep(minutes * 60.0)
            served = shares(place, since)
            asked = ask(place, env)
            waited = urgent(place, env)
        finally:
            subprocess.run(
                [SMALLHOURS, "stop", "--now"], env={**os.environ, **env}, check=False,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        return {"minutes": minutes, "served_s": served, "asked_s": asked, "urgent_s": waited}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of sharing (10)")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--local", action="store_true", help="without Ray")
    given = parser.parse_args()
    minutes = 1.0 if given.quick else given.minutes
    found = measure(minutes, local=given.local)
    total, weights = sum(found["served_s"].values()), sum(WEIGHTS.values())
    rows = []
    for name, weight in WEIGHTS.items():
        share, due = found["served_s"].get(name, 0.0) / total, weight / weights
        rows.append((name, weight, found["served_s"].get(name, 0.0), share, due, share / due - 1))
    show(
        f"Slot time over {minutes:g} minutes",
        ("study", "weight", "seconds", "share", "due", "off by"),
        rows,
    )
    show(
        "Whole processes on the full machine, in seconds",
        ("command", "times", "median", "p95"),
        [(k, len(v), quantile(v, 0.5), quantile(v, 0.95)) for k, v in found["asked_s"].items()],
    )
    show("Urgent study on the full machine, seconds from added", ("until", "seconds"),
         list(found["urgent_s"].items()))  # fmt: skip
    save("sharing", found)


if __name__ == "__main__":
    main()
