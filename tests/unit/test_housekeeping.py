"""Tidying up: what belongs to nothing goes, what anybody may want stays."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakes.core import make_spec
from fakes.ledgers import Recording
from smallhours import housekeeping, inbox, rules
from smallhours.commands import archive, read
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.state import State
from smallhours.core.storage import Storage, Worth
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot import Snapshot


@pytest.fixture
def night(tmp_path: Path):
    """Two studies that are over, with files; the second has a confirmation and a stopped trial."""
    night = Recording(tmp_path / "state")
    night.home.prepare()
    night.session()
    for study in (1, 2):
        night.study(study, f"s{study}")
        for trial, score in enumerate((0.5, 0.2, 0.4)):
            night.complete(trial, score, study=study)
            save(night, trial, 10, study)
    night.create(3, study=2)
    night.start(3, study=2)
    night.report(3, {1: 0.9}, study=2)
    save(night, 3, 1, 2)
    night.end(3, r.Cancelled(by="me", scope="trial", checkpoint=None), study=2, score=0.9)
    night.complete(4, 0.1, study=2, of=1)
    save(night, 4, 9, 2)
    save(night, 4, 10, 2)
    for study in (1, 2):
        night.log(0, b"a line\n", study=study)
        night.add(f.StudyEnded(study=study, outcome="done", winner=1))
    yield night
    night.close()


def save(night: Recording, trial: int, step: int, study: int) -> None:
    (night.checkpoint(trial, step, study=study) / "state.pt").write_bytes(b"x" * 5000)


def state_of(night: Recording) -> State:
    """Read what is recorded as an engine would at its start."""
    state = State(rules.make)
    night._ledger.rebuild(state, ())
    return state


def paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- holdings ------------------------------------------------------------------------------


def test_checkpoints_of_studies_that_are_not_loaded_are_found_on_disk(night) -> None:
    state = state_of(night)
    found = housekeeping.holdings(night.home, dict(state.studies))
    assert {(h.study, h.trial) for h in found if h.kept} == {(1, 0), (1, 1), (2, 0), (2, 1)}
    assert all(h.size_bytes == 5000 for h in found)
    storage = Storage(0)
    storage.tell(found)
    assert storage.used_bytes(state) == 9 * 5000
    assert [victim.path.removeprefix("trials/") for victim in storage.over(state)] == [
        "1/2/checkpoints/10-1",
        "2/4/checkpoints/9-1",
        "2/4/checkpoints/10-1",
        "2/3/checkpoints/1-1",
        "2/2/checkpoints/10-1",
    ]
    worth = {(h.study, h.trial): h.worth for h in found}
    assert worth[2, 3] is Worth.STOPPED
    assert worth[2, 4] is Worth.CONFIRMATION
    assert all((night.home.root / h.path).is_dir() for h in found)


def test_studies_that_are_loaded_and_files_that_are_not_ours_are_no_holdings(night) -> None:
    folder = night.home.trial(1, 2) / "checkpoints"
    (folder / "mine").mkdir()
    (folder / "11-1.tmp").mkdir()
    (folder / "12-1").symlink_to(folder / "10-1")
    (night.home.trials / "1" / "notes").mkdir()
    state = state_of(night)
    state.studies[2].loaded = True
    found = housekeeping.holdings(night.home, dict(state.studies))
    assert [(h.study, h.trial) for h in sorted(found, key=lambda h: h.trial)] == [
        (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip


# --- removal -------------------------------------------------------------------------------


def test_the_files_of_a_study_are_gone_and_those_of_others_are_not(night) -> None:
    others = paths(night.home.trials / "2")
    housekeeping.remove_files(night.home, 1)
    housekeeping.remove_files(night.home, 1)
    assert not (night.home.trials / "1").exists()
    assert paths(night.home.trials / "2") == others
    assert list((night.home.root / "trash").iterdir()) == []


def test_an_archived_study_loses_its_checkpoints_and_nothing_else(night) -> None:
    mine = night.home.trial(1, 0) / "checkpoints" / "mine"
    mine.mkdir()
    others = paths(night.home.trials / "2")
    housekeeping.remove_files(night.home, 1, checkpoints_only=True)
    assert paths(night.home.trials / "1") == {
        "0", "0/attempt-1", "0/attempt-1/log.txt", "0/checkpoints", "0/checkpoints/mine",
        "1", "1/checkpoints", "2", "2/checkpoints",
    }  # fmt: skip
    assert paths(night.home.trials / "2") == others


def test_an_archived_study_shows_no_checkpoints_until_it_saves_some_again(night) -> None:
    def shown() -> list[int]:
        with Snapshot(night.home) as snapshot:
            return [saved.step for saved in snapshot.trial(1, 1).checkpoints]

    assert shown() == [10]
    night.add(f.StudyArchived(study=1, by="ada"))
    assert shown() == []
    night.add(f.StudyAmended(study=1, spec=night.study(9, "s9")))
    night.checkpoint(1, 11)
    assert shown() == [11]


def test_the_checkpoints_of_an_archived_study_go_at_the_next_start_at_last(night) -> None:
    night.add(f.StudyArchived(study=1, by="ada"))
    housekeeping.remove_leftovers(night.home, state_of(night))
    assert housekeeping.on_disk(night.home.trials / "1").checkpoints == 0
    assert housekeeping.on_disk(night.home.trials / "2").checkpoints == 6


def test_what_a_killed_engine_left_of_a_removal_goes_at_the_next_start(night) -> None:
    """It died after the fact was recorded, and before or while the files were deleted."""
    night.add(f.StudyRemoved(study=1, by="ada"))
    (night.home.root / "trash" / "7-abcd" / "0").mkdir(parents=True)
    housekeeping.remove_leftovers(night.home, state_of(night))
    assert not (night.home.trials / "1").exists()
    assert (night.home.trials / "2").exists()
    assert list((night.home.root / "trash").iterdir()) == []


def test_a_copy_of_code_that_nobody_may_need_goes(night) -> None:
    home = night.home
    night.add(
        f.StudyAdded(
            study=3, spec=make_spec("s3"), snapshot="removed", digest="", source="", module="",
            cwd="",
        ),
        f.StudyRemoved(study=3, by="ada"),
    )  # fmt: skip
    inbox.submit(home, "add", {"snapshot": "asked"})
    for name in ("ab", "removed", "asked", "nobodys", ".half-written", "fresh"):
        (home.snapshots / name).mkdir()
        (home.snapshots / name / "wine.py").touch()
        if name != "fresh":
            os.utime(home.snapshots / name, (1, 1))
    housekeeping.remove_leftovers(home, state_of(night))
    assert {path.name for path in home.snapshots.iterdir()} == {"ab", "asked", "fresh"}


def test_a_link_in_place_of_a_study_s_files_is_not_followed(night, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (night.home.trials / "9").symlink_to(mine)
    housekeeping.remove_files(night.home, 9)
    assert mine.is_dir()


# --- commands ------------------------------------------------------------------------------


def requests(home: Home) -> list[tuple[str, object, object]]:
    return [(x.verb, x.body["study"], x.body["remove"]) for x in inbox.pending(home)]


def test_what_is_asked_while_no_engine_runs_waits_for_the_next(night, capsys) -> None:
    assert archive.archive(night.home, "s1") == 0
    assert archive.remove(night.home, "s2", yes=True) == 0
    said = capsys.readouterr().out.splitlines()
    assert "it will be archived when one is" in said[0]
    assert "it will be removed when one is" in said[1]
    assert requests(night.home) == [("archive", 1, False), ("archive", 2, True)]


def test_a_study_that_is_not_over_is_neither_archived_nor_removed(night) -> None:
    night.study(3, "busy")
    for deed in (archive.archive, lambda home, name: archive.remove(home, name, yes=True)):
        with pytest.raises(UsageError, match="not over: `smallhours cancel busy`"):
            deed(night.home, "busy")
    assert requests(night.home) == []


def test_a_study_is_only_removed_without_a_question_where_that_was_said(night, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match=r"s1: .* \(3 checkpoints, 1 log\)\): add --yes"):
        archive.remove(night.home, "s1", yes=False)
    assert requests(night.home) == []


@pytest.mark.parametrize(("answer", "removed"), [("y", True), ("", False), ("no", False)])
def test_somebody_at_a_terminal_is_asked(night, monkeypatch, capsys, answer, removed) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, fileno=lambda: 0))
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    assert archive.remove(night.home, "s1", yes=False) == (0 if removed else 1)
    assert "(3 checkpoints, 1 log), for good" in capsys.readouterr().out
    assert bool(requests(night.home)) == removed


def test_an_end_of_input_is_a_no(night, monkeypatch) -> None:
    def nothing(_question: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, fileno=lambda: 0))
    monkeypatch.setattr("builtins.input", nothing)
    assert archive.remove(night.home, "s1", yes=False) == 1
    assert requests(night.home) == []


def test_what_was_done_already_is_said(night, capsys) -> None:
    night.add(f.StudyArchived(study=1, by="ada"), f.StudyRemoved(study=2, by="ada"))
    assert archive.archive(night.home, "s1") == 0
    assert archive.remove(night.home, "s2@2", yes=True) == 0
    assert capsys.readouterr().out == "s1 is archived already\ns2@2 is removed already\n"
    assert requests(night.home) == []


def test_studies_that_were_archived_or_removed_are_only_counted(night) -> None:
    night.study(3, "open")
    night.add(f.StudyArchived(study=1, by="ada"), f.StudyRemoved(study=2, by="ada"))
    out = io.StringIO()
    assert read.show(night.home, target=None, as_json=False, out=out) == 0
    assert "open" in out.getvalue()
    assert "s1" not in out.getvalue()
    assert "... and 2 studies put away: `ls --all`" in out.getvalue()
    out = io.StringIO()
    assert read.show(night.home, target=None, as_json=True, out=out) == 0
    assert [study["name"] for study in json.loads(out.getvalue())["studies"]] == ["open"]


def test_what_cannot_be_moved_away_stays_and_is_told(night, caplog) -> None:
    night.home.trash.write_text("no directory")
    housekeeping.remove_files(night.home, 1)
    assert (night.home.trials / "1").is_dir()
    assert "can't be removed" in caplog.text
