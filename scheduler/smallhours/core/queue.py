"""What to start next: pure questions to the state, answered in the order of the queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from smallhours.core import estimates, recheck
from smallhours.core.gates import Gate, gate, too_late
from smallhours.core.guards import reserve_bytes, study_time
from smallhours.core.items import (
    AskForTrial,
    Candidate,
    CreateBaseline,
    CreateConfirmations,
    EndStudy,
    Item,
    StartWaiting,
    Waiter,
    WaitForWord,
)
from smallhours.core.model import Study, Trial
from smallhours.core.night import ASK_PATIENCE_S, Night
from smallhours.core.offers import Offers
from smallhours.core.reasons import Completed
from smallhours.core.shortfall import memory_for
from smallhours.core.waiting import Why

#: A trial that waits for more room than is free holds up those behind it only once it has waited
#: this long, unless they are known to end before it could start.
_PATIENCE_S = 60.0


@dataclass(slots=True)
class Plan:
    """What to do next, and why everything else waits."""

    #: None: nothing can be started now.
    item: Item | None = None
    #: Complete where no item was found.
    waits: dict[Waiter, Why] = field(default_factory=dict)
    #: The trials that wait for more room than was free in their turn, and since when.
    held_since: dict[Waiter, float] = field(default_factory=dict)


def has_work(study: Study, at: float) -> bool:
    """Whether the study has, or could have, a trial to start."""
    return not _time_is_up(study, at) and (bool(study.waiting) or study.unproposed > 0)


def could_run(study: Study, night: Night) -> bool:
    """Whether the study has a trial to start, and its time has come."""
    return study.active and has_work(study, night.at) and gate(study, night).open_s > 0


def in_order(night: Night) -> list[Study]:
    """Return the studies that are not over, first the one whose turn it is."""
    studies = [s for s in night.state.studies.values() if not (s.ended or s.retired)]

    def key(study: Study) -> tuple[int, int, float, int]:
        standing = study.standing
        return standing.priority.rank, night.shares.round_of(study), standing.place, study.id

    return sorted(studies, key=key)


def next_item(night: Night, held_since: dict[Waiter, float]) -> Plan:
    """Return what to do next; says nothing of those that wait while every place is taken.

    Args:
        night: What is.
        held_since: What the plan before said.
    """
    studies = in_order(night)
    for study in studies:
        at_end = _at_the_end(study, night)
        if at_end is not None:
            return Plan(at_end, held_since=held_since)
    if night.places <= 0 and not night.placement.packing:
        return Plan(held_since=held_since)
    return _plan(studies, night, held_since, choose=True)


def waits(night: Night, held_since: dict[Waiter, float]) -> dict[Waiter, Why]:
    """Return why each trial waits that could not be started now."""
    studies = in_order(night)
    found = {(study.id, number): Why.KNOWN_MISTAKE for study in studies for number in study.held}
    return _plan(studies, night, held_since, choose=False).waits | found


def _plan(
    studies: list[Study], night: Night, held_since: dict[Waiter, float], *, choose: bool
) -> Plan:
    """Return what to do next.

    Args:
        studies: In the order of the queue.
        night: What is.
        held_since: What the plan before said.
        choose: Ask the packers too; else what they said last is taken for what they say.
    """
    found = Plan(held_since={k: at for k, at in held_since.items() if _still_waits(k, night)})
    places = night.places
    if any(trial.alone for trial in night.on_fixed_places):
        places = 0
    hold: _Hold | None = None
    offers = Offers(night)
    for study, candidates in _in_turn(studies, night):
        until = gate(study, night)
        for candidate in candidates:
            why = _shut(candidate, until, night)
            if why is None and offers.take(candidate):
                continue
            why = why or _why_not(candidate, night, places, hold)
            # One that waits behind another that does has waited as long when its turn comes.
            if why in (Why.ALONE, Why.MEMORY) or (why is Why.MAKING_ROOM and candidate.alone):
                since = found.held_since.setdefault(candidate.waiter, night.at)
                hold = hold or _Hold(_room_at(candidate, night), since)
            if why is None:
                found.held_since.pop(candidate.waiter, None)
                found.item = candidate.item
                return found
            found.waits[candidate.waiter] = why
    found.item = offers.choose() if choose else None
    if found.item is None:
        found.waits.update(offers.waits())
    return found


def _still_waits(waiter: Waiter, night: Night) -> bool:
    study, trial = night.state.studies[waiter[0]], waiter[1]
    return study.active and (trial is None or trial in study.waiting)


@dataclass(frozen=True, slots=True)
class _Hold:
    #: When there will be room for it; None: not known.
    room_at: float | None
    since: float


def _in_turn(studies: list[Study], night: Night) -> Iterator[tuple[Study, Iterable[Candidate]]]:
    """Yield what could be started, study by study: the rechecks of all of them come last."""
    able = [study for study in studies if not _time_is_up(study, night.at)]
    for study in able:
        yield study, _candidates(study, night)
    for study in able:
        rechecked = [trial for trial in _waiting(study) if recheck.waits(trial)]
        if rechecked:
            yield study, [Candidate(study, t, StartWaiting(study, t)) for t in rechecked]


def _waiting(study: Study) -> Iterator[Trial]:
    return (study.trials[number] for number in study.waiting)


def _candidates(study: Study, night: Night) -> Iterator[Candidate]:
    """Yield what of the study could be started, in order; those that exist come first."""
    for trial in _waiting(study):
        if not recheck.waits(trial):
            yield Candidate(study, trial, StartWaiting(study, trial))
    asked = night.asked.get(study.id, {})
    if not study.trials:
        yield Candidate(study, None, CreateBaseline(study))
    elif len(asked) < study.unproposed:
        number = max(study.last_number, *asked) + 1 if asked else study.last_number + 1
        slow = any(night.at - asked_at >= ASK_PATIENCE_S for asked_at in asked.values())
        yield Candidate(study, None, None if slow else AskForTrial(study, number))
    elif asked:
        yield Candidate(study, None, None)


def _shut(candidate: Candidate, until: Gate, night: Night) -> Why | None:
    """Say why a candidate can't be started wherever there is room; None: it can."""
    study, trial = candidate.study, candidate.trial
    if until.open_s <= 0:
        return until.shut
    if night.backend != "ready" or night.worn:
        return Why.OPENING
    if night.placement.kind_of(study) is None:
        return Why.NO_DEVICE
    late = too_late(study, trial, until, night)
    if late is not None:
        return late
    return Why.ASKED if candidate.item is None else None


def _why_not(candidate: Candidate, night: Night, places: int, hold: _Hold | None) -> Why | None:
    """Say why a candidate can't be started now on a device with fixed places; None: it can."""
    if hold is not None and not _fits_before(candidate, hold, night):
        return Why.MAKING_ROOM
    if candidate.alone:
        return Why.ALONE if night.on_fixed_places or places < night.slots else None
    if places <= 0:
        return Why.FULL
    return None if memory_for(candidate.study, night) else Why.MEMORY


def _fits_before(candidate: Candidate, hold: _Hold, night: Night) -> bool:
    """Whether a trial may be started though one before it in the queue waits for room."""
    if night.at - hold.since < _PATIENCE_S:
        return True
    needed = estimates.whole_s(candidate.study, candidate.trial, night.at)
    if needed is None or hold.room_at is None:
        return False
    return night.at + needed <= hold.room_at


def _room_at(candidate: Candidate, night: Night) -> float | None:
    """Return when enough of what runs now will have ended; None: not known."""
    ends = []
    for trial in night.on_fixed_places:
        study = night.state.studies[trial.study]
        left = estimates.whole_s(study, trial, night.at)
        if left is None:
            return None
        ends.append((night.at + left, study.peak_bytes))
    ends.sort()
    if candidate.alone or night.available_bytes is None:
        return ends[-1][0] if ends else night.at
    lacking = reserve_bytes(night.total_bytes) + candidate.study.peak_bytes - night.available_bytes
    for end, freed in ends:
        lacking -= freed
        if lacking <= 0:
            return end
    return ends[-1][0] if ends else night.at


def _at_the_end(study: Study, night: Night) -> Item | None:
    """Return what is to be done of a study that has nothing left to start; None: it has."""
    if not study.active or study.living or night.asked.get(study.id):
        return None
    over = _time_is_up(study, night.at)
    if not over and (study.waiting or study.unproposed):
        return None
    if study.spec.confirm and not (over or study.given_up) and study.best is not None:
        for number in (0, study.best):
            completed = isinstance(study.trials[number].reason, Completed)
            if completed and number not in study.confirmed:
                return CreateConfirmations(study, study.trials[number])
    return WaitForWord(study) if study.held and not over else EndStudy(study)


def _time_is_up(study: Study, at: float) -> bool:
    return study_time(study.spec, study.seconds_used(at)) is not None
