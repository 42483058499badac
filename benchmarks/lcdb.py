"""LCDB as curve tables: 20 learners a data set, steps being growing samples of it.

LCDB (Mohr, Viering, Loog, van Rijn, "LCDB 1.0", ECML PKDD 2022) is read from its sdist, which
holds it as CSV; nothing of it is kept here:

    pip download lcdb==0.1.0 --no-deps --no-binary :all:

It is no training of networks: a step is a sample about 1.4 times as large, trained on from scratch,
there are few steps, and the learners of a table have nothing in common.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from smallhours.core.spec import Goal
from smallhours.replay.table import Table

_MEMBER = "database-accuracy.csv"
_COLUMNS = {"openmlid": "int32", "learner": "category", "size_train": "int32",
            "outer_seed": "int8", "inner_seed": "int8", "traintime": "float32",
            "score_valid": "float32"}  # fmt: skip
#: Tables with fewer learners, seeds or steps say nothing.
_LEARNERS, _SEEDS, _STEPS = 10, 5, 8
#: Training times below what the clock of their makers could tell.
_LEAST_S = 1e-4


def tables(sdist: Path) -> Iterator[Table]:
    """Yield a table for each data set that is complete enough, by its number at OpenML."""
    with tarfile.open(sdist) as archive:
        member = next(one for one in archive if one.name.endswith(f"/{_MEMBER}"))
        stream = archive.extractfile(member)
        assert stream is not None
        rows = pd.read_csv(stream, usecols=list(_COLUMNS), dtype=_COLUMNS)
    for number, own in rows.groupby("openmlid", sort=True):
        table = _table(f"lcdb-{number}", own)
        if table is not None:
            yield table


def _table(name: str, rows: pd.DataFrame) -> Table | None:
    """Return the curves of the learners that were trained on all sample sizes; None: too few."""
    rows = rows.assign(seed=rows["outer_seed"].astype(int) * 100 + rows["inner_seed"])
    sizes = np.sort(rows["size_train"].unique())
    if len(sizes) < _STEPS:
        return None
    index = ["learner", "seed"]
    wide = {
        column: rows.pivot_table(
            index=index, columns="size_train", values=column, aggfunc="first", observed=True
        ).reindex(columns=sizes)
        for column in ("score_valid", "traintime")
    }
    whole = wide["score_valid"].notna().all(axis=1)
    scores, times = wide["score_valid"][whole], wide["traintime"][whole]
    curves, seconds = [], []
    for _, own in scores.groupby(level="learner", observed=True):
        if len(own) >= _SEEDS:
            curves.append(own.to_numpy(np.float64))
            seconds.append(times.loc[own.index].to_numpy(np.float64))
    if len(curves) < _LEARNERS:
        return None
    seeds = max(map(len, curves))
    return Table(
        name=name,
        curves=np.stack([_padded(curve, seeds) for curve in curves]),
        goal=Goal.MAXIMIZE,
        seconds=np.stack([_padded(np.maximum(time, _LEAST_S), seeds) for time in seconds]),
        recorded=tuple(map(len, curves)),
    )


def _padded(array: np.ndarray, seeds: int) -> np.ndarray:
    """Return [seeds, steps], NaN where a seed is missing."""
    missing = np.full((seeds - len(array), array.shape[1]), np.nan)
    return np.concatenate([array, missing])
