"""The rules that stop trials early: pure functions of reports, one a file."""

from __future__ import annotations

from smallhours.core.rule import Rule
from smallhours.core.spec import StudySpec
from smallhours.rules.asha import AshaRule
from smallhours.rules.median import MedianRule
from smallhours.rules.never import NeverRule

#: Every rule by the name that a study gives it.
RULES: frozenset[str] = frozenset({AshaRule.name, MedianRule.name, NeverRule.name})


def make(spec: StudySpec) -> Rule:
    """Return a fresh rule of the kind that the study asks for.

    Raises:
        KeyError: there is no such rule (the loader has told the user before).
    """
    match spec.stopping.rule:
        case NeverRule.name:
            return NeverRule()
        case MedianRule.name:
            return MedianRule(spec.goal, **spec.stopping.options)
        case AshaRule.name:
            return AshaRule(spec.goal, spec.steps, **spec.stopping.options)
        case unknown:
            raise KeyError(unknown)
