"""The best schedule that a search finds which knows everything: what packings are measured by.

A schedule is an order of trials, limits for each card and, where wanted, a card for a trial; it is
played through the same interference as the real run, without probes and without reports. The
search begins with many orders and limits, then changes the best ones bit by bit. It proves nothing:
a better schedule may exist.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from smallhours.backends.interference import Load
from smallhours.simulate.cards import Speeds
from smallhours.simulate.workload import Workload

#: Schedules that are tried unless the caller says otherwise.
TRIES: Final = 500
_TINY: Final = 1e-9


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
        self._trials = workload.trials
        self._cards = workload.cards
        self._speeds = Speeds(workload.interference)
        self._mps = workload.interference.sharing == "mps"
        self._asks = [t.load.busy * (t.load.compute if self._mps else 1.0) for t in self._trials]
        self._sums: dict[tuple[Load, ...], float] = {}
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
        trials, asks = self._trials, self._asks
        numbers = range(len(trials))
        room = max(card.room_bytes for card in self._cards)

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
            Plan(order, (limits,) * len(self._cards), free) for order in orders for limits in rules
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
        elif len(self._cards) > 1:
            pins = list(plan.pins)
            pins[rng.randrange(len(pins))] = rng.randrange(-1, len(self._cards))
            return replace(plan, pins=tuple(pins))
        else:
            length = rng.randrange(2, 8)
            start = rng.randrange(max(1, len(order) - length))
            part = order[start : start + length]
            rng.shuffle(part)
            order[start : start + length] = part
        return replace(plan, order=tuple(order))

    def _progress(self, loads: tuple[Load, ...]) -> float:
        found = self._sums.get(loads)
        if found is None:
            found = self._sums[loads] = sum(self._speeds.of(loads)) if loads else 0.0
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
        cards = range(len(oracle._cards))
        self._running: list[list[int]] = [[] for _ in cards]
        self._loads: list[tuple[Load, ...]] = [() for _ in cards]
        self._free = [card.room_bytes for card in oracle._cards]
        self._asked = [0.0 for _ in cards]
        self._rates: dict[int, float] = {}
        self._launching: dict[int, float] = {}
        self._left = [trial.alone_s for trial in oracle._trials]

    def go(self) -> tuple[float, float]:
        oracle, trials = self._o, self._o._trials
        waiting, at, byte_s = list(self._plan.order), 0.0, 0.0
        where: dict[int, int] = {}
        while waiting or where:
            waiting = self._start(waiting, where, at)
            due = min(self._launching.values(), default=math.inf)
            for number, rate in self._rates.items():
                due = min(due, at + self._left[number] / rate)
            for number in waiting:
                if trials[number].arrival_s > at:
                    due = min(due, trials[number].arrival_s)
            if due == math.inf:
                return math.inf, 0.0
            span, at = due - at, due
            byte_s += span * sum(
                card.room_bytes - free for card, free in zip(oracle._cards, self._free, strict=True)
            )
            changed = set()
            for number, rate in [*self._rates.items()]:
                self._left[number] -= rate * span
                if self._left[number] <= _TINY * 1e3:
                    changed.add(where[number])
                    self._end(number, where.pop(number))
            for number, ready in [*self._launching.items()]:
                if ready <= at + _TINY:
                    changed.add(where[number])
                    del self._launching[number]
                    self._rates[number] = 1.0
            for card in changed:
                self._set_rates(card)
        return at, byte_s

    def _start(self, waiting: list[int], where: dict[int, int], at: float) -> list[int]:
        left = []
        for number in waiting:
            card = self._card_for(number) if self._o._trials[number].arrival_s <= at else -1
            if card < 0:
                left.append(number)
                continue
            trial = self._o._trials[number]
            where[number] = card
            self._running[card].append(number)
            self._loads[card] = self._with(card, trial.load)
            self._free[card] -= trial.device_bytes
            self._asked[card] += self._o._asks[number]
            self._launching[number] = at + self._o._workload.launch_s
        return left

    def _card_for(self, number: int) -> int:
        oracle, pin = self._o, self._plan.pins[number]
        trial, best, most = oracle._trials[number], -1, -math.inf
        for card, limits in enumerate(self._plan.limits):
            there = self._loads[card]
            if self._free[card] < trial.device_bytes or (pin >= 0 and pin != card):
                continue
            if there:
                if len(there) >= limits.count:
                    continue
                if self._asked[card] + oracle._asks[number] > limits.compute:
                    continue
            now = oracle._progress(there)
            then = oracle._progress(self._with(card, trial.load))
            if there and then < now * (1.0 + limits.gain):
                continue
            gain = (then - now) * oracle._cards[card].speed
            if gain > most:
                best, most = card, gain
        return best

    def _with(self, card: int, load: Load) -> tuple[Load, ...]:
        return _sorted([*self._loads[card], load])

    def _end(self, number: int, card: int) -> None:
        trial = self._o._trials[number]
        self._running[card].remove(number)
        self._loads[card] = _sorted([self._o._trials[n].load for n in self._running[card]])
        self._free[card] += trial.device_bytes
        self._asked[card] -= self._o._asks[number]
        del self._rates[number]

    def _set_rates(self, card: int) -> None:
        trials = self._o._trials
        running = [n for n in self._running[card] if n in self._rates]
        running.sort(key=lambda n: (trials[n].load.busy, trials[n].load.compute))
        if running:
            speeds = self._o._speeds.of(tuple(trials[n].load for n in running))
            for number, speed in zip(running, speeds, strict=True):
                self._rates[number] = speed * self._o._cards[card].speed


def _sorted(loads: Sequence[Load]) -> tuple[Load, ...]:
    return tuple(sorted(loads, key=lambda load: (load.busy, load.compute)))
