"""Fixtures that several suites share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fakes.real import RealNight

# The same examples each time: what fails here fails everywhere. `HYPOTHESIS_PROFILE=search` looks
# for others.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealNight]:
    """A state directory with real processes, without Ray."""
    night = RealNight(tmp_path)
    yield night
    night.close()


def pytest_collection_finish() -> None:
    """Ray reads its settings when it is imported, and tests start it with those of the engine."""
    assert "ray" not in sys.modules, (
        "a test file imports ray at its top: import it where it is used"
    )
