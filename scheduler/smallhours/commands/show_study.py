"""``smallhours show``: all studies on a line each, or one study on a page."""

from __future__ import annotations

from typing import TextIO

from smallhours import text
from smallhours.commands import rechecks
from smallhours.commands.note import print_notes
from smallhours.core.reasons import tag
from smallhours.core.trial import Role, TrialState
from smallhours.explain import WORDS, in_brief, kind
from smallhours.explain import packing as words
from smallhours.explain.waiting import waiting_words
from smallhours.snapshot import Effort, EngineView, Snapshot, StudyView, TrialView
from smallhours.snapshot.compare import against_baseline
from smallhours.text import Page, Piece, Toned, count, duration, number, of_kind

#: Trials in the table of the best ones, and of those that are not over.
_LISTED = 10
#: Columns for how a trial ended, at most: its parameters are wanted, too.
_BRIEF = 32
#: What the colour of a state says.
_KINDS: dict[str, text.Kind] = {
    "running": "running",
    "halted": "failed",
    "paused": "waiting",
    "waiting": "waiting",
    "done": "done",
    "cancelled": "stopped",
    "budget": "stopped",
    "exhausted": "done",
    "enough": "done",
}
#: How a study ended, in a word or two.
OUTCOMES = {
    "done": "done",
    "cancelled": "cancelled",
    "budget": "out of time",
    "exhausted": "exhausted",
    "enough": "found enough",
}


def state_words(study: StudyView) -> str:
    """Return a study's state in a word or two."""
    if study.outcome is None:
        return study.state
    return OUTCOMES[study.outcome]


def overview(snapshot: Snapshot, *, as_json: bool, out: TextIO) -> None:
    """Print every study on a line, but for those that were archived or removed."""
    engine, heads = snapshot.engine(), snapshot.heads()
    listed = [head.id for head in heads if not (head.archived or head.removed)]
    studies = [snapshot.study(study) for study in listed]
    if as_json:
        from smallhours.commands import documents

        briefs = [documents.study_in_brief(study, snapshot.effort(study)) for study in studies]
        documents.write(out, {"engine": engine, "studies": briefs})
        return
    page = Page(out)
    rows = [
        _line(study, snapshot.effort(study))
        for study in sorted(studies, key=lambda s: s.state == "retired")
    ]
    page.table(
        ("study", "state", "trials", "best against baseline", "time"),
        rows,
        right="  r r",
        shrink=(3, 0),
        indent=0,
    )
    if aside := len(heads) - len(listed):
        page.line(Toned(f"... and {count(aside, 'study', 'studies')} put away: `ls --all`", "dim"))
    page.line()
    page.line(Toned(_engine_words(engine, any(study.open for study in studies)), "dim"))


def study(snapshot: Snapshot, study_id: int, *, as_json: bool, out: TextIO) -> None:
    """Print one study."""
    view = snapshot.study(study_id)
    if as_json:
        from smallhours.commands import documents

        packed = documents.packing(snapshot.packing(study_id), snapshot.nameplates())
        found = rechecks.document(snapshot.rechecks(view))
        rows, effort = snapshot.rows(study_id), snapshot.effort(view)
        notes = snapshot.notes(study_id)
        document = documents.study(view, effort, rows, packed=packed, recheck=found, notes=notes)
        documents.write(out, document)
        return
    page = Page(out)
    state = state_words(view)
    page.line(
        Toned(view.name, "bold"), "  ", of_kind(state, _KINDS.get(view.outcome or view.state))
    )
    page.line()
    facts = _facts(view, snapshot.effort(view))
    page.pairs([*facts, ("rechecks", rechecks.brief(snapshot.rechecks(view)))])
    _print_packing(page, snapshot, view)
    if view.reasons:
        page.line()
        page.line(Toned("How trials ended", "bold"), indent=2)
        for reason, ended_words in WORDS.items():
            if reason in view.reasons:
                ended = of_kind(ended_words, kind(reason))
                page.line(f"{len(view.reasons[reason]):>6}  ", ended, indent=2)
    _print_trials(page, snapshot, view)
    _print_open(page, snapshot, view)
    print_notes(page, snapshot.notes(study_id), view.name)


def _line(study: StudyView, effort: Effort) -> tuple[Piece, ...]:
    return (
        Toned(study.name, "bold"),
        of_kind(state_words(study), _KINDS.get(study.outcome or study.state)),
        f"{study.ended}/{study.spec.trials}",
        against_baseline(study),
        duration(effort.seconds),
    )


def _engine_words(engine: EngineView, open_trials: bool) -> str:
    if engine.running:
        return f"The engine is running (process {engine.pid}, session {engine.session})."
    if engine.restarting:
        return "The engine died; it is being started again and goes on by itself."
    if open_trials:
        return "The engine is not running; `smallhours resume` goes on."
    return "The engine is not running."


def _facts(view: StudyView, effort: Effort) -> list[tuple[str, str]]:
    spec, steps = view.spec, ""
    if effort.steps_run:
        steps = f"{effort.steps_run} run"
        if effort.steps_saved:
            share = effort.steps_saved / (effort.steps_run + effort.steps_saved)
            steps += (
                f", {effort.steps_saved} saved by stopping early ({text.percent(share)}, about"
                f" {duration(effort.seconds_saved)})"
            )
    return [
        ("question", spec.question),
        ("hypothesis", spec.hypothesis),
        ("best", _best(view)),
        ("trials", _progress(view)),
        ("steps", steps),
        ("time", _time(view, effort)),
        ("search ended", view.search_ended),
        ("halted", view.halted and f"{view.halted} (`smallhours resume` releases it)"),
        ("file", view.source),
    ]


def _best(view: StudyView) -> str:
    if view.best is None:
        return "no trial has completed yet"
    said = f"{view.trial_name(view.best.trial)}: {against_baseline(view, whose=True)}"
    fresh = view.best.fresh
    if fresh is not None and fresh.sd is not None:
        said += f"; {number(fresh.mean)} ± {number(fresh.sd)} on {fresh.n} fresh seeds"
    elif view.spec.confirm:
        said += "; not confirmed yet"
    return said


def _progress(view: StudyView) -> str:
    parts = [f"{view.ended} of {view.spec.trials} over"]
    running = sum(n for state, n in view.states.items() if state not in _AT_REST)
    queued = view.states.get(TrialState.QUEUED, 0)
    parts += [f"{running} running"] if running else []
    parts += [f"{queued} waiting"] if queued else []
    if view.confirmations:
        parts.append(f"{view.confirmed} of {count(view.confirmations, 'confirmation')} over")
    return ", ".join(parts)


def _time(view: StudyView, effort: Effort) -> str:
    if view.started_at is None:
        return ""
    until = f", ended {text.moment(view.ended_at)}" if view.ended_at else ""
    return f"{duration(effort.seconds)} of running, started {text.moment(view.started_at)}{until}"


def _print_packing(page: Page, snapshot: Snapshot, view: StudyView) -> None:
    """Print what was learned of what its trials need; nothing where they have fixed places."""
    packing = snapshot.packing(view.id)
    if packing is None:
        return
    plates = snapshot.nameplates()
    page.line()
    page.line(Toned("What its trials need", "bold"), indent=2)
    names = [words.described(device, plates) for device in packing.devices]
    page.pairs(
        [
            ("devices", text.listing(names)),
            ("first", words.probe_words(packing, view.name)),
            ("memory", words.memory_words(packing)),
            ("", words.meaning(packing)),
            ("compute", words.compute_words(packing)),
        ],
        indent=4,
    )


def _print_trials(page: Page, snapshot: Snapshot, view: StudyView) -> None:
    """Print the best trials; where few completed, the latest others too."""
    ranked = list(view.ranking[:_LISTED])
    if view.baseline and view.baseline.trial in view.ranking[_LISTED:]:
        ranked.append(view.baseline.trial)
    room = max(0, _LISTED - len(ranked))
    others = [n for reason, ns in view.reasons.items() if reason != "completed" for n in ns]
    others = sorted(others)[-room:] if room else []
    if not ranked and not others:
        return
    places = {trial: place for place, trial in enumerate(view.ranking, 1)}
    rows = [
        _trial_row(snapshot.trial(view.id, trial), str(places.get(trial, "–")))
        for trial in ranked + others
    ]
    page.line()
    page.line(Toned("Trials, best first", "bold"), indent=2)
    page.table(
        ("rank", "trial", view.spec.metric, "steps", "how it ended", "parameters"),
        rows,
        right="r rr",
        shrink=(5, 4, 2, 1),
        indent=2,
    )
    left = (
        len(view.ranking)
        + sum(map(len, view.reasons.values()))
        - len(view.reasons.get("completed", ()))
        - len(rows)
    )
    if left > 0:
        page.line(
            Toned(f"... and {left} more: `smallhours show {view.name} --json`", "dim"), indent=2
        )


def _trial_row(trial: TrialView, place: str) -> tuple[Piece, ...]:
    ended: Piece
    if trial.reason is None or place != "–":
        ended = "completed" if trial.role is Role.SEARCH else f"completed ({trial.role.value})"
    else:
        ended = of_kind(text.fit(in_brief(trial.reason), _BRIEF), kind(tag(trial.reason)))
    return (
        place,
        trial.name,
        number(trial.score),
        str(trial.last_step),
        ended,
        text.params(trial.params),
    )


def _print_open(page: Page, snapshot: Snapshot, view: StudyView) -> None:
    """Print the trials that run or wait."""
    if not view.open:
        return
    trials = [snapshot.trial(view.id, trial) for trial in view.open[: 2 * _LISTED]]
    trials.sort(key=lambda trial: trial.state is TrialState.QUEUED)
    page.line()
    page.line(Toned("Running and waiting", "bold"), indent=2)
    rows: list[tuple[Piece, ...]] = []
    for trial in trials[:_LISTED]:
        state, doing = _doing(trial)
        rows.append((trial.name, of_kind(state, _KINDS.get(state, "waiting")), doing))
    page.table(("trial", "state", ""), rows, shrink=(2, 0))
    if len(view.open) > _LISTED:
        page.line(Toned(f"... and {len(view.open) - _LISTED} more", "dim"), indent=2)


def _doing(trial: TrialView) -> tuple[str, str]:
    """Return a trial's state, and what it does."""
    if trial.waiting is not None:
        return "waiting", waiting_words(trial.waiting)
    attempt = trial.attempts[-1]
    spent = duration(attempt.seconds)
    if trial.state is TrialState.STARTING:
        return "starting", f"its process starts, for {spent}"
    reached = f"step {trial.last_step}, {number(trial.score)}" if trial.curve else "no report yet"
    if trial.state is TrialState.STOPPING:
        why = f": {in_brief(attempt.intent)}" if attempt.intent else ""
        return "stopping", f"{reached}{why}"
    return "running", f"{reached}, for {spent}"


_AT_REST = (TrialState.QUEUED, TrialState.ENDED)
