"""When what runs the trials is started, renewed and let go, and when the engine leaves."""

from __future__ import annotations

from typing import Literal

from smallhours.core import actions as a
from smallhours.core import facts as f
from smallhours.core.desk import Desk
from smallhours.core.queue import could_run

#: What runs the trials grows a little with each: after this many it is renewed.
RENEW_AFTER = 3000
#: With nothing to run for this long, what runs the trials is let go.
REST_AFTER_S = 300.0


class Standby:
    """The life of what runs the trials (Ray), as the queue needs it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._night = desk.night
        self._idle_since: float | None = None
        #: Attempts that ended since it was new.
        self._served = 0
        self.stay = False

    def ready(self, device: str, slots: int, *, packed: bool) -> None:
        """It is up, or new."""
        self._night.backend, self._night.worn = "ready", False
        self._night.device, self._night.slots = device, slots
        self._night.placement.pack_cpu(slots if packed else None)
        self._served = 0

    def closed(self) -> None:
        """It is gone, as ordered."""
        self._night.backend = "closed"

    def served(self) -> None:
        """An attempt ended."""
        self._served += 1
        if self._served >= RENEW_AFTER:
            self._night.worn = True

    def see_to(self) -> None:
        """Start, renew or let go of what runs the trials."""
        night, at = self._night, self._night.at
        wanted = [study for study in night.state.studies.values() if could_run(study, night)]
        if wanted or night.state.live or night.asked:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = at
        if wanted and night.backend == "closed":
            night.backend = "opening"
            self._desk.out.append(a.OpenBackend())
        if wanted and night.backend != "closing":
            for study in wanted:
                self._desk.open(study)
        if night.backend != "ready" or night.state.live:
            return
        if self._idle_since is not None and (
            night.state.yielded is not None or at - self._idle_since >= REST_AFTER_S
        ):
            self._rest()
        elif night.worn:
            night.backend = "renewing"
            self._desk.out.append(a.RenewBackend())

    @property
    def over(self) -> Literal["dry", "deadline"] | None:
        """Why nothing runs and nothing will unless somebody asks for something; None: it does."""
        night = self._night
        if night.state.live or night.asked:
            return None
        if not any(study.open for study in night.state.studies.values()):
            return "dry"
        return "deadline" if self._deadline_passed() else None

    def lift_old_deadline(self) -> None:
        """Forget a deadline that passed before this session, which somebody began after it."""
        wall = self._night.wall
        if wall is not None and self._deadline_passed():
            fact = f.DeadlineSet(until=None, since=wall.unix, by="it was over")
            self._desk.record(fact, self._night.at)

    def _deadline_passed(self) -> bool:
        deadline, wall = self._night.state.deadline, self._night.wall
        if deadline is None or deadline.until is None or wall is None:
            return False
        return wall.unix >= deadline.until

    def _rest(self) -> None:
        """Give back all memory that can be given back."""
        for study in self._night.state.studies.values():
            self._desk.close(study)
        self._night.backend = "closing"
        self._desk.out.append(a.CloseBackend())
