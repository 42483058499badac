"""`smallhours verify`: checks the ledger and everything it promises, without the engine's help."""

from __future__ import annotations

import json
import time
from typing import TextIO

from smallhours import rules
from smallhours.core.state import State
from smallhours.ledger import checks
from smallhours.ledger.checks import Finding
from smallhours.ledger.store import open_to_read
from smallhours.paths import Home
from smallhours.processes import owner
from smallhours.progress import working
from smallhours.text import Page, count, duration
from smallhours.worker.checkpoint import BadCheckpointError
from smallhours.worker.checkpoint import verify as verify_checkpoint

#: Findings that are printed; the rest is counted (``--json`` has all).
_PRINTED = 20


def verify(home: Home, *, as_json: bool, out: TextIO) -> int:
    """Print what the checks found.

    JSON: ``{"good", "facts", "reports", "ends", "stops", "kept", "checkpoints", "seconds",
    "findings": [{"level", "seq", "text"}]}``.

    Returns:
        0 where nothing is wrong, else 4.

    Raises:
        LedgerError: there is no ledger, or it can't be opened at all.
    """
    begun = time.monotonic()
    running = owner(home) is not None
    db = open_to_read(home.ledger)
    try:
        with working("checking the ledger", quiet=as_json):
            report = checks.check(db, rules.make, running=running)
    finally:
        db.close()
    checkpoints = 0
    if report.state is not None:
        with working("checking the checkpoints", quiet=as_json):
            checkpoints, bad = _check_checkpoints(home, report.state, running=running)
        report.findings += bad
    seconds = time.monotonic() - begun
    if as_json:
        summary = {
            "good": report.good,
            "facts": report.facts,
            "reports": report.reports,
            "ends": report.ends,
            "stops": report.stops,
            "kept": report.kept,
            "checkpoints": checkpoints,
            "seconds": round(seconds, 3),
            "findings": [
                {"level": found.level, "seq": found.seq, "text": found.text}
                for found in report.findings
            ],
        }
        print(json.dumps(summary), file=out)
    else:
        _print(Page(out), report, checkpoints, seconds)
    return 0 if report.good else 4


def _print(page: Page, report: checks.Report, checkpoints: int, seconds: float) -> None:
    said = [
        f"{count(report.facts, 'fact')}, every one whole and in its place",
        f"{count(report.ends, 'ended attempt')}, each with one reason and its evidence",
        f"{count(report.stops, 'stop')} derived again from the reports, with the same evidence",
        f"{count(report.kept, 'report')} at which the trial rightly went on",
        f"{count(checkpoints, 'checkpoint')} there and whole",
    ]
    for sentence in said:
        page.line(sentence)
    for found in report.findings[:_PRINTED]:
        place = "" if found.seq is None else f" (row {found.seq})"
        page.paragraph(f"{found.level}{place}: {found.text}", hang=2)
    if len(report.findings) > _PRINTED:
        page.line(f"... and {len(report.findings) - _PRINTED} more (--json has all)")
    verdict = "all is well" if report.good else "something is WRONG with this ledger, see above"
    page.line(f"{verdict} ({duration(seconds)})")


def _check_checkpoints(home: Home, state: State, *, running: bool) -> tuple[int, list[Finding]]:
    """Return how many checkpoints are good, and findings about the others.

    A damaged checkpoint is a note while an older one is good: a resume falls back to that.
    """
    good, findings = 0, []
    for study in state.studies.values():
        for trial in study.trials.values():
            for saved in trial.checkpoints:
                try:
                    verify_checkpoint(home.root / saved.path, saved.step)
                    good += 1
                except BadCheckpointError as error:
                    if running and not (home.root / saved.path).exists():
                        continue  # removed since the ledger was read
                    text = f"{study.name_of(trial.number)}: checkpoint {saved.path}: {error}"
                    findings.append(Finding("wrong", None, text))
    return good, findings
