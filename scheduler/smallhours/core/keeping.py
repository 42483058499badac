"""Which checkpoints are kept: the newest of each trial, and what all together may take."""

from __future__ import annotations

from typing import Literal

from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.desk import Desk
from smallhours.core.storage import Storage, Victim


class Keeping:
    """Records checkpoints, and lets go of those that nobody needs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._storage = Storage()

    @property
    def budget_bytes(self) -> int | None:
        """What all checkpoints together may take; None: what the disk has."""
        return self._storage.budget_bytes

    @budget_bytes.setter
    def budget_bytes(self, most: int | None) -> None:
        self._storage.budget_bytes = most

    @property
    def short_bytes(self) -> int:
        """Bytes of checkpoints beyond the budget that have to be kept."""
        return self._storage.short_bytes

    def found(self, event: e.CheckpointsFound) -> None:
        """Take note of what lies on disk of studies that were not read."""
        self._storage.tell(event.holdings)
        self._keep_within_budget(event.at)

    def written(self, event: e.CheckpointWritten) -> None:
        """Take note of a checkpoint; what it supersedes may go."""
        key, at, state = event.key, event.at, self._desk.state
        trial = state.live.get(key)
        if trial is None:
            return
        spec = state.studies[key.study].spec
        self._desk.record(
            f.CheckpointSaved(
                **key._asdict(), step=event.step, path=event.path, size_bytes=event.size_bytes
            ),
            at,
        )
        keep = {saved.path for saved in trial.resume_points()[:2]}
        best = trial.best_step(spec) if spec.score == "best" else None
        for saved in list(trial.checkpoints):
            if saved.path not in keep and saved.step != best:
                self._remove(Victim(key.study, key.trial, saved.path), "superseded", at)
        self._keep_within_budget(at)

    def _keep_within_budget(self, at: float) -> None:
        """Let the worst checkpoints go where all together take more than the user wants."""
        victims = self._storage.over(self._desk.state)
        for victim in victims:
            self._remove(victim, "disk budget", at)
        self._storage.removed(victims)

    def _remove(self, victim: Victim, why: Literal["superseded", "disk budget"], at: float) -> None:
        self._desk.record(f.CheckpointRemoved(**victim._asdict(), why=why), at)
        self._desk.out.append(a.RemoveCheckpoint(path=victim.path))
