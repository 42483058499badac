"""What ``--json`` prints: plain values, NaN and infinity as null, nothing a terminal could obey."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from smallhours.core.reasons import Completed, Diverged, Reason
from smallhours.explain import packing as words
from smallhours.nameplates import Nameplate
from smallhours.snapshot import (
    AttemptView,
    Effort,
    Note,
    PackingView,
    StudyView,
    TrialRow,
    TrialView,
)


def write(out: TextIO, document: Mapping[str, object]) -> None:
    """Write one JSON object; everything beyond ASCII is escaped."""
    out.write(json.dumps(plain(document), ensure_ascii=True, allow_nan=False) + "\n")


def plain(value: object) -> Any:
    """Return values as JSON has them: what is not finite becomes None."""
    builtin = msgspec.to_builtins(value, str_keys=True, enc_hook=str)
    return _finite(builtin)


def reason(value: Reason | None) -> object:
    """Return a reason as the ledger keeps it, with numbers as numbers."""
    if value is None:
        return None
    document = msgspec.to_builtins(value)
    if isinstance(value, Diverged):
        document["value"] = float(value.value)
    if isinstance(value, Completed):
        document["metrics"] = {name: float(number) for name, number in value.metrics.items()}
    return document


def study_in_brief(study: StudyView, effort: Effort) -> dict[str, object]:
    """Return the keys of a study that every list has."""
    return {
        "id": study.id,
        "name": study.name,
        "metric": study.spec.metric,
        "goal": study.spec.goal,
        "state": study.state,
        "outcome": study.outcome,
        "trials": study.spec.trials,
        "ended": study.ended,
        "best": study.best,
        "baseline": study.baseline,
        "seconds": effort.seconds,
    }


def packing(view: PackingView | None, plates: Mapping[str, Nameplate]) -> dict[str, object] | None:
    """Return how a study's trials were packed, with what their devices are called."""
    if view is None:
        return None
    return {
        **msgspec.to_builtins(view),
        "compute": view.compute,
        "devices": [device(name, plates) for name in view.devices],
        "meaning": words.meaning(view),
    }


def device(name: str, plates: Mapping[str, Nameplate]) -> dict[str, object]:
    """Return what a device is called; what nobody remembers of it is null."""
    plate = plates.get(name)
    return {
        "name": name,
        "title": words.called(name, plates),
        "label": None if plate is None else plate.label,
        "index": None if plate is None else plate.index,
    }


def study(
    view: StudyView,
    effort: Effort,
    rows: list[TrialRow],
    *,
    packed: Mapping[str, object] | None,
    recheck: Mapping[str, object],
    notes: list[Note],
) -> dict[str, object]:
    """Return everything about a study.

    Args:
        view: The study.
        effort: What its trials took.
        rows: All of them.
        packed: How its trials were packed; None: they have fixed places.
        recheck: What its rechecked trials say of stopping.
        notes: What was written about it and its trials.
    """
    return {
        **study_in_brief(view, effort),
        "question": view.spec.question,
        "hypothesis": view.spec.hypothesis,
        "steps": view.spec.steps,
        "source": view.source,
        "halted": view.halted or None,
        "added_at": view.added_at,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "states": view.states,
        "reasons": {name: len(numbers) for name, numbers in view.reasons.items()},
        "confirmed": view.confirmed,
        "confirmations": view.confirmations,
        "steps_run": effort.steps_run,
        "steps_saved": effort.steps_saved,
        "seconds_saved": effort.seconds_saved,
        "packing": packed,
        "recheck": recheck,
        "notes": [note._asdict() for note in notes],
        "rows": [{"trial": view.trial_name(row.number), **plain(row)} for row in rows],
    }


def trial(view: TrialView, plates: Mapping[str, Nameplate], notes: list[Note]) -> dict[str, object]:
    """Return everything about a trial."""
    return {
        "trial": view.name,
        "number": view.number,
        "study": view.study,
        "role": view.role,
        "of": view.of,
        "params": view.params,
        "seed": view.seed,
        "state": view.state,
        "waiting": view.waiting,
        "reason": reason(view.reason),
        "then": view.then,
        "continued": view.continued,
        "score": view.score,
        "last_step": view.last_step,
        "seconds": view.seconds,
        "curve": list(view.curve.items()),
        "attempts": [_attempt(attempt, plates) for attempt in view.attempts],
        "checkpoints": view.checkpoints,
        "notes": [note._asdict() for note in notes],
    }


def _attempt(view: AttemptView, plates: Mapping[str, Nameplate]) -> dict[str, object]:
    return {
        **msgspec.to_builtins(view),
        "device_title": words.called(view.device, plates),
        "intent": reason(view.intent),
        "reason": reason(view.reason),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
