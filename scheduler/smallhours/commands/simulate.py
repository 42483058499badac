"""`smallhours simulate`: what the packer would make of a described workload, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from smallhours import rules
from smallhours.commands import documents
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.simulate.chart import chart, letters
from smallhours.simulate.oracle import TRIES
from smallhours.simulate.result import Result
from smallhours.simulate.result import simulate as run
from smallhours.simulate.workload import read
from smallhours.text import Page, count, duration, percent, size

#: Columns of the chart's label.
_LABEL = 2


def simulate(_home: Home, *, path: Path, tries: int | None, as_json: bool, out: TextIO) -> int:
    """Print when a workload would be done, what ran where and when, and the use of each device.

    JSON: see docs/simulate.md.

    Returns:
        0; 1 where trials were left that never ran.

    Raises:
        StudyFileError: the file is wrong.
    """
    workload = read(path)
    with working("simulating", quiet=as_json):
        result = run(workload, rules.make, TRIES if tries is None else tries)
    if as_json:
        documents.write(out, result.as_json())
    else:
        _print(Page(out), result)
    return 1 if result.outcome.left else 0


def _print(page: Page, result: Result) -> None:
    outcome, workload = result.outcome, result.workload
    done = f"{count(len(outcome.finished_s), 'trial')} done in {duration(outcome.makespan_s)}"
    times = result.exclusive.makespan_s / outcome.makespan_s
    page.line(f"{done}, {times:.2f} times as fast as one a device at a time")
    best = (
        f"{duration(result.oracle_s)} by a search of {count(result.tries, 'schedule')} that knows"
        f" everything; this took {result.ratio:.3f} times as long"
    )
    page.pairs(
        [
            ("one at a time", duration(result.exclusive.makespan_s)),
            ("best found", best),
            (
                "over-commits",
                f"{outcome.overcommits} of {count(outcome.admissions, 'start')}",
            ),
            ("never ran", ", ".join(outcome.left)),
        ]
    )
    letter = letters([study.name for study in workload.studies])
    of_trial = {trial.name: letter[trial.study] for trial in workload.trials}
    width = min(page.width, 80) - _LABEL
    for card in workload.cards:
        name, span_s = card.name, outcome.makespan_s
        page.line()
        page.line(
            f"{name} ({size(card.total_bytes)}): busy {percent(outcome.busy_s[name] / span_s)},"
            f" {size(outcome.byte_s[name] / span_s)} in use on average,"
            f" {outcome.work_s[name] / span_s:.2f} times the work of one trial alone"
        )
        spans = [span for span in outcome.spans if span.card == name]
        for line in chart(spans, of_trial, span_s, width):
            page.line(line, indent=_LABEL)
    end = duration(outcome.makespan_s)
    page.line("0" + end.rjust(width - 1), indent=_LABEL)
    page.line()
    page.paragraph(
        "; ".join(f"{letter[study.name]}: {study.name}" for study in workload.studies)
        + "; a capital where a trial begins, > paused, x out of memory, ! failed",
        indent=_LABEL,
    )
