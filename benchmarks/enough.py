"""What the study's own end saves and what it costs, on the curve tables in `curves/`.

Studies are drawn from each table as `smallhours replay` draws them, run one trial at a time under
the default stopping rule, and ended where `core.enough` says so:

    python benchmarks/enough.py [--studies 100] [--seed 0]
"""

from __future__ import annotations

import argparse
import math
import random
from typing import Any

from common import HERE, save, show

from smallhours import rules
from smallhours.core import enough
from smallhours.core.model import Standing, Study, Trial
from smallhours.core.reasons import Completed
from smallhours.core.reasons import Diverged as Bad
from smallhours.core.spec import Dimension, Goal, Stopping, StudySpec
from smallhours.core.trial import Role, TrialState
from smallhours.replay.night import draw
from smallhours.replay.table import Table, read

TRIALS = (100, 200, 400)
_COLUMNS = (
    "table",
    "trials",
    "ended early",
    "trials saved",
    "compute saved",
    "worse by, mean",
    "p95",
)


def main() -> None:
    """Play every table and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="10 studies a table")
    args = parser.parse_args()
    studies = 10 if args.quick else args.studies
    figures: list[dict[str, Any]] = []
    for path in sorted((HERE / "curves").glob("*.npz")):
        table = read(path)
        for trials in TRIALS:
            played = [_play(table, trials, f"{args.seed}/{n}") for n in range(studies)]
            figures.append({"table": table.name, "trials": trials, **_summed(played)})
    rows = [
        (
            one["table"],
            str(one["trials"]),
            f"{one['ended_early']:.0%}",
            f"{one['trials_saved']:.1%}",
            f"{one['compute_saved']:.1%}",
            f"{one['regret_mean']:.2f}",
            f"{one['regret_p95']:.2f}",
        )
        for one in figures
    ]
    show(f"the study's own end, {studies} studies each; worse by: in seed-SD", _COLUMNS, rows)
    save("enough", {"studies": studies, "seed": args.seed, "figures": figures})


def _play(table: Table, trials: int, seed: str) -> tuple[float, float, float]:
    """Return the shares of trials and of compute that were saved, and the loss in seed-SD."""
    drawn = draw(table, trials, random.Random(seed))
    study = _study(table, trials)
    picks: list[int] = []
    seconds: list[float] = []
    end: int | None = None
    for number, recorded in enumerate(drawn):
        trial = Trial(
            study=1, number=number, params={"x": number / trials}, seed=number, role=Role.SEARCH,
            of=None,
        )  # fmt: skip
        study.trials[number] = trial
        study.searched += 1
        study.last_number = number
        seconds.append(_run(study, trial, recorded.values[: recorded.whole_steps], recorded))
        picks.append(-1 if study.best is None else drawn[study.best].config)
        if end is None and enough.judge(study) is not None:
            end = number
    if end is None:
        return 0.0, 0.0, 0.0
    sign = 1.0 if table.goal is Goal.MAXIMIZE else -1.0
    loss = sign * (table.scores[picks[-1]] - table.scores[picks[end]]) / (table.seed_sd or 1.0)
    return 1 - (end + 1) / trials, 1 - math.fsum(seconds[: end + 1]) / math.fsum(seconds), loss


def _run(study: Study, trial: Trial, values: Any, recorded: Any) -> float:
    """Let a trial run until it ends or the rule stops it; return its seconds."""
    last = study.spec.steps
    cut = None
    for step, value in enumerate(values, start=1):
        trial.curve[step], trial.last_step = value, step
        study.rule.observe(trial.number, step, trial.curve)
        if math.isfinite(value) and step < last:
            cut = study.rule.decide(trial.number, step, trial.curve)
        if cut is not None:
            break
    whole = cut is None and not recorded.diverges
    study.rule.close(trial.number, trial.curve, completed=whole)
    trial.state = TrialState.ENDED
    trial.reason = cut or (
        Completed(steps=last, metrics={})
        if whole
        else Bad(metric="loss", value="nan", step=trial.last_step, limit=None)
    )
    score = trial.score(study.spec)
    before = study.best_score
    if whole and score is not None and (before is None or study.spec.goal.better(score, before)):
        study.best, study.best_score = trial.number, score
    return float(recorded.took_s(trial.last_step))


def _study(table: Table, trials: int) -> Study:
    spec = StudySpec(
        name=table.name, metric="loss", goal=table.goal, trials=trials, steps=table.steps,
        space=(Dimension(name="x", kind="float", low=0.0, high=1.0),), baseline={"x": 0.5},
        stopping=Stopping(rule="extrapolate"),
    )  # fmt: skip
    return Study(
        id=1, spec=spec, snapshot="", digest="", source="", module="", cwd="",
        rule=rules.make(spec), standing=Standing.of(spec, 1.0),
    )  # fmt: skip


def _summed(played: list[tuple[float, float, float]]) -> dict[str, float]:
    count = len(played)
    losses = sorted(loss for _, _, loss in played)
    return {
        "ended_early": sum(saved > 0 for saved, _, _ in played) / count,
        "trials_saved": math.fsum(saved for saved, _, _ in played) / count,
        "compute_saved": math.fsum(saved for _, saved, _ in played) / count,
        "regret_mean": math.fsum(losses) / count,
        "regret_p95": losses[math.ceil(0.95 * count) - 1],
    }


if __name__ == "__main__":
    main()
