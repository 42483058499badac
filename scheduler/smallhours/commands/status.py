"""``smallhours status``: what the machine does now, what waits and why, what happened last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from smallhours import text
from smallhours.commands.listing import print_requests
from smallhours.commands.plans import Plans, open_ledger, requests
from smallhours.core.trial import TrialState
from smallhours.core.waiting import Why
from smallhours.devices.base import CPU
from smallhours.explain import devices, news, packing
from smallhours.paths import Home
from smallhours.snapshot import EngineView, RunView, Snapshot
from smallhours.snapshot.heads import Head
from smallhours.status import Status, Waiting
from smallhours.text import Page, Piece, Toned, clock, count, duration, listing, number

#: Lines of what waits, and of what happened.
_WAITING_LISTED = 6
_NEWS_LISTED = 3
#: The column of the running trials that says where they run.
_ON = 4
_BACKENDS = {
    "opening": "what runs the trials is being started",
    "ready": "ready",
    "renewing": "what runs the trials is being renewed",
    "closing": "what runs the trials is being let go",
    "closed": "what runs the trials was let go",
}


def status(home: Home, *, as_json: bool, out: TextIO) -> int:
    """Print what the machine does now.

    JSON: ``engine`` (running, pid, session, started_at, ended, restarting), ``current`` (whether
    what is planned is known), ``backend`` (opening, ready, renewing, closing, closed), ``device``,
    ``slots`` (on the CPU; where ``packed``, at most: as many as pay), ``packed``, ``devices``
    (name, kind, label, index, at, total_bytes, used_bytes, free_bytes, reserved_bytes, utilisation,
    temperature_c, too_hot, power_w, display, cores, others_cores, processes, sources), ``plans``
    (of the devices whose trials are packed: name, trials as study and number, room_bytes,
    promised_bytes, cap, shut: null, hot, gone, quiet, harm, probe, room or full),
    ``running`` (trial, study, number, attempt, device, device_title, state, since, step, steps,
    metric, value, rate in steps a second), ``waiting`` (study, trial, name, why, since; trial is
    null for a study's next one), ``deadline``, ``late`` (study, name, done_at, trials_in_time,
    trials), ``yielded_until`` (0: until the processes that it is yielded to are gone),
    ``yielded_to``, ``latest`` (at, text) and ``inbox`` (id, verb, what, asked_at, uid). Times are
    Unix seconds; what is not known is null. Where nothing has ever run, there are only ``engine``,
    ``current`` and ``inbox``.

    Args:
        home: The state directory.
        as_json: Print JSON.
        out: Where to print.

    Returns:
        The exit code.
    """
    snapshot = open_ledger(home)
    if snapshot is None:
        return _unopened(home, as_json=as_json, out=out)
    with snapshot:
        seen = _Seen(home, snapshot)
        if as_json:
            from smallhours.commands import documents

            documents.write(out, seen.document())
        else:
            seen.print(Page(out))
    return 0


def _unopened(home: Home, *, as_json: bool, out: TextIO) -> int:
    waiting = requests(home, {})
    if as_json:
        from smallhours.commands import documents

        documents.write(out, {"engine": None, "current": False, "inbox": waiting})
        return 0
    page = Page(out)
    print_requests(page, waiting)
    page.line("nothing has run yet: `smallhours add STUDY.py` adds a study, `start` runs it")
    return 0


class _Seen:
    """All that is shown, read at one moment."""

    def __init__(self, home: Home, snapshot: Snapshot) -> None:
        self._engine: EngineView = snapshot.engine()
        self._plans = Plans(home, self._engine)
        self._heads: dict[int, Head] = {head.id: head for head in snapshot.heads()}
        self._names = {head.id: head.name for head in self._heads.values()}
        self._running: list[RunView] = snapshot.running()
        self._plates = snapshot.nameplates()
        self._latest = [
            (at, news.sentence(fact, self._names, at))
            for at, fact in snapshot.latest(_NEWS_LISTED)
            if isinstance(fact, news.News)
        ]
        self._inbox = requests(home, self._names)
        known = self._plans.status
        # The engine's plans and the ledger are not of the same moment: it may know of a study
        # already that was not in the ledger, and what waited may run by now.
        waiting = known.waiting if known else ()
        runs = {(run.study, run.number) for run in self._running}
        self._waiting = [
            item
            for item in waiting
            if item.study in self._heads and (item.study, item.trial) not in runs
        ]
        forecast = known.forecast if known else ()
        self._late = [f for f in forecast if f.in_time is False and f.study in self._heads]

    def document(self) -> Mapping[str, Any]:
        known = self._plans.status
        return {
            "engine": self._engine,
            "current": known is not None,
            "backend": known.backend if known else None,
            "device": known.device if known else None,
            "slots": known.slots if known else None,
            "packed": known.packed if known else None,
            "devices": known.devices if known else None,
            "plans": known.plans if known else None,
            "running": [
                {
                    **msgspec.to_builtins(run),
                    "device_title": packing.called(run.device, self._plates),
                }
                for run in self._running
            ],
            "waiting": [
                {
                    "study": item.study,
                    "trial": item.trial,
                    "name": self._waiter(item),
                    "why": item.why,
                    "since": item.since,
                }
                for item in self._waiting
            ],
            "deadline": known.deadline if known else None,
            "late": [
                {
                    "study": late.study,
                    "name": self._names[late.study],
                    "done_at": late.done_at,
                    "trials_in_time": late.trials_in_time,
                    "trials": self._heads[late.study].spec.trials,
                }
                for late in self._late
            ],
            "yielded_until": known.yielded_until if known else None,
            "yielded_to": known.yielded_to if known else None,
            "latest": [{"at": at, "text": said} for at, said in self._latest],
            "inbox": self._inbox,
        }

    def print(self, page: Page) -> None:
        page.pairs(
            [
                ("engine", self._engine_words()),
                ("machine", self._machine_words()),
                *self._device_words(),
                ("deadline", self._deadline_words()),
            ],
            indent=0,
        )
        self._print_running(page)
        self._print_waiting(page)
        if self._latest:
            page.line()
            rows: list[tuple[Piece, ...]] = [
                (Toned(clock(at, self._plans.now), "dim"), said) for at, said in self._latest
            ]
            page.rows(rows)
        if self._inbox:
            page.line()
            print_requests(page, self._inbox)

    def _engine_words(self) -> str:
        engine, now = self._engine, self._plans.now
        if engine.restarting:
            return "it died, and is being started again; it goes on by itself"
        if not engine.running:
            left = [head for head in self._heads.values() if head.open]
            goes_on = f": {count(len(left), 'study', 'studies')} to go on with, `smallhours start`"
            return f"none is running{goes_on if left else ''}"
        up = "" if engine.started_at is None else f" for {duration(now - engine.started_at)}"
        known = self._plans.status
        backend = _BACKENDS[known.backend] if known else "it begins"
        return f"up{up} (process {engine.pid}, session {engine.session}), {backend}"

    def _machine_words(self) -> str:
        known = self._plans.status
        if known is None:
            return ""
        said = [_slots_words(known, self._running)]
        said += [self._plans.yielded()] if self._plans.yielded() else []
        if any(item.why is Why.QUIET for item in self._waiting):
            said.append("quiet hours")
        return "; ".join(said)

    def _device_words(self) -> list[tuple[str, str]]:
        known, said = self._plans.status, []
        plans = {plan.name: plan for plan in known.plans} if known else {}
        for seen in known.devices if known else ():
            title = packing.title(seen.kind, seen.index, seen.name)
            said.append((title, devices.words(seen, self._plans.now)))
            if seen.name in plans:
                said.append(("", devices.plan_words(plans[seen.name], self._names)))
            elif seen.kind != "cpu" and known is not None and known.backend == "ready":
                said.append(("", "not used: it was not chosen"))
        return said

    def _deadline_words(self) -> str:
        known, now = self._plans.status, self._plans.now
        if known is None or known.deadline is None:
            return ""
        left = duration(known.deadline - now) if known.deadline > now else ""
        said = f"{clock(known.deadline, now)}" + (f", in {left}" if left else ", which is past")
        if not self._late:
            return said
        late = []
        for forecast in self._late:
            trials = self._heads[forecast.study].spec.trials
            some = forecast.trials_in_time
            part = "" if some is None else f" (about {some} of {count(trials, 'trial')})"
            late.append(f"{self._names[forecast.study]}{part}")
        return f"{said}; {listing(late)} will not make it"

    def _print_running(self, page: Page) -> None:
        if not self._running:
            return
        page.line()
        rows = [self._run_row(run) for run in self._running]
        titles = ["running", "step", "", "pace", "on", "for"]
        if all(run.device == CPU for run in self._running):
            del titles[_ON]
            for row in rows:
                del row[_ON]
        right = "".join("r" if title in ("step", "for") else " " for title in titles)
        page.table(titles, rows, right=right, shrink=(2, 0), indent=0)

    def _run_row(self, run: RunView) -> list[Piece]:
        value = "" if run.value is None else f"{text.clean(run.metric, 24)} {number(run.value)}"
        doing = {TrialState.STARTING: "starts", TrialState.STOPPING: "is being stopped"}
        return [
            Toned(run.trial, "cyan"),
            f"{run.step}/{run.steps}",
            doing.get(run.state, value),
            _pace(run.rate),
            packing.called(run.device, self._plates),
            duration(self._plans.now - run.since),
        ]

    def _print_waiting(self, page: Page) -> None:
        if not self._waiting:
            return
        page.line()
        rows: list[tuple[Piece, ...]] = [
            (Toned(self._waiter(item), "yellow"), item.why.value, self._plans.since(item.since))
            for item in self._waiting[:_WAITING_LISTED]
        ]
        page.table(("waiting", "why", ""), rows, shrink=(1, 0), indent=0)
        more = len(self._waiting) - _WAITING_LISTED
        if more > 0:
            page.line(Toned(f"... and {more} more", "dim"))

    def _waiter(self, item: Waiting) -> str:
        name = self._names[item.study]
        return f"{name}, next" if item.trial is None else f"{name}/{item.trial}"


def _slots_words(known: Status, runs: Sequence[RunView]) -> str:
    """Return how many trials run, and how many may."""
    if not known.device:
        return "no device yet"
    if not known.packed:
        on_gpus = sum(run.device != CPU for run in runs)
        more = f", {count(on_gpus, 'trial')} on GPUs" if on_gpus else ""
        return f"{known.device}, {len(runs) - on_gpus} of {known.slots} slots busy{more}"
    if not runs:
        return "no trial runs; as many at a time as pay"
    return f"{count(len(runs), 'trial')} at a time; as many as pay"


def _pace(rate: float | None) -> str:
    """Return steps a second, or how long one takes where that is long."""
    if not rate or rate < 0:
        return "–"
    if rate < 1:
        return f"{duration(1 / rate)} a step"
    return f"{number(rate)} {'step' if number(rate) == '1' else 'steps'}/s"
