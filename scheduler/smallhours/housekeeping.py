"""Tidies the state directory up before a session: what a killed process left half done."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from smallhours.core.state import State, Study
from smallhours.paths import Home

_logger = logging.getLogger(__name__)

#: How `worker.trial` names a checkpoint, ``<step>-<attempt>``, and one that is being written.
_OURS = re.compile(r"\d+-\d+(\.tmp)?")


def remove_leftovers(home: Home, state: State) -> None:
    """Delete what lies among the checkpoints of open studies and is none.

    A checkpoint exists only if the ledger has it. A directory that it doesn't have was left by a
    process that died while it wrote (``.tmp``), or before the engine heard of it. Nothing runs yet.
    """
    for study in state.studies.values():
        if not study.open:
            continue
        for path in _leftovers(home, study):
            _logger.info("removed %s: the ledger has no such checkpoint", path)
            shutil.rmtree(path, ignore_errors=True)


def _leftovers(home: Home, study: Study) -> Iterator[Path]:
    for trial in study.trials.values():
        known = {home.root / saved.path for saved in trial.checkpoints}
        folder = home.trial(study.id, trial.number) / "checkpoints"
        if not folder.is_dir() or folder.is_symlink():
            continue
        for path in folder.iterdir():
            # The trial's directory is the user's as well: only what is named as ours is ours.
            if _OURS.fullmatch(path.name) and path not in known and not path.is_symlink():
                yield path
