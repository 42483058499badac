"""A ledger of 10,000 trials: how fast it is read, and how fast one decides on top of it.

The ledger is made by the core itself, fed with drawn learning curves: no process runs. Measured are
the verbs that print (whole processes), the way back to state and search, and what the machine takes
for a report that a rule decides on (without its commit).

    python benchmarks/reading.py [--quick]
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import SMALLHOURS, quantile, run, save, show, smallhours_env, workplace

from smallhours import rules
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core.machine import Machine
from smallhours.core.spec import Dimension, Goal, ParamValue, StudySpec
from smallhours.ledger.store import Ledger
from smallhours.paths import Home
from smallhours.search import Search
from smallhours.search_thread import history_of

STEPS = 64
SPEC = StudySpec(
    name="night",
    metric="loss",
    goal=Goal.MINIMIZE,
    space=(
        Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),
        Dimension(name="width", kind="int", low=8, high=256),
        Dimension(name="depth", kind="choice", choices=(1, 2, 3)),
    ),
    baseline={"lr": 0.01, "width": 64, "depth": 2},
    trials=10_000,
    steps=STEPS,
)
#: Trials, at the end, whose reports are timed.
TIMED = 500


class Night:
    """Plays search and trials to a machine, and keeps what it records."""

    def __init__(self, place: Home, trials: int) -> None:
        place.prepare()
        self._ledger = Ledger(place.ledger, place.lock)
        self._machine = Machine(rules.make)
        self._trials = trials
        self._rng = random.Random(0)
        self._at = 0.0
        self._todo: list[a.Action] = []
        #: Seconds that each timed report took.
        self.decisions: list[float] = []
        #: Reports so far.
        self.reports = 0

    def play(self) -> None:
        """Run the whole night."""
        spec = SPEC.__class__(**{**_fields(SPEC), "trials": self._trials})
        self._feed(
            e.EngineStarted(
                at=0.0, session=1, pid=1, boot_id="b", version="0", directory="", backend="none"
            ),
            e.BackendReady(at=0.0, device="cpu", slots=2),
            e.StudySubmitted(
                at=0.0, request="1-a", spec=spec, snapshot="s", digest="d",
                source="night.py", module="night", cwd="/",
            ),
        )  # fmt: skip
        while self._todo:
            action = self._todo.pop(0)
            if isinstance(action, a.Ask):
                params: dict[str, ParamValue] = {
                    "lr": 10 ** self._rng.uniform(-4, 0),
                    "width": self._rng.randint(8, 256),
                    "depth": self._rng.choice((1, 2, 3)),
                }
                suggested = e.Suggested(
                    at=self._at, study=action.study, trial=action.trial, params=params
                )
                self._feed(suggested)
            elif isinstance(action, a.Start):
                self._train(action)
        self._ledger.close()

    def _train(self, start: a.Start) -> None:
        key = start.key
        self._feed(e.ProcessStarted(at=self._at, key=key, pid=1, pid_started=1))
        # The search gets better as it goes on, or the median rule would leave little to read.
        floor = self._rng.uniform(0, 1) - 2 * key.trial / self._trials
        for step in range(1, STEPS + 1):
            self._at += 0.1
            loss = floor + 2 * math.exp(-step / 8) + self._rng.gauss(0, 0.02)
            event = e.ReportArrived(at=self._at, key=key, step=step, metrics={"loss": loss})
            began = time.perf_counter()
            out = self._machine.handle(event)
            self.reports += 1
            if key.trial >= self._trials - TIMED:
                self.decisions.append(time.perf_counter() - began)
            self._keep(out)
            if any(isinstance(action, a.Stop) for action in out):
                break
        self._feed(e.ProcessExited(at=self._at, key=key, finished=step == STEPS, exit_code=0))

    def _feed(self, *events: e.Event) -> None:
        for event in events:
            self._at += 0.01
            out = self._machine.handle(event)
            self._keep(out)
            self._todo += [action for action in out if isinstance(action, a.Ask | a.Start)]
        self._ledger.commit()

    def _keep(self, out: list[a.Action]) -> None:
        for action in out:
            if isinstance(action, a.Record):
                self._ledger.append(action.fact, at=1.7e9 + self._at, mono=self._at)


def _fields(spec: StudySpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def timed(deed: Callable[[], object]) -> float:
    """Return the seconds that something took."""
    began = time.perf_counter()
    deed()
    return time.perf_counter() - began


def rebuild(home: Home) -> dict[str, float]:
    """Return the seconds that an engine needs until it knows everything again."""
    machine = Machine(rules.make)
    ledger = Ledger(home.ledger, home.lock)

    def replay() -> None:
        for entry in ledger.replay():
            machine.state.apply(entry.fact, entry.mono)

    state_s = timed(replay)
    ledger.close()
    (study,) = machine.state.studies.values()
    search_s = timed(lambda: Search(study.spec, history_of(study)))
    return {"state": state_s, "search": search_s}


def verbs(place: Path, times: int) -> list[tuple[object, ...]]:
    """Return, for each verb, the least, median and 95th percentile of whole processes."""
    rows: list[tuple[object, ...]] = []
    for words in (
        ("show",), ("show", "night"), ("show", "night/77"), ("why", "night/77"), ("best", "night"),
    ):  # fmt: skip
        spent = [run([SMALLHOURS, *words], env=smallhours_env(place)).wall_s for _ in range(times)]
        rows.append((" ".join(words), min(spent), quantile(spent, 0.5), quantile(spent, 0.95)))
    return rows


def main() -> None:
    """Make the ledger, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of it, 5 runs a verb")
    given = parser.parse_args()
    trials, times = (1_000, 5) if given.quick else (10_000, 20)
    with workplace() as place:
        home = Home(place / "home")
        night = Night(home, trials)
        made_s = timed(night.play)
        size = home.ledger.stat().st_size / 1e6
        count = f"{trials} trials and {night.reports} reports"
        print(f"  {count} in a ledger of {size:.0f} MB, made in {made_s:.0f} s")
        rebuilt = rebuild(home)
        show("Ready again, seconds", ("part", "s"), list(rebuilt.items()))
        decided = [1000 * s for s in night.decisions]
        row = [quantile(decided, q) for q in (0.5, 0.99, 1.0)]
        show("A report that a rule decides on, ms", ("reports", "p50", "p99", "worst"),
             [(len(decided), *row)])  # fmt: skip
        printed = verbs(place, times)
        show("Verbs, seconds from start to end", ("verb", "least", "median", "p95"), printed)
        save(
            "reading",
            {"trials": trials, "reports": night.reports, "megabytes": size,
             "rebuild_s": rebuilt, "decision_ms": row, "verbs_s": printed},
        )  # fmt: skip


if __name__ == "__main__":
    main()
