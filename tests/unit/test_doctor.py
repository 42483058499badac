"""What `smallhours doctor` says of settings, disk, file system, logout and sleep."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallhours import logind
from smallhours.commands import doctor, doctor_state
from smallhours.commands.finding import Finding
from smallhours.paths import Home

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw shared:9 master:1 - nfs4 box:/home rw
31 30 0:41 / /home/a\040b rw - tmpfs tmpfs rw
32 22 0:42 / /homework rw - btrfs /dev/sdb rw
33 22 0:43 / /over rw - ext4 /dev/sdc rw
34 22 0:44 / /over rw - xfs /dev/sdd rw
""".strip()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "state").mkdir(mode=0o700)
    return Home(tmp_path / "state")


def found(home: Home, what: str) -> Finding:
    (finding,) = [finding for finding in doctor.examine(home) if finding.what == what]
    return finding


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada", "nfs4"),
        ("/home/a b/c", "tmpfs"),
        ("/homework/x", "btrfs"),
        ("/over/x", "xfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert doctor_state.file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("nfs4", "wrong"), ("9p", "wrong"), ("tmpfs", "note"), ("ext4", "ok"), ("", "ok")],
)
def test_a_file_system_of_another_machine_is_wrong(
    kind: str, verdict: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_state, "file_system", lambda path, mounts: kind)
    finding = found(home, "file system")
    assert finding.verdict == verdict
    assert bool(finding.do) == (verdict != "ok")


def test_settings_that_are_wrong_are_named_with_file_and_key(home: Home, tmp_path: Path) -> None:
    assert found(home, "settings").found.endswith("config.toml (not there: all as usual)")
    (tmp_path / "config.toml").write_text("slotz = 2\n")
    finding = found(home, "settings")
    assert finding.verdict == "wrong"
    assert "config.toml: slotz: " in finding.found
    assert "did you mean 'slots'" in finding.found


def test_a_budget_of_checkpoints_that_the_disk_does_not_have_is_noted(
    home: Home, tmp_path: Path
) -> None:
    saved = home.trial(1, 0) / "checkpoints" / "1-1"
    saved.mkdir(parents=True)
    (saved / "state.pt").write_bytes(b"x" * 2048)
    (tmp_path / "config.toml").write_text('[storage]\ncheckpoints = "900000 TB"\n')
    finding = found(home, "disk")
    assert finding.verdict == "note"
    assert "checkpoints take 2 KiB of " in finding.found
    (tmp_path / "config.toml").write_text('[storage]\ncheckpoints = "1 MB"\n')
    assert found(home, "disk").verdict == "ok"


@pytest.mark.parametrize(
    ("kills", "service", "lingers", "verdict", "advice"),
    [
        (None, False, False, "ok", ""),
        (False, False, False, "ok", ""),
        (True, True, True, "ok", ""),
        (True, True, False, "note", "loginctl enable-linger"),
        (False, True, False, "note", "loginctl enable-linger"),
        (True, False, False, "note", "loginctl enable-linger"),
        (True, False, True, "note", "smallhours service install"),
    ],
)
def test_a_logout_that_would_end_the_night_is_noted(
    *,
    kills: bool | None,
    service: bool,
    lingers: bool,
    verdict: str,
    advice: str,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logind, "kills_at_logout", lambda: kills)
    monkeypatch.setattr(logind, "in_service", lambda: service)
    monkeypatch.setattr(logind, "lingers", lambda: lingers)
    finding = found(home, "logout")
    assert (finding.verdict, advice in finding.do) == (verdict, True)


def test_what_cannot_be_kept_awake_is_noted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert found(home, "sleep").verdict == "note"
