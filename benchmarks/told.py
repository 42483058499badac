"""What a search makes of out-of-memory trials, by what it is told of them (ADR 9).

Half of the space runs out of memory, and the optimum of the rest of the objective lies in that
half (or nine tenths run out). Of the trials that fit, a given share is stopped early, and none
of the better half where that is enough. Told ``complete``: with the worst value seen so far;
``pruned``: stopped, without a value; ``fail``: failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from common import save, show

from smallhours.core.actions import Outcome
from smallhours.core.spec import Dimension, Goal, Params, Sampler, StudySpec
from smallhours.search import PastTrial, Search

AXES = tuple(Dimension(name=f"x{i}", kind="float", low=0.0, high=1.0) for i in range(4))
#: Where the objective is best: well inside the half that does not fit.
BEST = (0.8, 0.75, 0.3, 0.6)
#: Trials before the count begins, and trials that are counted.
FIRST, COUNTED = 10, 50
#: Trials that run at a time.
SLOTS = 2
REGIONS = ("one axis", "diagonal", "nine tenths")
TOLD: tuple[Outcome, ...] = ("complete", "pruned", "fail")


@dataclass(frozen=True)
class Case:
    sampler: str
    region: str
    #: Of the trials that fit.
    pruned: float
    told: Outcome
    seed: int


@dataclass(frozen=True)
class Result:
    case: Case
    #: Proposals among the counted that ran out of memory.
    ooms: int
    #: Best value of all trials that completed.
    best: float
    #: Of the trials that fit.
    pruned: float


def fits(params: Params, region: str) -> bool:
    x0, x1 = float(params["x0"] or 0), float(params["x1"] or 0)
    if region == "diagonal":
        return x0 + x1 < 1.0
    return x0 < (0.5 if region == "one axis" else 0.1)


def loss(params: Params) -> float:
    return sum(
        (float(params[axis.name] or 0) - best) ** 2 for axis, best in zip(AXES, BEST, strict=True)
    )


def run(case: Case) -> Result:
    os.nice(15)
    spec = StudySpec(
        name="told", metric="loss", goal=Goal.MINIMIZE, space=AXES,
        baseline=dict.fromkeys((axis.name for axis in AXES), 0.05), trials=FIRST + COUNTED,
        steps=9, seed=case.seed, sampler=Sampler(name=case.sampler, options={}),
    )  # fmt: skip
    search = Search(spec)
    chance = random.Random(case.seed)
    baseline = PastTrial(trial=0, params=spec.baseline)
    search.add(baseline)
    search.tell(0, "complete", loss(spec.baseline), 9)
    losses, best, ooms, whole = [loss(spec.baseline)], loss(spec.baseline), 0, 1
    running: deque[PastTrial] = deque()

    def end_oldest() -> None:
        nonlocal best, whole
        past = running.popleft()
        if not fits(past.params, case.region):
            worst = max(losses) if case.told == "complete" else None
            search.tell(past.trial, case.told, worst, 9 if worst is not None else None)
            return
        value = loss(past.params) + chance.gauss(0.0, 0.01)
        losses.append(value)
        rank = sum(other < value for other in losses) / len(losses)
        if whole >= (1.0 - case.pruned) * len(losses) or rank > max(0.5, 1.0 - case.pruned):
            step = chance.randint(1, 8)
            search.tell(past.trial, "pruned", value + 0.3 * (1 - step / 9), step)
        else:
            best, whole = min(best, value), whole + 1
            search.tell(past.trial, "complete", value, 9)

    for number in range(1, FIRST + COUNTED + 1):
        while len(running) >= SLOTS:
            end_oldest()
        past = PastTrial(trial=number, params=search.ask(number))
        running.append(replace(past, outcome=None))
        ooms += number > FIRST and not fits(past.params, case.region)
    while running:
        end_oldest()
    return Result(case, ooms, best, 1 - whole / len(losses))


def cases(sampler: str, shares: tuple[float, ...], seeds: int) -> Iterator[Case]:
    for region in REGIONS:
        for share in shares:
            for how in TOLD:
                for seed in range(seeds):
                    yield Case(sampler, region, share, how, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="three seeds")
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.5, 0.75, 0.9, 0.95])
    options = parser.parse_args()
    seeds = 3 if options.quick else options.seeds
    figures: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for sampler in options.samplers:
            results = pool.map(run, cases(sampler, tuple(options.shares), seeds))
            for region in REGIONS:
                for share in options.shares:
                    some = [r for r in results if (r.case.region, r.case.pruned) == (region, share)]
                    by = {how: [r for r in some if r.case.told == how] for how in TOLD}
                    pairs = list(zip(by["complete"], by["pruned"], strict=True))
                    better = sum(b.ooms < a.ooms for a, b in pairs)
                    worse = sum(b.ooms > a.ooms for a, b in pairs)
                    rows.append(
                        [
                            sampler,
                            region,
                            statistics.mean(r.pruned for r in some),
                            *(statistics.mean(r.ooms for r in of) for of in by.values()),
                            f"{better}:{worse}",
                            *(statistics.median(r.best for r in of) for of in by.values()),
                        ]
                    )
                    figures.append(
                        {
                            "sampler": sampler, "region": region, "share": share,
                            "ooms": {how: [r.ooms for r in of] for how, of in by.items()},
                            "best": {how: [r.best for r in of] for how, of in by.items()},
                        }
                    )  # fmt: skip
    show(
        f"Out of memory in {COUNTED} trials after the first {FIRST}: mean of {seeds} seeds",
        ("sampler", "region", "pruned", "worst", "pruned", "fail", "pruned better:worse",
         "best: worst", "pruned", "fail"),
        rows,
    )  # fmt: skip
    save("told", {"rows": figures})


if __name__ == "__main__":
    main()
