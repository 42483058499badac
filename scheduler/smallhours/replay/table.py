"""A table of recorded learning curves, read from a .npz file and checked."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from smallhours.core.spec import Goal
from smallhours.errors import StudyFileError, UsageError
from smallhours.hints import did_you_mean, expected

Floats: TypeAlias = NDArray[np.float64]

#: Keys that a file must have, and those that it may have.
_NEEDED = ("curves", "goal")
_OPTIONAL = ("seconds_per_step", "seeds_recorded")
#: What reading a damaged archive raises: numpy passes on what `zipfile` and `zlib` say.
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError)
_SHAPE = "numbers of shape [configs, seeds, steps]"


@dataclass(frozen=True)
class Table:
    """Learning curves of many configurations of one task, several seeds each."""

    name: str
    #: [configs, seeds, steps]; NaN and infinity: it diverged there.
    curves: Floats
    goal: Goal
    #: [configs, seeds, steps]: what each step took.
    seconds: Floats
    #: How many of the seeds were recorded, for each configuration: the first ones.
    recorded: tuple[int, ...]

    @property
    def configs(self) -> int:
        """How many configurations there are."""
        return int(self.curves.shape[0])

    @property
    def steps(self) -> int:
        """Steps of a whole trial."""
        return int(self.curves.shape[2])

    @cached_property
    def finals(self) -> Floats:
        """Last values [configs, seeds]; NaN: not recorded.

        A trial that diverged counts as what the median trial had after its first step: a model
        that has hardly been trained. Means over seeds remain numbers that way.
        """
        sound = np.isfinite(self.curves).all(axis=2)
        first = self.curves[:, :, 0]
        first = first[np.isfinite(first)]
        untrained = float(np.median(first)) if first.size else 0.0
        finals = np.where(sound, self.curves[:, :, -1], untrained)
        missing = np.arange(finals.shape[1]) >= np.array(self.recorded)[:, None]
        finals[missing] = math.nan
        return finals

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """The true score of each configuration: the mean of its last values over its seeds."""
        return tuple(np.nanmean(self.finals, axis=1).tolist())

    @cached_property
    def seed_sd(self) -> float | None:
        """What another seed changes: the standard deviation of last values, pooled.

        Pooled (the root of the mean variance) over the best quarter of the configurations that
        have two seeds or more, from which a pick comes: bad ones scatter far more. None: no
        configuration has a second seed.
        """
        several = np.flatnonzero(np.array(self.recorded) > 1)
        if not len(several):
            return None
        scores = np.array(self.scores)[several]
        ranked = several[np.argsort(-scores if self.goal is Goal.MAXIMIZE else scores)]
        best = ranked[: math.ceil(len(ranked) / 4)]
        return float(np.sqrt(np.nanvar(self.finals[best], axis=1, ddof=1).mean()))


def read(path: Path) -> Table:
    """Read a table.

    Raises:
        StudyFileError: the file is none, or a key of it is wrong.
        UsageError: there is no such file.
    """
    arrays = _load(path)
    file = str(path)
    for key in _NEEDED:
        if key not in arrays:
            meant = next((f"; is it {has!r}?" for has in arrays if did_you_mean(has, [key])), "")
            there = ", ".join(arrays) or "nothing"
            raise StudyFileError(file, key, f"this key is missing; there is {there}{meant}")
    curves = _curves(file, arrays["curves"])
    recorded = _recorded(file, arrays.get("seeds_recorded"), curves)
    return Table(
        name=path.stem,
        curves=curves,
        goal=_goal(file, arrays["goal"]),
        seconds=_seconds(file, arrays.get("seconds_per_step"), curves.shape),
        recorded=recorded,
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by key; nothing in it is ever executed."""
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise StudyFileError(
                    str(path), "", "this is one array (.npy); expected a .npz file with keys"
                )
            arrays = {}
            for key in loaded.files:
                if key in (*_NEEDED, *_OPTIONAL):
                    arrays[key] = _array(path, loaded, key)
                else:
                    arrays[key] = np.empty(0)
            return arrays
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except _UNREADABLE as error:
        raise StudyFileError(str(path), "", f"it can't be read: {error}") from error
    except ValueError as error:
        raise StudyFileError(
            str(path), "", "this is no .npz file, which is what numpy.savez_compressed writes"
        ) from error


def _array(path: Path, loaded: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = loaded[key]
    except ValueError as error:
        raise StudyFileError(
            str(path), key, "expected an array of numbers or text, got Python objects"
        ) from error
    except _UNREADABLE as error:
        raise StudyFileError(str(path), key, f"it can't be read: {error}") from error
    return array


def _curves(file: str, array: NDArray[Any]) -> Floats:
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        got = f"{array.dtype} of shape {list(array.shape)}"
        raise StudyFileError(file, "curves", f"expected {_SHAPE}, got {got}")
    configs, seeds, steps = array.shape
    for least, number, what in ((2, configs, "configs"), (1, seeds, "seeds"), (2, steps, "steps")):
        if number < least:
            raise StudyFileError(file, "curves", f"expected {least} {what} or more, got {number}")
    return array.astype(np.float64)


def _goal(file: str, array: NDArray[Any]) -> Goal:
    raw = array.reshape(-1)[0] if array.size == 1 else list(array.shape)
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    try:
        return Goal(text)
    except ValueError:
        raise StudyFileError(file, "goal", expected(text, [goal.value for goal in Goal])) from None


def _seconds(file: str, array: NDArray[Any] | None, shape: tuple[int, ...]) -> Floats:
    """Return seconds for every step; one second each where the file doesn't say."""
    if array is None:
        return np.ones(shape)
    configs, seeds, steps = shape
    may_be = ((), (configs,), (configs, seeds), (configs, seeds, steps))
    key = "seconds_per_step"
    if array.shape not in may_be or array.dtype.kind not in "fiu":
        shapes = ", ".join(str(list(each)) for each in may_be[1:])
        raise StudyFileError(
            file, key, f"expected one number, or numbers of shape {shapes};"
            f" got {array.dtype} of shape {list(array.shape)}"
        )  # fmt: skip
    seconds = array.astype(np.float64)
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise StudyFileError(file, key, "expected finite seconds above 0")
    spread = seconds.reshape(seconds.shape + (1,) * (3 - seconds.ndim))
    return np.array(np.broadcast_to(spread, shape))


def _recorded(file: str, array: NDArray[Any] | None, curves: Floats) -> tuple[int, ...]:
    configs, seeds = int(curves.shape[0]), int(curves.shape[1])
    if array is None:
        return (seeds,) * configs
    if array.shape != (configs,) or array.dtype.kind not in "iu":
        got = f"{array.dtype} of shape {list(array.shape)}"
        raise StudyFileError(
            file, "seeds_recorded", f"expected whole numbers of shape [{configs}], got {got}"
        )
    if ((array < 1) | (array > seeds)).any():
        raise StudyFileError(file, "seeds_recorded", f"expected numbers from 1 to {seeds}")
    counts: list[int] = array.tolist()
    return tuple(counts)
