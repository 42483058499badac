"""What stopping rules save and what they cost, on all curve tables: the frontier between the two.

The tables are in `curves/` (`curves/make.py` trains them). LCDB is a stress table of another kind
(`lcdb.py`), told apart from them, where its sdist is given:

    python benchmarks/stopping.py [--studies 300] [--seed 0] [--rule NAME:...] [--lcdb SDIST]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import HERE, save, show

from smallhours import stopping
from smallhours.replay.contenders import NO_STOPPING, PEERS, Contender, parse
from smallhours.replay.measure import TRIALS, Plan, Result, Score, replay, setting
from smallhours.replay.table import Table, read

#: Options of the rules beside those that they come with.
VARIANTS = (
    "median:warmup=1,startup=5",
    "median:warmup=20,startup=5",
    "median:warmup=5,startup=15",
    "asha:eta=2,grace=5",
    "asha:eta=3,grace=9",
    "asha:eta=2,grace=20",
)
#: Studies of each LCDB table: there are hundreds of tables, and few learners to draw from.
_LCDB_STUDIES = 3
_COLUMNS = ("rule", "speed-up", "regret mean", "p95", "false stops", "frontier")


def main() -> None:
    """Replay every table and print what came of each and of all together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rule", action="append", help="this one only; may be given again")
    parser.add_argument("--lcdb", type=Path, metavar="SDIST")
    parser.add_argument("--quick", action="store_true", help="50 studies a table")
    args = parser.parse_args()
    studies = 50 if args.quick else args.studies
    texts = args.rule or [
        *(name for name in stopping.NAMES if name != NO_STOPPING.label),
        *VARIANTS,
    ]
    started = time.perf_counter()
    plan = Plan(TRIALS, args.workers, studies, args.seed)
    tables = [read(path) for path in sorted((HERE / "curves").glob("*.npz"))]
    figures = _all(tables, texts, plan, args.jobs, apart=True)
    if args.lcdb is not None:
        from lcdb import tables as lcdb_tables  # not above: it needs pandas

        few = Plan(TRIALS, args.workers, _LCDB_STUDIES, args.seed)
        # Variants may ask for more steps than these tables have.
        plain = [text for text in texts if text in stopping.NAMES]
        figures["lcdb"] = _all(lcdb_tables(args.lcdb), plain, few, args.jobs, apart=False)["all"]
    print(f"  {time.perf_counter() - started:.0f} s")
    save("stopping", {"studies": studies, "workers": args.workers, "tables": figures})


def _all(
    tables: Iterable[Table], texts: Sequence[str], plan: Plan, jobs: int, *, apart: bool
) -> dict[str, Any]:
    """Replay tables; print each (`apart`) and all together, return the figures by table."""
    figures: dict[str, Any] = {}
    pooled: dict[str, list[Result]] = {}
    count = 0
    for table in tables:
        count += 1
        own = Plan(min(plan.trials, table.configs), plan.workers, plan.studies, plan.seed)
        contenders: list[Contender] = [*PEERS]
        contenders += [parse(text, setting(table, own)) for text in texts]
        played = replay(table, contenders, own, jobs)
        for contender, results in zip(contenders, played, strict=True):
            pooled.setdefault(contender.label, []).extend(results)
        if apart:
            scores = [Score.of(one.label, got) for one, got in zip(contenders, played, strict=True)]
            figures[table.name] = [asdict(score) for score in scores]
            _print(f"{table.name} ({own.studies} studies of {own.trials} trials)", scores)
    scores = [Score.of(label, results) for label, results in pooled.items()]
    figures["all"] = [asdict(score) for score in scores]
    _print(f"all {count} tables, every study counting the same", scores)
    return figures


def _print(title: str, scores: Sequence[Score]) -> None:
    ranked = sorted(scores, key=lambda score: score.speedup)
    show(
        title,
        _COLUMNS,
        [
            (
                score.rule,
                f"{score.speedup:.2f}x",
                f"{score.mean_regret:.2f}",
                f"{score.p95_regret:.2f}",
                "–" if score.false_stop_share is None else f"{100 * score.false_stop_share:.1f} %",
                "" if any(_beats(other, score) for other in scores) else "*",
            )
            for score in ranked
        ],
    )


def _beats(one: Score, other: Score) -> bool:
    """Say whether one is as good as another in speed and in false stops, and better in one."""
    ours = (one.speedup, -(one.false_stop_share or 0.0))
    theirs = (other.speedup, -(other.false_stop_share or 0.0))
    return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
