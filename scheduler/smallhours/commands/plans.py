"""What the engine plans, beside what is in the ledger: for the commands that show the queue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from smallhours import inbox, status
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot import EngineView, Snapshot, StudyView
from smallhours.status import Forecast, Status, Waiting
from smallhours.text import clean, clock, duration


class Plans:
    """The engine's plans as of now; nothing where no engine lives."""

    def __init__(self, home: Home, engine: EngineView) -> None:
        """Read them."""
        self.now = time.time()
        found = status.read(home) if engine.running else None
        #: None: no engine lives, or it has not said anything yet.
        self.status: Status | None = found if found is None or found.pid == engine.pid else None
        self._forecasts = {f.study: f for f in self.status.forecast} if self.status else {}

    def forecast(self, study: int) -> Forecast | None:
        """Return when a study will be done; None: nobody knows."""
        return self._forecasts.get(study)

    def waiting(self, study: int) -> list[Waiting]:
        """Return what waits of a study, in the engine's order."""
        return [item for item in self.status.waiting if item.study == study] if self.status else []

    def yielded(self) -> str:
        """Return that the machine is yielded, and till when; empty: it is not."""
        if self.status is None or self.status.yielded_until is None:
            return ""
        whom = f" to {clean(self.status.yielded_to, 60)}" if self.status.yielded_to else ""
        if not self.status.yielded_until:
            return f"yielded{whom}"
        return f"yielded{whom} until {clock(self.status.yielded_until, self.now)}"

    def since(self, at: float) -> str:
        """Return how long ago something began: ``for 12 s``, ``since 22:10``."""
        ago = self.now - at
        return f"for {duration(ago)}" if ago < 600 else f"since {clock(at, self.now)}"


def open_ledger(home: Home) -> Snapshot | None:
    """Return the ledger as it is now; None: there is none yet.

    Raises:
        LedgerError: it can't be read.
    """
    try:
        return Snapshot(home)
    except UsageError:
        return None


def requests(home: Home, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return what waits in the inbox: id, verb, what (in words), asked_at, uid."""
    lying = inbox.lying(home)
    if not lying:
        return []
    from smallhours.explain.news import asked  # not above: most of the time nothing waits

    return [
        {
            "id": request.id,
            "verb": request.verb,
            "what": asked(request, names),
            "asked_at": inbox.asked_at(request.id),
            "uid": request.uid,
        }
        for request in lying
    ]


def waiting_in_brief(plans: Plans, view: StudyView) -> tuple[str, float] | None:
    """Return why a study's next trial waits and since when; None: not known."""
    items = plans.waiting(view.id)
    return (items[0].why.value, items[0].since) if items else None
