"""The order to run one attempt, as a slot hands it to the zygote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallhours.space import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything that an attempt's process needs to know; see docs/internals.md."""

    #: ``study.trial.attempt``.
    attempt: str
    #: What people call the trial: ``digits/12``.
    name: str
    params: Params
    seed: int
    steps: int
    metric: str
    goal: str
    score: str
    device: str
    threads: int
    #: The state directory; paths in messages are relative to it.
    home: Path
    trial_dir: Path
    attempt_dir: Path
    #: Where the engine listens, ``unix:/path``.
    engine: str
    #: Checkpoints to go on from, newest first: step and path below `home`.
    resume: tuple[tuple[int, str], ...]
    checkpoint_every_s: float
    #: The study's best score when the attempt started; None: none yet.
    best_known: float | None
    #: The most memory that it may take of its GPU; None: no cap.
    memory_bytes: int | None = None
    #: What its environment has beside that of its zygote (which GPU it sees).
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Order:
        """Read an order from JSON data."""
        best = data.get("best_known")
        return cls(
            attempt=data["attempt"],
            name=data["name"],
            params=dict(data["params"]),
            seed=data["seed"],
            steps=data["steps"],
            metric=data["metric"],
            goal=data["goal"],
            score=data["score"],
            device=data["device"],
            threads=data["threads"],
            home=Path(data["home"]),
            trial_dir=Path(data["trial_dir"]),
            attempt_dir=Path(data["attempt_dir"]),
            engine=data["engine"],
            resume=tuple((point["step"], point["path"]) for point in data["resume"]),
            checkpoint_every_s=data["checkpoint_every_s"],
            best_known=None if best is None else float(best),
            memory_bytes=data.get("memory_bytes"),
            environment=dict(data.get("environment", {})),
        )

    @property
    def number(self) -> int:
        """The attempt's number within its trial."""
        return int(self.attempt.rpartition(".")[2])

    def better(self, a: float, b: float) -> bool:
        """Say whether score `a` is strictly better than `b`; NaN is never better."""
        return a < b if self.goal == "minimize" else a > b
