"""The verdicts of rules in words: what was compared with what, and why that was a stop."""

from __future__ import annotations

from smallhours.core import reasons as r
from smallhours.text import apart, clean, count, listing, number


def rule_words(cut: r.RuleCut, metric: str, study: str) -> str:
    """Return one or two sentences on what the rule found.

    Args:
        cut: The verdict.
        metric: What the study calls its metric, clean.
        study: Name of the study, for the trials that the verdict names.
    """
    return f"{_found(cut, metric, study)}{agreed_words(cut)}"


def agreed_words(cut: r.RuleCut | r.RungCut) -> str:
    """Return which other rules had to agree, with a space before; empty: none had to."""
    if not cut.agreed:
        return ""
    return f" So found {listing([f'the {clean(other.rule, 40)} rule' for other in cut.agreed], 5)}."


def _found(cut: r.RuleCut, metric: str, study: str) -> str:
    value, threshold = apart(cut.value, cut.threshold)
    beyond = f", by more than the study's noise of {number(cut.noise)}" if cut.noise else ""
    rival = f"{study}/{cut.competitors[0][0]}" if cut.competitors else "another trial"
    match cut.rule:
        case "median":
            return (
                f"Its best {metric} so far, {value}, was worse than {threshold}, the median of what"
                f" {count(cut.compared, 'completed trial')} had at step {cut.step}{beyond}."
            )
        case "extrapolate":
            now = number(cut.measures.get("now"))
            return (
                f"Its {metric}, {now} at that step, could have come to {value} at the end if all"
                f" had gone well: still worse than the {threshold} that {rival} already"
                f" had{beyond}. It was in place {cut.rank} of the {cut.of} that came to that step."
            )
        case "patience":
            still = number(cut.measures.get("steps without a gain", 0))
            return (
                f"Its {metric} had not become better for {still} steps, and its best, {value}, was"
                f" worse than the {threshold} that {rival} ended with{beyond}."
            )
        case "threshold":
            return (
                f"Its best {metric} so far, {value}, was worse than {threshold}, which the study"
                " sets as the least."
            )
        case "wilcoxon":
            return (
                f"Its mean {metric} so far, {value}, is worse than the {threshold} of {rival}, and"
                f" over the {count(cut.compared, 'fold')} that both have that is no chance"
                f" (p = {number(cut.measures.get('p', 0.0))})."
            )
        case _:
            return (
                f"It compared {value} with {threshold}, which it had from"
                f" {count(cut.compared, 'value')}, and found it worse."
            )
