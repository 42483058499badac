"""What the packer knows of a card and of the trials on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from smallhours.packing.footprint import GROWS, Bound
from smallhours.packing.guard import Guard
from smallhours.packing.load import Demand
from smallhours.packing.paces import Alone
from smallhours.packing.regression import Params

#: Reports after which a trial's peak is taken for what it needs.
SETTLED_REPORTS: Final = 2


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it is now."""

    name: str
    total_bytes: int
    #: Kept free, for a display or by wish.
    reserve_bytes: int = 0
    #: What processes that are not ours have taken.
    foreign_bytes: int = 0
    #: Nothing may be started on it: too hot, given back, or gone.
    closed: bool = False
    #: How fast it is beside the first card, alone.
    speed: float = 1.0
    #: The most trials at a time; None: as many as pay.
    places: int | None = None
    #: It says how busy it is: a trial is watched until that was heard while it was alone.
    tells_busy: bool = False
    #: Trials that together ask for no more compute are known not to hurt each other.
    sure: float = 0.0

    @property
    def room_bytes(self) -> int:
        """Bytes that our trials may have together."""
        return max(0, self.total_bytes - self.reserve_bytes - self.foreign_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A trial that could be started."""

    key: str
    study: str
    params: Params
    steps_left: int
    #: What its owner believes of its memory; None: nothing.
    believed_bytes: int | None = None
    #: It can be paused to a checkpoint at a report.
    saves: bool = True
    #: It must have a card for itself: it ran out of memory before.
    alone: bool = False
    #: It has run before, and goes first of its study.
    begun: bool = False
    #: Those of a lower one go first, whatever was served.
    turn: int = 0
    #: What its study is to be served beside others.
    weight: float = 1.0
    #: Trials of its study that are to come and are not wished for yet.
    to_come: int = 0


class Start(NamedTuple):
    """Start a trial on a card, with at most so many bytes."""

    key: str
    card: str
    #: None: all that is free; nothing is known of it yet.
    bound: Bound | None
    #: It is watched alone for a few steps first.
    probe: bool
    #: Without a bound: what is kept for it; None: all that is free.
    kept_bytes: int | None = None


#: Why a trial waits: no card takes trials now; its study is to be watched alone first; it, or one
#: before it, needs more memory than is free; it must have a card for itself; it would not pay.
Obstacle: TypeAlias = Literal["closed", "probe", "memory", "alone", "making_room", "full"]


class Pause(NamedTuple):
    """Pause a trial to its checkpoint at its next report."""

    key: str
    why: str


@dataclass(slots=True, eq=False)
class Runner:
    """A trial on a card."""

    wish: Wish
    bound: Bound | None
    probe: bool
    kept_bytes: int | None = None
    launched_at: float | None = None
    reports: int = 0
    steps_left: int = 0
    peak_bytes: int | None = None
    #: How long a step takes it alone; None: not timed yet.
    alone: Alone | None = None
    #: When its steps were last timed beside what was there; None: not yet.
    timed_at: float | None = None
    #: Once it has ended: the logarithm of the seconds that a step took it alone.
    log_step_s: float | None = None
    #: Share of the time that the card is busy with it; None: nobody measured it.
    busy: float | None = None
    #: Share of the card that it fills meanwhile; None: it can't be measured.
    weight: float | None = None
    #: How long its steps take it alone was measured beside others.
    paced: bool = False
    pausing: bool = False

    @property
    def can_pause(self) -> bool:
        """Whether it can be taken off the card at its next report, with steps left to do."""
        return self.wish.saves and self.steps_left >= 2 and not self.pausing

    @property
    def takes_all(self) -> bool:
        """Whether all that is free is kept for it: nothing is known of it, or it must be alone."""
        return self.bound is None or self.wish.alone

    @property
    def settled(self) -> bool:
        """Whether its measured peak is taken for what it needs."""
        return self.peak_bytes is not None and self.reports >= SETTLED_REPORTS

    @property
    def charge_bytes(self) -> int | None:
        """Bytes that are kept for it; None: all there are."""
        if self.settled and not self.wish.alone and not self.probe:
            assert self.peak_bytes is not None
            return int(self.peak_bytes * GROWS)
        kept = self.kept_bytes if self.bound is None else self.bound.upper_bytes
        if self.wish.alone or kept is None:
            return None
        return max(kept, self.peak_bytes or 0)

    def share_of(self, card: Card) -> float:
        """Return its share of a card's memory; 0 where nothing is known of it."""
        charge = self.charge_bytes or self.peak_bytes or 0
        return min(1.0, charge / card.room_bytes) if card.room_bytes else 0.0


@dataclass(slots=True, eq=False)
class Deck:
    """A card, the trials on it, and what was learned of it."""

    card: Card
    runners: dict[str, Runner] = field(default_factory=dict)
    guard: Guard = field(default_factory=Guard)
    #: The sum of the trials' compute stays below; None: nothing did harm yet.
    cap: float | None = None
    #: When a trial last left it.
    left_at: float = -math.inf
    #: A newcomer that can't be paused did harm: nothing is started until something ends.
    shut: bool = False
    #: Kept for trials that fit on no other card.
    claimed_bytes: int = 0
    #: It is being cleared for a trial that can't be started otherwise.
    kept_for: str | None = None

    @property
    def free_bytes(self) -> int:
        """Bytes that may be promised to another trial."""
        free = self.card.room_bytes
        for runner in self.runners.values():
            charge = runner.charge_bytes
            if charge is None:
                return 0
            free -= charge
        return free

    @property
    def full(self) -> bool:
        """Whether there are as many trials on it as may be."""
        return self.card.places is not None and len(self.runners) >= self.card.places

    @property
    def clears(self) -> bool:
        """Whether all trials on it can be taken off."""
        return all(runner.wish.saves for runner in self.runners.values())

    @property
    def probing(self) -> bool:
        """Whether a trial is being watched alone."""
        return any(runner.probe for runner in self.runners.values())


def total_compute(demands: Iterable[Demand]) -> float:
    """Return the compute that trials ask for together."""
    return sum(demand.compute for demand in demands)
