"""The ledger: what is committed is there, in order and whole; what is damaged is refused."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys

import msgspec
import pytest

from fakes.core import Night, make_spec
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.state import State
from smallhours.errors import LedgerError
from smallhours.ledger import checks, store
from smallhours.ledger.store import Ledger, open_to_read, read_all


def open_ledger(folder, **options):
    return Ledger(folder / "ledger.db", folder / "engine.lock", reserve=False, **options)


def some_facts() -> list[f.Fact]:
    """A short night with completed, stopped and interrupted attempts."""
    night = Night()
    night.begin()
    night.add(make_spec(trials=9))
    for number in range(6):
        night.suggest()
        night.whole_trial(night.key(1, number), [0.1 * (number + 1)] * 10)
    key = night.key(1, 6)
    for step in range(1, 7):
        night.report(key, step, 0.9)
    night.exit(key, exit_code=0)
    return night.facts


def write(folder, facts) -> None:
    ledger = open_ledger(folder)
    for number, fact in enumerate(facts):
        ledger.append(fact, at=1000.0 + number, mono=float(number))
    ledger.close()


def read(folder):
    db = open_to_read(folder / "ledger.db")
    try:
        return [entry.fact for entry in read_all(db)]
    finally:
        db.close()


def test_what_was_committed_is_read_back_in_order(tmp_path):
    facts = some_facts()
    write(tmp_path, facts)
    assert read(tmp_path) == facts


def test_what_was_not_committed_is_not_there(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.append(f.StudyReleased(study=1), at=1.0, mono=1.0)
    assert read(tmp_path) == []
    ledger.commit()
    assert len(read(tmp_path)) == 1
    ledger.close()


def test_there_is_one_writer(tmp_path):
    ledger = open_ledger(tmp_path)
    with pytest.raises(LedgerError, match="another engine"):
        open_ledger(tmp_path)
    ledger.close()
    open_ledger(tmp_path).close()


def test_a_ledger_of_another_version_is_refused_and_left_alone(tmp_path):
    write(tmp_path, some_facts())
    db = sqlite3.connect(tmp_path / "ledger.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match="version 99"):
        open_ledger(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE event SET body = replace(body, '0.5', '0.4') WHERE kind = 'study_added'",
        "UPDATE report SET metrics = replace(metrics, '0.1', '0.2')",
        "UPDATE report SET step = step + 1 WHERE seq = (SELECT min(seq) FROM report)",
        "DELETE FROM report WHERE seq = (SELECT min(seq) FROM report)",
        "DELETE FROM event WHERE kind = 'attempt_running'",
    ],
)
def test_a_changed_or_missing_row_is_found(tmp_path, damage):
    write(tmp_path, some_facts())
    db = sqlite3.connect(tmp_path / "ledger.db")
    assert db.execute(damage).rowcount > 0
    db.commit()
    db.close()
    with pytest.raises(LedgerError):
        read(tmp_path)


def test_a_changed_column_that_only_copies_the_body_is_found(tmp_path):
    write(tmp_path, some_facts())
    db = sqlite3.connect(tmp_path / "ledger.db")
    db.execute("UPDATE event SET reason = 'completed' WHERE reason = 'rule_cut'")
    db.commit()
    report = checks.check(db, rules.make, running=True)
    db.close()
    assert [finding.text for finding in report.findings if finding.level == "wrong"] == [
        "its columns do not say what its body says"
    ]


def test_random_damage_to_the_file_never_goes_unnoticed_by_reader_and_checks(tmp_path):
    facts = some_facts()
    write(tmp_path, facts)
    path = tmp_path / "ledger.db"
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(60):
        broken = bytearray(whole)
        at = rng.randrange(100, len(whole) - 16)
        broken[at : at + 16] = rng.randbytes(16)
        path.write_bytes(broken)
        try:
            found = read(tmp_path)
        except LedgerError:
            continue
        # Free pages and indices may be hit without harm: then every fact is still the same.
        assert found == facts


def test_checks_derive_every_stop_again(tmp_path):
    facts = some_facts()
    write(tmp_path, facts)
    db = open_to_read(tmp_path / "ledger.db")
    report = checks.check(db, rules.make, running=True)
    db.close()
    assert report.good, report.findings
    # One of the two came too late: its trial had finished.
    assert (report.stops, report.ends) == (2, 7)


def change(facts, kind, **keys):
    """Return the facts with the last of a kind replaced by a changed one."""
    out = list(facts)
    index = max(i for i, fact in enumerate(out) if isinstance(fact, kind))
    out[index] = msgspec.structs.replace(out[index], **keys)
    return out


@pytest.mark.parametrize("what", ["verdict", "report", "no stop", "double end"])
def test_checks_find_a_story_that_does_not_hold(tmp_path, what):
    facts = some_facts()
    intent = [fact for fact in facts if isinstance(fact, f.Intended)][-1]
    if what == "verdict":
        facts = change(
            facts, f.Intended, reason=msgspec.structs.replace(intent.reason, threshold=0.1)
        )
    elif what == "report":
        facts = change(facts, f.Reported, metrics={"loss": 0.01})
    elif what == "no stop":
        facts.remove(intent)
    else:
        facts.append(next(fact for fact in facts if isinstance(fact, f.AttemptEnded)))
    write(tmp_path, facts)
    db = open_to_read(tmp_path / "ledger.db")
    report = checks.check(db, rules.make, running=True)
    db.close()
    assert not report.good


def test_a_full_disk_is_told_once_and_nothing_is_lost(tmp_path):
    """With a limit on file size, in a process of its own; the reserve makes room for the rest."""
    code = """
import resource, sys
from pathlib import Path
from smallhours.ledger.store import DiskFullError, Ledger
from smallhours.core import facts as f
from smallhours.core import reasons as r
folder = Path(sys.argv[1])
ledger = Ledger(folder / "ledger.db", folder / "engine.lock", reserve=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
acknowledged = 0
try:
    for number in range(5000):
        ledger.append(f.StudyReleased(study=number), at=1.0, mono=1.0)
        ledger.commit()
        acknowledged += 1
except DiskFullError:
    assert ledger.dirty
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.commit()
    acknowledged += 1
    ledger.close()
print(acknowledged)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    acknowledged = int(out.stdout)
    assert 10 < acknowledged < 5000
    assert [fact.study for fact in read(tmp_path)] == list(range(acknowledged))


@pytest.mark.parametrize("message", ["\udcff", "fine"])
def test_what_could_not_be_read_back_never_gets_into_the_ledger(tmp_path, message):
    reason = r.Budget(budget="trial_time_s", limit=float("inf"), used=1.0)
    if message != "fine":
        reason = r.Refused(why="invalid", detail=message)
    ledger = open_ledger(tmp_path)
    ledger.append(f.Intended(study=1, trial=0, attempt=1, reason=reason), at=1.0, mono=1.0)
    with pytest.raises(LedgerError, match="can't be kept"):
        ledger.commit()
    os.close(ledger._lock)
    assert read(tmp_path) == []


def two_studies() -> list[f.Fact]:
    """A night in which one study is done, and another one begins."""
    night = Night(slots=1)
    night.begin()
    night.add(make_spec("done", trials=3), request="r-done")
    for number in range(3):
        night.suggest()
        night.whole_trial(night.key(1, number), [0.1 * (number + 1)] * 10)
    night.add(make_spec("open", trials=3), request="r-open")
    night.report(night.key(2, 0), 1, 0.5)
    return night.facts


def rebuilt(folder, requests=()) -> tuple[Ledger, State]:
    ledger, state = open_ledger(folder), State(rules.make)
    ledger.rebuild(state, requests)
    return ledger, state


def test_what_a_study_that_is_over_is_made_of_is_read_when_it_is_wanted(tmp_path):
    write(tmp_path, two_studies())
    ledger, state = rebuilt(tmp_path)
    done, other = state.studies[1], state.studies[2]
    assert (done.loaded, done.trials, done.ended.winner) == (False, {}, 0)
    assert other.loaded
    assert other.trials[0].curve == {1: 0.5}
    assert len(state.live) == 1
    ledger.load(state, 1)
    assert state.studies[1].loaded
    assert [trial.last_step for trial in state.studies[1].trials.values()] == [10, 10, 10]
    assert state.studies[1].reasons == {"completed": 3}
    assert state.names == {"done": 1, "open": 2}
    before = state.studies[1]
    ledger.load(state, 1)
    ledger.load(state, 99)
    assert state.studies[1] is before
    ledger.close()


def test_what_was_not_committed_yet_is_loaded_as_well(tmp_path):
    write(tmp_path, two_studies())
    ledger, state = rebuilt(tmp_path)
    amended = f.StudyAmended(study=1, spec=make_spec("done", trials=5))
    ledger.append(amended, at=1.0, mono=1.0)
    state.apply(amended, 1.0)
    ledger.load(state, 1)
    assert state.studies[1].spec.trials == 5
    assert state.studies[1].open
    ledger.close()


def test_a_study_of_which_an_attempt_lives_is_not_left_out(tmp_path):
    facts = two_studies()
    facts.append(f.StudyEnded(study=2, outcome="cancelled", winner=None))
    write(tmp_path, facts)
    ledger, state = rebuilt(tmp_path)
    assert state.studies[2].loaded
    assert len(state.live) == 1
    ledger.close()


def test_a_study_that_was_added_again_with_more_trials_is_not_left_out(tmp_path):
    amended = f.StudyAmended(study=1, spec=make_spec("done", trials=5))
    write(tmp_path, [*two_studies(), amended])
    ledger, state = rebuilt(tmp_path)
    assert state.studies[1].loaded
    ledger.close()


def test_only_the_answers_to_requests_that_may_come_again_are_read(tmp_path):
    write(tmp_path, two_studies())
    ledger, state = rebuilt(tmp_path, {"r-open", "r-new"})
    assert state.answered == {"r-open"}
    ledger.close()


DAMAGE_TO_DONE = "UPDATE report SET metrics = replace(metrics, '0.1', '0.2') WHERE study = 1"


def damage(folder, sql: str) -> None:
    db = sqlite3.connect(folder / "ledger.db")
    assert db.execute(sql).rowcount > 0
    db.commit()
    db.close()


def test_damage_to_a_study_that_is_over_is_found_when_it_is_wanted_and_by_verify(tmp_path):
    write(tmp_path, two_studies())
    damage(tmp_path, DAMAGE_TO_DONE)
    ledger, state = rebuilt(tmp_path)
    with pytest.raises(LedgerError, match="damaged"):
        ledger.load(state, 1)
    assert (state.studies[1].loaded, state.names) == (False, {"done": 1, "open": 2})
    ledger.close()
    db = open_to_read(tmp_path / "ledger.db")
    assert not checks.check(db, rules.make, running=True).good
    db.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE report SET metrics = replace(metrics, '0.5', '0.6') WHERE study = 2",
        "UPDATE event SET body = replace(body, 'done', 'gone') WHERE kind = 'study_added'",
        "DELETE FROM report WHERE seq = (SELECT min(seq) FROM report)",
        "DELETE FROM event WHERE kind = 'attempt_running' AND study = 1",
    ],
)
def test_damage_to_what_is_read_and_missing_rows_are_found_at_the_start(tmp_path, sql):
    write(tmp_path, two_studies())
    damage(tmp_path, sql)
    ledger = open_ledger(tmp_path)
    with pytest.raises(LedgerError):
        ledger.rebuild(State(rules.make), ())
    ledger.close()


def test_a_start_looks_nothing_up_that_no_index_leads_to(tmp_path):
    write(tmp_path, two_studies())
    ledger, statements = open_ledger(tmp_path), []
    ledger._db.set_trace_callback(statements.append)
    state = State(rules.make)
    ledger.rebuild(state, {"r-open"})
    ledger.load(state, 1)
    ledger._db.set_trace_callback(None)
    assert len(statements) > 8
    for statement in statements:
        plan = [row[3] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = [step for step in plan if step.startswith(("SCAN event", "SCAN report"))]
        assert all("COVERING INDEX" in scan for scan in scans), (statement, plan)
    ledger.close()


@pytest.mark.parametrize("well", [True, False])
def test_all_pages_of_a_large_ledger_are_only_checked_after_a_death(tmp_path, monkeypatch, well):
    end = [f.SessionEnded(session=1, cause="dry")] if well else []
    write(tmp_path, [*some_facts(), *end])
    checked = []
    monkeypatch.setattr(store, "_check_pages", lambda _db, path: checked.append(path))
    open_ledger(tmp_path).close()
    assert len(checked) == 1
    monkeypatch.setattr(store, "_CHECKED_BYTES", 1)
    open_ledger(tmp_path).close()
    assert len(checked) == (1 if well else 2)


def test_a_ledger_is_read_wherever_it_lies(tmp_path):
    folder = tmp_path / "a#b?c%41"
    folder.mkdir()
    facts = some_facts()
    write(folder, facts)
    assert read(folder) == facts
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
