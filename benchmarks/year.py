"""A year of nights: what an engine's start and the verbs that list cost when all of it is kept.

The ledger is written fact by fact, as an engine would have: 300 studies that are done, of 100
trials with 40 reports each, and one that is open. Beside it stands a ledger with the open one only.

    python benchmarks/year.py [--quick]
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from common import SMALLHOURS, quantile, run, save, show, smallhours_env, workplace

from smallhours import rules
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Dimension, Goal, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import Role
from smallhours.ledger.store import Ledger
from smallhours.paths import Home

STEPS, DAY_S, BEGIN = 40, 86_400.0, 1_767_218_400.0
VERBS = (("ls",), ("show",), ("show", "night-open"))


class Year:
    """Writes nights one after the other."""

    def __init__(self, home: Home, trials: int) -> None:
        home.prepare()
        self._ledger = Ledger(home.ledger, home.lock)
        self._trials = trials
        self._rng = random.Random(0)
        self._at = BEGIN
        self.reports = 0

    def night(self, study: int, name: str, trials: int, *, done: bool) -> None:
        """Write a session in which a study is added and run."""
        self._at = BEGIN + study * DAY_S
        self._add(
            f.SessionStarted(
                session=study, pid=1, boot_id="b", version="0", directory="/tmp/s", backend="ray"
            ),
            f.StudyAdded(
                study=study, spec=_spec(name, self._trials), snapshot="0123456789abcdef",
                digest="d", source=f"/home/ada/{name}.py", module=name, cwd="/home/ada",
            ),
            f.RequestAnswered(
                request=f"{int(self._at)}-{study:08x}", verb="add", uid=1, ok=True, text="added"
            ),
        )  # fmt: skip
        scores = [self._trial(study, number) for number in range(trials)]
        if done:
            best = min(range(trials), key=lambda number: scores[number])
            self._add(f.StudyEnded(study=study, outcome="done", winner=best))
        self._add(f.SessionEnded(session=study, cause="dry" if done else "stop"))
        self._ledger.commit()

    def close(self) -> None:
        self._ledger.close()

    def _trial(self, study: int, number: int) -> float:
        ids = {"study": study, "trial": number, "attempt": 1}
        role = Role.SEARCH if number else Role.BASELINE
        params = {"lr": self._rng.uniform(1e-4, 1), "width": self._rng.randint(8, 256)}
        self._add(
            f.TrialCreated(study=study, trial=number, params=params, seed=number, role=role),
            f.AttemptStarted(**ids, device="cpu", resume_step=0),
            f.AttemptRunning(**ids, pid=4_711, pid_started=99),
        )
        floor = self._rng.uniform(0, 1)
        for step in range(1, STEPS + 1):
            loss = floor + 2 / step + self._rng.gauss(0, 0.02)
            self._add(f.Reported(**ids, step=step, metrics={"loss": loss}))
        self.reports += STEPS
        path = f"trials/{study}/{number}/checkpoints/{STEPS}-1"
        completed = r.Completed(steps=STEPS, metrics={"loss": loss})
        self._add(
            f.CheckpointSaved(**ids, step=STEPS, path=path, size_bytes=100_000),
            f.AttemptEnded(
                **ids, reason=completed, seconds=60.0, last_step=STEPS, score=loss, then="over",
                peak_bytes=2**28,
            ),
        )  # fmt: skip
        return loss

    def _add(self, *facts: f.Fact) -> None:
        for fact in facts:
            self._at += 0.5
            self._ledger.append(fact, at=self._at, mono=self._at - BEGIN)


def _spec(name: str, trials: int) -> StudySpec:
    return StudySpec(
        name=name,
        question="How large must the steps of an MLP with 13 features be?",
        metric="loss",
        goal=Goal.MINIMIZE,
        space=(
            Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),
            Dimension(name="width", kind="int", low=8, high=256),
        ),
        baseline={"lr": 0.01, "width": 64},
        trials=trials,
        steps=STEPS,
    )


def write(place: Path, studies: int, trials: int) -> int:
    """Write a ledger; return the number of reports."""
    year = Year(Home(place / "home"), trials)
    for study in range(1, studies + 1):
        year.night(study, f"night-{study}", trials, done=True)
    year.night(studies + 1, "night-open", trials // 2, done=False)
    year.close()
    return year.reports


def measure(place: Path, times: int) -> dict[str, float | None]:
    """Return the seconds that an engine and the verbs take."""
    home = Home(place / "home")
    began = time.perf_counter()
    ledger = Ledger(home.ledger, home.lock)
    opened = time.perf_counter()
    state = State(rules.make)
    ledger.rebuild(state, ())
    rebuilt = time.perf_counter()
    ledger.load(state, 1)
    loaded = time.perf_counter()
    ledger.close()
    figures: dict[str, float | None] = {
        "open the ledger": opened - began,
        "rebuild the state": rebuilt - opened,
        "load one study that is over": loaded - rebuilt,
    }
    for words in VERBS:
        spent = [run([SMALLHOURS, *words], env=smallhours_env(place)).wall_s for _ in range(times)]
        figures[" ".join(words)] = quantile(spent, 0.5)
    return figures


def growth(place: Path, reports: int, trials: int) -> tuple[float, float]:
    """Return the bytes that a report takes in the ledger, and a trial without its reports."""
    home = Home(place / "home")
    total = home.ledger.stat().st_size
    ledger = Ledger(home.ledger, home.lock)
    ledger.close()
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("DROP TABLE report")
        db.execute("VACUUM")
    rest = home.ledger.stat().st_size
    return (total - rest) / reports, rest / trials


def main() -> None:
    """Write both ledgers, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the studies")
    given = parser.parse_args()
    studies, trials, times = (30, 100, 3) if given.quick else (300, 100, 10)
    figures: dict[str, dict[str, float | None]] = {}
    for name, number in (("year", studies), ("new", 0)):
        with workplace() as place:
            began = time.perf_counter()
            reports = write(place, number, trials)
            size = (place / "home" / "ledger.db").stat().st_size
            print(
                f"  {name}: {number + 1} studies, {reports} reports, {size / 1e6:.0f} MB,"
                f" written in {time.perf_counter() - began:.0f} s",
                flush=True,
            )
            figures[name] = measure(place, times)
            if name == "year":
                per_report, per_trial = growth(place, reports, (number + 0.5) * trials)
    rows = [(key, figures["year"][key], figures["new"][key]) for key in figures["year"]]
    show("Seconds", ("what", "after a year", "new"), rows)
    show("Bytes of ledger", ("a report", "a trial besides"), [(per_report, per_trial)])
    save("year", {"studies": studies, "trials": trials, "seconds": figures,
                  "bytes_per_report": per_report, "bytes_per_trial": per_trial})  # fmt: skip


if __name__ == "__main__":
    main()
