"""Rules made of rules: any of them, all of them, one of them from a step on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.rule import Curve, Rule


class _Combined:
    """What combinations share: every part hears of everything."""

    def __init__(self, parts: Sequence[Rule]) -> None:
        self._parts = tuple(parts)
        self.versions: Mapping[str, int] = {
            name: version for part in parts for name, version in part.versions.items()
        }

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Hand the report on."""
        for part in self._parts:
            part.observe(trial, step, curve)

    def observe_noise(self, sd: float) -> None:
        """Hand it on."""
        for part in self._parts:
            part.observe_noise(sd)

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Hand the end on."""
        for part in self._parts:
            part.close(trial, curve, completed=completed)

    def _verdicts(self, trial: int, step: int, curve: Curve) -> list[RuleCut | RungCut | None]:
        return [part.decide(trial, step, curve) for part in self._parts]


class AnyOfRule(_Combined):
    """Stop a trial as soon as one of the parts would; the verdict is that part's, the first's."""

    name = "any"

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | RungCut | None:
        """Return the first verdict that is a stop."""
        verdicts = self._verdicts(trial, step, curve)
        return next((verdict for verdict in verdicts if verdict is not None), None)


class AllOfRule(_Combined):
    """Stop a trial at a report at which each of the parts would.

    The verdict is the first part's, with those of the others beside it.
    """

    name = "all"

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | RungCut | None:
        """Return the verdict that all agree on."""
        verdicts = [verdict for verdict in self._verdicts(trial, step, curve) if verdict]
        if len(verdicts) < len(self._parts):
            return None
        first, *others = verdicts
        return msgspec.structs.replace(first, agreed=(*first.agreed, *others))


class AfterRule(_Combined):
    """Let the part stop trials from a step on; it takes note of everything before, too."""

    name = "after"

    def __init__(self, part: Rule, step: float) -> None:
        super().__init__((part,))
        self._step = int(step)

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | RungCut | None:
        """Return the part's verdict, where its time has come."""
        (verdict,) = self._verdicts(trial, step, curve)
        return verdict if step >= self._step else None
