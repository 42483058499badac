"""``smallhours ls``: the queue, one study a line, in the order in which they get places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from smallhours import text
from smallhours.commands.plans import Plans, open_ledger, requests, waiting_in_brief
from smallhours.commands.show_study import OUTCOMES
from smallhours.core.failures import KINDS, Kind
from smallhours.paths import Home
from smallhours.snapshot import Snapshot, StudyView
from smallhours.snapshot.compare import against_baseline
from smallhours.snapshot.heads import Head, in_order
from smallhours.text import Page, Piece, Toned, clock, count, number

#: Studies that are over and listed without ``--all``: the latest.
_OVER_LISTED = 8
#: Columns from which on there is room for more words.
_WIDE = 110
_TONES: dict[str, text.Tone] = {
    "running": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "halted": "red",
    "done": "green",
    "cancelled": "magenta",
    "out of time": "magenta",
    "exhausted": "green",
    "found enough": "green",
    "retired": "dim",
    "archived": "dim",
    "removed": "dim",
}


def ls(home: Home, *, everything: bool = False, as_json: bool, out: TextIO) -> int:
    """Print the queue.

    JSON: ``engine`` (running, pid, session, started_at, ended, restarting), ``current`` (whether
    what is planned is known: an engine runs and has said so), ``deadline``, ``yielded_until`` (0:
    until other people's processes are gone), ``studies`` in the order of the queue, ``more``
    (studies that are over and not listed) and ``inbox``: the requests that wait for the engine,
    each with id, verb, what (in words), asked_at, uid.

    Each study has id, name, state (running, waiting, paused, halted, done, exhausted, found enough,
    cancelled, out of time, retired, archived, removed), code_failures and unworkable (trials that
    failed by a mistake in the code, and configurations that can't work), known_mistakes (trials
    that wait as such), halted and paused_by (null or text), why and since (why
    its next trial waits; null: it doesn't, or nobody knows), running (trials), searched, trials,
    confirmed, confirmations, best and baseline (scores), metric, goal, priority, weight, hours,
    place, done_at, in_time, trials_in_time. Times are Unix seconds; what is not known is null.

    Args:
        home: The state directory.
        everything: Studies that were archived, removed or put aside too, and all that are over.
        as_json: Print JSON.
        out: Where to print.

    Returns:
        The exit code.
    """
    snapshot = open_ledger(home)
    if snapshot is None:
        _print_unopened(home, as_json=as_json, out=out)
        return 0
    with snapshot:
        engine = snapshot.engine()
        plans = Plans(home, engine)
        heads, more = _chosen(snapshot.heads(), everything=everything)
        names = {head.id: head.name for head in snapshot.heads()}
        views = [snapshot.study(head.id) for head in heads]
        waiting = requests(home, names)
        if as_json:
            from smallhours.commands import documents

            head = {"engine": engine, **_machine(plans)}
            studies = [_document(plans, view) for view in views]
            documents.write(out, {**head, "studies": studies, "more": more, "inbox": waiting})
        else:
            _Listing(Page(out), snapshot, plans).print(views, more, waiting)
    return 0


def state_of(view: StudyView) -> str:
    """Return a study's state in a word or two."""
    if view.removed:
        return "removed"
    if view.archived:
        return "archived"
    if view.outcome is not None and view.state == "ended":
        return OUTCOMES[view.outcome]
    return view.state


def ended_as(view: StudyView, kind: Kind) -> int:
    """Return how many trials of a study ended in a way that says this of them."""
    return sum(len(trials) for reason, trials in view.reasons.items() if KINDS[reason] is kind)


def _failures(view: StudyView) -> str:
    """Return how many trials failed and for which kind of reason; empty: none did."""
    counts = (
        (ended_as(view, Kind.CODE), "failed by a mistake in the code"),
        (ended_as(view, Kind.IDEA), "can't work as configured"),
        (len(view.held), "wait as known mistakes"),
    )
    said = [f"{number_} {what}" for number_, what in counts if number_]
    return f"{view.name}: {', '.join(said)} (`why {view.name}`)" if said else ""


def _chosen(heads: Sequence[Head], *, everything: bool) -> tuple[list[Head], int]:
    """Return the studies to list, and how many that are over are left out."""
    ordered = in_order(list(heads))
    if everything:
        return ordered, 0
    aside = {head.id for head in ordered if head.archived or head.nameless}
    kept = [head for head in ordered if head.id not in aside]
    over = [head for head in kept if head.ended is not None]
    left_out = {head.id for head in over[_OVER_LISTED:]}
    return [head for head in kept if head.id not in left_out], len(left_out)


def _document(plans: Plans, view: StudyView) -> dict[str, Any]:
    waits, forecast = waiting_in_brief(plans, view), plans.forecast(view.id)
    return {
        "id": view.id,
        "name": view.name,
        "state": state_of(view),
        "halted": view.halted or None,
        "paused_by": view.paused_by or None,
        "why": waits[0] if waits else None,
        "since": waits[1] if waits else None,
        "code_failures": ended_as(view, Kind.CODE),
        "unworkable": ended_as(view, Kind.IDEA),
        "known_mistakes": len(view.held),
        "running": len(view.running_since),
        "searched": view.ended,
        "trials": view.spec.trials,
        "confirmed": view.confirmed,
        "confirmations": view.confirmations,
        "best": view.best.score if view.best else None,
        "baseline": view.baseline.score if view.baseline else None,
        "metric": view.spec.metric,
        "goal": view.spec.goal,
        "priority": view.place.priority,
        "weight": view.place.weight,
        "hours": view.place.hours,
        "place": view.place.place,
        "done_at": forecast.done_at if forecast else None,
        "in_time": forecast.in_time if forecast else None,
        "trials_in_time": forecast.trials_in_time if forecast else None,
    }


def _machine(plans: Plans) -> dict[str, Any]:
    known = plans.status
    return {
        "current": known is not None,
        "deadline": known.deadline if known else None,
        "yielded_until": known.yielded_until if known else None,
    }


def _print_unopened(home: Home, *, as_json: bool, out: TextIO) -> None:
    """Print what there is before any engine has run."""
    waiting = requests(home, {})
    if as_json:
        from smallhours.commands import documents

        head = {"engine": None, "current": False, "deadline": None, "yielded_until": None}
        documents.write(out, {**head, "studies": [], "more": 0, "inbox": waiting})
        return
    page = Page(out)
    print_requests(page, waiting)
    if waiting:
        page.line(Toned("No engine is running; `smallhours start` starts one.", "dim"))
    else:
        page.line("the queue is empty: `smallhours add STUDY.py` adds a study, `start` runs it")


def print_requests(page: Page, waiting: Sequence[dict[str, Any]]) -> None:
    """Print the requests that wait for an engine, and an empty line."""
    for request in waiting:
        page.line("waits for the engine: ", Toned(request["what"], "bold"))
    if waiting:
        page.line()


class _Listing:
    """Prints the table."""

    def __init__(self, page: Page, snapshot: Snapshot, plans: Plans) -> None:
        self._page, self._snapshot, self._plans = page, snapshot, plans

    def print(
        self, views: Sequence[StudyView], more: int, waiting: Sequence[dict[str, Any]]
    ) -> None:
        page = self._page
        wide = page.width >= _WIDE
        details = {view.id: self._detail(view) for view in views}
        if views:
            page.table(
                (
                    "study",
                    "state",
                    "trials",
                    "best against baseline" if wide else "best (baseline)",
                    "priority",
                    "done",
                ),
                [self._row(view, details[view.id], wide=wide) for view in views],
                right="  r",
                shrink=(1, 3, 0) if wide else (0, 3),
                indent=0,
            )
        else:
            page.line("no study is in the queue")
        if more:
            page.line(
                Toned(f"... and {count(more, 'study', 'studies')} more over: `ls --all`", "dim")
            )
        page.line()
        noted = [view for view in views if details[view.id] and not wide]
        for view in noted:
            page.paragraph(f"{view.name} {details[view.id]}", hang=2)
        failed = [said for view in views if (said := _failures(view))]
        for said in failed:
            page.paragraph(said, hang=2)
        if noted or failed:
            page.line()
        print_requests(page, waiting)
        page.line(Toned(self._standing(any(_is_open(view) for view in views)), "dim"))

    def _row(self, view: StudyView, detail: str, *, wide: bool) -> tuple[Piece, ...]:
        state = state_of(view)
        words = f"{len(view.running_since)} running" if state == "running" else state
        words = detail if detail and wide else words
        return (
            Toned(view.name, "bold"),
            Toned(words, _TONES[state]) if state in _TONES else words,
            f"{view.ended}/{view.spec.trials}",
            against_baseline(view) if wide else _scores(view),
            _priority(view) if _is_open(view) else "",
            self._done(view),
        )

    def _detail(self, view: StudyView) -> str:
        """Return why a study doesn't run; empty: it does, or there is nothing to say."""
        state = state_of(view)
        if state == "waiting" and (waits := waiting_in_brief(self._plans, view)):
            return f"waits: {waits[0]}, {self._plans.since(waits[1])}"
        if state == "paused":
            return f"was paused by {view.paused_by}; `resume {view.name}` goes on"
        return f"is halted: {view.halted}" if state == "halted" else ""

    def _done(self, view: StudyView) -> Piece:
        if not _is_open(view):
            return "" if view.ended_at is None else clock(view.ended_at, self._plans.now)
        forecast = self._plans.forecast(view.id)
        if forecast is None or forecast.done_at is None:
            return "–"
        at = clock(forecast.done_at, self._plans.now)
        return Toned(f"~{at}, late", "red") if forecast.in_time is False else f"~{at}"

    def _standing(self, any_open: bool) -> str:
        engine, plans = self._snapshot.engine(), self._plans
        if engine.restarting:
            return "The engine died; it is being started again and goes on by itself."
        if not engine.running:
            goes_on = "; `smallhours start` goes on" if any_open else ""
            return f"No engine is running{goes_on}."
        said = [f"The engine is running (process {engine.pid}, session {engine.session})"]
        if plans.status is None:
            said.append("it has not said yet what it plans")
        elif plans.status.deadline is not None:
            said.append(f"until {clock(plans.status.deadline, plans.now)}")
        said += [f"the machine is {plans.yielded()}"] if plans.yielded() else []
        return f"{', '.join(said)}."


def _is_open(view: StudyView) -> bool:
    return view.outcome is None and view.state not in ("ended", "retired") and not view.removed


def _scores(view: StudyView) -> str:
    best = view.best.score if view.best else None
    baseline = view.baseline.score if view.baseline else None
    return f"{number(best)} ({number(baseline)})"


def _priority(view: StudyView) -> str:
    weight = "" if view.place.weight == 1 else f" ×{number(view.place.weight)}"
    return f"{view.place.priority.value}{weight}"
