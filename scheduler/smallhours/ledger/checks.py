"""Proves a ledger: every row whole, every end with its evidence, every stop derived again."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from smallhours.core import enough, guards, recheck
from smallhours.core import facts as f
from smallhours.core.model import Study, Trial
from smallhours.core.outcomes import Enough
from smallhours.core.reasons import Diverged, Reason, RuleCut, RungCut
from smallhours.core.rule import Rule, RuleFactory
from smallhours.core.state import State
from smallhours.errors import LedgerError
from smallhours.ledger import rows
from smallhours.ledger.rows import Entry
from smallhours.ledger.store import read_all
from smallhours.text import count


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    #: ``wrong``: an invariant is broken. ``note``: can't be checked, or not over yet.
    level: Literal["wrong", "note"]
    #: Row of the ledger; None: not about one row.
    seq: int | None
    text: str


@dataclass(slots=True)
class Report:
    """What the checks found, and over how much."""

    facts: int = 0
    reports: int = 0
    #: Ended attempts.
    ends: int = 0
    #: Stops by a rule or the divergence guard that were derived again and agreed.
    stops: int = 0
    #: Reports at which the rule was asked again and let the trial go on, as it did then.
    kept: int = 0
    findings: list[Finding] = field(default_factory=list)
    #: What the ledger says; as far as it could be read.
    state: State | None = None

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.level == "wrong" for finding in self.findings)


def check(db: sqlite3.Connection, rule_factory: RuleFactory, *, running: bool) -> Report:
    """Check a ledger from its first row to its last, with nothing but what is in it.

    Args:
        db: The ledger, open for reading.
        rule_factory: Makes the rules that decide.
        running: Whether an engine is at work on it (then some attempts have not ended).
    """
    report = Report()
    answer = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
    if answer != ["ok"]:
        report.findings += [Finding("wrong", None, f"SQLite: {text}") for text in answer]
        return report
    db.execute("BEGIN")  # one state of the ledger for all that follows; short, and only here
    try:
        report.findings += _wrong_copies(db)
        replay = _Replay(report, rule_factory)
        for entry in read_all(db):
            replay.take(entry)
        replay.end(running=running)
        report.state = replay.state
    except LedgerError as error:
        report.findings.append(Finding("wrong", None, str(error)))
    finally:
        db.execute("ROLLBACK")
    return report


def _wrong_copies(db: sqlite3.Connection) -> Iterator[Finding]:
    """Compare the columns of events with what their bodies say."""
    for row in db.execute(f"SELECT {rows.EVENT_COLUMNS} FROM event ORDER BY seq"):
        entry = rows.event_entry(row)
        if rows.columns_of(entry) != row[4:10]:
            yield Finding("wrong", entry.seq, "its columns do not say what its body says")


class _Replay:
    """Takes fact after fact, as the engine did, and derives its verdicts again."""

    def __init__(self, report: Report, rule_factory: RuleFactory) -> None:
        self.state = State(rule_factory)
        self._report = report
        #: The verdict that the next row must be, and in which study and row it was derived.
        self._due: tuple[int, int, Reason] | None = None
        self._last_seen: dict[tuple[int, int, int], int] = {}
        #: By study: reports at which this version of its rule stops a trial, and another, which
        #: decided then, did not.
        self._otherwise: Counter[int] = Counter()
        #: Trials that are to be rechecked by their coins, and are not drawn yet.
        self._undrawn: dict[tuple[int, int], int] = {}

    def take(self, entry: Entry) -> None:
        """Check a fact, then apply it."""
        fact = entry.fact
        self._report.facts += 1
        if isinstance(fact, f.Intended):
            self._check_intent(entry.seq, fact)
        else:
            self._miss()
        self._due = None
        try:
            self.state.apply(fact, entry.mono)
        except (AssertionError, KeyError) as error:
            kind = type(fact).__name__
            self._wrong(entry.seq, f"{kind} does not follow from what was before: {error!r}")
            return
        if isinstance(fact, f.Reported):
            self._report.reports += 1
            self._check_report(entry.seq, fact)
        elif isinstance(fact, f.AttemptEnded):
            self._report.ends += 1
            study = self.state.studies[fact.study]
            if recheck.due(study, study.trials[fact.trial]):
                self._undrawn[fact.study, fact.trial] = entry.seq
        elif (
            isinstance(fact, f.RecheckDrawn)
            and self._undrawn.pop((fact.study, fact.trial), None) is None
        ):
            self._wrong(entry.seq, "its coin says that it is not to be rechecked")
        elif isinstance(fact, f.SearchEnded) and fact.evidence is not None:
            self._check_enough(entry.seq, fact, fact.evidence)

    def end(self, *, running: bool) -> None:
        """Look at what is left open."""
        self._miss()
        for number, times in self._otherwise.items():
            study = self.state.studies[number]
            text = (
                f"{study.label}: another version of the rule decided, and went on where this one"
                f" stops ({count(times, 'report')}): not comparable"
            )
            self._note(None, text)
        for seq in self._undrawn.values():
            self._wrong(seq, "its coin says that it is to be rechecked, and it was not drawn")
        if not running:
            for key in self.state.live:
                name = self.state.studies[key.study].name_of(key.trial)
                self._note(
                    None, f"{name} was running when the engine ended; the next start files it"
                )

    def _wrong(self, seq: int, text: str) -> None:
        self._report.findings.append(Finding("wrong", seq, text))

    def _note(self, seq: int | None, text: str) -> None:
        self._report.findings.append(Finding("note", seq, text))

    def _miss(self) -> None:
        """Take it that the verdict which was due, if one was, is not on record."""
        if self._due is None:
            return
        study, seq, verdict = self._due
        if isinstance(verdict, Diverged) or self._same_versions(study):
            self._wrong(seq, f"at this report the verdict is a stop that was not made: {verdict}")
        else:
            self._otherwise[study] += 1

    def _same_versions(self, study: int) -> bool:
        """Say whether the session had the rules of this study in the versions that are here.

        Where it isn't recorded, nobody knows.
        """
        session = self.state.session
        if session is None or session.rules is None:
            return False
        return session.rules.items() >= self.state.studies[study].rule.versions.items()

    def _check_report(self, seq: int, fact: f.Reported) -> None:
        key = f.key_of(fact)
        if self._last_seen.get(key, 0) >= fact.step:
            self._wrong(seq, f"step {fact.step} came again within one attempt")
        self._last_seen[key] = fact.step
        study = self.state.studies[key.study]
        trial = study.trials[key.trial]
        if trial.live is None or trial.live.intent is not None:
            return
        verdict = _verdict(study, trial, fact.step)
        if verdict is None:
            self._report.kept += 1
        else:
            self._due = (key.study, seq, verdict)

    def _check_enough(self, seq: int, fact: f.SearchEnded, recorded: Enough) -> None:
        derived = enough.judge(self.state.studies[fact.study])
        if recorded.version != enough.VERSION:
            text = "another version decided that the search had found enough: not comparable"
            self._report.findings.append(Finding("note", seq, text))
        elif derived == recorded:
            self._report.stops += 1
        else:
            self._wrong(seq, f"recorded is {recorded}, derived again is {derived}")

    def _check_intent(self, seq: int, fact: f.Intended) -> None:
        recorded = fact.reason
        derived = self._due[2] if self._due is not None else None
        if not isinstance(recorded, (RuleCut, RungCut, Diverged)):
            if derived is not None and not isinstance(derived, Diverged):
                self._miss()
            return
        rule = self.state.studies[fact.study].rule
        if derived == recorded:
            self._report.stops += 1
        elif _of_other_version(recorded, rule) and not isinstance(derived, Diverged):
            self._note(seq, "decided by another version of the rule: not comparable")
        else:
            self._wrong(seq, f"recorded is {recorded}, derived again is {derived}")


def _verdict(study: Study, trial: Trial, step: int) -> Reason | None:
    """Derive what the engine had to decide at a report, as far as the ledger alone can say."""
    value = trial.curve[step]
    diverged = guards.diverged(study.spec, step, value)
    if diverged is not None or step >= study.spec.steps or not trial.judged:
        return diverged
    return study.rule.decide(trial.number, step, trial.curve)


def _of_other_version(recorded: Reason, rule: Rule) -> bool:
    """Say whether a verdict was signed by a version of its rule that is not here.

    A rule that the study doesn't name is no other version of anything.
    """
    if not isinstance(recorded, RuleCut | RungCut):
        return False
    return any(
        rule.versions.get(verdict.rule, verdict.version) != verdict.version
        for verdict in (recorded, *recorded.agreed)
    )
