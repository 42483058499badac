"""The command line's own part: words, exit codes, and what an error looks like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from fakes.ledgers import record_small_night
from smallhours import cli, processes, verbs
from smallhours.clock import boot_id
from smallhours.core.facts import StudyEnded
from smallhours.errors import EngineError, LedgerError, NotFoundError, UsageError
from smallhours.paths import Home


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMALLHOURS_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SMALLHOURS_TRACEBACK", raising=False)
    return tmp_path / "state"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Have `doctor` raise what is put into the list."""
    errors: list[BaseException] = []

    def doctor(*args: object, **keys: object) -> int:
        raise errors[0]

    monkeypatch.setattr("smallhours.commands.doctor.doctor", doctor)
    return errors


def test_without_arguments_the_most_used_commands_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    for verb in ("run", "add", "resume", "status", "show", "best", "why"):
        assert f"smallhours {verb}" in printed
    assert len(printed.splitlines()) < 15


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("shwo", "did you mean 'show'?"),
        ("resum", "did you mean 'resume'?"),
        ("wine.py", "did you mean `smallhours run wine.py`?"),
        ("kill", "did you mean 'cancel'?"),
        ("wine/3", "did you mean `smallhours show wine/3`?"),
        ("xyzzy", "there are run, start"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"smallhours: '{word}' is no command; ")
    assert hint in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["best"], ["why"], ["show", "--jsno"], ["log", "-n", "0", "a/1"], ["--jsno"]],
)
def test_a_wrong_command_line_is_one_sentence_and_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("smallhours: ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("that is wrong"), 2, "that is wrong"),
        (LedgerError("that is \x1b wrong"), 4, "that is \x1b wrong"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("should not be"), 70, "an error of smallhours' own"),
    ],
)
def test_an_error_with_json_is_an_object_with_the_exit_code(
    failing: list[BaseException],
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing.append(error)
    assert cli.main(["doctor", "--json"]) == code
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert (answer["ok"], answer["exit"]) == (False, code)
    assert answer["text"].startswith(said)
    assert said == "interrupted" or captured.err.startswith("smallhours: ")


@pytest.mark.parametrize("arguments", [["stop", "--nwo", "--json"], ["shwo", "--json"]])
def test_a_wrong_command_line_with_json_is_an_object(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["exit"]) == (False, 2)
    assert "did you mean" in answer["text"]


def test_what_a_command_says_is_wrapped_in_json(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli.main(["stop", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": True, "exit": 0, "text": "nothing is running"}
    assert captured.err == ""
    record_small_night(state).close()
    assert cli.main(["cancel", "wine/0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"].startswith("wine/0 is over")


def test_what_was_said_before_an_error_is_not_lost_with_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(home: Home, *, now: bool) -> int:
        print("stopping ...")
        raise EngineError("it does not end")

    monkeypatch.setattr("smallhours.commands.stop.stop", stop)
    assert cli.main(["stop", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": False, "exit": 3, "text": "it does not end"}
    assert captured.err == "stopping ...\nsmallhours: it does not end\n"


def test_with_json_nobody_is_asked(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    night = record_small_night(state)
    night.add(StudyEnded(study=1, outcome="cancelled", winner=None))
    night.close()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert cli.main(["rm", "wine", "--json"]) == 2
    assert "add --yes" in json.loads(capsys.readouterr().out)["text"]


def test_a_log_is_printed_as_json_attempt_by_attempt(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night = record_small_night(state)
    night.log(2, b"one\ntwo\x1b[31m\n")
    night.close()
    assert cli.main(["log", "wine/2", "--json", "-n", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "trial": "wine/2",
        "state": "ended",
        "attempts": [{"number": 1, "lines": ["two\N{REPLACEMENT CHARACTER}[31m"]}],
    }
    assert cli.main(["log", "wine/2", "--json", "-f"]) == 2


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "70", "130"):
        assert f"\n  {code}" in printed


def test_help_of_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in verbs.NAMES:
        assert cli.main([verb, "--help"]) == 0
        assert len(capsys.readouterr().out.splitlines()) >= 4


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    name, version = capsys.readouterr().out.split()
    assert name == "smallhours"
    assert version[0].isdigit()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("that is wrong"), 2),
        (NotFoundError("that is wrong"), 2),
        (EngineError("that is wrong"), 3),
        (LedgerError("that is wrong"), 4),
    ],
)
def test_an_expected_error_is_a_sentence_and_its_exit_code(
    failing: list[BaseException],
    error: BaseException,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing.append(error)
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().err == "smallhours: that is wrong\n"


def test_escape_sequences_in_an_error_never_reach_the_terminal(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(UsageError("no \x1b]52;c;ZXZpbA==\x1b\\ such\nsecond line"))
    assert cli.main(["doctor"]) == 2
    message = capsys.readouterr().err
    assert "\x1b" not in message
    assert message.endswith("such\nsecond line\n")


def test_an_interrupt_is_exit_130_without_a_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(KeyboardInterrupt())
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_an_error_of_our_own_is_one_line_and_its_traceback_a_file(
    failing: list[BaseException], state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(RuntimeError("should not be"))
    assert cli.main(["doctor"]) == 70
    (message,) = capsys.readouterr().err.splitlines()
    (file,) = state.glob("error-*.txt")
    assert "RuntimeError: should not be" in message
    assert str(file) in message
    assert "Traceback (most recent call last)" in file.read_text()


def test_the_traceback_is_printed_where_it_is_asked_for(
    failing: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SMALLHOURS_TRACEBACK", "1")
    failing.append(RuntimeError("should not be"))
    assert cli.main(["doctor"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_traceback_that_no_file_takes_is_printed(
    failing: list[BaseException], state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.write_text("not a directory")
    failing.append(RuntimeError("should not be"))
    assert cli.main(["doctor"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_elsewhere_than_on_linux_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cli.main(["doctor"]) == 2
    assert "runs on Linux" in capsys.readouterr().err


def test_what_is_created_is_closed_to_others() -> None:
    before = os.umask(0o022)
    try:
        cli.main([])
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)


@pytest.mark.processes
def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from smallhours.cli import main; sys.exit(main([]))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["why", "wine/1"],
        ["best", "wine"],
        ["log", "wine/1"],
        ["ls"],
        ["status"],
        ["stop"],
        ["__complete", "show", ""],
    ],
)
def test_commands_that_print_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from smallhours.cli import main; main(sys.argv[1:]);"
        "print(sorted({'rich', 'torch', 'ray', 'optuna', 'numpy', 'subprocess', 'asyncio',"
        " 'threading'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


STUDY = """
from smallhours import Float, Study
study = Study("wine", metric="loss", goal="minimize", space={"lr": Float(0.1, 1.0)},
              baseline={"lr": 0.5}, trials=2, steps=1)

@study.train
def train(trial):
    trial.report(1, loss=0.5)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wine.py"
    path.write_text(STUDY)
    return path


@pytest.mark.processes
def test_an_engine_that_dies_at_its_start_is_exit_3_with_its_last_words(
    state: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(home: Home, **_: object) -> subprocess.Popen[bytes]:
        home.log.write_text("something else\nno such device\n")
        return subprocess.Popen(["false"])

    monkeypatch.setattr(processes, "start_engine", start)
    assert cli.main(["run", str(file)]) == 3
    captured = capsys.readouterr()
    assert captured.out == "starting the engine ...\n"
    assert captured.err.startswith("smallhours: the engine died while it started (code 1); ")
    assert captured.err.endswith("  something else\n  no such device\n")
    assert list((state / "inbox").iterdir()) == []


@pytest.mark.processes
def test_a_ledger_that_is_none_is_exit_4(
    state: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.mkdir(mode=0o700)
    (state / "ledger.db").write_bytes(b"this is no database " * 500)
    assert cli.main(["run", str(file)]) == 4
    assert "file is not a database" in capsys.readouterr().err
    assert list((state / "inbox").iterdir()) == []


def test_the_living_engine_is_known_by_pid_start_and_boot(state: Path) -> None:
    home = Home(state)
    home.prepare()
    own = processes.started_at(os.getpid())
    assert own is not None
    engine = processes.Owner(pid=os.getpid(), pid_started=own, boot_id=boot_id(), session=1)
    for written, lives in (
        (engine, True),
        (msgspec.structs.replace(engine, pid_started=own + 1), False),
        (msgspec.structs.replace(engine, boot_id="another"), False),
    ):
        home.owner.write_bytes(msgspec.json.encode(written))
        assert (processes.owner(home) == written) is lives
    home.owner.write_bytes(b"{")
    assert processes.owner(home) is None


@pytest.mark.processes
def test_a_process_of_a_session_without_engine_is_a_stray(tmp_path: Path) -> None:
    session = str(tmp_path / "sh")
    environment = {**os.environ, "SMALLHOURS_SESSION": session}
    child = subprocess.Popen(["sleep", "30"], env=environment)
    try:
        # The kernel shows a new program's environment a moment after it was started.
        until = time.monotonic() + 5.0
        found: list[processes.Stray] = []
        while not found and time.monotonic() < until:
            found = [stray for stray in processes.strays() if stray.session == session]
        assert [(stray.pid, stray.command.strip()) for stray in found] == [(child.pid, "sleep 30")]
    finally:
        child.kill()
        child.wait()


def test_stop_without_an_engine_is_done_already(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stop"]) == 0
    assert capsys.readouterr().out == "nothing is running\n"


def test_resume_with_nothing_to_do_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["resume"]) == 0
    assert capsys.readouterr().out.startswith("nothing is left to do")


def test_doctor_finds_the_state_directory_that_others_can_write_to(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state.mkdir(mode=0o700)
    state.chmod(0o777)
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "others can write there" in printed
    assert f"chmod 700 {state}" in " ".join(printed.split())


def test_doctor_prints_json(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.mkdir(mode=0o700)
    code = cli.main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    wrong = [finding for finding in answer["findings"] if finding["verdict"] == "wrong"]
    assert answer["fit"] == (not wrong) == (code == 0)
    assert all(finding["do"] for finding in wrong)
    assert {"what": "engine", "verdict": "ok", "found": "not running", "do": ""} in answer[
        "findings"
    ]


def test_doctor_finds_a_damaged_ledger(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.mkdir(mode=0o700)
    (state / "ledger.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert cli.main(["doctor"]) == 1
    assert "ledger" in capsys.readouterr().out.splitlines()[-1]


def test_a_supervisor_is_known_by_its_directory(tmp_path: Path) -> None:
    home = Home(tmp_path / "mine")
    home.prepare()
    assert not processes.supervisor_lives(home)
    code = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, "-m", "smallhours.supervisor", "x"]
    with subprocess.Popen(
        command, cwd=home.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes.supervisor_lives(home)
        assert not processes.supervisor_lives(Home(tmp_path))
        assert process.stdin is not None
        process.stdin.close()


def test_what_is_over_cannot_be_cancelled(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night = record_small_night(state)
    night.close()
    assert cli.main(["cancel", "wine/0"]) == 0
    assert capsys.readouterr().out == "wine/0 is over: there is nothing to cancel\n"
    assert not list(state.glob("inbox/*"))
