"""`smallhours forecast`: when the queue will be done, by simulating it from what is on record."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from datetime import datetime
from statistics import median
from typing import Any, Final, TextIO

from smallhours import inbox, requests
from smallhours import settings as settings_file
from smallhours.backends.places import ON_A_GPU, Places
from smallhours.clock import SystemClock
from smallhours.commands import documents
from smallhours.core.events import Event, ShutdownRequested, StudySubmitted, WallTime
from smallhours.core.seen import DeviceSeen
from smallhours.devices import seen
from smallhours.devices.base import CPU
from smallhours.devices.inventory import of_this_machine
from smallhours.errors import UsageError
from smallhours.foreign import in_any_session
from smallhours.ledger import parts
from smallhours.ledger.store import check_version, open_to_read
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.simulate import tonight
from smallhours.simulate.chart import chart, letters
from smallhours.simulate.tonight import Outlook, Tonight
from smallhours.text import Page, clock, count, duration, listing

#: The queue is simulated so often, or as often as fits into the time.
_RUNS: Final = 20
_TIME_S: Final = 5.0
#: A driver that sleeps is waited for so long.
_DEVICES_S: Final = 5.0
_LABEL: Final = 2


def forecast(home: Home, *, as_json: bool, out: TextIO) -> int:
    """Print when each open study will be done, how sure that is, and what will run where.

    JSON: ``at`` (wall time, Unix seconds), ``runs`` (how often the queue was simulated),
    ``studies`` (study, name, done_at, earliest, latest: the middle and the ends of 80 %, null where
    it isn't done within two weeks or ``unknown``: nothing of it has run yet) and ``spans`` of the
    first run (trial, device, start, end, ending).

    Raises:
        UsageError: there is no ledger yet.
    """
    if not home.ledger.exists():
        raise UsageError("no study has been run yet: there is nothing to forecast")
    start = tonight_of(home)
    began = time.monotonic()
    with working("simulating the queue", quiet=as_json):
        outlooks = [tonight.run(start, 0)]
        names, unknown = outlooks[0].names, outlooks[0].unknown
        while names and len(outlooks) < _RUNS and time.monotonic() - began < _TIME_S:
            outlooks.append(tonight.run(start, len(outlooks)))
    if as_json:
        documents.write(out, _document(start, names, unknown, outlooks))
    else:
        _print(Page(out), start, names, unknown, outlooks)
    return 0


def tonight_of(home: Home) -> Tonight:
    """Return what is known of the queue now, requests that lie in the inbox included."""
    asked = list(_requests(home))
    again = [event.spec.name for event in asked if isinstance(event, StudySubmitted)]
    db = open_to_read(home.ledger)
    try:
        check_version(db, home.ledger)
        left_out = parts.closed(db) - parts.named(db, again)
        entries = list(parts.read_without(db, left_out, ()))
    finally:
        db.close()
    wishes = settings_file.read()
    unix = time.time()
    local = datetime.fromtimestamp(unix).astimezone()
    devices = _devices()
    places = Places.of_this_machine(wishes.slots, sum(one.kind == "gpu" for one in devices))
    return Tonight(
        history=[(entry.mono, entry.fact) for entry in entries],
        now=WallTime(
            unix=unix, week_minute=local.weekday() * 1440 + local.hour * 60 + local.minute
        ),
        devices=devices,
        settings=wishes.core(),
        slots=wishes.slots,
        places=places.cpu,
        requests=asked,
    )


def _requests(home: Home) -> Iterator[Event]:
    for request in inbox.pending(home):
        try:
            event = requests.event_of(request, 0.0)
        except ValueError:
            continue  # the engine will refuse it
        if not isinstance(event, ShutdownRequested):
            yield event


def _devices() -> tuple[DeviceSeen, ...]:
    """Return the devices of this machine as they are now."""
    inventory = of_this_machine(SystemClock(), in_any_session)
    try:
        inventory.look()
        inventory.wait(_DEVICES_S)
        observed = inventory.observed()
    finally:
        inventory.close()
    cpus = [one.device for one in observed if one.device.kind == CPU]
    gpus = [seen.gpu(one, ON_A_GPU) for one in observed if one.device.kind != CPU]
    return (*gpus, seen.cpu(cpus[0] if cpus else None, 0))


def _ends(start: Tonight, study: int, outlooks: list[Outlook]) -> list[float]:
    """Return when a study was done in each run that it was done in, earliest first."""
    return sorted(start.now.unix + one.done_s[study] for one in outlooks if study in one.done_s)


def _range(ends: list[float], runs: int) -> tuple[float, float, float] | None:
    """Return middle, and the ends of 80 %; None: it isn't done in most runs."""
    if len(ends) * 2 <= runs:
        return None
    last = len(ends) - 1
    return median(ends), ends[round(0.1 * last)], ends[round(0.9 * last)]


def _document(
    start: Tonight, names: dict[int, str], unknown: Collection[int], outlooks: list[Outlook]
) -> dict[str, Any]:
    studies = []
    for study, name in names.items():
        told = None if study in unknown else _range(_ends(start, study, outlooks), len(outlooks))
        done, earliest, latest = told or (None, None, None)
        studies.append(
            {
                "study": study,
                "name": name,
                "done_at": done,
                "earliest": earliest,
                "latest": latest,
                "unknown": study in unknown,
            }
        )
    spans = [
        {
            "trial": span.trial,
            "device": span.card,
            "start": start.now.unix + span.start_s,
            "end": start.now.unix + span.end_s,
            "ending": span.ending,
        }
        for outlook in outlooks[:1]
        for span in outlook.spans
    ]
    return {"at": start.now.unix, "runs": len(outlooks), "studies": studies, "spans": spans}


def _print(
    page: Page,
    start: Tonight,
    names: dict[int, str],
    unknown: Collection[int],
    outlooks: list[Outlook],
) -> None:
    now = start.now.unix
    if not names:
        page.line("the queue is empty: every study is done")
        return
    rows = []
    for study, name in names.items():
        told = _range(_ends(start, study, outlooks), len(outlooks))
        if study in unknown:
            rows.append((name, "not known: nothing of it has run yet"))
        elif told is None:
            rows.append((name, "not within two weeks"))
        else:
            done, earliest, latest = told
            low, high = clock(earliest, now), clock(latest, now)
            about = "" if low == high else f"; likely between {low} and {high}"
            rows.append((name, f"{clock(done, now)}, in {duration(done - now)}{about}"))
    page.pairs(rows)
    _charts(page, start, names, outlooks[0])
    page.line()
    said = (
        f"the queue was simulated {count(len(outlooks), 'time')} from what its trials took so far"
    )
    left_out = [names[study] for study in unknown]
    if left_out:
        said += f"; what {listing(left_out)} will take is not in it"
    page.paragraph(said)


def _charts(page: Page, start: Tonight, names: dict[int, str], outlook: Outlook) -> None:
    end_s = max((span.end_s for span in outlook.spans), default=0.0)
    if not end_s:
        return
    letter = letters([*names.values()])
    of_trial = {
        trial: letter[names[study]] for trial, study in outlook.study_of.items() if study in names
    }
    width = min(page.width, 80) - _LABEL
    for device in start.devices:
        spans = [s for s in outlook.spans if s.card == device.name and s.trial in of_trial]
        if spans:
            page.line()
            page.line(device.name)
            for line in chart(spans, of_trial, end_s, width):
                page.line(line, indent=_LABEL)
    end = duration(end_s)
    page.line("now" + end.rjust(width - 3), indent=_LABEL)
    legend = "; ".join(f"{letter[name]}: {name}" for name in names.values())
    page.paragraph(f"{legend}; a capital where a trial begins, > paused", indent=_LABEL)
