"""What a shell completes: words for each place of a command line, and the script in a real bash."""

from __future__ import annotations

import io
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.ledgers import record_small_night
from smallhours import cli, completion, verbs
from smallhours.core import facts as f
from smallhours.paths import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A ledger with the study wine and its trials."""
    record_small_night(tmp_path / "state").close()
    return Home(tmp_path / "state")


def offered(home: Home, *words: str) -> list[str]:
    return [candidate.word for candidate in completion.candidates(home, words)]


def test_the_first_word_is_a_command(home: Home) -> None:
    assert offered(home, "") == list(verbs.NAMES)
    assert offered(home, "sho") == ["show"]
    assert offered(home, "--v") == ["--version"]
    assert offered(home, "xyzzy") == offered(home, "xyzzy", "") == []


def test_every_command_offers_its_options_and_each_once(home: Home) -> None:
    assert offered(home, "log", "-") == ["--follow", "--lines", "--attempt", "--json", "--help"]
    assert offered(home, "log", "-f", "--json", "-") == ["--lines", "--attempt", "--help"]
    assert offered(home, "debug", "--set", "lr=1", "--se") == ["--set"]


def test_studies_are_named_and_their_trials_after_a_slash(home: Home) -> None:
    assert offered(home, "best", "") == ["wine"]
    assert offered(home, "show", "w") == ["wine", "wine/"]
    assert offered(home, "log", "") == ["wine/"]
    trials = offered(home, "why", "wine/")
    assert trials[:2] == ["wine/0", "wine/1"]
    assert offered(home, "why", "wine/1")[0] == "wine/1"
    assert offered(home, "best", "wine/") == offered(home, "why", "beer/") == []


def test_a_place_that_is_taken_is_not_offered_again(home: Home) -> None:
    assert offered(home, "best", "wine", "") == []
    assert offered(home, "move", "wine", "") == ["first", "last"]
    assert offered(home, "move", "--weight", "2", "") == ["wine"]


def test_what_an_option_may_be_is_offered_after_it(home: Home) -> None:
    assert offered(home, "move", "wine", "--priority", "") == ["urgent", "normal", "low"]
    assert offered(home, "move", "wine", "--priority=u") == ["--priority=urgent"]
    assert offered(home, "debug", "--trial", "wine/0") == ["wine/0"]


def test_studies_that_were_put_aside_are_offered_only_where_nothing_else_fits(
    tmp_path: Path,
) -> None:
    night = record_small_night(tmp_path)
    night.add(f.StudyRetired(study=1))
    night.close()
    assert offered(Home(tmp_path), "best", "") == ["wine@1"]
    night = record_small_night(tmp_path / "again")
    night.study(2, "winery")
    night.add(f.StudyArchived(study=1, by="ada"))
    assert offered(Home(tmp_path / "again"), "best", "wi") == ["winery"]
    spec = night.study(1, "wine", trials=99)
    night.add(f.StudyAmended(study=1, spec=spec))
    night.close()
    assert offered(Home(tmp_path / "again"), "best", "wi") == ["wine", "winery"]
    night = record_small_night(tmp_path / "removed")
    night.add(f.StudyRemoved(study=1, by="ada"))
    night.close()
    assert offered(Home(tmp_path / "removed"), "best", "") == []


def test_study_files_and_directories_are_offered(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "wine.py").write_text("from smallhours import Study\n")
    (tmp_path / "plot.py").write_text("import math\n")
    (tmp_path / "nets" / "mlp.py").write_text("import math\n")
    monkeypatch.chdir(tmp_path)
    assert offered(home, "run", "") == ["nets/", "state/", "wine.py"]
    assert offered(home, "run", "pl") == ["plot.py"]
    assert offered(home, "run", f"{tmp_path}/ne") == [f"{tmp_path}/nets/"]
    assert offered(home, "run", "nets/") == ["nets/mlp.py"]


@pytest.mark.parametrize("content", [None, b"", b"this is no database " * 500])
def test_without_a_sound_ledger_nothing_is_offered_and_nothing_is_said_or_made(
    content: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "state"
    if content is not None:
        state.mkdir()
        (state / "ledger.db").write_bytes(content)
    monkeypatch.setenv("SMALLHOURS_HOME", str(state))
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["__complete", "show", ""]) == 0
    assert cli.main(["__complete", "run", str(tmp_path / "nowhere") + "/"]) == 0
    assert cli.main(["__complete"]) == 0
    captured = capsys.readouterr()
    assert "wine" not in captured.out
    assert captured.err == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_answer_never_holds_what_a_terminal_obeys(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil\x1b[31m.py").write_text("import smallhours")
    (tmp_path / "good.py").write_text("import smallhours")
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    completion.answer(home, ["run", ""], out)
    assert out.getvalue().splitlines() == ["state/", "good.py"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_asks_the_hidden_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert verbs.HIDDEN in printed
    assert "@HIDDEN@" not in printed


def test_another_shell_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bsh"]) == 2
    assert "expected bash, zsh or fish; did you mean 'bash'?" in capsys.readouterr().err


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The command, as a script of this test's own."""
    path = tmp_path / "bin" / "smallhours"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m smallhours.cli "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.processes
@pytest.mark.timeout(60)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("sho", ["show"]),
        ("show wine/1", ["wine/1"]),
        ("show w", ["wine", "wine/"]),
        ("move wine --priority=ur", ["urgent"]),
        ("move wine --priority ", ["urgent", "normal", "low"]),
        ("run spa", [r"spa\ ce.py"]),
        ("xyzzy ", []),
    ],
)
def test_bash_completes(line: str, replies: list[str], home: Home, program: Path) -> None:
    (program.parent / "spa ce.py").write_text("import smallhours")
    code = f"""
        source <(./smallhours completion bash)
        COMP_LINE={shlex.quote(f"./smallhours {line}")} COMP_POINT=${{#COMP_LINE}}
        COMP_LINE+=" rest of the line"
        _smallhours ./smallhours
        complete -p smallhours > /dev/null || exit 9
        [[ ${{#COMPREPLY[@]}} -eq 0 ]] || printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-uc", code],
        cwd=program.parent,
        env={"PATH": "/usr/bin:/bin", "SMALLHOURS_HOME": str(home.root), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == replies
