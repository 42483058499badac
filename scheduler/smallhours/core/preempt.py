"""Making room for urgent studies: which trials are paused to their checkpoints for them."""

from __future__ import annotations

from smallhours.core.gates import gate, too_late
from smallhours.core.model import Study, Trial
from smallhours.core.night import Night
from smallhours.core.queue import has_work
from smallhours.core.spec import Priority

#: A trial that would lose more seconds of work than this is not taken off: one without checkpoints.
MOST_LOST_S = 600.0


def victims(night: Night) -> list[Trial]:
    """Return the trials that must make room, so that urgent studies have the places they can use.

    Those of low priority go first, then those that lose the least work. Nothing urgent is paused.
    """
    if night.backend != "ready" or night.worn:
        return []
    lack = sum(_places_wanted(study, night) for study in night.state.studies.values())
    if not lack:
        return []
    live = list(night.state.live.values())
    leaving = sum(trial.live is not None and trial.live.intent is not None for trial in live)
    free = 0 if any(trial.alone for trial in live) else max(0, night.places)
    lack = min(lack, night.slots) - free - leaving
    able = [trial for trial in live if _may_be_paused(trial, night)]
    able.sort(key=lambda trial: (-_rank(trial, night), lost_s(trial, night)))
    return able[: max(0, lack)]


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
    return len(study.waiting) + max(0, study.spec.trials - study.searched - asked)


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
