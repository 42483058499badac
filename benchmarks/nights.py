"""Many nights on a virtual clock: does the queue keep its shares, its deadline, its forecast?

Only the trials are simulated; the core is the one that runs in the engine. Three questions: is
slot time shared by weight within ten minutes; does a night end by its deadline, at what price, and
what would it be to pause all a minute before; how far off is the forecast made at half time.

    python benchmarks/nights.py [--shares] [--until] [--forecast] [--quick]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Any, Literal

from common import quantile, save, show

from smallhours import rules
from smallhours.backends.simulated import SimulatedBackend
from smallhours.backends.simulation import RandomSuggester, Simulation
from smallhours.backends.workload import Script
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import forecast
from smallhours.core.machine import Machine
from smallhours.core.reasons import Paused
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.core.trial import AttemptKey

#: A Monday, 22:00.
BEGAN = e.WallTime(unix=1_767_996_000.0, week_minute=22 * 60.0)
#: Ticks come less often than in an engine, except when the deadline is near.
COARSE_S, FINE_S, FINE_FOR_S = 10.0, 1.0, 1500.0
#: The other way: everything is paused this long before the deadline.
NAIVE_S = 60.0
#: More trials than a night has time for.
ENDLESS = 5000
MIXES = ((1.0, 1.0), (1.0, 3.0), (1.0, 10.0), (1.0, 2.0, 3.0))
#: Seconds of a trial, of every other study.
KINDS = {"2 s": (2.0, 2.0), "10 s": (10.0, 10.0), "40 s": (40.0, 40.0), "2, 40 s": (2.0, 40.0)}
SHARES_FOR_S = 600.0


@dataclass(frozen=True)
class Work:
    """A study, and how its trials go."""

    name: str
    trials: int
    steps: int
    #: Seconds of a step of the trial in the middle.
    step_s: float
    weight: float = 1.0
    confirm: int = 0
    saves: bool = True
    #: Seconds from hearing that it must end to the end, the checkpoint included.
    leaving_s: float = 1.0
    rule: str = "median"
    #: Spread of the trials' paces: sigma of a lognormal distribution.
    spread: float = 0.5
    #: Each step takes up to this share less or more (0.35: standard deviation 0.2).
    jitter: float = 0.35

    @property
    def spec(self) -> StudySpec:
        """The study as the core sees it."""
        return StudySpec(
            name=self.name,
            metric="loss",
            goal=Goal.MINIMIZE,
            space=(Dimension(name="x", kind="float", low=0.0, high=1.0),),
            baseline={"x": 0.5},
            trials=self.trials,
            steps=self.steps,
            confirm=self.confirm,
            hang_s=10_000.0,
            weight=self.weight,
            stopping=Stopping(rule=self.rule),
        )

    def script(self, order: a.Start, seed: int) -> Script:
        """Return how an attempt goes; the attempts of a trial share pace and curve."""
        rng = random.Random(f"{seed}/{self.name}/{order.key.trial}")
        pace = self.step_s * math.exp(rng.gauss(0.0, self.spread))
        floor = 0.5 * abs(float(order.params["x"] or 0) - 0.2) + 0.1 * rng.random()
        speed, noise = math.exp(rng.gauss(1.5, 0.5)), rng.randrange(2**30)

        def curve(step: int) -> dict[str, float]:
            wobble = 0.03 * random.Random(noise + step).gauss(0.0, 1.0)
            return {"loss": floor + 2.0 * math.exp(-speed * step / self.steps) + wobble}

        return Script(
            curve=curve,
            steps=self.steps,
            start_s=0.2,
            step_s=pace,
            jitter=self.jitter,
            checkpoint_every=max(1, round(30.0 / pace)) if self.saves else None,
            unwind_s=self.leaving_s,
        )


def some_work(rng: random.Random, name: str, trials: int, *, confirm: int = 0) -> Work:
    """Draw a study: trials of 2 minutes to 2 hours, reports 1 s to 10 minutes apart."""
    trial_s = _between(rng, 120.0, 7200.0)
    step_s = min(max(_between(rng, 1.0, 600.0), trial_s / 150.0), trial_s / 4.0)
    return Work(
        name=name,
        trials=trials,
        steps=round(trial_s / step_s),
        step_s=step_s,
        weight=_between(rng, 0.3, 3.0),
        confirm=confirm,
        saves=rng.random() < 0.75,
        leaving_s=_between(rng, 1.0, 20.0),
    )


def _between(rng: random.Random, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return low * (high / low) ** rng.random()


class Night(Simulation):
    """A session with some work, and what came of it."""

    def __init__(self, work: Sequence[Work], slots: int, seed: int) -> None:
        of = dict(enumerate(work, start=1))
        backend = SimulatedBackend(
            slots, lambda order: of[order.key.study].script(order, seed), seed
        )
        machine = Machine(rules.make)
        super().__init__(machine, backend, suggester=RandomSuggester(seed), began=BEGAN)
        for one in work:
            self.submit(one.spec)

    def attempts(self) -> Iterator[tuple[float, float, AttemptKey, f.AttemptEnded | None]]:
        """Yield begin, end and last fact of every attempt; for one that lives, now and None."""
        began: dict[AttemptKey, float] = {}
        for at, fact in self.facts:
            if isinstance(fact, f.AttemptStarted):
                began[f.key_of(fact)] = at
            elif isinstance(fact, f.AttemptEnded):
                yield began.pop(f.key_of(fact)), at, f.key_of(fact), fact
        for key, at in began.items():
            yield at, self.timeline.mono(), key, None


# --- shares ----------------------------------------------------------------------------------


def shares(pool: Pool, seeds: int) -> list[dict[str, Any]]:
    """Measure how far slot time is from its due after ten minutes, by weights and durations."""
    rows = []
    for weights in MIXES:
        for kind, trial_s in KINDS.items():
            tasks = [(weights, trial_s, seed) for seed in range(seeds)]
            found = pool.starmap(share_errors, tasks)
            rows.append({
                "weights": ":".join(f"{weight:g}" for weight in weights),
                "trials": kind,
                **_spread("relative", [relative for relative, _ in found]),
                **_spread("points", [points for _, points in found]),
            })  # fmt: skip
    return rows


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name} {q}": quantile(values, at)
        for q, at in (("median", 0.5), ("p95", 0.95), ("worst", 1.0))
    }


def share_errors(
    weights: Sequence[float], trial_s: tuple[float, float], seed: int
) -> tuple[float, float]:
    """Return the largest error of a study's share, relative to its due and in points of all."""
    plain = {"trials": ENDLESS, "steps": 10, "rule": "none", "leaving_s": 0.05}
    work = [
        Work(name=f"w{n}", step_s=trial_s[n % 2] / 10.0, weight=weight, **plain)  # type: ignore[arg-type]
        for n, weight in enumerate(weights)
    ]
    night = Night(work, 2, seed)
    night.run(until=1.0 + SHARES_FOR_S)
    used = dict.fromkeys(range(1, len(weights) + 1), 0.0)
    for began, ended, key, _ in night.attempts():
        used[key.study] += ended - began
    errors = []
    for number, weight in enumerate(weights, start=1):
        due, got = weight / sum(weights), used[number] / sum(used.values())
        errors.append((abs(got / due - 1.0), abs(got - due)))
    return max(relative for relative, _ in errors), max(points for _, points in errors)


# --- the deadline ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a night with a deadline ended."""

    #: Seconds from the deadline to the end of the last process; below 0: it was in time.
    late_s: float
    #: Of the slot time until the deadline: how much was not used, and used for nothing.
    unused: float
    wasted: float
    #: Trials that were paused, and those of them that lost all or some of their work.
    paused: int
    lost: int


def until(seed: int, way: Literal["smallhours", "naive"]) -> Ended:
    """Run a night with more work than it has time for."""
    rng = random.Random(f"until/{seed}")
    work = [some_work(rng, f"w{n}", ENDLESS) for n in range(rng.randint(1, 3))]
    slots, deadline_s = rng.randint(1, 3), rng.uniform(5.0, 9.0) * 3600.0
    night = Night(work, slots, seed)
    night.tick_s = COARSE_S
    night.timeline.after(deadline_s - FINE_FOR_S, lambda: setattr(night, "tick_s", FINE_S))
    ids = {"by": "ada"}
    if way == "smallhours":
        till = BEGAN.unix + deadline_s
        night.request(lambda at, r: e.DeadlineRequested(at=at, request=r, until=till, **ids))
    else:
        night.request(
            lambda at, r: e.PauseRequested(at=at, request=r, study=None, **ids),
            after_s=deadline_s - NAIVE_S,
        )
    night.run(until=deadline_s + 7200.0)
    return _ended(night, slots, deadline_s)


def _ended(night: Night, slots: int, deadline_s: float) -> Ended:
    used = wasted = last = 0.0
    paused = lost = 0
    for began, ended, _, fact in night.attempts():
        used += max(0.0, min(ended, deadline_s) - began)
        last = max(last, ended)
        if fact is None or not isinstance(fact.reason, Paused):
            continue
        study = night.machine.state.studies[fact.study]
        repeated, share = fact.reason.steps_repeated, 0.0
        paused += 1
        if repeated:
            lost += 1
            trial = study.trials[fact.trial]
            share = min(1.0, repeated / max(1, trial.last_step))
        wasted += share * fact.seconds
    whole = slots * deadline_s
    return Ended(last - deadline_s, 1.0 - used / whole, wasted / whole, paused, lost)


# --- the forecast ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Foretold:
    """What was foretold at half time, against what came."""

    #: Error of the time that was left, relative to it; below 0: it came later than foretold.
    of_rest: float | None
    whole_s: float


def half_time(seed: int) -> Foretold:
    """Run a queue to its end; compare with what was foretold at half time."""
    rng = random.Random(f"forecast/{seed}")
    slots, count = rng.randint(1, 3), rng.randint(1, 3)
    work = []
    for n in range(count):
        one = some_work(rng, f"w{n}", 0, confirm=rng.choice((0, 0, 3)))
        of_night = slots * rng.uniform(4.0, 9.0) * 3600.0 / count
        trials = max(8, min(400, round(of_night / (0.7 * one.steps * one.step_s))))
        work.append(Work(**{**vars(one), "trials": trials}))
    night = Night(work, slots, seed)
    night.tick_s = 30.0
    told: list[tuple[float, float | None]] = []

    def look() -> None:
        outlooks = forecast.forecast(night.machine.night, None)
        times = [outlook.done_s for outlook in outlooks]
        known = [seconds for seconds in times if seconds is not None]
        rest = max(known) if known and len(known) == len(times) else None
        told.append((night.timeline.mono(), rest))
        if night.finished is None:
            night.timeline.after(120.0, look)

    night.timeline.after(120.0, look)
    night.run()
    whole_s = night.facts[-1][0]
    at, rest = min(told, key=lambda said: abs(said[0] - whole_s / 2.0))
    left = whole_s - at
    return Foretold(None if rest is None else (rest - left) / left, whole_s)


# --- tables ----------------------------------------------------------------------------------


def show_shares(rows: Sequence[dict[str, Any]]) -> None:
    """Print how far slot time was from its due."""
    columns = tuple(rows[0])
    show(
        f"Slot time after {SHARES_FOR_S / 60:.0f} min on 2 slots: largest error of a study's share",
        columns,
        [tuple(row.values()) for row in rows],
    )


def tell_until(nights: Sequence[Ended]) -> dict[str, float | None]:
    """Sum up how nights with a deadline ended."""
    late = [night.late_s for night in nights]
    paused = sum(night.paused for night in nights)
    return {
        "in time": sum(one <= 0.0 for one in late) / len(late),
        "late p99 s": max(0.0, quantile(late, 0.99) or 0.0),
        "late worst s": max(0.0, *late),
        "unused median": quantile([night.unused for night in nights], 0.5),
        "unused mean": sum(night.unused for night in nights) / len(nights),
        "for nothing mean": sum(night.wasted for night in nights) / len(nights),
        "paused a night": paused / len(nights),
        "of those lost work": sum(night.lost for night in nights) / max(1, paused),
    }


def tell_forecast(nights: Sequence[Foretold]) -> dict[str, float | None]:
    """Sum up how far off the forecasts were."""
    errors = [night.of_rest for night in nights if night.of_rest is not None]
    return {
        "nights": float(len(nights)),
        "not known": float(len(nights) - len(errors)),
        "of the rest, median": quantile([abs(x) for x in errors], 0.5),
        "of the rest, p90": quantile([abs(x) for x in errors], 0.9),
        "of the whole, median": quantile([abs(x) / 2.0 for x in errors], 0.5),
        "bias, median": quantile(errors, 0.5),
        "hours, median": (quantile([night.whole_s for night in nights], 0.5) or 0.0) / 3600.0,
    }


def _one_until(seed: int) -> tuple[Ended, Ended]:
    return until(seed, "smallhours"), until(seed, "naive")


def main() -> None:
    """Answer the questions that were asked; none asked: all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for question in ("shares", "until", "forecast"):
        parser.add_argument(f"--{question}", action="store_true", help="this question only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the nights")
    given = parser.parse_args()
    every = not (given.shares or given.until or given.forecast)
    seeds = range(20 if given.quick else 200)
    figures: dict[str, Any] = {"nights": len(seeds)}
    with multiprocessing.Pool(2) as pool:
        if given.shares or every:
            figures["shares"] = shares(pool, max(10, len(seeds) // 4))
            show_shares(figures["shares"])
        if given.until or every:
            ended = pool.map(_one_until, seeds, chunksize=4)
            ours, naive = (tell_until([pair[n] for pair in ended]) for n in (0, 1))
            figures["until"] = {"smallhours": ours, "naive": naive}
            rows = [(key, ours[key], naive[key]) for key in ours]
            show(f"Deadline, {len(seeds)} nights", ("what", "--until", "pause at -60 s"), rows)
        if given.forecast or every:
            told = tell_forecast(pool.map(half_time, seeds, chunksize=4))
            figures["forecast"] = told
            show("Forecast at half time: error", ("what", "value"), list(told.items()))
    save("nights", figures)


if __name__ == "__main__":
    main()
