"""The systemd unit: what it says, that systemd takes it, and that installing it is no accident."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smallhours import exits, logind
from smallhours.commands import service
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.supervisor import END_LIMIT_S

pytestmark = pytest.mark.timeout(60)

#: Notes what it is asked for; answers as the file beside it says.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$0.log"
case "$*" in
*show-environment*) exit $(cat "$0.status" 2>/dev/null || echo 0) ;;
*is-enabled*) echo enabled ;;
*is-active*) echo inactive; exit 3 ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(logind, "lingers", lambda: False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    path = tmp_path / "bin" / "systemctl"
    path.write_text(SYSTEMCTL)
    path.chmod(0o700)
    return path


def asked(systemctl: Path) -> list[str]:
    log = systemctl.with_name("systemctl.log")
    return log.read_text().splitlines() if log.exists() else []


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, equals, text = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(text)
    return found


def test_the_unit_runs_the_supervisor_in_the_foreground(home: Home) -> None:
    found = settings_of(service.unit(home, {"PATH": "/bin"}))
    assert found["ExecStart"] == [f'"{sys.executable}" -P -m smallhours.supervisor --stay --log']
    assert found["Type"] == ["exec"]
    assert found["KillMode"] == ["mixed"]
    assert found["OOMPolicy"] == ["continue"]
    assert float(found["TimeoutStopSec"][0]) > END_LIMIT_S
    assert found["WantedBy"] == ["default.target"]


def test_an_engine_that_ended_for_good_is_not_started_again(home: Home) -> None:
    found = settings_of(service.unit(home, {}))
    assert found["Restart"] == ["on-failure"]
    final = {int(word) for word in found["RestartPreventExitStatus"][0].split()}
    assert final == (exits.FINAL - {exits.DONE}) | {exits.ENGINE_FAILED, UsageError.exit_code}


def test_the_unit_names_what_its_engine_must_know_of_this_terminal(home: Home) -> None:
    environment = {"PATH": "/my/bin", "SMALLHOURS_CONFIG": "/my/config.toml", "SECRET": "x"}
    assert settings_of(service.unit(home, environment))["Environment"] == [
        f'"SMALLHOURS_HOME={home.root}"',
        '"SMALLHOURS_CONFIG=/my/config.toml"',
        '"PATH=/my/bin"',
    ]


def test_awkward_paths_are_written_so_that_they_arrive_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/my envs/100%/$HOME/pythön")
    unit = service.unit(Home(Path('/my "state"/50%/a\\b')), {"PATH": "/a:$b"})
    found = settings_of(unit)
    assert found["ExecStart"][0].startswith(':"/my envs/100%%/$HOME/pythön" -P ')
    assert found["Environment"] == [
        '"SMALLHOURS_HOME=/my \\"state\\"/50%%/a\\\\b"',
        '"PATH=/a:$b"',
    ]


@pytest.mark.parametrize("root", ["/a\nExecStart=/bin/evil", "/caf\udce9"])
def test_a_path_that_no_unit_can_hold_is_refused(root: str) -> None:
    with pytest.raises(UsageError, match="can't be written in a systemd unit"):
        service.unit(Home(Path(root)), {})


def test_a_program_that_systemd_would_refuse_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/o'brien/python")
    with pytest.raises(UsageError, match="o'brien"):
        service.unit(Home(Path("/state")), {})


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "my $env 100%" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    path = tmp_path / service.NAME
    path.write_text(service.unit(Home(tmp_path / "a b%c\"'d"), os.environ))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", path],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_installing_writes_and_enables_the_unit(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.service(home, "install") == 0
    assert service.unit_path().read_text() == service.unit(home, os.environ)
    assert asked(systemctl)[1:] == ["--user daemon-reload", "--user enable smallhours.service"]
    printed = capsys.readouterr().out
    assert "written: " in printed
    assert "enable-linger" in printed


def test_installing_twice_is_the_same_as_once(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.install(home)
    before = service.unit_path().read_bytes()
    assert service.install(home) == 0
    assert service.unit_path().read_bytes() == before
    assert "up to date" in capsys.readouterr().out


def test_a_unit_for_another_directory_is_renewed(
    home: Home, systemctl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.install(Home(tmp_path / "other"))
    service.install(home)
    assert str(home.root) in service.unit_path().read_text()
    assert "renewed: " in capsys.readouterr().out


@pytest.mark.parametrize("action", ["install", "uninstall", "status"])
def test_a_unit_of_somebody_elses_is_left_alone(home: Home, systemctl: Path, action: str) -> None:
    path = service.unit_path()
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/my/own\n")
    with pytest.raises(UsageError, match="was not written by smallhours"):
        service.service(home, action)
    assert path.read_text() == "[Service]\nExecStart=/my/own\n"
    assert not asked(systemctl)


def test_without_a_service_manager_it_is_said_what_to_type(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    systemctl.with_name("systemctl.status").write_text("1")
    assert service.install(home) == 0
    assert service.unit_path().exists()
    assert asked(systemctl) == ["--user show-environment"]
    printed = capsys.readouterr().out
    assert "systemctl --user daemon-reload\n" in printed
    assert "systemctl --user enable smallhours.service\n" in printed


def test_uninstalling_disables_and_removes_the_unit(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.install(home)
    asked_before = len(asked(systemctl))
    assert service.service(home, "uninstall") == 0
    assert not service.unit_path().exists()
    assert asked(systemctl)[asked_before + 1 :] == [
        "--user disable smallhours.service",
        "--user daemon-reload",
    ]
    assert service.service(home, "uninstall") == 0
    assert "there is no " in capsys.readouterr().out


def test_the_status_says_what_is_there(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service.service(home, "status")
    assert "no: `smallhours service install`" in capsys.readouterr().out
    service.install(home)
    capsys.readouterr()
    service.service(home, "status")
    printed = " ".join(capsys.readouterr().out.split())
    assert "installed yes: " in printed
    assert "enabled enabled" in printed
    assert "systemd inactive" in printed
    assert "engine none runs" in printed
    service.service(Home(tmp_path / "other"), "status")
    assert "differs from what would be written now" in " ".join(capsys.readouterr().out.split())


def test_printing_changes_nothing(
    home: Home, systemctl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.service(home, "print") == 0
    assert capsys.readouterr().out == service.unit(home, os.environ)
    assert not service.unit_path().exists()
    assert not asked(systemctl)


def test_an_unknown_action_is_answered_with_the_nearest(home: Home) -> None:
    with pytest.raises(UsageError, match="did you mean 'install'"):
        service.service(home, "instal")
