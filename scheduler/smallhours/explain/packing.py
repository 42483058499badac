"""How trials are packed, in words: devices, predictions, how good these are, what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smallhours.nameplates import Nameplate
from smallhours.snapshot.views import AttemptView, PackingView
from smallhours.text import clean, count, duration, listing, percent, size

#: Characters of a UUID that tell one device from the others.
_SHORT: Final = 12
#: Below this, what is kept for trials is wide beside what they take.
_WIDE: Final = 0.6
#: Medians this near to 1 are as good as can be.
_OFF: Final = 0.1

_SHARED: Final = {
    "time_slicing": "by taking turns",
    "mps": "side by side (MPS)",
    "cores": "",
}


def title(kind: str, index: int | None, name: str) -> str:
    """Return what a device is called for short: ``cpu``, ``GPU 0``, ``GPU 0 MIG-1f2e9a``."""
    if kind == "cpu":
        return "cpu"
    card = "GPU" if index is None else f"GPU {index}"
    return card if kind == "gpu" else f"{card} {clean(name, _SHORT)}"


def model(label: str) -> str:
    """Return a card's label without what all of them begin with: ``RTX 3090``."""
    return clean(label, 40).removeprefix("NVIDIA ").removeprefix("GeForce ")


def called(name: str, plates: Mapping[str, Nameplate]) -> str:
    """Return what a device of the ledger is called for short: ``GPU 0``, ``cpu``.

    One that nobody remembers is called by the beginning of its UUID.
    """
    plate = plates.get(name)
    if plate is None or (plate.kind != "cpu" and plate.index is None):
        return clean(name[:_SHORT])
    return title(plate.kind, plate.index, name)


def described(name: str, plates: Mapping[str, Nameplate]) -> str:
    """Return what a device of the ledger is called, with its label: ``GPU 0 (RTX 3090)``."""
    plate = plates.get(name)
    if name == "cpu":
        return "the CPU"
    label = "" if plate is None else f" ({model(plate.label)})"
    return called(name, plates) + label


def prediction_words(attempt: AttemptView, plates: Mapping[str, Nameplate]) -> str:
    """Return what became of a prediction; empty: there was none, and no probe."""
    promised, held = attempt.promised_bytes, attempt.held_bytes
    took = "" if held is None else f"it took {size(held)}"
    if promised is None or attempt.expected_bytes is None:
        if not attempt.probe:
            return ""
        said = "watched alone for its first steps, to learn what the study needs"
        return f"{said}; {took}" if took else said
    plate = plates.get(attempt.device)
    all_there_is = plate is not None and plate.total_bytes and promised >= plate.total_bytes
    kept = "all that there is" if all_there_is else size(promised)
    if attempt.probe:
        said = f"watched for its first steps, with {kept} of memory kept for it"
    else:
        said = f"{size(attempt.expected_bytes)} of memory expected, {kept} kept for it"
    more = ", more than was kept" if held is not None and held > promised else ""
    return f"{said}; {took}{more}" if took else said


def memory_words(packing: PackingView) -> str:
    """Return how predictions compare with what was measured, in figures."""
    if not packing.measured:
        return "not measured yet"
    most = f"{count(packing.measured, 'attempt')} measured, at most {size(packing.largest_bytes)}"
    if not packing.predicted or packing.bias is None or packing.tightness is None:
        return most
    missed = "none" if not packing.missed else str(packing.missed)
    return (
        f"{most}; {packing.predicted} of them predicted: they took {packing.bias:.3g} times"
        f" what was expected (median) and {percent(packing.tightness)} of what was kept for them"
        f" (mean), {missed} took more"
    )


def meaning(packing: PackingView) -> str:
    """Return in a sentence what the calibration means for the user."""
    if not packing.predicted or packing.bias is None or packing.tightness is None:
        if not packing.measured:
            return "The figures come with the first trial that ends."
        return "Nothing was predicted yet: what was measured is what the next ones go by."
    if packing.missed:
        few = packing.missed <= max(1, packing.predicted // 100)
        rest = "that is rare" if few else "each such miss widens the margins"
        return (
            f"{packing.missed} of {count(packing.predicted, 'prediction')} "
            f"{'was' if packing.missed == 1 else 'were'} too low; {rest}."
        )
    if packing.tightness < _WIDE:
        return (
            "Predictions are safe but wide: until a trial is measured, more is kept for it than it"
            " takes."
        )
    if abs(packing.bias - 1.0) > _OFF:
        side = "more" if packing.bias > 1.0 else "less"
        return f"Trials take {side} than is expected of them, and all stay within what is kept."
    return "Predictions hold: each trial stayed within what was kept for it."


def compute_words(packing: PackingView) -> str:
    """Return what was learned of the compute that a trial asks for, and of its pace."""
    parts = []
    if packing.compute is not None and packing.busy is not None:
        what = "the CPU" if packing.kind == "cpu" else "a GPU"
        busy = (
            "" if packing.kind == "cpu" else f" (busy with it {percent(packing.busy)} of its time)"
        )
        parts.append(f"a trial alone counts as {percent(packing.compute)} of {what}{busy}")
    if packing.step_s is not None:
        step = packing.step_s
        pace = f"{step * 1000:.3g} ms" if step < 0.1 else duration(step)
        parts.append(f"a step alone takes {pace}")
    how = _SHARED[packing.sharing] if packing.sharing else ""
    shared = f"; GPUs are shared {how}" if parts and how else ""
    return ", ".join(parts) + shared


def stay_words(attempt: AttemptView, plates: Mapping[str, Nameplate]) -> str:
    """Return where an attempt ran and what was foreseen, as a sentence; empty: nothing was."""
    said = prediction_words(attempt, plates)
    where = described(attempt.device, plates)
    return f"{where[0].upper()}{where[1:]}: {said}." if said else ""


def probe_words(packing: PackingView, study: str) -> str:
    """Return which trials were watched alone."""
    names = [f"{study}/{trial}" for trial in packing.probes]
    return f"{listing(names, 4)}, watched for the first steps" if names else ""


def cap_words(cap: float) -> str:
    """Return what it means that a device bears so much compute together."""
    return f"more than {percent(cap)} of its compute together was found to slow its trials down"
