"""`smallhours replay`: what stopping rules would have saved and lost on recorded curves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from smallhours import stopping
from smallhours.commands import documents
from smallhours.errors import StudyFileError, UsageError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.replay.contenders import NO_STOPPING, PEERS, ByRule, Contender, Setting, parse
from smallhours.replay.measure import TRIALS, Plan, Score, setting
from smallhours.replay.measure import replay as play
from smallhours.replay.table import Table, read
from smallhours.text import Page, count, number, percent


def replay(
    _home: Home,
    *,
    path: Path,
    named: list[str],
    trials: int | None,
    workers: int,
    studies: int,
    seed: int,
    as_json: bool,
    out: TextIO,
) -> int:
    """Print what each rule saved and lost; JSON: see docs/replay.md.

    Args:
        path: The table.
        named: Rules as they were written; empty: all that a study can name by a word.
        trials: Trials of each study; None: 48, or as many as the table has configurations.
        workers: Trials that run at the same time.
        studies: How many studies are drawn.
        seed: What they are drawn from.
        as_json: Print one JSON object instead of a table.
        out: Where to print.

    Returns:
        0.

    Raises:
        UsageError: the file can't be replayed, or a rule is not known.
    """
    table = read(path)
    plan = Plan(_trials(path, table, trials), workers, studies, seed)
    contenders = _contenders(named, setting(table, plan))
    with working("replaying", quiet=as_json):
        played = play(table, contenders, plan)
    scores = [
        Score.of(contender.label, results)
        for contender, results in zip(contenders, played, strict=True)
    ]
    if as_json:
        documents.write(out, _document(table, plan, scores))
    else:
        _print(Page(out), table, plan, scores)
    return 0


def _trials(path: Path, table: Table, wanted: int | None) -> int:
    """Return how many trials a study has.

    Raises:
        StudyFileError: the table has too few configurations for as many as are wanted.
    """
    if wanted is None:
        return min(TRIALS, table.configs)
    if wanted > table.configs:
        raise StudyFileError(
            str(path),
            "curves",
            f"{count(table.configs, 'configuration')}, too few for studies of {wanted} trials;"
            f" --trials {table.configs} is the most",
        )
    return wanted


def _contenders(named: list[str], common: Setting) -> list[Contender]:
    """Return the peers and the rules that were asked for, each once."""
    if named:
        asked = [parse(text, common) for text in dict.fromkeys(named)]
    else:
        asked = list(_that_fit(common))
    return [*PEERS, *(each for each in asked if each != NO_STOPPING)]


def _that_fit(common: Setting) -> Iterator[ByRule]:
    """Yield the rules as they come, without those that want more steps than the trials have."""
    for name in stopping.NAMES:
        with suppress(UsageError):
            yield parse(name, common)


def _document(table: Table, plan: Plan, scores: list[Score]) -> dict[str, object]:
    return {
        "table": table.name,
        "goal": table.goal,
        "configs": table.configs,
        "steps": table.steps,
        "seed_sd": table.seed_sd,
        "trials": plan.trials,
        "workers": plan.workers,
        "studies": plan.studies,
        "seed": plan.seed,
        "rules": scores,
    }


def _print(page: Page, table: Table, plan: Plan, scores: list[Score]) -> None:
    page.paragraph(
        f"{table.name}: {count(plan.studies, 'study', 'studies')} of"
        f" {count(plan.trials, 'trial')}, {count(plan.workers, 'worker')}; drawn from"
        f" {count(table.configs, 'configuration')} of {count(table.steps, 'step')}"
    )
    page.table(
        ("rule", "speed-up", "regret, mean", "p95", "clear false stops"),
        [
            (
                score.rule,
                f"{score.speedup:.2f}x",
                number(round(score.mean_regret, 3)),
                number(round(score.p95_regret, 3)),
                "–" if score.false_stop_share is None else percent(score.false_stop_share),
            )
            for score in scores
        ],
        right="lrrrr",
        shrink=(0,),
    )
    page.paragraph(_footnote(table))


def _footnote(table: Table) -> str:
    regret = "Regret in percentage points of the metric, against the pick without stopping."
    if table.seed_sd is None:
        return (
            f"{regret} No configuration has a second seed: nobody can tell which false stop is"
            " clear."
        )
    return (
        f"{regret} A false stop is clear where the stopped trial's score beats the pick's by more"
        f" than two standard deviations between seeds (of {number(table.seed_sd)} each); the share"
        " is that of studies with one or more."
    )
