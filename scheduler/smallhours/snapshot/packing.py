"""How a study's trials were packed: what was predicted, what they took, what was learned."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from smallhours.core import facts as f
from smallhours.core.footprint import Footprint, Prediction
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import PackingView

_STARTED = (
    "SELECT body FROM event WHERE kind = 'attempt_started' AND study = ? AND seq <= ? ORDER BY seq"
)
_ENDED = (
    "SELECT body FROM event WHERE kind = 'attempt_ended' AND study = ? AND seq <= ? ORDER BY seq"
)
_LEARNED = (
    "SELECT body FROM event WHERE kind = 'load_learned' AND study = ? AND seq <= ? ORDER BY seq"
)
_CAPS = "SELECT body FROM event WHERE +kind = 'cap_learned' AND seq <= ? ORDER BY seq DESC LIMIT ?"
#: What is learned of a device is recorded right after the end of the attempt that showed it, behind
#: what is learned of the study.
_RECORDED_AFTER: Final = 2
#: Caps that are looked through for one of a device, at most.
_CAPS_READ: Final = 32
#: What smallhours runs on that is no GPU.
_CPU: Final = "cpu"


class _Start(msgspec.Struct, frozen=True):
    trial: int
    attempt: int
    device: str
    predicted: Prediction | None = None
    probe: bool = False


class _End(msgspec.Struct, frozen=True):
    trial: int
    attempt: int
    footprint: Footprint | None = None


_START = msgspec.json.Decoder(_Start)
_END = msgspec.json.Decoder(_End)
_CAP = msgspec.json.Decoder(f.CapLearned)
_LOAD = msgspec.json.Decoder(f.LoadLearned)


def kind_of(device: str) -> Literal["cpu", "gpu"]:
    """Return what kind of device a name is of."""
    return "cpu" if device == _CPU else "gpu"


def held_bytes(device: str, footprint: Footprint | None) -> int | None:
    """Return the most that an attempt was measured to hold of its device; None: not measured."""
    return footprint.held_bytes(kind_of(device)) if footprint is not None and device else None


def view(source: Source, study: int) -> PackingView | None:
    """Return how a study's trials were packed on the kind of device that they ran on last.

    None: they ran in fixed places, and nothing was predicted or learned.
    """
    of_study = (study, source.upto)
    starts = [_START.decode(body) for (body,) in source.rows(_STARTED, *of_study)]
    starts = [start for start in starts if start.device]
    kind = kind_of(starts[-1].device) if starts else "cpu"
    starts = [start for start in starts if kind_of(start.device) == kind]
    loads = [_LOAD.decode(body) for (body,) in source.rows(_LEARNED, *of_study)]
    loads = [load for load in loads if (load.sharing == "cores") == (kind == "cpu")]
    if not loads and not any(start.probe or start.predicted for start in starts):
        return None
    return _view(kind, starts, source.rows(_ENDED, *of_study), loads)


def _view(
    kind: Literal["cpu", "gpu"],
    starts: list[_Start],
    ended: Iterable[tuple[str]],
    loads: list[f.LoadLearned],
) -> PackingView:
    from smallhours.packing.footprint import Footprint as Model
    from smallhours.packing.footprint import Measured

    by_attempt = {(start.trial, start.attempt): start for start in starts}
    measured = []
    for (body,) in ended:
        end = _END.decode(body)
        start = by_attempt.get((end.trial, end.attempt))
        peak = None if start is None else held_bytes(start.device, end.footprint)
        if start is not None and peak:
            # What is kept for one that is watched is no prediction.
            said = None if start.probe else start.predicted
            bounds = (None, None) if said is None else (said.expected_bytes, said.upper_bytes)
            # No parameters: nothing is to be predicted here, so nothing need be fitted to them.
            measured.append(Measured({}, peak, *bounds))
    model = Model(measured)
    found = model.calibration
    last = loads[-1] if loads else None
    paces = sorted(load.log_step_s for load in loads if load.log_step_s is not None)
    return PackingView(
        kind=kind,
        devices=tuple(dict.fromkeys(start.device for start in starts)),
        probes=tuple(dict.fromkeys(start.trial for start in starts if start.probe)),
        measured=len(measured),
        largest_bytes=model.largest_bytes,
        predicted=found.predicted,
        missed=found.missed,
        bias=found.bias,
        tightness=found.tightness,
        sharing=None if last is None else last.sharing,
        busy=None if last is None else last.busy,
        weight=None if last is None or last.log_weight is None else math.exp(last.log_weight),
        step_s=math.exp(paces[len(paces) // 2]) if paces else None,
    )


def cap_by(source: Source, seq: int, device: str) -> float | None:
    """Return how much compute a device was found to bear when an attempt's end was recorded.

    Args:
        source: The ledger.
        seq: Of the record of the end.
        device: The attempt's device.

    Returns:
        None: nothing did harm there so far.
    """
    upto = min(source.upto, seq + _RECORDED_AFTER)
    facts = (_CAP.decode(body) for (body,) in source.rows(_CAPS, upto, _CAPS_READ))
    return next((fact.cap for fact in facts if fact.device == device), None)
