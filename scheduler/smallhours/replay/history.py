"""Turns finished trials of the ledger into a table of curves: the user's own history."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smallhours.errors import UsageError
from smallhours.snapshot import Snapshot, TrialRow
from smallhours.snapshot.heads import Head
from smallhours.text import count, listing

#: How a trial whose curve is whole ended.
_WHOLE = ("completed", "diverged")


@dataclass(frozen=True, slots=True)
class Curve:
    """What one finished trial reported, without gaps."""

    #: One value a step; NaN from the step on at which it diverged.
    values: list[float]
    seconds_per_step: float


@dataclass(slots=True)
class History:
    """The curves of some studies of one kind."""

    goal: str
    metric: str
    steps: int
    #: One entry a configuration: the curves of its trials, in the order they were created.
    configs: list[list[Curve]]
    #: Trials that are over and have no whole curve, by how they ended.
    left_out: dict[str, int]

    @property
    def curves(self) -> int:
        """How many curves there are."""
        return sum(map(len, self.configs))


def collect(snapshot: Snapshot, studies: Sequence[Head]) -> History:
    """Read the curves of all trials that ran to their end or diverged.

    Trials of one study with the same parameters are seeds of one configuration: a trial and its
    confirmations, the baseline and its own.

    Raises:
        UsageError: the studies differ in what a curve is, or there is too little to tell.
    """
    history = _empty(studies)
    for head in studies:
        known: dict[str, list[Curve]] = {}
        for row in snapshot.rows(head.id):
            if row.reason is None:
                continue
            reported = snapshot.trial(head.id, row.number).curve if row.reason in _WHOLE else {}
            if not reported:
                history.left_out[row.reason] = history.left_out.get(row.reason, 0) + 1
                continue
            curve = Curve(_whole(reported, row, history.steps), row.seconds / row.last_step)
            known.setdefault(json.dumps(row.params, sort_keys=True), []).append(curve)
        history.configs += known.values()
    if len(history.configs) < 2:
        raise UsageError(
            f"{listing([head.name for head in studies])}: of"
            f" {count(len(history.configs), 'configuration')} there is a whole curve, a table needs"
            " 2 or more"
        )
    return history


def write(history: History, path: Path) -> None:
    """Write the table that `smallhours replay` reads.

    Raises:
        UsageError: it can't be written there.
    """
    shape = (len(history.configs), max(map(len, history.configs)))
    curves = np.full((*shape, history.steps), math.nan, np.float32)
    seconds = np.empty(shape, np.float32)
    for config, seeds in enumerate(history.configs):
        seconds[config] = np.mean([curve.seconds_per_step for curve in seeds])
        for seed, curve in enumerate(seeds):
            curves[config, seed] = curve.values
            seconds[config, seed] = curve.seconds_per_step
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                curves=curves,
                goal=np.array(history.goal),
                metric=np.array(history.metric),
                seconds_per_step=seconds,
                seeds_recorded=np.array([len(seeds) for seeds in history.configs], np.int32),
            )
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path}: can't be written: {error.strerror}") from error


def _empty(studies: Sequence[Head]) -> History:
    """Return a history of what all of the studies have in common."""
    first = studies[0]
    for head in studies[1:]:
        for key in ("metric", "goal", "steps"):
            theirs, ours = getattr(head.spec, key), getattr(first.spec, key)
            if theirs != ours:
                raise UsageError(
                    f"{head.name} and {first.name} can't share a table: {key} is {theirs} here and"
                    f" {ours} there; name studies that agree, and export the others by themselves"
                )
    return History(first.spec.goal.value, first.spec.metric, first.spec.steps, [], {})


def _whole(reported: Mapping[int, float], row: TrialRow, steps: int) -> list[float]:
    """Fill the steps without a report: each has the value of the report before it.

    Steps before the first report have the first value; those after the last one of a trial that
    was done sooner have its last.
    """
    value = next(iter(reported.values()))
    values = []
    for step in range(1, steps + 1):
        value = reported.get(step, value)
        values.append(value)
    if row.reason == "diverged":
        values[row.last_step - 1 :] = [math.nan] * (steps - row.last_step + 1)
    return values


def described(history: History) -> str:
    """Say what was exported, and what could not be."""
    said = (
        f"{count(history.curves, 'curve')} of {count(len(history.configs), 'configuration')},"
        f" {count(history.steps, 'step')}"
    )
    several = sum(len(seeds) > 1 for seeds in history.configs)
    if not several:
        said += "; none has a second seed, so no false stop can be told from noise"
    elif several < len(history.configs):
        said += f"; {several} with more than one seed"
    if history.left_out:
        reasons = sorted(history.left_out.items(), key=lambda each: -each[1])
        said += "; left out: " + ", ".join(f"{number} {reason}" for reason, number in reasons)
    return said
