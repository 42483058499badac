"""What could be started on devices that are packed: offered to their packers, in one go."""

from __future__ import annotations

from dataclasses import replace

from smallhours.core import recheck
from smallhours.core.items import AskForTrial, Candidate, Item, Place, StartWaiting, TakeOff, Waiter
from smallhours.core.night import Night
from smallhours.core.shortfall import memory_for
from smallhours.core.spec import DeviceKind, Priority
from smallhours.core.waiting import Why
from smallhours.packing.cards import Start, Wish

#: The turn of rechecks: behind all priorities.
_LAST = len(Priority)


class Offers:
    """The trials that may start on packed devices as soon as there is a place."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._offers: dict[DeviceKind, list[tuple[Candidate, Wish]]] = {}
        self._short: dict[Waiter, Why] = {}
        #: Studies of which a trial that exists is offered.
        self._there: set[int] = set()

    def take(self, candidate: Candidate) -> bool:
        """Take a candidate, in the order of the queue; False: its device isn't packed."""
        study, trial, night = candidate.study, candidate.trial, self._night
        kind = night.placement.kind_of(study)
        if kind is None or not night.placement.packs(kind):
            return False
        if not memory_for(study, night):
            self._short[candidate.waiter] = Why.MEMORY
            return True
        if trial is None and study.id in self._there:
            return True  # another configuration is asked for once those that wait have a place
        if trial is not None and not trial.alone:
            self._there.add(study.id)
        rechecked = trial is not None and recheck.waits(trial)
        turn = _LAST if rechecked else study.standing.priority.rank
        wish = night.placement.wish(study, trial, turn)
        self._offers.setdefault(kind, []).append((candidate, wish))
        return True

    def choose(self) -> Item | None:
        """Return what the packers want done next; None: nothing now."""
        night = self._night
        for kind, offers in self._offers.items():
            choice = night.placement.choose(kind, [wish for _, wish in offers], night.at)
            if isinstance(choice, Start):
                found = next(offer for offer in offers if offer[1].key == choice.key)
                return _placed(found[0], Place(kind, choice, found[1]))
            if choice:
                return TakeOff(tuple(choice))
        return None

    def waits(self) -> dict[Waiter, Why]:
        """Return why each of them waits, where nothing was chosen."""
        found = dict(self._short)
        for kind, offers in self._offers.items():
            for candidate, wish in offers:
                found[candidate.waiter] = self._night.placement.why(kind, wish)
        return found


def _placed(candidate: Candidate, place: Place) -> Item | None:
    item = candidate.item
    return replace(item, place=place) if isinstance(item, StartWaiting | AskForTrial) else item
