"""The feed: what the screens show, followed as it happens.

One look a second, from the dashboard's own thread: where nothing happened it costs 0.1 ms, where
twenty trials reported 1 ms, and nothing is shared between threads. It holds no transaction, so the
ledger's writer never waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from smallhours import inbox, status
from smallhours.clock import Clock, SystemClock
from smallhours.core import facts as f
from smallhours.core.reasons import tag
from smallhours.errors import LedgerError, UsageError
from smallhours.explain import kind, news
from smallhours.paths import Home
from smallhours.snapshot import EngineView, RunView, StudyView
from smallhours.snapshot.following import Changed, Following
from smallhours.snapshot.heads import in_order
from smallhours.status import Forecast, Status
from smallhours.text import Kind

#: Studies that are over and shown with the queue: the latest.
_OVER_SHOWN = 8
_NOTHING: Final = Changed(frozenset(), {}, engine=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that happened, in a sentence."""

    #: Wall time (Unix seconds).
    at: float
    text: str
    #: What its colour says; None: nothing.
    hue: Kind | None
    study: int | None
    trial: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """All that the dashboard shows without being asked about one study or trial."""

    #: Wall time (Unix seconds) that it is of.
    now: float
    #: None: nothing has run yet.
    engine: EngineView | None = None
    #: What the engine plans; None: it is not there, has not said, or this is of a time gone by.
    plans: Status | None = None
    #: In the order in which they get places; the latest that are over last.
    studies: tuple[StudyView, ...] = ()
    #: Studies that are over and left out.
    more: int = 0
    runs: tuple[RunView, ...] = ()
    #: Newest first.
    happened: tuple[Happening, ...] = ()
    #: Requests that wait for the engine, in words.
    requests: tuple[str, ...] = ()
    #: When the last thing was recorded; None: nothing is.
    last_at: float | None = None
    #: Whether this is a time gone by.
    past: bool = False
    #: Why the ledger can't be read; empty: it can.
    trouble: str = ""

    @property
    def running(self) -> bool:
        """Whether an engine runs."""
        return self.engine is not None and self.engine.running

    def forecast(self, study: int) -> Forecast | None:
        """Return when a study will be done; None: nobody knows."""
        known = self.plans.forecast if self.plans else ()
        return next((item for item in known if item.study == study), None)

    def waits(self, study: int) -> tuple[str, float] | None:
        """Return why a study's next trial waits and since when; None: not known."""
        known = self.plans.waiting if self.plans else ()
        return next(((w.why.value, w.since) for w in known if w.study == study), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is new in a night."""

    changed: Changed = _NOTHING
    #: Whether another ledger lies there: nothing of what was known is true any more.
    replaced: bool = False
    #: Whether anything but the time is new.
    any: bool = False


class Feed:
    """Follows a state directory."""

    def __init__(
        self,
        home: Home,
        *,
        at: float | None = None,
        since: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Read what there is.

        Args:
            home: The state directory; it need not exist.
            at: Wall time (Unix seconds) to look at; None: now.
            since: Wall time from which on what happened is told; None: the latest.
            clock: The machine's clocks.

        Raises:
            LedgerError: the ledger is of another version, or damaged.
        """
        self.home = home
        self.at = at
        self._since = since
        self._clock = clock or SystemClock()
        #: None: there is no ledger yet, or none any more.
        self.ledger: Following | None = None
        self._status: Status | None = None
        self._status_seen: tuple[int, int] | None = None
        self._trouble = ""
        #: What happened, in sentences, by the fact's identity; the facts are kept with them.
        self._told: dict[int, tuple[f.Fact, Happening]] = {}
        self._names: Mapping[int, str] = {}
        self._open()
        self.night = self._look()

    def poll(self) -> Update:
        """Look again; `night` is what is known then."""
        before, replaced, changed = self.night, False, _NOTHING
        try:
            if self.ledger is not None and self.at is None and self.ledger.replaced:
                self.close()
            if self.ledger is None:
                self._open()
                replaced = self.ledger is not None
            else:
                changed = self.ledger.follow()
            self._trouble = ""
        except LedgerError as error:
            self._trouble = str(error)
        new_plans = self._read_status()
        if changed or replaced or new_plans or self._unsettled():
            self.night = self._look()
        else:
            self.night = replace(before, now=self._now(), trouble=self._trouble)
        same = replace(before, now=0.0) == replace(self.night, now=0.0)
        return Update(changed=changed, replaced=replaced, any=bool(changed) or not same)

    def close(self) -> None:
        """Let the ledger go."""
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None

    def _open(self) -> None:
        try:
            self.ledger = Following(self.home, self._clock, at=self.at)
        except UsageError:
            self.ledger = None
        self._read_status()

    def _unsettled(self) -> bool:
        """Whether something may be new that neither the ledger nor the plans tell of."""
        if self.ledger is not None and self.ledger.behind:
            return True
        return bool(self.night.requests) or _lies_in(self.home.inbox)

    def _now(self) -> float:
        return self._clock.wall() if self.at is None else self.at

    def _read_status(self) -> bool:
        """Take the engine's plans where the file is another than before; say whether it was."""
        if self.at is not None:
            return False
        try:
            found = self.home.status.stat()
            seen = (found.st_mtime_ns, found.st_ino)
        except OSError:
            seen = None
        if seen == self._status_seen:
            return False
        self._status_seen = seen
        self._status = status.read(self.home) if seen else None
        return True

    def _look(self) -> Night:
        ledger = self.ledger
        if ledger is None:
            return Night(now=self._now(), trouble=self._trouble, requests=self._requests({}))
        engine = ledger.engine()
        plans = self._status
        if plans is not None and not (engine.running and plans.pid == engine.pid):
            plans = None
        names = {head.id: head.name for head in ledger.heads()}
        studies, more = self._queue(ledger)
        return Night(
            now=self._now(),
            engine=engine,
            plans=plans,
            studies=studies,
            more=more,
            runs=ledger.runs(),
            happened=self._happened(ledger, names),
            requests=self._requests(names),
            last_at=ledger.last_at,
            past=self.at is not None,
            trouble=self._trouble,
        )

    def _queue(self, ledger: Following) -> tuple[tuple[StudyView, ...], int]:
        """Return the studies to show, and how many that are over are left out."""
        ordered = [h for h in in_order(ledger.heads()) if not (h.archived or h.nameless)]
        open_ = [head for head in ordered if not head.over]
        over = [head for head in ordered if head.over]
        shown = [*open_, *over[:_OVER_SHOWN]]
        return tuple(ledger.study(head.id) for head in shown), len(over[_OVER_SHOWN:])

    def _happened(self, ledger: Following, names: Mapping[int, str]) -> tuple[Happening, ...]:
        since = self._since or 0.0
        before = self._told if names == self._names else {}
        self._names = names
        self._told = {
            id(fact): before.get(id(fact)) or (fact, _told(at, fact, names))
            for at, fact in reversed(ledger.news)
            if at >= since and isinstance(fact, news.News)
        }
        return tuple(happening for _, happening in self._told.values())

    def _requests(self, names: Mapping[int, str]) -> tuple[str, ...]:
        if self.at is not None or not _lies_in(self.home.inbox):
            return ()
        return tuple(news.asked(request, names) for request in inbox.lying(self.home))


def _lies_in(directory: Path) -> bool:
    """Say whether a request lies in the inbox."""
    try:
        return any(name.endswith(".json") for name in os.listdir(directory))  # noqa: PTH208 - quick
    except OSError:
        return False


def _told(at: float, fact: news.News, names: Mapping[int, str]) -> Happening:
    hue: Kind | None = None
    if isinstance(fact, f.AttemptEnded):
        hue = kind(tag(fact.reason))
    elif isinstance(fact, f.StudyHalted):
        hue = "failed"
    elif isinstance(fact, f.StudyEnded) and fact.outcome == "done":
        hue = "done"
    return Happening(
        at=at,
        text=news.sentence(fact, names, at),
        hue=hue,
        study=getattr(fact, "study", None),
        trial=getattr(fact, "trial", None),
    )
