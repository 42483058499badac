"""Whether rechecks tell the truth: does their interval cover the true rate, and what do they cost.

Studies are played from the recorded curves under a rule. There every stopped trial's end is known,
so the true rate of false stops is, too. Then the same studies are played with rechecks: coins draw
stopped trials until so many are rechecked, and the interval is made of these alone. A replay is one
such sample; a rule's interval should cover its true rate in nine of ten replays or more.

    python benchmarks/recheck.py [--studies 300] [--replays 1000] [--rechecked 100] [--rule NAME]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import msgspec
from common import HERE, save, show

from smallhours import rules
from smallhours.core import recheck
from smallhours.core.spec import StudySpec
from smallhours.replay.contenders import ByRule, Setting, parse
from smallhours.replay.measure import TRIALS, Plan, setting
from smallhours.replay.night import Outcome, Recorded, draw, play
from smallhours.replay.table import Table, read
from smallhours.snapshot.rechecks import CLEARLY, LEVEL, Rate

RULES = ("extrapolate", "median", "asha")
SHARE = 0.03
_COLUMNS = ("table", "rule", "stops", "true rate", "covered", "half-width", "cost", "from step 1")


@dataclass(frozen=True, slots=True)
class Stop:
    """A stopped trial whose end is known."""

    number: int
    false: bool
    #: What it takes to run it to its end from where it was stopped, and from the beginning.
    rest_s: float
    whole_s: float


@dataclass(frozen=True, slots=True)
class Played:
    """A study under a rule, with all that its rechecks could find."""

    stops: tuple[Stop, ...]
    #: What all of it takes without stopping.
    whole_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of all replays of a rule on a table."""

    table: str
    rule: str
    stops: int
    true_rate: float
    #: Share of the replays whose interval holds the true rate.
    covered: float
    half_width_median: float
    half_width_worst: float
    #: Compute of the rechecks, what the studies take without stopping being 1.
    cost: float
    #: The same, had no trial saved a checkpoint.
    cost_without_checkpoints: float


def main() -> None:
    """Print a line for each table and rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--rechecked", type=int, default=100)
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--rule", action="append", help="this one only; may be given again")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="40 studies, 200 replays")
    args = parser.parse_args()
    studies, replays = (40, 200) if args.quick else (args.studies, args.replays)
    started = time.perf_counter()
    cases = [
        (path, rule)
        for path in sorted((HERE / "curves").glob("*.npz"))
        for rule in args.rule or RULES
    ]
    measure = partial(
        _measure, studies=studies, replays=replays, rechecked=args.rechecked, share=args.share
    )
    with ProcessPoolExecutor(args.jobs) as pool:
        found = list(pool.map(measure, cases))
    show(
        f"{replays} replays, {args.rechecked} rechecked in each, {100 * LEVEL:.0f} % intervals",
        _COLUMNS,
        [
            (
                each.table,
                each.rule,
                str(each.stops),
                f"{100 * each.true_rate:.2f} %",
                f"{100 * each.covered:.1f} %",
                f"{each.half_width_median:.3f}, {each.half_width_worst:.3f} at most",
                f"{100 * each.cost:.2f} %",
                f"{100 * each.cost_without_checkpoints:.2f} %",
            )
            for each in found
        ],
    )
    print(f"  {time.perf_counter() - started:.0f} s")
    figures = [asdict(each) for each in found]
    save(
        "recheck",
        {"studies": studies, "replays": replays, "share": args.share, "figures": figures},
    )


def _measure(
    case: tuple[Path, str], *, studies: int, replays: int, rechecked: int, share: float
) -> Figures:
    path, text = case
    table = read(path)
    plan = Plan(min(TRIALS, table.configs), studies=studies)
    common = setting(table, plan)
    rule = parse(text, common)
    population = [
        _play(table, rule, common, random.Random(f"{plan.seed}/{number}"))
        for number in range(studies)
    ]
    stops = sum(len(study.stops) for study in population)
    true_rate = sum(stop.false for study in population for stop in study.stops) / max(1, stops)
    spec = msgspec.structs.replace(common.spec(rule.stopping), recheck=share)
    samples = [
        _sample(population, spec, rechecked, random.Random(f"replay/{number}"))
        for number in range(replays)
    ]
    rates = [Rate.of(sample) for sample in samples]
    widths = [(rate.high - rate.low) / 2 for rate in rates]
    whole_s = math.fsum(study.whole_s for study in population)
    rest = math.fsum(stop.rest_s for study in population for stop in study.stops)
    again = math.fsum(stop.whole_s for study in population for stop in study.stops)
    return Figures(
        table=table.name,
        rule=rule.label,
        stops=stops,
        true_rate=true_rate,
        covered=sum(rate.low <= true_rate <= rate.high for rate in rates) / len(rates),
        half_width_median=statistics.median(widths),
        half_width_worst=max(widths),
        cost=share * rest / whole_s,
        cost_without_checkpoints=share * again / whole_s,
    )


def _play(table: Table, rule: ByRule, common: Setting, rng: random.Random) -> Played:
    """Play a study; a stop was false if the trial's own end beats the pick's clearly."""
    trials = draw(table, common.trials, rng)
    outcome = play(trials, rules.make(common.spec(rule.stopping)), common.workers)
    best = _pick(trials, outcome, common.sign)
    margin = CLEARLY * (table.seed_sd or 0.0)
    stops = []
    for number in outcome.stopped:
        trial, ran = trials[number], outcome.steps[number]
        end = trial.values[-1]
        stops.append(
            Stop(
                number=number,
                false=math.isfinite(end) and common.sign * end > best + margin,
                rest_s=trial.took_s(trial.whole_steps) - trial.took_s(ran),
                whole_s=trial.took_s(trial.whole_steps),
            )
        )
    return Played(tuple(stops), math.fsum(trial.took_s(trial.whole_steps) for trial in trials))


def _pick(trials: Sequence[Recorded], outcome: Outcome, sign: float) -> float:
    """Return the score of the best trial that was completed, more being better."""
    scores = [sign * trials[number].values[-1] for number in outcome.completed]
    return max(scores, default=-math.inf)


def _sample(
    population: Sequence[Played], spec: StudySpec, rechecked: int, rng: random.Random
) -> list[tuple[int, int]]:
    """Return false stops and rechecked trials of one study after the other, so many in all."""
    sample: list[tuple[int, int]] = []
    left = rechecked
    while left:
        seeded = msgspec.structs.replace(spec, seed=rng.getrandbits(31))
        study = rng.choice(population)
        drawn = [stop for stop in study.stops if recheck.drawn(seeded, stop.number)][:left]
        if drawn:
            sample.append((sum(stop.false for stop in drawn), len(drawn)))
            left -= len(drawn)
    return sample


if __name__ == "__main__":
    main()
