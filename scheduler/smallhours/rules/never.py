"""The rule that stops nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from smallhours.core.rule import Curve


class NeverRule:
    """Every trial runs to its end (the guards still hold)."""

    name = "none"
    version = 1
    versions: ClassVar[Mapping[str, int]] = {name: version}

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take no note."""

    def decide(self, trial: int, step: int, curve: Curve) -> None:
        """Go on."""

    def observe_noise(self, sd: float) -> None:
        """Take no note: nothing is stopped."""

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Take no note."""
