"""What `verify` makes of stops at a rung: derived again from the reports, with their evidence."""

from __future__ import annotations

import msgspec
import pytest

from fakes.core import Night, make_spec
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core.reasons import RungCut
from smallhours.core.spec import Stopping, StudySpec
from smallhours.ledger import checks
from smallhours.ledger.store import Ledger, open_to_read


def asha_spec(**options: float) -> StudySpec:
    return make_spec(trials=9, stopping=Stopping(rule="asha", options={"grace": 3.0, **options}))


def night_with_stops(study: StudySpec) -> list[f.Fact]:
    """A short night: trials get worse and worse, and most are stopped at the first rung."""
    night = Night()
    night.begin()
    night.add(study)
    for number in range(6):
        night.suggest()
        key = night.key(1, number)
        night.run(key)
        stopped = False
        for step in range(1, 11):
            stopped = bool(night.report(key, step, 0.1 * (number + 1)))
            if stopped:
                break
        night.exit(key, finished=not stopped, exit_code=0)
    return night.facts


def check(folder, facts: list[f.Fact]) -> checks.Report:
    ledger = Ledger(folder / "ledger.db", folder / "engine.lock", reserve=False)
    for number, fact in enumerate(facts):
        ledger.append(fact, at=1000.0 + number, mono=float(number))
    ledger.close()
    db = open_to_read(folder / "ledger.db")
    try:
        return checks.check(db, rules.make, running=True)
    finally:
        db.close()


@pytest.mark.parametrize("options", [{}, {"ranked": 1.0}, {"eta": 2.0, "grace": 1.0}])
def test_verify_derives_every_stop_again(tmp_path, options) -> None:
    facts = night_with_stops(asha_spec(**options))
    cuts = [fact for fact in facts if isinstance(fact, f.Intended)]
    assert len(cuts) == 5
    assert all(isinstance(cut.reason, RungCut) for cut in cuts)
    report = check(tmp_path, facts)
    assert report.good, report.findings
    assert report.stops == len(cuts)


@pytest.mark.parametrize(
    "change",
    [{"cutoff": 0.12}, {"rank": 1}, {"of": 3}, {"rung": 2}, {"competitors": ((4, 0.1),)}],
    ids=lambda change: next(iter(change)),
)
def test_verify_finds_evidence_that_is_not_so(tmp_path, change) -> None:
    facts = night_with_stops(asha_spec())
    index = max(i for i, fact in enumerate(facts) if isinstance(fact, f.Intended))
    reason = msgspec.structs.replace(facts[index].reason, **change)
    facts[index] = msgspec.structs.replace(facts[index], reason=reason)
    assert not check(tmp_path, facts).good


def test_verify_finds_a_stop_that_was_not_made(tmp_path) -> None:
    facts = night_with_stops(asha_spec())
    facts.remove([fact for fact in facts if isinstance(fact, f.Intended)][-1])
    assert not check(tmp_path, facts).good
