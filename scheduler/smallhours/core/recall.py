"""What earlier sessions learned of studies, out of the record, as the packer takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from smallhours.core.model import Study
from smallhours.core.spec import DeviceKind, Params
from smallhours.packing.footprint import Measured
from smallhours.packing.knowledge import Knowledge, Learned
from smallhours.packing.load import Load, Sharing
from smallhours.packing.packer import Packer

#: What a process on a card takes at least, should it hardly use it.
LEAST_BYTES: Final = 2**20
#: So many of the latest paces say what others will be.
_TIMED: Final = 100


def packer_of(
    studies: Sequence[Study],
    kind: DeviceKind,
    sharing: Sharing,
    caps: Mapping[str, float | None],
    cores: float | None,
) -> Packer:
    """Return a packer that knows what is on record.

    Args:
        studies: Those whose trials run on this kind of device.
        kind: The kind.
        sharing: How it is shared.
        caps: What the compute on each device stays below.
        cores: Of the CPU; None: not known.
    """
    learned = _learned(studies, kind, sharing)
    learned.caps.update(caps)
    know = Knowledge(sharing, learned, 1.0 / cores if kind == "cpu" and cores else None)
    for study in studies:
        if study.open and study.loaded:
            for params, log_s in _paces(study, sharing):
                know.paces.recall(str(study.id), params, log_s)
    return Packer((), learned=learned, know=know)


def _paces(study: Study, sharing: Sharing) -> Iterator[tuple[Params, float]]:
    """Yield the configurations that were timed last, with the logarithm of a step's seconds."""
    for number in [*study.timed][-_TIMED:]:
        fact = study.timed[number]
        if fact.sharing == sharing and fact.log_step_s is not None:
            yield study.trials[number].params, fact.log_step_s


def _learned(studies: Iterable[Study], kind: DeviceKind, sharing: Sharing) -> Learned:
    found = Learned()
    for study in studies:
        if study.open and study.loaded:
            _recall(study, kind, sharing, found)
    return found


def _recall(study: Study, kind: DeviceKind, sharing: Sharing, into: Learned) -> None:
    name = str(study.id)
    known = study.learned.get(sharing)
    if known is not None:
        into.loads[name] = Load(known.busy, known.log_weight, known.weight_sd)
    peaks = []
    for number, footprint in study.footprints.items():
        peak = footprint.held_bytes(kind)
        trial = study.trials[number]
        if peak is not None:
            said = trial.predicted
            bounds = (None, None) if said is None else (said.expected_bytes, said.upper_bytes)
            peaks.append(Measured(dict(trial.params), max(peak, LEAST_BYTES), *bounds))
    if peaks:
        into.measured[name] = peaks
