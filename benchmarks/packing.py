"""How near the packer comes to the best schedule that a search finds which knows everything.

Workloads are drawn from seeds (`mixes.py`): 60 trials of 2 to 5 studies, every other under MPS.
The packer is told no compute and no memory, only beliefs of the memory that are off by a factor of
e^0.3. All policies run through the same interference; what runs out of memory is tried again alone.

    python benchmarks/packing.py [--seeds 200] [--first 0] [--tries 500] [--jobs 2] [--quick]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from common import quantile, save, show
from mixes import CARDS, MIXES, Mix, workload

from smallhours import rules
from smallhours.packing.order import Turns
from smallhours.simulate.cards import Outcome, Policy, Run
from smallhours.simulate.night import CoreRun
from smallhours.simulate.oracle import TRIES, Oracle
from smallhours.simulate.policies import AllKnown, Packed, Slots, new_packer
from smallhours.simulate.workload import Workload

#: The production core with its queue and its packer, as `smallhours simulate` runs it. It takes
#: longer than all others together: of every so many seeds two are run, one with either sharing.
CORE = "smallhours, core"
CORE_EVERY = 50
POLICIES = ("exclusive", "static 2", "static 4", "static 8", "memory only", "smallhours, all known",
            "smallhours, longest first", "smallhours")  # fmt: skip


def policy(name: str, work: Workload) -> Policy:
    """Return a policy by its name in the table."""
    if name == "exclusive":
        return Slots(work, 1)
    if name.startswith("static"):
        return Slots(work, int(name.split()[1]))
    if name == "memory only":
        return Slots(work, None, memory=True)
    if name == "smallhours, all known":
        return Packed(work, AllKnown(work))
    packer = new_packer(work)
    if name == "smallhours, longest first":
        packer.turns = Turns(slack_trials=1e9)
    return Packed(work, packer)


def alone(work: Workload) -> dict[str, float]:
    """Return the seconds that each study takes with nothing beside it."""
    found = {}
    for study in work.studies:
        own = tuple(trial for trial in work.trials if trial.study == study.name)
        begins = min(trial.arrival_s for trial in own)
        own_work = replace(
            work,
            studies=(study,),
            trials=tuple(replace(trial, arrival_s=trial.arrival_s - begins) for trial in own),
        )
        found[study.name] = Run(own_work, Packed(own_work)).go().makespan_s
    return found


def unfairness(work: Workload, outcome: Outcome, alone_s: dict[str, float]) -> dict[str, float]:
    """Return each study's time to finish over what it would be alone on its share."""
    total = sum(study.weight for study in work.studies)
    found = {}
    for study in work.studies:
        own = [trial for trial in work.trials if trial.study == study.name]
        took_s = max(outcome.finished_s[t.name] for t in own) - min(t.arrival_s for t in own)
        found[study.name] = took_s / (alone_s[study.name] * total / study.weight)
    return found


def measure(mix: Mix, cards: str, tries: int, seed: int) -> dict[str, Any]:
    """Run one workload under every policy."""
    work = workload(mix, cards, seed)
    best = Oracle(work).search(tries)
    found: dict[str, Any] = {"mix": mix, "cards": cards, "seed": seed, "tries": best.tries}
    outcomes = {name: Run(work, policy(name, work)).go() for name in POLICIES}
    if seed % CORE_EVERY in (0, 1):
        outcomes[CORE] = CoreRun(work, rules.make).go()
    # What a policy found without running out of memory, the search might have found too.
    clean = [o for o in outcomes.values() if not o.overcommits]
    oracle = min([best.makespan_s, *(o.makespan_s for o in clean)])
    found["oracle_s"] = oracle
    for name, outcome in outcomes.items():
        assert not outcome.left, (mix, cards, seed, name, outcome.left)
        found[name] = {
            "ratio": outcome.makespan_s / oracle,
            "bytes": outcome.mean_bytes / best.mean_bytes,
            "admissions": outcome.admissions,
            "overcommits": outcome.overcommits,
        }
    alone_s = alone(work)
    for name in ("smallhours", "smallhours, longest first", CORE):
        if name in outcomes:
            found[name]["unfair"] = max(unfairness(work, outcomes[name], alone_s).values())
    return found


def table(rows: list[dict[str, Any]], title: str) -> None:
    """Print how each policy did."""
    lines = []
    for name in (*POLICIES, CORE):
        mine = [row for row in rows if name in row]
        if not mine:
            continue
        ratios = [row[name]["ratio"] for row in mine]
        beside = [row[name]["ratio"] / row["exclusive"]["ratio"] for row in mine]
        admissions = sum(row[name]["admissions"] for row in mine)
        unfair = [row[name]["unfair"] for row in mine if "unfair" in row[name]]
        lines.append(
            (
                name,
                len(mine),
                f"{quantile(ratios, 0.5):.3f}",
                f"{quantile(ratios, 0.95):.3f}",
                f"{max(ratios):.3f}",
                f"{quantile(beside, 0.5):.3f}",
                f"{max(beside):.3f}",
                f"{1000 * sum(row[name]['overcommits'] for row in mine) / admissions:.2f}",
                f"{sum(row[name]['bytes'] for row in mine) / len(mine):.2f}",
                f"{quantile(unfair, 0.5):.2f}" if unfair else None,
                f"{quantile(unfair, 0.95):.2f}" if unfair else None,
                f"{max(unfair):.2f}" if unfair else None,
            )
        )
    columns = ("of the oracle", "runs", "median", "p95", "worst", "of exclusive", "worst",
               "over-commits/1000", "bytes of oracle's", "unfair", "p95", "worst")  # fmt: skip
    show(title, columns, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="a mix (200)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--tries", type=int, default=TRIES, help=f"of the oracle ({TRIES})")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--quick", action="store_true", help="4 seeds a mix, 100 tries")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.tries = 4, 100
    seeds = range(given.first, given.first + given.seeds)
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for mix in MIXES:
            for cards in CARDS:
                one = partial(measure, mix, cards, given.tries)
                some = list(pool.map(one, seeds, chunksize=2))
                table(some, f"{mix}, {cards} GB: {len(some)} seeds from {given.first}")
                rows += some
    table(rows, "all")
    save("packing", {"seeds": given.seeds, "first": given.first, "rows": rows})


if __name__ == "__main__":
    main()
