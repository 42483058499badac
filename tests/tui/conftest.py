"""The night that the dashboard's tests look at: recorded once, never written to again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.sample_night import SampleNight


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleNight]:
    recorded = SampleNight(tmp_path_factory.mktemp("night") / "state")
    yield recorded
    recorded.close()


@pytest.fixture(autouse=True)
def nothing_remembered(request: pytest.FixtureRequest) -> None:
    """How another test arranged the night is forgotten."""
    if "night" in request.fixturenames:
        recorded: SampleNight = request.getfixturevalue("night")
        recorded.home.root.joinpath("dashboard.json").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No keys, theme or colours of whoever runs the tests."""
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "config.toml"))
    for name in ("TEXTUAL_THEME", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
