"""Tidies the state directory up: what a killed process left half done, what nobody wants any more.

Everything here may be interrupted at any point and done again: what is to be deleted is first moved
into a trash directory, at once and whole, and what lies there is deleted at the next start at last.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from smallhours import inbox, logs
from smallhours.core.model import Study
from smallhours.core.state import State
from smallhours.core.storage import Holding, worth_of
from smallhours.ledger import parts, store
from smallhours.paths import Home

_logger = logging.getLogger(__name__)

#: How `worker.trial` names a checkpoint, ``<step>-<attempt>``, and one that is being written.
_OURS = re.compile(r"\d+-\d+(\.tmp)?")
_WHOLE = re.compile(r"\d+-\d+")
#: Reasons after which a trial may go on; empty: no attempt of it ended.
_UNFINISHED = ("", "interrupted", "paused")
#: A copy of a study's code that nobody has asked for since is not wanted any more.
_UNWANTED_AFTER_S = 24 * 3600.0


def remove_leftovers(home: Home, state: State) -> None:
    """Delete what lies in the state directory and belongs to nothing. Nothing runs yet.

    A checkpoint exists only if the ledger has it. A directory that it doesn't have was left by a
    process that died while it wrote (``.tmp``), or before the engine heard of it. A study that was
    removed has no files, one that was archived no checkpoints. A copy of code stays as long as a
    study, or somebody who waits for one to be added, may need it.
    """
    for study in state.studies.values():
        if study.removed:
            _discard(home, home.trials / str(study.id))
        elif study.archived:
            for _, _, saved in _saved(home, study.id):
                _discard(home, saved)
        elif study.open:
            for path in _leftovers(home, study):
                _logger.info("removed %s: the ledger has no such checkpoint", path)
                shutil.rmtree(path, ignore_errors=True)
    for path in _unused_snapshots(home, state):
        _logger.info("removed %s: no study uses it", path)
        _discard(home, path)
    empty_trash(home)


def remove_files(home: Home, study: int, *, checkpoints_only: bool = False) -> None:
    """Delete the directories of a study's trials; may be called in any thread, and again.

    Its copy of the code goes with `remove_leftovers`, where no other study uses it.

    Args:
        home: The state directory.
        study: Its id.
        checkpoints_only: Leave logs, and what the user's code wrote.
    """
    if checkpoints_only:
        for _, _, path in _saved(home, study):
            _discard(home, path)
    else:
        _discard(home, home.trials / str(study))
    empty_trash(home)


def empty_trash(home: Home) -> None:
    """Delete for good what was discarded."""
    for path in _children(home.trash):
        shutil.rmtree(path, ignore_errors=True)


def holdings(home: Home, studies: Mapping[int, Study]) -> list[Holding]:
    """Return the checkpoints on disk of the studies that are not loaded; may run in a thread.

    It looks into the directory of every trial of theirs: some 30,000 in a second.

    Args:
        home: The state directory.
        studies: A copy of the state's, which may go on changing.
    """
    found: list[Holding] = []
    with closing(store.open_to_read(home.ledger)) as db:
        for study in studies.values():
            saved = [] if study.loaded or study.emptied else list(_saved(home, study.id))
            if not saved:
                continue
            ends = parts.latest_ends(db, study.id)
            confirmations = parts.confirmations(db, study.id)
            winner = study.ended.winner if study.ended else None
            newest: dict[int, int] = {}
            for trial, step, _ in saved:
                newest[trial] = max(step, newest.get(trial, 0))
            for trial, step, path in saved:
                reason, score = ends.get(trial, ("", None))
                worth = worth_of(
                    confirmation=trial in confirmations,
                    over=reason not in _UNFINISHED,
                    completed=reason == "completed",
                )
                found.append(
                    Holding(
                        study=study.id,
                        trial=trial,
                        path=os.path.relpath(path, home.root),
                        size_bytes=_size(path),
                        worth=worth,
                        score=score,
                        kept=trial in (0, winner),
                        spare=step != newest[trial],
                    )
                )
    return found


class OnDisk(NamedTuple):
    """What a study has on disk."""

    size_bytes: int
    checkpoints: int
    logs: int


def on_disk(folder: Path) -> OnDisk:
    """Return what lies below the directory of a study's trials."""
    size = checkpoints = found_logs = 0
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        for entry in _scan(place):
            with suppress(OSError):  # gone meanwhile
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                    ours = place.name == "checkpoints" and _WHOLE.fullmatch(entry.name)
                    checkpoints += bool(ours)
                else:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    found_logs += entry.name == logs.NAME
    return OnDisk(size, checkpoints, found_logs)


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


def _unused_snapshots(home: Home, state: State) -> Iterator[Path]:
    used = {study.snapshot for study in state.studies.values() if not study.removed}
    used.update(str(request.body.get("snapshot")) for request in inbox.lying(home))
    latest = time.time() - _UNWANTED_AFTER_S
    for path in _children(home.snapshots):
        with suppress(OSError):
            if path.name not in used and path.stat().st_mtime < latest:
                yield path


def checkpoint_bytes(home: Home) -> int:
    """Return what all checkpoints on disk take."""
    studies = (int(entry.name) for entry in _scan(home.trials) if entry.name.isdecimal())
    return sum(_size(path) for study in studies for _, _, path in _saved(home, study))


def _size(checkpoint: Path) -> int:
    size = 0
    for entry in _scan(checkpoint):
        with suppress(OSError):  # gone meanwhile
            size += entry.stat(follow_symlinks=False).st_size
    return size


def _saved(home: Home, study: int) -> Iterator[tuple[int, int, Path]]:
    """Yield the checkpoints of a study that lie on disk: trial, step and path."""
    for trial in _scan(home.trials / str(study)):
        if not trial.name.isdecimal():
            continue
        for saved in _scan(Path(trial.path) / "checkpoints"):
            if _WHOLE.fullmatch(saved.name) and not saved.is_symlink():
                yield int(trial.name), int(saved.name.partition("-")[0]), Path(saved.path)


def _discard(home: Home, path: Path) -> None:
    """Move a directory out of the way, all of it at once; one that can't be moved stays."""
    if path.is_symlink() or not path.is_dir():
        return
    trash = home.trash
    try:
        trash.mkdir(mode=0o700, exist_ok=True)
        path.rename(trash / f"{path.name}-{secrets.token_hex(4)}")
    except FileNotFoundError:
        pass  # somebody else was quicker
    except OSError as error:
        _logger.warning("%s can't be removed: %s", path, error)


def _children(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _scan(folder)]


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what is in a directory; nothing where there is none."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
