"""What a logout would end, as far as systemd-logind can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallhours import logind


@pytest.fixture
def loginctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "loginctl"
    path.touch(0o700)
    return path


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("echo yes", True),
        ("echo no", False),
        ("echo perhaps", None),
        ("echo yes; exit 1", None),
        ("echo 'Failed to connect to bus' >&2; exit 1", None),
    ],
)
def test_logind_is_asked_whether_it_kills(loginctl: Path, says: str, expected: bool | None) -> None:
    loginctl.write_text(f"#!/bin/sh\n{says}\n")
    assert logind.kills_at_logout() is expected


def test_without_logind_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert logind.kills_at_logout() is None


@pytest.mark.parametrize(
    ("in_service", "lingers", "kills", "advice"),
    [
        (True, True, True, None),
        (True, False, False, "enable-linger"),
        (False, False, False, None),
        (False, False, None, None),
        (False, True, True, "service install"),
    ],
)
def test_the_advice_fits_the_place(
    monkeypatch: pytest.MonkeyPatch,
    in_service: bool,
    lingers: bool,
    kills: bool | None,
    advice: str | None,
) -> None:
    monkeypatch.setattr(logind, "in_service", lambda: in_service)
    monkeypatch.setattr(logind, "lingers", lambda: lingers)
    monkeypatch.setattr(logind, "kills_at_logout", lambda: kills)
    said = logind.logout_advice()
    assert (said is None) if advice is None else (said is not None and advice in said)
