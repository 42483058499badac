"""``smallhours why STUDY``: how a study ended or where it stands, and what ended its trials."""

from __future__ import annotations

from typing import TextIO

from smallhours.commands import rechecks
from smallhours.commands.best import claim
from smallhours.core.trial import TrialState
from smallhours.explain import GROUPS, WORDS, kind
from smallhours.snapshot import FailureGroup, Mistake, Snapshot, StudyView
from smallhours.text import Page, Toned, clean, count, duration, listing, moment, of_kind

#: Kinds of failures that are shown, at most: the most frequent ones.
_SHOWN = 5


def why(snapshot: Snapshot, study_id: int, *, as_json: bool, out: TextIO) -> None:
    """Say what became of a study."""
    study = snapshot.study(study_id)
    failures = snapshot.failures(study_id) if "exception" in study.reasons else []
    mistakes = snapshot.mistakes(study_id)
    found = snapshot.rechecks(study)
    told = [_state(snapshot, study), claim(study), _again(study), rechecks.paragraph(study, found)]
    told = [paragraph for paragraph in told if paragraph]
    if as_json:
        from smallhours.commands import documents

        document = _document(study, told, failures)
        documents.write(
            out, {**document, "mistakes": mistakes, "recheck": rechecks.document(found)}
        )
        return
    page = Page(out)
    for paragraph in told:
        page.paragraph(paragraph)
    for group, reasons in GROUPS:
        _print_group(page, study, group, reasons)
    for mistake in mistakes[:_SHOWN]:
        page.line()
        page.paragraph(told_of(study, mistake), indent=2, hang=4)
    for failure in failures[:_SHOWN]:
        page.line()
        names = [study.trial_name(trial) for trial in failure.trials]
        where = f" (in {failure.where})" if failure.where else ""
        page.paragraph(
            f"{clean(failure.type, 80)}: {clean(failure.message, 200)}{where}: {listing(names, 6)}",
            indent=2,
            hang=4,
        )


def _state(snapshot: Snapshot, study: StudyView) -> str:
    ended = f"{study.ended} of {count(study.spec.trials, 'trial')} are over"
    if study.confirmations:
        ended += f", and {study.confirmed} of {count(study.confirmations, 'confirmation')}"
    if study.outcome is not None:
        how = {
            "done": "is done",
            "cancelled": "was cancelled",
            "budget": f"ended because its time of {duration(study.spec.study_time_s)} was used up",
            "exhausted": f"is done, since its search found nothing new: {study.search_ended}",
            "enough": f"is done, since little was left to gain: {study.search_ended}",
        }[study.outcome]
        return f"{study.name} {how} ({moment(study.ended_at)}): {ended}."
    if study.halted:
        return (
            f"{study.name} is halted and starts nothing: {study.halted.rstrip('.')}. So far,"
            f" {ended}. `smallhours resume {study.name}` releases it."
        )
    if study.state == "retired":
        return f"{study.name} was put aside when a study took its name: {ended}."
    running = sum(
        n for state, n in study.states.items() if state not in (TrialState.QUEUED, TrialState.ENDED)
    )
    waiting = study.states.get(TrialState.QUEUED, 0)
    now = [f"{running} running"] * (running > 0) + [f"{waiting} waiting"] * (waiting > 0)
    open_ = f"; {' and '.join(now)}" if now else ""
    if snapshot.engine().running:
        return f"{study.name} is {study.state}: {ended}{open_}."
    return (
        f"{study.name} is not done, and the engine is not running: {ended}{open_}. `smallhours"
        " resume` goes on."
    )


def _again(study: StudyView) -> str:
    """Return what taking trials up again changed; empty: none was, since the study was open."""
    if not study.ended_before:
        return ""
    if study.outcome is None:
        return f"{study.name} had ended; it is open again for what was taken up again of it."
    best, before = study.best, study.best_before
    if best is None or best.trial == before:
        return "Trials were taken up again after its end; the best one is the same as before."
    was = "there was none" if before is None else f"it was {study.trial_name(before)}"
    return (
        f"Trials were taken up again after its end, and that changed the best one: before,"
        f" {was}, now it is {study.trial_name(best.trial)}."
    )


def told_of(study: StudyView, mistake: Mistake) -> str:
    """Return what trials that failed in the same way have in common, in a sentence."""
    what = WORDS.get(mistake.cause, "failed in the same way")
    names = listing([study.trial_name(number) for number in mistake.trials], 3)
    return f"{names} {what}: {clean(mistake.words)}."


def _print_group(page: Page, study: StudyView, group: str, reasons: tuple[str, ...]) -> None:
    """Print a group of reasons with its trials; nothing where it has none."""
    present = [reason for reason in reasons if reason in study.reasons]
    if not present:
        return
    trials = sum(len(study.reasons[reason]) for reason in present)
    page.line()
    page.line(Toned(f"{trials} {group}", "bold"))
    rows = [
        (
            str(len(study.reasons[reason])),
            of_kind(WORDS[reason], kind(reason)),
            Toned(listing([study.trial_name(n) for n in study.reasons[reason]], 5), "dim"),
        )
        for reason in present
    ]
    page.rows(rows, right="r", shrink=(2,))


def _document(study: StudyView, told: list[str], failures: list[FailureGroup]) -> dict[str, object]:
    def names(trials: tuple[int, ...]) -> list[str]:
        return [study.trial_name(trial) for trial in trials]

    return {
        "study": study.name,
        "state": study.state,
        "outcome": study.outcome,
        "halted": study.halted or None,
        "paragraphs": told,
        "groups": [
            {
                "group": group,
                "trials": sum(len(study.reasons.get(reason, ())) for reason in reasons),
                "reasons": [
                    {
                        "reason": reason,
                        "trials": len(study.reasons[reason]),
                        "names": names(study.reasons[reason]),
                    }
                    for reason in reasons
                    if reason in study.reasons
                ],
            }
            for group, reasons in GROUPS
        ],
        "failures": [
            {
                "type": failure.type,
                "message": failure.message,
                "where": failure.where,
                "fingerprint": failure.fingerprint,
                "trials": names(failure.trials),
            }
            for failure in failures
        ],
    }
