"""The best schedule that a search finds which knows everything: what packings are measured by.

A schedule is an order of trials, limits for each card and, where wanted, a card for a trial; it is
played through the same interference as the real run, without probes and without reports. The
search begins with many orders and limits, then changes the best ones bit by bit. It proves nothing:
a better schedule may exist.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Final

from smallhours.simulate.cards import Speeds
from smallhours.simulate.workload import Workload

#: Schedules that are tried unless the caller says otherwise.
TRIES: Final = 500
_TINY: Final = 1e-9
#: A trial is done when less than this is left, in seconds.
_DONE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Limits:
    """What may run beside each other on a card."""

    #: Trials at most.
    count: int = 64
    #: Share by which a trial must raise the progress of the card.
    gain: float = 0.0
    #: Compute asked for together at most.
    compute: float = math.inf


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule to play."""

    order: tuple[int, ...]
    limits: tuple[Limits, ...]
    #: The card that a trial must take, by trial; -1: where it adds most.
    pins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Best:
    """What the search found."""

    makespan_s: float
    #: True bytes in use, averaged over the makespan, all cards together.
    mean_bytes: float
    tries: int


class Oracle:
    """Searches schedules of one workload."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.trials = workload.trials
        self.cards = workload.cards
        self._speeds = Speeds(workload.interference)
        loads = sorted({t.load for t in self.trials}, key=lambda load: (load.busy, load.compute))
        self._by_kind = loads
        #: Trials that ask for the same are of one kind; kinds are numbers, in order.
        self.kinds = [loads.index(trial.load) for trial in self.trials]
        self._rates: dict[tuple[int, ...], list[float]] = {}
        self._mps = workload.interference.sharing == "mps"
        self.asks = [t.load.busy * (t.load.compute if self._mps else 1.0) for t in self.trials]
        self._sums: dict[tuple[int, ...], float] = {(): 0.0}
        self.launch_s = workload.launch_s
        self._tries = 0

    def search(self, tries: int = TRIES) -> Best:
        """Return the best of so many schedules."""
        rng = random.Random(self._workload.seed)
        pool = sorted((self._score(plan) for plan in self._first()), key=lambda one: one[0])[:6]
        while self._tries < tries:
            cost, plan = pool[min(int(rng.expovariate(0.7)), len(pool) - 1)]
            other = self._score(self._changed(plan, rng))
            if other[0] <= cost:
                pool = sorted([*pool, other], key=lambda one: one[0])[:6]
        makespan, plan = pool[0]
        return Best(makespan, self._play(plan)[1] / makespan, self._tries)

    def _score(self, plan: Plan) -> tuple[float, Plan]:
        self._tries += 1
        return self._play(plan)[0], plan

    def _first(self) -> list[Plan]:
        trials, asks = self.trials, self.asks
        numbers = range(len(trials))
        room = max(card.room_bytes for card in self.cards)

        def longest(i: int) -> float:
            return trials[i].alone_s

        def idlest(i: int) -> float:
            return trials[i].alone_s * (1.5 - asks[i])

        def heaviest(i: int) -> float:
            return trials[i].alone_s * asks[i]

        def largest(i: int) -> float:
            return trials[i].alone_s * (0.2 + trials[i].device_bytes / room)

        orders = [
            tuple(sorted(numbers, key=key, reverse=True))
            for key in (longest, idlest, heaviest, largest)
        ]
        rules = [Limits(gain=gain) for gain in (-1.0, 0.0, 0.01, 0.03, 0.06, 0.12)]
        rules += [Limits(count=count) for count in (1, 2, 3, 4, 6)]
        rules += [Limits(compute=most) for most in (0.8, 1.05, 1.3, 1.7, 2.2)]
        free = (-1,) * len(trials)
        return [
            Plan(order, (limits,) * len(self.cards), free) for order in orders for limits in rules
        ]

    def _changed(self, plan: Plan, rng: random.Random) -> Plan:
        order, kind = list(plan.order), rng.random()
        if kind < 0.4:  # take one out and put it in elsewhere
            order.insert(rng.randrange(len(order)), order.pop(rng.randrange(len(order))))
        elif kind < 0.65:
            a, b = rng.randrange(len(order)), rng.randrange(len(order))
            order[a], order[b] = order[b], order[a]
        elif kind < 0.8:
            limits = list(plan.limits)
            card = rng.randrange(len(limits))
            limits[card] = _other_limits(limits[card], rng)
            return replace(plan, limits=tuple(limits))
        elif len(self.cards) > 1:
            pins = list(plan.pins)
            pins[rng.randrange(len(pins))] = rng.randrange(-1, len(self.cards))
            return replace(plan, pins=tuple(pins))
        else:
            length = rng.randrange(2, 8)
            start = rng.randrange(max(1, len(order) - length))
            part = order[start : start + length]
            rng.shuffle(part)
            order[start : start + length] = part
        return replace(plan, order=tuple(order))

    def rates(self, kinds: tuple[int, ...]) -> list[float]:
        """Return how fast trials of these kinds go beside each other."""
        found = self._rates.get(kinds)
        if found is None:
            loads = tuple(self._by_kind[kind] for kind in kinds)
            found = self._rates[kinds] = self._speeds.of(loads)
        return found

    def progress(self, kinds: tuple[int, ...]) -> float:
        """Return the sum of their rates."""
        found = self._sums.get(kinds)
        if found is None:
            found = self._sums[kinds] = sum(self.rates(kinds))
        return found

    def _play(self, plan: Plan) -> tuple[float, float]:
        """Return makespan, and the integral of bytes in use over time."""
        return _Play(self, plan).go()


def _other_limits(limits: Limits, rng: random.Random) -> Limits:
    kind = rng.random()
    if kind < 0.4:
        return replace(limits, gain=limits.gain + rng.gauss(0.0, 0.03))
    if kind < 0.7:
        return replace(limits, count=max(1, min(limits.count, 10) + rng.choice((-1, 1))))
    most = limits.compute if math.isfinite(limits.compute) else 1.5
    return replace(limits, compute=max(0.1, most * math.exp(rng.gauss(0.0, 0.15))))


class _Play:
    """One schedule, played."""

    def __init__(self, oracle: Oracle, plan: Plan) -> None:
        self._o = oracle
        self._plan = plan
        cards = range(len(oracle.cards))
        self._there: list[list[int]] = [[] for _ in cards]
        self._kinds: list[tuple[int, ...]] = [() for _ in cards]
        self._free = [card.room_bytes for card in oracle.cards]
        self._asked = [0.0 for _ in cards]
        self._rates: dict[int, float] = {}
        self._launching: dict[int, float] = {}
        self._left = [trial.alone_s for trial in oracle.trials]
        self._where: dict[int, int] = {}

    def go(self) -> tuple[float, float]:
        """Return makespan, and the integral of bytes in use over time."""
        trials, where = self._o.trials, self._where
        total = sum(self._free)
        waiting, at, byte_s, fresh = list(self._plan.order), 0.0, 0.0, True
        while waiting or where:
            if fresh and waiting:
                waiting = self._start(waiting, at)
            due = min(self._launching.values(), default=math.inf)
            for number, rate in self._rates.items():
                due = min(due, at + self._left[number] / rate)
            for number in waiting:
                if trials[number].arrival_s > at:
                    due = min(due, trials[number].arrival_s)
            if due == math.inf:
                return math.inf, 0.0
            span, at = due - at, due
            byte_s += span * (total - sum(self._free))
            # The start of a process changes nothing for those that wait.
            fresh = not self._pass(span, at)
        return at, byte_s

    def _pass(self, span: float, at: float) -> bool:
        """Let time pass; whether only processes started."""
        changed, launched = set(), False
        for number, rate in [*self._rates.items()]:
            self._left[number] -= rate * span
            if self._left[number] <= _DONE:
                changed.add(self._where[number])
                self._end(number)
        ended = bool(changed)
        for number, ready in [*self._launching.items()]:
            if ready <= at + _TINY:
                launched = True
                changed.add(self._where[number])
                del self._launching[number]
                self._rates[number] = 1.0
        for card in changed:
            self._set_rates(card)
        return launched and not ended

    def _start(self, waiting: list[int], at: float) -> list[int]:
        left = []
        #: Kinds that pay on no card as they are, whatever memory there is.
        refused: set[tuple[int, int]] = set()
        for number in waiting:
            kind, trial = self._o.kinds[number], self._o.trials[number]
            what = kind, self._plan.pins[number]
            if trial.arrival_s > at or what in refused:
                left.append(number)
                continue
            card, memory = self._card_for(number, kind)
            if card < 0:
                left.append(number)
                if not memory:
                    refused.add(what)
                continue
            refused.clear()
            self._where[number] = card
            self._there[card].append(number)
            self._kinds[card] = _with(self._kinds[card], kind)
            self._free[card] -= trial.device_bytes
            self._asked[card] += self._o.asks[number]
            self._launching[number] = at + self._o.launch_s
        return left

    def _card_for(self, number: int, kind: int) -> tuple[int, bool]:
        """Return the card where a trial adds most (-1: none), and whether memory was lacking."""
        oracle, pin = self._o, self._plan.pins[number]
        need, best, most, memory = oracle.trials[number].device_bytes, -1, -math.inf, False
        for card, limits in enumerate(self._plan.limits):
            there = self._kinds[card]
            if pin not in (-1, card):
                continue
            if self._free[card] < need:
                memory = True
                continue
            if there and len(there) >= limits.count:
                continue
            if there and self._asked[card] + oracle.asks[number] > limits.compute:
                continue
            now, then = oracle.progress(there), oracle.progress(_with(there, kind))
            if there and then < now * (1.0 + limits.gain):
                continue
            gain = (then - now) * oracle.cards[card].speed
            if gain > most:
                best, most = card, gain
        return best, memory

    def _end(self, number: int) -> None:
        card = self._where.pop(number)
        self._there[card].remove(number)
        self._kinds[card] = tuple(sorted(self._o.kinds[n] for n in self._there[card]))
        self._free[card] += self._o.trials[number].device_bytes
        self._asked[card] -= self._o.asks[number]
        del self._rates[number]

    def _set_rates(self, card: int) -> None:
        kinds = self._o.kinds
        running = sorted((n for n in self._there[card] if n in self._rates), key=kinds.__getitem__)
        if running:
            speed = self._o.cards[card].speed
            rates = self._o.rates(tuple(kinds[n] for n in running))
            for number, rate in zip(running, rates, strict=True):
                self._rates[number] = rate * speed


def _with(kinds: tuple[int, ...], kind: int) -> tuple[int, ...]:
    return tuple(sorted((*kinds, kind)))
