"""A ledger of thousands of trials with the real writer: the past of a long queue, and its engine.

Twenty slots work side by side through three studies, the last of which has most of the trials and
is still running when the ledger is done. `report` lets those that run go on.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from smallhours.clock import boot_id
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Dimension, Goal, StudySpec
from smallhours.core.trial import Role
from smallhours.ledger.store import Ledger
from smallhours.paths import Home
from smallhours.processes import started_at
from smallhours.status import Status, write

SLOTS: Final = 20
#: Steps of a trial that nobody stops.
STEPS: Final = 60
#: Seconds between two reports of a trial.
PERIOD_S: Final = 2.0
#: The study that most trials are of.
LARGE: Final = "vit-tiny"
_SHARES = (("mlp-tab", 0.15), ("gru-text", 0.05), (LARGE, 0.8))
_COMMIT = 5_000

Ending = Literal["completed", "cut", "failed"]


@dataclass(slots=True)
class _Trial:
    study: int
    number: int
    length: int
    ending: Ending
    floor: float
    step: int = 0
    loss: float = math.nan


class BigLedger:
    """Writes the past of a queue, then holds the ledger as its engine would."""

    def __init__(self, root: Path, trials: int = 10_000, *, seed: int = 0) -> None:
        """Write `trials` trials of 30 reports each, on average, ending now."""
        self.home = Home(root)
        self.home.prepare()
        self.trials, self.reports = trials, 0
        self._rng = random.Random(seed)
        self._ledger = Ledger(self.home.ledger, self.home.lock, reserve=False)
        planned = list(self._plan(trials))
        rounds = sum(trial.length + 1 for trial in planned[:-SLOTS]) / SLOTS
        self._at = time.time() - rounds * PERIOD_S
        self._appended = 0
        self._begin(planned)
        #: Those that run.
        self._running = self._work_through(planned)
        self._ledger.commit()

    def become_engine(self) -> None:
        """Say that this process is the engine, and that it has plans."""
        pid, now = os.getpid(), time.time()
        owner = {"pid": pid, "pid_started": started_at(pid), "boot_id": boot_id(), "session": 1}
        self.home.owner.write_text(json.dumps(owner), encoding="utf-8")
        write(
            self.home,
            Status(
                at=now, pid=pid, session=1, device="cpu", slots=SLOTS, running=SLOTS,
                backend="ready", yielded_until=None, yielded_to=None, deadline=None,
                storage_short_bytes=0, waiting=(), forecast=(),
            ),
        )  # fmt: skip

    def report(self, trials: int = SLOTS) -> None:
        """Let some of those that run report, each a step more, and make that durable."""
        self._at = time.time()
        for _ in range(trials):
            self._running.append(self._running.pop(0))
            self._step(self._running[-1])
        self._ledger.commit()

    def close(self) -> None:
        self._ledger.close()

    def _plan(self, trials: int) -> Iterator[_Trial]:
        for study, (_, share) in enumerate(_SHARES, start=1):
            for number in range(round(trials * share)):
                chance = self._rng.random()
                ending: Ending = "completed" if chance < 0.25 else "cut"
                length = STEPS if ending == "completed" else self._rng.randint(6, 35)
                if chance > 0.97:
                    ending, length = "failed", self._rng.randint(0, 9)
                yield _Trial(study, number, length, ending, self._rng.uniform(0.1, 1.0))

    def _begin(self, planned: list[_Trial]) -> None:
        self._add(
            f.SessionStarted(
                session=1, pid=os.getpid(), boot_id=boot_id(), version="0", directory="/tmp/s",
                backend="local",
            )
        )  # fmt: skip
        for study, (name, _) in enumerate(_SHARES, start=1):
            trials = sum(trial.study == study for trial in planned)
            self._add(
                f.StudyAdded(
                    study=study, spec=_spec(name, trials), snapshot="ab", digest="cd",
                    source=f"/home/ada/{name}.py", module=name.replace("-", "_"), cwd="/home/ada",
                )
            )  # fmt: skip

    def _work_through(self, planned: list[_Trial]) -> list[_Trial]:
        """Let the slots work until the last trials have been started; return those."""
        ahead = iter(planned)
        running = [self._start(trial) for trial in islice(ahead, SLOTS)]
        left = Counter(trial.study for trial in planned)
        best: dict[int, _Trial] = {}
        while True:
            for slot, trial in enumerate(running):
                self._at += PERIOD_S / SLOTS
                if trial.step < trial.length:
                    self._step(trial)
                    continue
                following = next(ahead, None)
                if following is None:
                    return running
                self._end(trial)
                left[trial.study] -= 1
                if trial.ending == "completed":
                    before = best.get(trial.study, trial)
                    best[trial.study] = trial if trial.loss < before.loss else before
                if not left[trial.study]:
                    winner = best[trial.study].number
                    self._add(f.StudyEnded(study=trial.study, outcome="done", winner=winner))
                running[slot] = self._start(following)

    def _start(self, trial: _Trial) -> _Trial:
        ids = {"study": trial.study, "trial": trial.number}
        params = {"lr": 10 ** self._rng.uniform(-4, 0), "width": self._rng.randint(8, 256)}
        role = Role.SEARCH if trial.number else Role.BASELINE
        self._add(
            f.TrialCreated(**ids, params=params, seed=trial.number, role=role),
            f.AttemptStarted(**ids, attempt=1, device="cpu", resume_step=0),
            f.AttemptRunning(**ids, attempt=1, pid=4_711, pid_started=99),
        )
        return trial

    def _step(self, trial: _Trial) -> None:
        trial.step += 1
        falls = 2 * math.exp(-trial.step / 12)
        trial.loss = trial.floor + falls + self._rng.gauss(0, 0.02)
        self.reports += 1
        self._add(
            f.Reported(
                study=trial.study, trial=trial.number, attempt=1, step=trial.step,
                metrics={"val_loss": trial.loss},
            )
        )  # fmt: skip

    def _end(self, trial: _Trial) -> None:
        reason: r.Reason
        if trial.ending == "completed":
            reason = r.Completed(steps=trial.step, metrics={"val_loss": trial.loss})
        elif trial.ending == "cut":
            reason = r.RuleCut(
                rule="median", version=1, options={"warmup": 5, "startup": 5}, step=trial.step,
                value=trial.loss, threshold=trial.loss - 0.1, goal="minimize", compared=12,
                competitors=((3, 0.4), (5, 0.51)),
            )  # fmt: skip
        else:
            reason = r.Failure(
                type="ValueError", message=f"bad width in trial {trial.number}",
                fingerprint=f"f{trial.number % 3}", where="train.py:12 in train",
                traceback="Traceback (most recent call last):\n  boom", phase="train",
            )  # fmt: skip
        self._add(
            f.AttemptEnded(
                study=trial.study, trial=trial.number, attempt=1, reason=reason,
                seconds=trial.step * PERIOD_S, last_step=trial.step,
                score=trial.loss if trial.step else None, then="over", peak_bytes=2**28,
            )
        )  # fmt: skip

    def _add(self, *facts: f.Fact) -> None:
        for fact in facts:
            self._ledger.append(fact, at=self._at, mono=self._at)
            self._appended += 1
        if self._appended >= _COMMIT:
            self._ledger.commit()
            self._appended = 0


def _spec(name: str, trials: int) -> StudySpec:
    return StudySpec(
        name=name,
        question="How large must the steps be?",
        metric="val_loss",
        goal=Goal.MINIMIZE,
        space=(
            Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),
            Dimension(name="width", kind="int", low=8, high=256),
        ),
        baseline={"lr": 0.01, "width": 64},
        trials=trials,
        steps=STEPS,
    )
