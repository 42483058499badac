"""What grows over thousands of trials: memory, open files, directories, the ledger.

The real engine runs trivial trials; all its processes are sampled each second. Rows of the table:
the start (both slots at work), the last sample before each renewal of the Tune run, and one as
many trials after it as the first was after the start. Last, what a trial and a report take in the
ledger.

    python benchmarks/endurance.py [--quick] [--trials 10000] [--reports 4]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from common import SMALLHOURS, query, save, show, smallhours_env, workplace

STUDY = """
from smallhours import Float, Study

study = Study(
    "endurance", metric="loss", goal="minimize", trials={trials}, steps={reports},
    space={{"lr": Float(1e-4, 1.0, log=True)}}, baseline={{"lr": 0.1}},
    stopping="none", sampler="random", seed=0,
)


@study.train
def train(trial):
    for step in range(1, {reports} + 1):
        trial.report(step, loss=trial.params["lr"] / step)
"""
#: Trials after which a fresh Tune run has its slots, and all that is loaded late.
_SETTLED = 100
_SAMPLE_S = 1.0
_MIB = 2**20
#: Columns of memory: name, and what the command line of such a process holds.
_KINDS = {
    "zygote": "smallhours.worker.zygote",
    "raylet": "raylet/raylet",
    "gcs": "gcs/gcs_server",
    "slots": "ray::Slot",
}


class Sample(NamedTuple):
    """What everything took at one time."""

    trials: int
    at_s: float
    engine_mib: float
    #: Of the processes below the engine, by kind; ``others``: Ray's agents.
    below_mib: dict[str, float]
    engine_fds: int
    directories: int
    session_mib: float
    #: Pids of the slots: others with each Tune run.
    slots: list[int]


class Watch:
    """Samples the engine of a workplace."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._begun = time.monotonic()
        self._engine: psutil.Process | None = None
        self._session = Path()

    def sample(self) -> Sample | None:
        """Look at all processes; None: the engine has not begun, or is gone."""
        try:
            if self._engine is None:
                owner = json.loads((self._place / "home" / "engine.json").read_bytes())
                self._engine, self._session = psutil.Process(owner["pid"]), Path(owner["directory"])
            ((trials,),) = query(self._place, "SELECT COUNT(*) FROM event WHERE reason IS NOT NULL")
            directories, size = self._files()
            below, slots = self._below()
            return Sample(
                trials=trials,
                at_s=time.monotonic() - self._begun,
                engine_mib=self._engine.memory_info().rss / _MIB,
                below_mib=below,
                engine_fds=self._engine.num_fds(),
                directories=directories,
                session_mib=size / _MIB,
                slots=slots,
            )
        except (OSError, psutil.Error, sqlite3.OperationalError):
            return None

    def _below(self) -> tuple[dict[str, float], list[int]]:
        assert self._engine is not None
        sizes, slots = dict.fromkeys([*_KINDS, "others"], 0.0), []
        for process in self._engine.children(recursive=True):
            with suppress(psutil.Error):
                command, parent = " ".join(process.cmdline()), process.parent()
                if parent is not None and _KINDS["zygote"] in " ".join(parent.cmdline()):
                    continue  # a trial
                kind = next((kind for kind, word in _KINDS.items() if word in command), "others")
                sizes[kind] += process.memory_info().rss / _MIB
                if kind == "slots":
                    slots.append(process.pid)
        return sizes, slots

    def _files(self) -> tuple[int, int]:
        directories = size = 0
        for folder, _, names in os.walk(self._session):
            directories += 1
            for name in names:
                with suppress(OSError):
                    size += (Path(folder) / name).lstat().st_size
        return directories, size


def watch(place: Path, command: subprocess.Popen[bytes]) -> Iterator[Sample]:
    """Sample until the command ends."""
    seen = Watch(place)
    while command.poll() is None:
        sample = seen.sample()
        if sample is not None:
            yield sample
        time.sleep(_SAMPLE_S)


def around_renewals(samples: list[Sample]) -> list[tuple[str, Sample]]:
    """Pick the start, the end, and what was seen before and after each renewal."""
    picked = [("start", next(s for s in samples if s.trials >= _SETTLED))]
    serving = [s for s in samples if s.slots]
    renewals = 0
    for before, after in pairwise(serving):
        if not set(before.slots) & set(after.slots):
            renewals += 1
            picked.append((f"before renewal {renewals}", before))
            settled = [s for s in serving if s.trials >= after.trials + _SETTLED]
            picked += [(f"after renewal {renewals}", one) for one in settled[:1]]
    return [*picked, ("end", serving[-1])]


def ledger_bytes(ledger: Path, trials: int, reports: int) -> dict[str, float]:
    """Say what a report, and a trial without its reports, takes in the ledger."""
    copy = ledger.with_name("copy.db")
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    whole = copy.stat().st_size
    with closing(sqlite3.connect(copy)) as db:
        db.execute("DROP TABLE report")
        db.commit()
        db.execute("VACUUM")
    rest = copy.stat().st_size
    return {"per_report": (whole - rest) / reports, "per_trial": rest / trials}


def main() -> None:
    """Run the night, print what was seen, keep all samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="600 trials: no renewal")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=4, help="of each trial")
    given = parser.parse_args()
    trials = 600 if given.quick else given.trials
    text = STUDY.format(trials=trials, reports=given.reports)
    with workplace(text, "endurance") as place, (place / "output").open("wb") as output:
        words = [str(SMALLHOURS), "run", str(place / "endurance.py")]
        environment = {**os.environ, **smallhours_env(place)}
        command = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            samples = list(watch(place, command))
        except BaseException:
            command.terminate()  # it stops the night and waits for it
            command.wait()
            raise
        if command.returncode:
            print((place / "output").read_text(errors="replace")[-4000:])
            sys.exit(f"it left with {command.returncode}")
        ((reports,),) = query(place, "SELECT COUNT(*) FROM report")
        ((ended,),) = query(place, "SELECT COUNT(*) FROM event WHERE reason IS NOT NULL")
        taken = ledger_bytes(place / "home" / "ledger.db", ended, reports)
    tell(samples, taken, ended, reports)


def tell(samples: list[Sample], taken: dict[str, float], ended: int, reports: int) -> None:
    """Print the table and keep the figures."""
    picked = around_renewals(samples)
    first = picked[0][1]
    wholes = [s.engine_mib + sum(s.below_mib.values()) for _, s in picked]
    rows = [
        (
            name, s.trials, s.engine_mib, s.engine_mib / first.engine_mib,
            *(s.below_mib[kind] for kind in (*_KINDS, "others")), whole, whole / wholes[0],
            s.engine_fds, s.directories, s.session_mib,
        )
        for (name, s), whole in zip(picked, wholes, strict=True)
    ]  # fmt: skip
    columns = (
        "when", "trials", "engine MiB", "of start", *_KINDS, "others", "all MiB", "of start",
        "fds", "dirs", "session MiB",
    )  # fmt: skip
    show(f"{ended} trials, {reports} reports, {samples[-1].at_s:.0f} s", columns, rows)
    print(
        f"  ledger: {taken['per_trial']:.0f} bytes a trial and {taken['per_report']:.0f} a report"
    )
    kept: dict[str, Any] = {"ledger_bytes": taken, "trials": ended, "reports": reports}
    kept["picked"] = {name: s._asdict() for name, s in picked}
    save("endurance", {**kept, "samples": [s._asdict() for s in samples]})


if __name__ == "__main__":
    main()
