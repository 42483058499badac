"""Making room for urgent studies: which trials are paused to their checkpoints for them."""

from __future__ import annotations

from smallhours.core.gates import gate, too_late
from smallhours.core.model import Study, Trial
from smallhours.core.night import Night
from smallhours.core.queue import has_work
from smallhours.core.spec import DeviceKind, Priority

#: A trial that would lose more seconds of work than this is not taken off: one without checkpoints.
MOST_LOST_S = 600.0


def victims(night: Night) -> list[Trial]:
    """Return the trials that must make room, so that urgent studies have the places they can use.

    Those of low priority go first, then those that lose the least work. Nothing urgent is paused.
    """
    if night.backend != "ready" or night.worn:
        return []
    urgent: dict[DeviceKind, int] = {}
    for study in night.state.studies.values():
        wanted, kind = _places_wanted(study, night), night.placement.kind_of(study)
        if wanted and kind is not None:
            urgent[kind] = urgent.get(kind, 0) + wanted
    found = []
    for kind, lack in urgent.items():
        packed = night.placement.packs(kind)
        found += _one_of_packed(kind, night) if packed else _of_fixed_places(lack, night)
    return found


def _of_fixed_places(lack: int, night: Night) -> list[Trial]:
    live = night.on_fixed_places
    leaving = sum(trial.live is not None and trial.live.intent is not None for trial in live)
    free = 0 if any(trial.alone for trial in live) else max(0, night.places)
    lack = min(lack, night.slots) - free - leaving
    return _cheapest_first(live, night)[: max(0, lack)]


def _one_of_packed(kind: DeviceKind, night: Night) -> list[Trial]:
    """Return the trial to take off for an urgent one that its packer found no place for.

    One at a time: what an urgent trial needs shows when the one before has left.
    """
    live = night.placement.on(kind)
    studies = night.state.studies.values()
    urgent = [study.id for study in studies if _places_wanted(study, night)]
    if not any(night.placement.lacks_room(kind, study) for study in urgent):
        return []
    if any(trial.live is not None and trial.live.intent is not None for trial in live):
        return []
    return _cheapest_first(live, night)[:1]


def _cheapest_first(trials: list[Trial], night: Night) -> list[Trial]:
    able = [trial for trial in trials if _may_be_paused(trial, night)]
    return sorted(able, key=lambda trial: (-_rank(trial, night), lost_s(trial, night)))


def lost_s(trial: Trial, night: Night) -> float:
    """Return the seconds of work that pausing a trial loses, should it save as its study's do."""
    live = trial.live
    assert live is not None
    if night.state.studies[trial.study].saves:
        return live.gap_s or 0.0
    return night.at - live.started_at


def killed_lost_s(trial: Trial) -> float:
    """Return the seconds between a trial's last checkpoint of this attempt and its last word."""
    live = trial.live
    assert live is not None
    return live.heard_at - (live.started_at if live.saved_at is None else live.saved_at)


def _places_wanted(study: Study, night: Night) -> int:
    """Return how many more places an urgent study could use now; 0 for all others."""
    urgent = study.active and study.standing.priority is Priority.URGENT
    if not urgent or not has_work(study, night.at):
        return 0
    until = gate(study, night)
    if until.open_s <= 0 or too_late(study, None, until, night) is not None:
        return 0
    asked = len(night.asked.get(study.id, {}))
    if not study.trials:
        return 1
    return len(study.waiting) + max(0, study.unproposed - asked)


def _may_be_paused(trial: Trial, night: Night) -> bool:
    live = trial.live
    return (
        live is not None
        and live.intent is None
        and night.state.studies[trial.study].standing.priority is not Priority.URGENT
        and lost_s(trial, night) <= MOST_LOST_S
    )


def _rank(trial: Trial, night: Night) -> int:
    return night.state.studies[trial.study].standing.priority.rank
