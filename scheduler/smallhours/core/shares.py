"""Fair shares of fixed places: how much of their time each study has had, weighed.

Rounds of weighted fair queueing (A. Demers, S. Keshav, S. Shenker, "Analysis and simulation of a
fair queueing algorithm", SIGCOMM 1989): in each round every study that has something to run gets
slot time in proportion to its weight, one study after the other in the order of the queue. A
study that had nothing to run for a while does not save up: it joins at the round that is on.
"""

from __future__ import annotations

from collections.abc import Collection

from smallhours.core.model import Study
from smallhours.core.spec import Priority
from smallhours.packing.order import WARM

#: Slot seconds that a study of weight 1 gets in a round.
#: With more studies than stay warm rounds are longer: warming up stays a small part of a turn.
ROUND_S = 10.0


class Shares:
    """The slot time that studies were served in this session."""

    def __init__(self) -> None:
        #: By study: slot seconds it was served, over its weight.
        self._served: dict[int, float] = {}
        #: Those that had something to run, and the group in which they took turns.
        self._wanting: dict[int, Priority] = {}
        #: Slots over weight of those that run something: an attempt that ended since counts too.
        self._using: dict[int, float] = {}
        self._settled_at: float | None = None

    def settle(self, studies: Collection[Study], at: float) -> None:
        """Bring the account up to now.

        Args:
            studies: Those that have something to run or run something.
            at: Seconds of the monotonic clock.
        """
        since = 0.0 if self._settled_at is None else at - self._settled_at
        self._settled_at = at
        for number, slots in self._using.items():
            self._served[number] += since * slots
        for group in {study.standing.priority for study in studies}:
            self._join([study for study in studies if study.standing.priority is group])
        self._wanting = {study.id: study.standing.priority for study in studies}
        self._using = {s.id: len(s.living) / s.standing.weight for s in studies if s.living}

    def _join(self, studies: list[Study]) -> None:
        """Let those that are new among their like begin at the round that is on."""
        there = [s for s in studies if self._wanting.get(s.id) is s.standing.priority]
        least = min((self._served[s.id] for s in there), default=0.0)
        for study in studies:
            before = self._wanting.get(study.id)
            if before is None:
                self._served[study.id] = max(self._served.get(study.id, least), least)
            elif before is not study.standing.priority:
                self._served[study.id] = least  # what it had among others is no matter here

    def round_of(self, study: Study) -> int:
        """Return the round in which the study's next slot time is; the lowest goes first."""
        many = len(self._wanting) - WARM
        longer = 2 * (many + 1) if many > 0 else 1
        return int(self._served.get(study.id, 0.0) / (ROUND_S * longer))
