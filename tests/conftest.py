"""Fixtures that several suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.real import RealNight


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealNight]:
    """A state directory with real processes, without Ray."""
    night = RealNight(tmp_path)
    yield night
    night.close()
