"""``smallhours show TRIAL``: everything about one trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TextIO

from smallhours import text
from smallhours.commands.note import print_notes
from smallhours.core.reasons import tag
from smallhours.core.spec import Goal
from smallhours.core.trial import Role, TrialState
from smallhours.explain import footprint_words, in_brief, kind
from smallhours.explain import packing as words
from smallhours.explain.waiting import waiting_words
from smallhours.nameplates import Nameplate
from smallhours.snapshot import AttemptView, Snapshot, StudyView, TrialView
from smallhours.text import Page, Piece, Toned, count, duration, number, of_kind, size


def trial(snapshot: Snapshot, study_id: int, number_: int, *, as_json: bool, out: TextIO) -> None:
    """Print one trial."""
    view = snapshot.trial(study_id, number_)
    if as_json:
        from smallhours.commands import documents

        notes = snapshot.notes(study_id, number_)
        documents.write(out, documents.trial(view, snapshot.nameplates(), notes))
        return
    study = snapshot.study(study_id)
    page = Page(out)
    page.line(Toned(view.name, "bold"), "  ", _state(view))
    page.line()
    page.pairs(_facts(view, study))
    page.line()
    page.line(Toned("Parameters", "bold"), indent=2)
    page.pairs([(name, text.value(value)) for name, value in view.params.items()], indent=4)
    plates = snapshot.nameplates()
    _print_attempts(page, view, plates)
    _print_memory(page, view, plates)
    _print_curve(page, view, study)
    _print_checkpoints(page, view)
    print_notes(page, snapshot.notes(study_id, number_))
    page.line()
    page.line(Toned(f"`smallhours why {view.name}` says more, `log` what it wrote.", "dim"))


def _state(view: TrialView) -> Piece:
    if view.state is TrialState.ENDED and view.reason is not None:
        return of_kind(in_brief(view.reason), kind(tag(view.reason)))
    if view.waiting is not None:
        return of_kind(f"waits {waiting_words(view.waiting)}", "waiting")
    return of_kind(view.state.value, "running")


def _facts(view: TrialView, study: StudyView) -> list[tuple[str, str]]:
    metric, score = study.spec.metric, ""
    if view.score is not None:
        score = f"{metric} {number(view.score)} (its {study.spec.score.value} value)"
    rank = ""
    if view.number in study.ranking:
        place = study.ranking.index(view.number) + 1
        rank = f"{place} of {count(len(study.ranking), 'completed trial')}"
    role = view.role.value
    if view.role is Role.CONFIRMATION and view.of is not None:
        role += f" of {study.trial_name(view.of)}"
    return [
        ("role", role),
        ("score", score),
        ("rank", rank),
        ("steps", f"{view.last_step} of {study.spec.steps}"),
        ("time", _time(view)),
        ("needed", footprint_words(view.footprint)),
        ("seed", str(view.seed)),
    ]


def _time(view: TrialView) -> str:
    # What was refused never had a device.
    started = next((a.started_at for a in view.attempts if a.device), None)
    since = f", first started {text.moment(started)}" if started is not None else ""
    return f"{duration(view.seconds)}{since}"


def _print_attempts(page: Page, view: TrialView, plates: Mapping[str, Nameplate]) -> None:
    if not view.attempts:
        return
    page.line()
    page.line(Toned("Attempts", "bold"), indent=2)
    # The day is said once where all is of one day: how it ended needs the room.
    days = {text.moment(attempt.started_at)[:10] for attempt in view.attempts}
    page.table(
        ("", "started", "ran for", "steps", "memory", "on", "how it ended"),
        [_attempt(attempt, view, plates, day=len(days) > 1) for attempt in view.attempts],
        right="r rrr",
        shrink=(6, 5),
        indent=4,
    )
    for attempt in view.attempts:
        for path, why in attempt.rejected:
            page.paragraph(
                f"Attempt {attempt.number} passed over a bad checkpoint: {path} ({why}).",
                indent=4,
            )


def _print_memory(page: Page, view: TrialView, plates: Mapping[str, Nameplate]) -> None:
    """Print what was predicted of each attempt's memory, beside what it took."""
    told = [
        (f"attempt {attempt.number}", f"{words.described(attempt.device, plates)}: {said}")
        for attempt in view.attempts
        if (said := words.prediction_words(attempt, plates))
    ]
    if told:
        page.line()
        page.line(Toned("Memory of its device", "bold"), indent=2)
        page.pairs(told, indent=4)


def _attempt(
    attempt: AttemptView, view: TrialView, plates: Mapping[str, Nameplate], *, day: bool
) -> tuple[Piece, ...]:
    ended: Piece
    if attempt.reason is not None:
        ended = of_kind(in_brief(attempt.reason), kind(tag(attempt.reason)))
    elif view.state is TrialState.QUEUED:
        ended = "cut off with the engine"
    else:
        ended = of_kind("runs", "running")
    return (
        str(attempt.number),
        text.moment(attempt.started_at, day=day),
        duration(attempt.seconds),
        f"{attempt.resume_step}-{attempt.last_step}",
        size(attempt.peak_bytes),
        words.called(attempt.device, plates),
        ended,
    )


def _print_curve(page: Page, view: TrialView, study: StudyView) -> None:
    if not view.curve:
        return
    steps, values = list(view.curve), list(view.curve.values())
    known = [(value, step) for step, value in view.curve.items() if math.isfinite(value)]
    page.line()
    page.line(Toned(f"{study.spec.metric} by step", "bold"), indent=2)
    page.line(text.sparkline(values, min(60, page.width - 4)), indent=4)
    said = f"{number(values[0])} at step {steps[0]}, {number(values[-1])} at step {steps[-1]}"
    if known:
        best, at = (min if study.spec.goal is Goal.MINIMIZE else max)(known)
        said += f"; best {number(best)} at step {at}"
    page.line(said, indent=4)


def _print_checkpoints(page: Page, view: TrialView) -> None:
    if not view.checkpoints:
        return
    page.line()
    page.line(Toned("Checkpoints", "bold"), indent=2)
    for saved in view.checkpoints:
        missing = "" if saved.path.is_dir() else "  (missing)"
        page.line(
            f"step {saved.step}  {size(saved.size_bytes)}  {saved.path}",
            Toned(missing, "red"),
            indent=4,
        )
