"""The rules that stop trials early: pure functions of reports, one a file."""

from __future__ import annotations

from smallhours.core.rule import Rule
from smallhours.core.spec import ScoreKind, Stopping, StudySpec
from smallhours.rules.asha import AshaRule
from smallhours.rules.combined import AfterRule, AllOfRule, AnyOfRule
from smallhours.rules.extrapolate import ExtrapolateRule
from smallhours.rules.halving import HalvingRule
from smallhours.rules.median import MedianRule
from smallhours.rules.never import NeverRule
from smallhours.rules.patience import PatienceRule
from smallhours.rules.threshold import ThresholdRule
from smallhours.rules.wilcoxon import WilcoxonRule

#: Rules that sign verdicts; combinations hand on what their parts say.
_SIGNING = (
    AshaRule, ExtrapolateRule, HalvingRule, MedianRule, NeverRule, PatienceRule, ThresholdRule,
    WilcoxonRule,
)  # fmt: skip
_COMBINATIONS = (AfterRule, AllOfRule, AnyOfRule)
#: Every rule by the name that a study gives it.
RULES: frozenset[str] = frozenset(rule.name for rule in (*_SIGNING, *_COMBINATIONS))


def versions() -> dict[str, int]:
    """Return the version of every rule that may sign a verdict, by its name."""
    return {rule.name: rule.version for rule in _SIGNING}


def make(spec: StudySpec) -> Rule:
    """Return a fresh rule of the kind that the study asks for.

    Raises:
        KeyError: there is no such rule (the loader has told the user before).
        TypeError: it takes no such options, or is not made of so many parts.
    """
    return _make(spec.stopping, spec)


def _make(stopping: Stopping, spec: StudySpec) -> Rule:
    goal, options = spec.goal, stopping.options
    match stopping.rule:
        case NeverRule.name:
            return NeverRule()
        case MedianRule.name:
            return MedianRule(goal, spec.steps, **options)
        case AshaRule.name:
            return AshaRule(goal, spec.steps, **options)
        case HalvingRule.name:
            return HalvingRule(goal, spec.steps, spec.trials, **options)
        case ExtrapolateRule.name:
            best = spec.score is ScoreKind.BEST
            return ExtrapolateRule(goal, spec.steps, best_counts=best, **options)
        case PatienceRule.name:
            return PatienceRule(goal, **options)
        case ThresholdRule.name:
            return ThresholdRule(goal, **options)
        case WilcoxonRule.name:
            return WilcoxonRule(goal, **options)
        case AnyOfRule.name:
            return AnyOfRule(_parts(stopping, spec))
        case AllOfRule.name:
            return AllOfRule(_parts(stopping, spec))
        case AfterRule.name:
            (part,) = _parts(stopping, spec)
            return AfterRule(part, **options)
        case unknown:
            raise KeyError(unknown)


def _parts(stopping: Stopping, spec: StudySpec) -> list[Rule]:
    if not stopping.parts:
        raise TypeError(f"{stopping.rule!r} is made of other rules, and names none")
    return [_make(part, spec) for part in stopping.parts]
