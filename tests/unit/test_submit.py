"""From a study file to requests: what is refused, what is copied, what is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallhours import inbox, study_code, submit
from smallhours.errors import StudyFileError, UsageError
from smallhours.paths import Home

STUDY = """
from smallhours import Float, Study
{before}
study = Study(
    "wine", metric="val_loss", goal="minimize", space={{"lr": Float(1e-3, 1.0, log=True)}},
    baseline={{"lr": 0.1}}, trials=4, steps=3, {keys}
)

@study.train
def train(trial):
    trial.report(1, val_loss=0.5)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "state")
    home.prepare()
    return home


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, *, before: str = "", keys: str = "", name: str = "wine.py") -> Path:
    path = folder / name
    path.write_text(STUDY.format(before=before, keys=keys))
    return path


@pytest.mark.processes
def test_a_study_file_is_read_in_a_process_of_its_own(folder: Path) -> None:
    loaded = submit.load(
        write(folder, before="import os; open('pid', 'w').write(str(os.getpid()))")
    )
    assert [spec.name for spec in loaded.specs] == ["wine"]
    assert loaded.specs[0].trials == 4
    assert loaded.module == "wine"
    assert loaded.files == ("wine.py",)
    assert int((folder / "pid").read_text()) != os.getpid()


@pytest.mark.processes
@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("trails=3", "did you mean 'trials'?"),
        ("seed='x'", "seed"),
        ("sampler='tpee'", "did you mean 'tpe'?"),
        ("stopping='medain'", "did you mean 'median'?"),
    ],
)
def test_a_wrong_key_is_told_with_file_and_key(folder: Path, keys: str, told: str) -> None:
    with pytest.raises(StudyFileError, match=r"wine\.py") as caught:
        submit.load(write(folder, keys=keys))
    assert told in str(caught.value)


@pytest.mark.processes
def test_a_file_that_raises_is_told_with_its_own_line(folder: Path) -> None:
    with pytest.raises(StudyFileError) as caught:
        submit.load(write(folder, before="import nosuchmodule"))
    assert "nosuchmodule" in str(caught.value)


@pytest.mark.processes
def test_a_file_that_ends_its_process_is_told_with_what_it_printed(folder: Path) -> None:
    path = write(folder, before="import os; os.write(2, b'goodbye\\n'); os._exit(3)")
    with pytest.raises(StudyFileError, match=r"left with code 3 without a word\n  goodbye"):
        submit.load(path)


@pytest.mark.processes
def test_a_file_that_takes_too_long_is_killed_with_its_children(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "LOAD_LIMIT_S", 1.5)
    before = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']);"
        "open('pid', 'w').write(str(child.pid)); time.sleep(60)"
    )
    begun = time.monotonic()
    with pytest.raises(StudyFileError, match=r"more than 2 s: move what is slow"):
        submit.load(write(folder, before=before))
    assert time.monotonic() - begun < 5
    stat = Path("/proc") / (folder / "pid").read_text() / "stat"
    assert not stat.exists() or stat.read_text().split()[2] in "ZX"


@pytest.mark.processes
def test_a_file_without_a_study_is_told_how_to_write_one(folder: Path) -> None:
    (folder / "empty.py").write_text("x = 1\n")
    with pytest.raises(StudyFileError, match="Study"):
        submit.load(folder / "empty.py")


def test_a_missing_file_is_answered_with_the_nearest(folder: Path) -> None:
    write(folder)
    with pytest.raises(StudyFileError, match=r"no such file; did you mean 'wine\.py'\?"):
        submit.load(Path("wien.py"))


def test_what_is_no_python_file_is_refused(folder: Path) -> None:
    (folder / "wine.txt").write_text("")
    with pytest.raises(StudyFileError, match=r"its name ends in \.py"):
        submit.load(folder / "wine.txt")


@pytest.mark.processes
def test_modules_in_the_working_directory_do_not_shadow_ours(folder: Path) -> None:
    path = write(folder)
    (folder / "msgspec.py").write_text("raise SystemExit('shadowed')")
    (folder / "smallhours.py").write_text("raise SystemExit('shadowed')")
    other = folder / "other"
    other.mkdir()
    path.rename(other / "wine.py")
    assert submit.load(other / "wine.py").specs[0].name == "wine"


@pytest.mark.processes
def test_adding_a_study_asks_for_it_and_copies_its_code(folder: Path, home: Home) -> None:
    (folder / "nets.py").write_text("WIDTH = 3\n")
    path = write(folder, before="import nets")
    loaded, added = submit.add(home, Path("wine.py"), replace=True)
    (request,) = inbox.pending(home)
    assert [(study.name, study.request) for study in added] == [("wine", request.id)]
    body = request.body
    assert request.verb == "add"
    assert body["spec"]["name"] == "wine"
    assert (body["source"], body["module"], body["cwd"]) == (str(path), "wine", str(folder))
    assert body["replace"] is True
    copied = home.snapshots / body["snapshot"]
    assert (copied / "nets.py").read_text() == "WIDTH = 3\n"
    assert (copied / "wine.py").read_bytes() == path.read_bytes()
    assert set(loaded.files) == {"wine.py", "nets.py"}


@pytest.mark.processes
def test_nothing_is_asked_for_where_the_file_is_wrong(folder: Path, home: Home) -> None:
    with pytest.raises(StudyFileError):
        submit.add(home, write(folder, keys="trails=3"))
    assert inbox.pending(home) == []
    assert list(home.snapshots.iterdir()) == []


@pytest.mark.processes
def test_a_study_can_be_added_under_another_name(folder: Path, home: Home) -> None:
    submit.add(home, write(folder), rename="wine-2")
    (request,) = inbox.pending(home)
    assert request.body["spec"]["name"] == "wine-2"


@pytest.mark.processes
@pytest.mark.parametrize("name", ["", "../x", "a b", "a\x1b[0m", ".hidden", "a..b", "x" * 65])
def test_a_name_that_cannot_be_a_studys_is_refused(folder: Path, home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="--as: expected up to 64 letters"):
        submit.add(home, write(folder), rename=name)
    assert inbox.pending(home) == []


def sources(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def copied(home: Home, snapshot: study_code.Snapshot) -> set[str]:
    root = home.snapshots / snapshot.id
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_all_python_files_of_the_folder_are_copied_and_nothing_else(
    folder: Path, home: Home
) -> None:
    sources(
        folder,
        {
            "wine.py": "1",
            "nets/mlp.py": "2",
            "data.csv": "3",
            ".git/hook.py": "4",
            "__pycache__/wine.py": "5",
            "node_modules/a.py": "6",
            "env/pyvenv.cfg": "",
            "env/lib/a.py": "7",
        },
    )
    snapshot = study_code.take(home, folder, ("wine.py",))
    assert copied(home, snapshot) == {"wine.py", "nets/mlp.py"}


def test_what_was_imported_is_copied_wherever_it_lies_in_the_folder(
    folder: Path, home: Home
) -> None:
    sources(folder, {"wine.py": "1", ".hidden/net.py": "2"})
    snapshot = study_code.take(home, folder, ("wine.py", ".hidden/net.py", "../outside.py"))
    assert copied(home, snapshot) == {"wine.py", ".hidden/net.py"}


def test_a_state_directory_inside_the_folder_is_not_copied(folder: Path) -> None:
    home = Home(folder / "state")
    home.prepare()
    sources(folder, {"wine.py": "1"})
    first = study_code.take(home, folder, ("wine.py",))
    assert study_code.take(home, folder, ("wine.py",)) == first


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_BYTES"])
def test_of_a_folder_with_too_much_code_only_what_was_imported_is_copied(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(study_code, limit, 2)
    sources(folder, {"wine.py": "1", "a.py": "2", "b.py": "3"})
    assert copied(home, study_code.take(home, folder, ("wine.py",))) == {"wine.py"}


def test_the_same_code_is_the_same_snapshot(folder: Path, home: Home) -> None:
    sources(folder, {"wine.py": "1", "a.py": "2"})
    first = study_code.take(home, folder, ("wine.py",))
    again = study_code.take(home, folder, ("wine.py",))
    assert first == again
    assert [path.name for path in home.snapshots.iterdir()] == [first.id]
    assert len(first.id) == 16


def test_the_digest_changes_with_what_was_imported_only(folder: Path, home: Home) -> None:
    sources(folder, {"wine.py": "1", "a.py": "2"})
    first = study_code.take(home, folder, ("wine.py",))
    sources(folder, {"a.py": "changed"})
    beside = study_code.take(home, folder, ("wine.py",))
    assert (beside.digest == first.digest, beside.id == first.id) == (True, False)
    sources(folder, {"wine.py": "changed"})
    assert study_code.take(home, folder, ("wine.py",)).digest != first.digest


def test_the_digest_tells_names_from_contents(folder: Path, home: Home) -> None:
    sources(folder, {"ab.py": "c", "x.py": ""})
    first = study_code.take(home, folder, ("ab.py", "x.py"))
    sources(folder, {"ab.py": "", "x.py": "c"})
    assert study_code.take(home, folder, ("ab.py", "x.py")).digest != first.digest


def test_a_copy_that_fails_leaves_nothing_behind(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(folder, {"wine.py": "1"})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        study_code.take(home, folder, ("wine.py",))
    assert list(home.snapshots.iterdir()) == []
