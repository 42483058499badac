"""What rechecked trials say of stopping, in words and as ``--json`` has it."""

from __future__ import annotations

from smallhours.snapshot import StudyView
from smallhours.snapshot.rechecks import LEVEL, OWN_FROM, Rate, Rechecks
from smallhours.text import count, listing, number, percent


def brief(found: Rechecks) -> str:
    """Return it in a line for a page of facts; empty: nothing was drawn."""
    if not found.drawn:
        return ""
    said = f"{len(found.finished)} of {len(found.drawn)} rechecked trials came to their end"
    if found.false is None:
        return f"{said}; whether a stop was false is not known"
    return f"{said}, {count(len(found.false), 'false stop')}"


def paragraph(study: StudyView, found: Rechecks) -> str:
    """Return what the rechecks say, and how surely; empty: nothing was drawn."""
    if not found.drawn:
        return ""
    said = (
        f"{count(len(found.drawn), 'stopped trial was', 'stopped trials were')} drawn to be run to"
        f" the end, to see whether stopping was right; {len(found.finished)} came there"
    )
    said += f", {found.unfinished} did not, or not yet (censored)." if found.unfinished else "."
    return f"{said} {_verdict(study, found)} {_rates(study, found)}".strip()


def document(found: Rechecks) -> dict[str, object]:
    """Return what ``--json`` has of it."""
    return {
        "drawn": found.drawn,
        "finished": found.finished,
        "unfinished": found.unfinished,
        "false": found.false,
        "pick": found.pick,
        "seed_sd": found.seed_sd,
        "level": LEVEL,
        "own": None if found.own is None else _rate(found.own),
        "pooled": {"studies": found.studies, **_rate(found.pooled)},
    }


def _verdict(study: StudyView, found: Rechecks) -> str:
    if not found.finished:
        return ""
    if found.false is None:
        return (
            "Whether any of these stops was false can't be told: what another seed changes is not"
            " known (`confirm=2` or more measures it)."
        )
    margin = f"by more than twice what another seed changes ({number(found.seed_sd)})"
    pick = "" if found.pick is None else f", {study.trial_name(found.pick)},"
    if not found.false:
        return f"None of them beat the pick{pick} {margin}."
    names = listing([study.trial_name(trial) for trial in found.false], 5)
    return f"Stopping was wrong for {names}: better than the pick{pick} {margin}."


def _rates(study: StudyView, found: Rechecks) -> str:
    said = []
    if found.own is not None:
        said.append(f"In {study.name}, {_in_words(found.own)}.")
    elif found.false is not None and found.finished:
        said.append(f"A rate of its own is told from {OWN_FROM} on.")
    if found.pooled.n and (found.studies > 1 or found.own is None):
        over = count(found.studies, "study", "studies")
        said.append(f"Over {over} with this rule, {_in_words(found.pooled)}.")
    return " ".join(said)


def _in_words(rate: Rate) -> str:
    return (
        f"{rate.false} of {count(rate.n, 'rechecked stop')}"
        f" {'was' if rate.false == 1 else 'were'} false: {percent(rate.share or 0.0)}, and with"
        f" {percent(LEVEL)} certainty between {percent(rate.low)} and {percent(rate.high)}"
    )


def _rate(rate: Rate) -> dict[str, object]:
    return {
        "n": rate.n,
        "false": rate.false,
        "share": rate.share,
        "low": rate.low,
        "high": rate.high,
    }
