"""One study played from a table: trials on asynchronous workers, and a rule that decides."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from smallhours.core.rule import Rule
from smallhours.replay.table import Table


class Recorded(NamedTuple):
    """A trial as it was recorded: what it will report, and when."""

    config: int
    values: Sequence[float]
    #: What each step takes.
    seconds: Sequence[float]

    @property
    def whole_steps(self) -> int:
        """Steps that it runs if no rule stops it: up to the first value that isn't finite."""
        for index, value in enumerate(self.values):
            if not math.isfinite(value):
                return index + 1
        return len(self.values)

    @property
    def diverges(self) -> bool:
        """Whether the guard against divergence ends it."""
        return not math.isfinite(self.values[self.whole_steps - 1])

    def took_s(self, steps: int) -> float:
        """Return the seconds of its first steps."""
        return math.fsum(self.seconds[:steps])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the trials of one study, in the order they were drawn."""

    #: Steps that each one ran.
    steps: tuple[int, ...]
    #: Positions of those that a rule stopped, and of those that ran to their last step.
    stopped: tuple[int, ...]
    completed: tuple[int, ...]


def draw(table: Table, trials: int, rng: random.Random) -> list[Recorded]:
    """Draw the trials of a study: different configurations, one of its seeds for each."""
    drawn = []
    for config in rng.sample(range(table.configs), trials):
        seed = rng.randrange(table.recorded[config])
        values = table.curves[config, seed].tolist()
        drawn.append(Recorded(config, values, table.seconds[config, seed].tolist()))
    return drawn


def play(trials: Sequence[Recorded], rule: Rule, workers: int) -> Outcome:
    """Run the trials, one after the other as workers become free, until the rule stops them.

    The rule gets the calls that the scheduler would make, in the same order, and the curve of a
    trial up to its latest report, never more. A value that isn't finite ends the trial as diverged;
    nobody is asked about a last step.
    """
    curves: list[dict[int, float]] = [{} for _ in trials]
    stopped, completed = [], []
    following = min(workers, len(trials))
    #: The next report of each running trial: when it comes, and of which one.
    due = [(trials[position].seconds[0], position) for position in range(following)]
    heapq.heapify(due)
    while due:
        now, position = due[0]
        trial, curve = trials[position], curves[position]
        step = len(curve) + 1
        value = curve[step] = trial.values[step - 1]
        rule.observe(position, step, curve)
        last = step == len(trial.values)
        diverged = not math.isfinite(value)
        cut = not (diverged or last) and rule.decide(position, step, curve) is not None
        if not (diverged or last or cut):
            heapq.heapreplace(due, (now + trial.seconds[step], position))
            continue
        whole = last and not diverged
        rule.close(position, curve, completed=whole)
        if whole:
            completed.append(position)
        elif cut:
            stopped.append(position)
        if following < len(trials):
            heapq.heapreplace(due, (now + trials[following].seconds[0], following))
            following += 1
        else:
            heapq.heappop(due)
    return Outcome(tuple(map(len, curves)), tuple(sorted(stopped)), tuple(sorted(completed)))


def one_step_then_top(trials: Sequence[Recorded], most: int, sign: float) -> Outcome:
    """Run one step of every trial, then the best few of them to their end.

    Args:
        trials: The trials.
        most: How many go on.
        sign: 1 where a higher value is better, else -1.
    """
    first = [sign * trial.values[0] for trial in trials]
    sound = [position for position, merit in enumerate(first) if math.isfinite(merit)]
    ranked = sorted(sound, key=lambda position: -first[position])
    chosen = set(ranked[:most])
    steps = [
        trial.whole_steps if position in chosen else 1 for position, trial in enumerate(trials)
    ]
    completed = tuple(sorted(position for position in chosen if not trials[position].diverges))
    return Outcome(tuple(steps), tuple(sorted(ranked[most:])), completed)
