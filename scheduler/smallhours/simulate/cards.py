"""A discrete-event run of a workload under a policy: launches, steps, memory, interference.

Between events everything goes on at constant speed, so a run is exact however far apart its events
are. Policies that want to hear of reports get one at each step's end; the others cost less.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from smallhours.packing.cards import Card
from smallhours.simulate.interference import Interference, Load, rates
from smallhours.simulate.workload import TrialSpec, Workload

#: A paused trial leaves the card this long after its report: it saves and unwinds.
UNWIND_S = 0.5
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a trial, or go on with it, on a card."""

    trial: str
    card: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """Take a trial off the card at its next report, to a checkpoint."""

    trial: str


Order: TypeAlias = Begin | Suspend
Ending: TypeAlias = Literal["completed", "failed", "gpu_oom", "paused"]


@dataclass(frozen=True, slots=True)
class Span:
    """A trial's stay on a card."""

    trial: str
    card: str
    start_s: float
    end_s: float
    ending: Ending


class Policy(Protocol):
    """Decides what runs where. It hears of everything that a real scheduler would hear of."""

    #: It wants to hear of each step.
    wants_reports: bool

    def arrived(self, trial: TrialSpec, at: float) -> None:
        """Take note of a trial that may be started from now on."""

    def launched(self, trial: str, at: float) -> None:
        """Take note of a trial's first word."""

    def reported(self, trial: str, step: int, at: float) -> None:
        """Take note of a report."""

    def ended(self, trial: str, ending: Ending, at: float, peak_bytes: int | None) -> None:
        """Take note that a trial is off its card; None: it ended before its first step did."""

    def decide(self, at: float) -> Iterable[Order]:
        """Say what to do now; it is asked after each event, until it says nothing."""
        ...


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    makespan_s: float
    spans: list[Span]
    #: When each trial was over for good.
    finished_s: dict[str, float]
    admissions: int
    #: Admissions after which a card had less memory than its trials took.
    overcommits: int
    #: By card: integral over time of bytes truly in use, and of the work done (in seconds alone).
    byte_s: dict[str, float]
    work_s: dict[str, float]
    #: By card: seconds during which kernels were on it.
    busy_s: dict[str, float]
    #: Trials that no card could take, or that nobody started.
    left: list[str] = field(default_factory=list)

    @property
    def mean_bytes(self) -> float:
        """True bytes in use, averaged over the makespan, all cards together."""
        return sum(self.byte_s.values()) / self.makespan_s if self.makespan_s else 0.0


@dataclass(slots=True, eq=False)
class _Life:
    """A trial that has arrived."""

    spec: TrialSpec
    #: Steps' ends in seconds alone; the last is its whole length.
    ends: list[float]
    #: Seconds alone that were done, those of the running step included.
    done_s: float = 0.0
    step: int = 0
    card: _Card | None = None
    since: float = 0.0
    runs_from: float = math.inf
    rate: float = 1.0
    #: It is to leave at its next report.
    leaves: bool = False
    #: Its process has spoken, and it has reported, in this attempt.
    speaks: bool = False
    met: bool = False


@dataclass(slots=True, eq=False)
class _Card:
    spec: Card
    lives: list[_Life] = field(default_factory=list)

    @property
    def used_bytes(self) -> int:
        return sum(life.spec.device_bytes for life in self.lives)


class Speeds:
    """Remembers what was worked out before."""

    def __init__(self, how: Interference) -> None:
        self._how = how
        self._known: dict[tuple[Load, ...], list[float]] = {}

    def of(self, loads: tuple[Load, ...]) -> list[float]:
        """Return how fast trials with these loads go beside each other."""
        found = self._known.get(loads)
        if found is None:
            found = self._known[loads] = rates(loads, self._how)
        return found


class Run:
    """One run; `go` returns what came of it."""

    def __init__(self, workload: Workload, policy: Policy) -> None:
        self._workload = workload
        self._policy = policy
        self._at = 0.0
        self._cards = {spec.name: _Card(spec) for spec in workload.cards}
        self._lives: dict[str, _Life] = {}
        self._speeds = Speeds(workload.interference)
        self._to_come = sorted(workload.trials, key=lambda t: t.arrival_s, reverse=True)
        names = list(self._cards)
        self._outcome = Outcome(
            makespan_s=0.0,
            spans=[],
            finished_s={},
            admissions=0,
            overcommits=0,
            byte_s=dict.fromkeys(names, 0.0),
            work_s=dict.fromkeys(names, 0.0),
            busy_s=dict.fromkeys(names, 0.0),
        )

    def go(self) -> Outcome:
        """Run to the end."""
        while True:
            self._arrivals()
            self._obey()
            due = self._next_at()
            if due == math.inf:
                break
            self._pass(due)
            for card in self._cards.values():
                self._happen(card)
        outcome = self._outcome
        outcome.makespan_s = max(outcome.finished_s.values(), default=0.0)
        done = outcome.finished_s
        outcome.left = [t.name for t in self._workload.trials if t.name not in done]
        return outcome

    # --- time -------------------------------------------------------------------------------

    def _next_at(self) -> float:
        due = self._to_come[-1].arrival_s if self._to_come else math.inf
        for card in self._cards.values():
            for life in card.lives:
                if not life.speaks:
                    due = min(due, life.runs_from)
                else:
                    due = min(due, self._at + (self._target(life) - life.done_s) / life.rate)
        return due

    def _target(self, life: _Life) -> float:
        """Return how far it goes before something happens, in seconds alone."""
        if self._policy.wants_reports or life.leaves or not life.met:
            return life.ends[life.step]
        return life.ends[-1]

    def _pass(self, until: float) -> None:
        span = until - self._at
        self._at = until
        outcome = self._outcome
        for card in self._cards.values():
            if not card.lives:
                continue
            name = card.spec.name
            outcome.byte_s[name] += card.used_bytes * span
            running = [life for life in card.lives if life.speaks]
            busy = 0.0
            for life in running:
                life.done_s += life.rate * span
                outcome.work_s[name] += life.rate * span
                busy += life.rate / card.spec.speed * life.spec.load.busy
            outcome.busy_s[name] += min(1.0, busy) * span

    def _happen(self, card: _Card) -> None:
        """Let happen on a card what is due."""
        changed = False
        for life in [*card.lives]:
            if not life.speaks and life.runs_from <= self._at + _TINY:
                life.speaks = changed = True
                self._policy.launched(life.spec.name, self._at)
            while life.card is card and life.speaks and life.done_s >= life.ends[life.step] - _TINY:
                changed |= self._step_ends(life)
        if changed:
            self._set_rates(card)

    # --- trials -----------------------------------------------------------------------------

    def _arrivals(self) -> None:
        while self._to_come and self._to_come[-1].arrival_s <= self._at + _TINY:
            spec = self._to_come.pop()
            self._lives[spec.name] = _Life(spec, _ends(spec, self._workload))
            self._policy.arrived(spec, self._at)

    def _obey(self) -> None:
        while True:
            orders = list(self._policy.decide(self._at))
            if not orders:
                return
            for order in orders:
                life = self._lives[order.trial]
                if isinstance(order, Begin):
                    self._begin(life, self._cards[order.card])
                else:
                    assert life.card is not None, f"{order.trial} does not run"
                    life.leaves = True

    def _begin(self, life: _Life, card: _Card) -> None:
        assert life.card is None, f"{life.spec.name} runs already"
        self._outcome.admissions += 1
        card.lives.append(life)
        life.card, life.since = card, self._at
        life.leaves = life.speaks = life.met = False
        life.runs_from = self._at + self._workload.launch_s
        if card.used_bytes > card.spec.room_bytes:
            self._outcome.overcommits += 1

    def _step_ends(self, life: _Life) -> bool:
        """Let a step end; whether the card's trials changed."""
        card = life.card
        assert card is not None
        if not life.met and card.used_bytes > card.spec.room_bytes:
            life.done_s = 0.0 if life.step == 0 else life.ends[life.step - 1]
            self._leave(life, "gpu_oom")
            return True
        life.met = True
        while life.step < len(life.ends) and life.done_s >= life.ends[life.step] - _TINY:
            life.step += 1
        over = life.step == len(life.ends)
        if over and life.spec.fails_at is not None:
            self._leave(life, "failed")
            return True
        if self._policy.wants_reports:
            self._policy.reported(life.spec.name, life.step, self._at)
        if over:
            self._leave(life, "completed")
        elif life.leaves:
            self._leave(life, "paused")
        return over or life.leaves

    def _leave(self, life: _Life, ending: Ending) -> None:
        card = life.card
        assert card is not None
        card.lives.remove(life)
        life.card, life.runs_from = None, math.inf
        name = life.spec.name
        self._outcome.spans.append(Span(name, card.spec.name, life.since, self._at, ending))
        if ending in ("completed", "failed"):
            self._outcome.finished_s[name] = self._at
        if ending == "gpu_oom" and card.spec.room_bytes < life.spec.device_bytes:
            self._outcome.finished_s[name] = self._at  # it fits no better alone
        peak = life.spec.device_bytes if life.met or ending == "gpu_oom" else None
        self._policy.ended(name, ending, self._at, peak)

    def _set_rates(self, card: _Card) -> None:
        running = [life for life in card.lives if life.speaks]
        running.sort(key=lambda life: (life.spec.load.busy, life.spec.load.compute))
        speeds = self._speeds.of(tuple(life.spec.load for life in running)) if running else []
        for life, speed in zip(running, speeds, strict=True):
            life.rate = speed * card.spec.speed


def _ends(spec: TrialSpec, workload: Workload) -> list[float]:
    """Return the ends of a trial's steps in seconds alone; together they are what they should."""
    steps = spec.steps if spec.fails_at is None else min(spec.steps, spec.fails_at)
    if workload.jitter == 0.0:
        return [spec.step_s * (i + 1) for i in range(steps)]
    rng = random.Random(f"{workload.seed}/{spec.name}")
    lengths = [math.exp(rng.gauss(0.0, workload.jitter)) for _ in range(steps)]
    scale = spec.step_s * steps / sum(lengths)
    ends, at = [], 0.0
    for length in lengths:
        at += length * scale
        ends.append(at)
    return ends
