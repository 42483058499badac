"""What the machine expects of a rule; the rules themselves live in `smallhours.rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.spec import StudySpec

#: A trial's metric by step.
Curve: TypeAlias = Mapping[int, float]


class Rule(Protocol):
    """Decides from reports whether a trial goes on.

    Its answers are a function of the calls it got, in order, and of nothing else: `verify` makes
    the same calls from the ledger and expects the same answers.
    """

    @property
    def versions(self) -> Mapping[str, int]:
        """The rules that may sign its verdicts, by name, and their versions."""
        ...

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        """Take note of a report; `curve` holds the trial's values by step, this one included."""
        ...

    def decide(self, trial: int, step: int, curve: Curve) -> RuleCut | RungCut | None:
        """Say whether the trial is to be stopped at this step, with the evidence."""
        ...

    def observe_noise(self, sd: float) -> None:
        """Take note of the standard deviation of scores between seeds, as far as it is known."""
        ...

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        """Take note that a trial is over."""
        ...


#: Makes the rule that a study asks for.
RuleFactory: TypeAlias = Callable[[StudySpec], Rule]
