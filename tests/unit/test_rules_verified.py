"""What `verify` makes of stops at a rung: derived again from the reports, with their evidence."""

from __future__ import annotations

import msgspec
import pytest

from fakes.core import Night, make_spec
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core.reasons import RungCut
from smallhours.core.spec import Goal, Stopping, StudySpec
from smallhours.explain.evidence import evidence
from smallhours.explain.sentences import About, sentences
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
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.db", folder / "engine.lock", reserve=False)
    for number, fact in enumerate(facts):
        ledger.append(fact, at=1000.0 + number, mono=float(number))
    ledger.close()
    db = open_to_read(folder / "ledger.db")
    try:
        return checks.check(db, rules.make, running=True)
    finally:
        db.close()


BELOW = Stopping(rule="threshold", options={"limit": 0.15, "warmup": 2.0})
STILL = Stopping(rule="patience", options={"steps": 3.0, "warmup": 2.0})
EVERY_RULE = [
    Stopping(rule="median", options={"warmup": 2.0, "startup": 1.0}),
    Stopping(rule="asha"),
    Stopping(rule="halving", options={"bracket": 3.0}),
    Stopping(rule="extrapolate", options={"warmup": 3.0}),
    STILL,
    BELOW,
    Stopping(rule="wilcoxon"),
    Stopping(rule="any", parts=(STILL, BELOW)),
    Stopping(rule="all", parts=(STILL, BELOW)),
    Stopping(rule="after", options={"step": 4.0}, parts=(BELOW,)),
]


@pytest.mark.parametrize("stopping", EVERY_RULE, ids=lambda stopping: stopping.rule)
def test_verify_derives_the_stops_of_every_rule_again(tmp_path, stopping) -> None:
    facts = night_with_stops(make_spec(trials=9, stopping=stopping))
    cuts = [fact for fact in facts if isinstance(fact, f.Intended)]
    report = check(tmp_path, facts)
    assert cuts
    assert report.good, report.findings
    assert report.stops == len(cuts)


@pytest.mark.parametrize("stopping", EVERY_RULE, ids=lambda stopping: stopping.rule)
def test_every_verdict_is_put_into_words_and_numbers(stopping) -> None:
    facts = night_with_stops(make_spec(trials=9, stopping=stopping))
    for cut in (fact for fact in facts if isinstance(fact, f.Intended)):
        about = About(
            name=f"wine/{cut.trial}", study="wine", metric="loss", goal=Goal.MINIMIZE, steps=10,
            last_step=cut.reason.step, seconds=1.0, steps_run=cut.reason.step,
            then="over",
        )  # fmt: skip
        said = sentences(cut.reason, about)
        assert f"wine/{cut.trial} was stopped at step {cut.reason.step} of 10" in said
        labels = [item.label for item in evidence(cut.reason, "wine")]
        assert {"rule", "value"} <= set(labels)
        assert len(labels) == len(set(labels))


def older(facts: list[f.Fact], versions: dict[str, int] | None) -> list[f.Fact]:
    """Return the facts as if a session with these versions of the rules had made them."""
    return [_older(fact, versions) for fact in facts]


def _older(fact: f.Fact, versions: dict[str, int] | None) -> f.Fact:
    if isinstance(fact, f.SessionStarted):
        return msgspec.structs.replace(fact, rules=versions)
    if isinstance(fact, f.Intended):
        reason = msgspec.structs.replace(fact.reason, version=0, value=0.7)
        return msgspec.structs.replace(fact, reason=reason)
    return fact


def test_the_verdict_of_another_version_is_not_comparable(tmp_path) -> None:
    facts = older(night_with_stops(asha_spec()), {"asha": 0})
    report = check(tmp_path, facts)
    assert report.good
    assert [(found.level, "not comparable" in found.text) for found in report.findings] == [
        ("note", True)
    ] * 5


@pytest.mark.parametrize("versions", [{"asha": 0}, {}, None], ids=str)
def test_nor_are_stops_that_another_version_did_not_make(tmp_path, versions) -> None:
    """Not one stop is on record: only the session says which version decided."""
    facts = older(night_with_stops(asha_spec()), versions)
    facts = [fact for fact in facts if not isinstance(fact, f.Intended)]
    report = check(tmp_path, facts)
    assert report.good
    (found,) = report.findings
    assert found.level == "note"
    assert "wine" in found.text
    assert "5 reports" in found.text
    assert "not comparable" in found.text


def test_what_other_rules_were_in_a_session_does_not_matter(tmp_path) -> None:
    facts = night_with_stops(asha_spec())
    facts.remove([fact for fact in facts if isinstance(fact, f.Intended)][-1])
    begun = next(i for i, fact in enumerate(facts) if isinstance(fact, f.SessionStarted))
    facts[begun] = msgspec.structs.replace(facts[begun], rules={"asha": 1, "median": 0})
    assert not check(tmp_path, facts).good


def test_a_stop_by_another_version_where_this_one_stops_nothing_is_not_wrong(tmp_path) -> None:
    facts = night_with_stops(asha_spec())
    spec = make_spec(trials=9, stopping=Stopping(rule="asha", options={"grace": 9.0}))
    added = next(i for i, fact in enumerate(facts) if isinstance(fact, f.StudyAdded))
    facts[added] = msgspec.structs.replace(facts[added], spec=spec)
    assert not check(tmp_path / "same", facts).good
    for i, fact in enumerate(facts):
        if isinstance(fact, f.Intended):
            reason = msgspec.structs.replace(fact.reason, version=0)
            facts[i] = msgspec.structs.replace(fact, reason=reason)
    assert check(tmp_path / "other", facts).good


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
