"""Ledgers for readers' tests: written fact by fact with the real writer, on a clock of its own."""

from __future__ import annotations

import json
from pathlib import Path

from smallhours.clock import boot_id
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.footprint import Footprint
from smallhours.core.spec import Dimension, Goal, Params, Stopping, StudySpec, stored
from smallhours.core.trial import Role
from smallhours.ledger.store import Ledger
from smallhours.paths import Home
from smallhours.processes import started_at

#: 2026-03-01 22:00:00 UTC, when every recorded night begins.
EVENING = 1_772_402_400.0

ALL_REASONS: tuple[r.Reason, ...] = (
    r.Completed(steps=40, metrics={"val_loss": 0.25, "acc": "nan"}),
    r.RungCut(
        rule="asha", version=1, step=9, rung=2, value=0.9, cutoff=0.5, goal="minimize", rank=7,
        of=9, competitors=((3, 0.4), (5, 0.5)),
    ),
    r.RuleCut(
        rule="median", version=1, options={"warmup": 5, "startup": 5}, step=7, value=0.912,
        threshold=0.455, goal="minimize", compared=12, competitors=((3, 0.4), (5, 0.51)),
    ),
    r.Diverged(metric="val_loss", value="nan", step=3, limit=None),
    r.Budget(budget="trial_time_s", limit=60.0, used=61.2),
    r.Refused(why="memory"),
    r.Failure(
        type="ValueError", message="bad width", fingerprint="f1", where="wine.py:12 in train",
        traceback="Traceback (most recent call last):\n  boom", phase="train", seen=2,
    ),
    r.Crash(exit_code=None, signal=11, whose="process", stderr="oops", fault="Fatal Python error"),
    r.Hung(silent_s=300.0, threshold_s=300.0, last_step=3, process_state="S", cpu_s=0.1),
    r.GpuOom(
        requested_bytes=None, free_bytes=None, own_peak_bytes=None, predicted_bytes=None,
        neighbours=(), fault="unknown",
    ),
    r.HostOom(killer="kernel", resident=(), limit_bytes=None, available_bytes=None),
    r.DiskFull(errno=28, path="", free_bytes=None, operation="train"),
    r.GpuFault(xid=79, device="GPU-1", processes=(12,)),
    r.Cancelled(by="ada@pts/1", scope="trial", checkpoint=None),
    r.Interrupted(cause="engine killed", last_step=7, resume_step=5),
    r.Paused(by="packer", why="", checkpoint=None, steps_repeated=0),
    r.Lost(looked_for=("intent", "death note")),
)  # fmt: skip


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = EVENING

    def wall(self) -> float:
        return self.now

    def mono(self) -> float:
        return self.now - EVENING


class Recording:
    """A ledger that grows, one second a fact."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        root.mkdir(parents=True, exist_ok=True)
        self.clock = Clock()
        self._ledger = Ledger(self.home.ledger, self.home.lock, reserve=False)
        self._specs: dict[int, StudySpec] = {}

    def add(self, *facts: f.Fact) -> None:
        """Record facts, a second apart."""
        for fact in facts:
            self.clock.now += 1.0
            self._ledger.append(fact, at=self.clock.now, mono=self.clock.mono())
        self._ledger.commit()

    def close(self) -> None:
        self._ledger.close()

    def session(self, number: int = 1) -> None:
        """An engine takes the ledger."""
        self.add(
            f.SessionStarted(
                session=number, pid=1, boot_id="b", version="1", directory="/t", backend="local"
            )
        )

    def engine_lives(self, pid: int) -> None:
        """Make `pid` the engine."""
        owner = {
            "pid": pid,
            "pid_started": started_at(pid),
            "boot_id": boot_id(),
            "session": 1,
        }
        self.home.owner.write_text(json.dumps(owner), encoding="utf-8")

    def study(self, number: int = 1, name: str = "wine", **changes: object) -> StudySpec:
        """Add a study."""
        keys: dict[str, object] = {
            "name": name,
            "question": "How wide must an MLP be on 13 features?",
            "hypothesis": "16 units are enough.",
            "metric": "val_loss",
            "goal": Goal.MINIMIZE,
            "space": (Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),),
            "baseline": {"lr": 0.05},
            "trials": 6,
            "steps": 10,
            "stopping": Stopping(rule="median"),
        }
        spec = StudySpec(**{**keys, **changes})  # type: ignore[arg-type]
        self._specs[number] = spec
        self.add(
            f.StudyAdded(
                study=number, spec=spec, snapshot="ab", digest="cd", source="/home/ada/wine.py",
                module="wine", cwd="/home/ada",
            )
        )  # fmt: skip
        return spec

    def create(
        self, trial: int, params: Params | None = None, *, study: int = 1, of: int | None = None
    ) -> None:
        """Create a trial; number 0 is the baseline, `of` makes it a confirmation."""
        role = Role.CONFIRMATION if of is not None else Role.SEARCH if trial else Role.BASELINE
        self.add(
            f.TrialCreated(
                study=study, trial=trial, params=params or {"lr": 0.1 * (trial + 1)},
                seed=100 + trial, role=role, of=of,
            )
        )  # fmt: skip

    def start(self, trial: int, attempt: int = 1, *, study: int = 1, resume: int = 0) -> None:
        """Start an attempt and let its process speak."""
        ids = {"study": study, "trial": trial, "attempt": attempt}
        self.add(
            f.AttemptStarted(**ids, device="cpu", resume_step=resume),
            f.AttemptRunning(**ids, pid=4711, pid_started=99),
        )

    def report(
        self, trial: int, values: dict[int, float], attempt: int = 1, *, study: int = 1
    ) -> None:
        """Report the metric at steps."""
        metric = self._specs[study].metric
        for step, value in values.items():
            self.add(
                f.Reported(
                    study=study, trial=trial, attempt=attempt, step=step,
                    metrics={metric: stored(value)},
                )
            )  # fmt: skip

    def checkpoint(self, trial: int, step: int, attempt: int = 1, *, study: int = 1) -> Path:
        """Save a checkpoint, on disk too; returns its directory."""
        path = f"trials/{study}/{trial}/checkpoints/{step}-{attempt}"
        (self.home.root / path).mkdir(parents=True)
        self.add(
            f.CheckpointSaved(
                study=study, trial=trial, attempt=attempt, step=step, path=path, size_bytes=2048
            )
        )
        return self.home.root / path

    def end(
        self,
        trial: int,
        reason: r.Reason,
        attempt: int = 1,
        *,
        study: int = 1,
        score: float | None = None,
        last_step: int = 0,
        then: str = "over",
        seconds: float = 2.0,
        footprint: Footprint | None = None,
    ) -> None:
        """End an attempt."""
        self.add(
            f.AttemptEnded(
                study=study, trial=trial, attempt=attempt, reason=reason, seconds=seconds,
                last_step=last_step, score=None if score is None else stored(score),
                then=then, peak_bytes=64 * 2**20, footprint=footprint,  # type: ignore[arg-type]
            )
        )  # fmt: skip

    def complete(self, trial: int, score: float, *, study: int = 1, of: int | None = None) -> None:
        """Create, run and complete a trial whose metric falls to `score`."""
        steps, metric = self._specs[study].steps, self._specs[study].metric
        self.create(trial, study=study, of=of)
        self.start(trial, study=study)
        curve = {step: score + (steps - step) / steps for step in range(1, steps + 1)}
        self.report(trial, curve, study=study)
        reason = r.Completed(steps=steps, metrics={metric: stored(score)})
        self.end(trial, reason, study=study, score=score, last_step=steps)

    def log(self, trial: int, content: bytes, attempt: int = 1, *, study: int = 1) -> Path:
        """Write an attempt's log; returns its path."""
        directory = self.home.attempt(study, trial, attempt)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "log.txt"
        path.write_bytes(content)
        return path


def record_small_night(root: Path) -> Recording:
    """Record a study of which everything is seen: stopped, failed, resumed, running, waiting."""
    night = Recording(root)
    night.session()
    night.study(confirm=2)
    night.complete(0, 0.5)
    night.complete(1, 0.25)
    night.create(2)
    night.start(2)
    night.report(2, dict.fromkeys(range(1, 8), 0.9))
    cut = r.RuleCut(
        rule="median", version=1, options={"warmup": 5, "startup": 2}, step=7, value=0.9,
        threshold=0.675, goal="minimize", compared=2, competitors=((1, 0.55), (0, 0.8)),
    )  # fmt: skip
    night.end(2, cut, score=0.9, last_step=7, seconds=1.4)
    night.create(3)
    night.start(3)
    failure = r.Failure(
        type="ValueError", message="bad width", fingerprint="f1", where="wine.py:12 in train",
        traceback="Traceback (most recent call last):\n  ...\nValueError: bad width",
        phase="train",
    )  # fmt: skip
    night.end(3, failure, seconds=0.1)
    night.create(4)
    night.start(4)
    night.report(4, {1: 0.8, 2: 0.7, 3: 0.6})
    night.checkpoint(4, 2)
    interrupted = r.Interrupted(cause="ctrl-c", last_step=3, resume_step=2)
    night.end(4, interrupted, score=0.6, last_step=3, then="resume", seconds=0.9)
    night.session(2)
    night.start(4, 2, resume=2)
    night.report(4, {3: 0.61, 4: 0.55}, attempt=2)
    night.create(5)
    return night
