"""What is known of studies: memory, compute, pace. It is asked before a trial runs, and told after.

What was learned is plain data that another session begins with.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from smallhours.packing.beliefs import Beliefs
from smallhours.packing.cards import Deck, Runner, Wish
from smallhours.packing.context import CONTEXT_BYTES
from smallhours.packing.footprint import HOST_GRAIN_BYTES, Bound, Footprint, Measured
from smallhours.packing.load import Demand, Doubt, Load, Loads, Sharing, slowdowns
from smallhours.packing.paces import Curve, Paces
from smallhours.packing.regression import Params


@dataclass(slots=True)
class Learned:
    """What outlives a session."""

    measured: dict[str, list[Measured]] = field(default_factory=dict)
    #: How long a step takes alone.
    paces: dict[str, Curve] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    #: By card: what the compute of its trials stays below; None: nothing did harm yet.
    caps: dict[str, float | None] = field(default_factory=dict)


class Knowledge:
    """What is known of all studies."""

    def __init__(
        self, sharing: Sharing, learned: Learned | None = None, weight: float | None = None
    ) -> None:
        learned = learned or Learned()
        beliefs = Beliefs()
        self.loads = Loads(sharing, learned.loads, beliefs, weight)
        self.paces = Paces(beliefs, learned.paces)
        self._context_bytes = -HOST_GRAIN_BYTES if sharing == "cores" else CONTEXT_BYTES
        self.footprints = {
            name: Footprint(list(m), self._context_bytes) for name, m in learned.measured.items()
        }
        #: What was predicted of trials, and from how many observations.
        self._bounds: dict[str, tuple[int, Bound | None]] = {}
        self._lengths: dict[str, tuple[int, float | None]] = {}
        #: How often a pace was learned from.
        self._timed = 0

    def learned(self) -> Learned:
        """Return what outlives the session."""
        return Learned(
            {name: list(footprint.measured) for name, footprint in self.footprints.items()},
            self.paces.learned,
            self.loads.known,
        )

    def bound(self, wish: Wish) -> Bound | None:
        """Return what a trial is predicted to take; None: nothing of its study was measured."""
        footprint = self.footprints.get(wish.study)
        if footprint is None:
            return None
        known = self._bounds.get(wish.key)
        if known is None or known[0] != len(footprint.measured):
            bound = footprint.bound(wish.params, wish.believed_bytes)
            known = self._bounds[wish.key] = len(footprint.measured), bound
        return known[1]

    def expected_bytes(self, wish: Wish) -> int:
        """Return the memory that is expected of a trial; 0: nothing of its study was measured."""
        bound = self.bound(wish)
        return 0 if bound is None else bound.expected_bytes

    def part(self, wish: Wish, room_bytes: int) -> float:
        """Return the share of a card that a trial takes: of compute or memory, which is more."""
        memory = self.expected_bytes(wish) / room_bytes if room_bytes else 0.0
        return min(1.0, max(self.demand(wish).compute, memory))

    def demand(self, wish: Wish) -> Demand:
        """Return what a trial asks of a card's compute, as far as is known."""
        return self.loads.demand(wish.study)

    def kind(self, wish: Wish) -> Hashable:
        """Return what its demand and its progress beside others depend on."""
        return wish.study

    def slowdowns(self, wishes: Sequence[Wish]) -> list[float]:
        """Return by what factor trials beside each other should be slower than alone."""
        return slowdowns([self.demand(wish) for wish in wishes])

    def progress(self, wishes: Sequence[Wish], doubt: Doubt) -> float:
        """Return the progress of trials beside each other.

        Args:
            wishes: The trials.
            doubt: By how much their weights count as other than is likely.
        """
        demands = [self.loads.demand(wish.study, doubt) for wish in wishes]
        return sum(1.0 / slow for slow in slowdowns(demands))

    def expected_s(self, wish: Wish) -> float | None:
        """Return the seconds that a trial would take alone; None: nothing is known of its study."""
        known = self._lengths.get(wish.key)
        if known is None or known[0] != self._timed:
            log_s = self.paces.expected(wish.study, wish.params)
            step_s = None if log_s is None else math.exp(log_s)
            known = self._lengths[wish.key] = self._timed, step_s
        return None if known[1] is None else wish.steps_left * known[1]

    def ends(self, deck: Deck) -> list[tuple[float, Runner]]:
        """Return the trials on a card by their ends, with the seconds left (inf: not known)."""
        runners = [*deck.runners.values()]
        slow = self.slowdowns([runner.wish for runner in runners])
        left = []
        for runner, factor in zip(runners, slow, strict=True):
            alone_s = self.left_s(runner)
            left.append(math.inf if alone_s is None else alone_s * factor / deck.card.speed)
        return sorted(zip(left, runners, strict=True), key=lambda pair: pair[0])

    def room_in(self, deck: Deck, wanted_bytes: float) -> tuple[float, int]:
        """Return the seconds until so much is free on a card, and what is free then.

        More than the card has is never free: that is when the last trial has left.
        """
        left, free = 0.0, deck.free_bytes
        for left_s, runner in self.ends(deck):
            if free >= wanted_bytes:
                break
            left, free = left_s, free + (runner.charge_bytes or deck.card.room_bytes)
        return left, free

    def beside_s(self, deck: Deck, wish: Wish) -> float:
        """Return the seconds that a trial would take on a card as it is (inf: not known)."""
        needed = self.expected_s(wish)
        if needed is None:
            return math.inf
        there = [runner.wish for runner in deck.runners.values()]
        return needed * self.slowdowns([*there, wish])[-1] / deck.card.speed

    def left_s(self, runner: Runner) -> float | None:
        """Return the seconds that a running trial would still take alone; None: not known."""
        if runner.alone is not None:
            return runner.steps_left * runner.alone.step_s
        return self.expected_s(runner.wish)

    def known(self, study: str) -> bool:
        """Whether a trial of the study was watched."""
        return self.loads.watched(study) and study in self.footprints

    def forget(self, runner: Runner) -> None:
        """Drop what was predicted of a trial that is off its card."""
        self._bounds.pop(runner.wish.key, None)
        self._lengths.pop(runner.wish.key, None)
        if runner.alone is not None:
            runner.log_step_s = runner.alone.mean
            self.paces.end(runner.alone)
            runner.alone = None

    def measure(self, study: str, params: Params, peak_bytes: int) -> None:
        """Take in a peak that was measured without a prediction."""
        self._footprint(study).measure(params, peak_bytes)

    def measured(self, runner: Runner) -> None:
        """Take in the peak of a trial that runs, or ran."""
        wish = runner.wish
        assert runner.peak_bytes is not None
        self._footprint(wish.study).measure(
            wish.params, runner.peak_bytes, runner.bound, wish.believed_bytes
        )

    def timed(self, there: Sequence[Runner], runner: Runner, step_s: float, error: float) -> None:
        """Learn from how long a trial's steps take beside what is there.

        Args:
            there: All that was on the card meanwhile.
            runner: The trial.
            step_s: Seconds a step, as on a card of speed 1.
            error: Standard error of that, relative.
        """
        log_s, wish = math.log(step_s), runner.wish
        if runner.alone is None:
            runner.alone = self.paces.begin(wish.study, wish.params, log_s)
        studies = [other.wish.study for other in there]
        self.loads.learn(studies, [*there].index(runner), runner.alone, log_s, error)
        self._timed += 1

    def _footprint(self, study: str) -> Footprint:
        found = self.footprints.get(study)
        if found is None:
            found = self.footprints[study] = Footprint(context_bytes=self._context_bytes)
        return found
