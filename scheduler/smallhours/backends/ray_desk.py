"""Where the engine's thread and the thread of Ray meet: orders one way, ends of attempts the other.

Nothing here knows Ray: what calls the desk from its side is in `ray_slot`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smallhours.backends.base import Placed, SlotReturn

_logger = logging.getLogger(__name__)

#: How often an order whose slot died before the attempt began goes to another slot.
_TRIES = 4
#: Tune's loop turns at least this often while attempts run, should a wake-up get lost.
_TURN_S = 1.0
#: How long attempts that run may take to end once `close` was called.
_BUSY_S = 1.0


class Leave(BaseException):
    """Takes the Ray thread out of `fit()`, past what Tune would do at its end."""


@dataclass(slots=True)
class _Given:
    """An order that Tune has."""

    placed: Placed
    tries: int
    began: bool = False


class Desk:
    """Where the engine's thread leaves orders and the Ray thread takes them; never blocks it."""

    def __init__(
        self,
        slots: int,
        ready: Callable[[], None],
        returned: Callable[[SlotReturn], None],
        lost: Callable[[str], None],
        dead: Callable[[], str | None],
        *,
        at_once: int,
    ) -> None:
        """Set up.

        Args:
            slots: How many attempts may run at a time.
            ready: Called once Tune asks for orders.
            returned: Called with each attempt that is over.
            lost: Called if nothing more can be started, with the reason.
            dead: Says which of Ray's processes died.
            at_once: So many slots may come up at a time: each takes seconds of a core, and an order
                that waits for it meanwhile may get one that is freed.
        """
        self.over = False
        self._slots, self._at_once = slots, at_once
        #: The most orders that slots had at a time: as many are up.
        self._up = 0
        self._ready: Callable[[], None] | None = ready
        self._returned, self._lost, self._dead = returned, lost, dead
        self._bell = threading.Condition()
        self._rang = False
        self._orders: deque[tuple[Placed, int]] = deque()
        self._given: dict[str, _Given] = {}
        self._closing_at: float | None = None
        self._failed = False

    # From the engine's thread.

    def start(self, placed: Placed) -> None:
        """Leave an order."""
        with self._bell:
            self._orders.append((placed, 1))
            self._bell.notify_all()

    def close(self) -> None:
        """Have the Ray thread leave; attempts that still run get a moment to end."""
        with self._bell:
            self.over = True
            self._closing_at = time.monotonic()
            self._bell.notify_all()

    # From the Ray thread.

    def take(self, tune_id: str) -> Placed | None:
        """Return the next order; where nothing runs, wait for one. None: not now, or `over`."""
        if self._ready is not None and not self.over:
            ready, self._ready = self._ready, None
            ready()
        with self._bell:
            if not self._given:  # Tune itself would sleep a second at a time
                self._bell.wait_for(lambda: self.over or self._orders)
            if self.over or not self._servable():
                return None
            placed, tries = self._orders.popleft()
            self._given[tune_id] = _Given(placed, tries)
            return placed

    def began(self, tune_id: str) -> None:
        """Note that a slot has the order."""
        self._given[tune_id].began = True
        self._up = max(self._up, sum(given.began for given in self._given.values()))

    def done(self, tune_id: str, ended: dict[str, Any] | None) -> None:
        """Return an attempt to the engine, or try another slot if it never began."""
        with self._bell:
            given = self._given.pop(tune_id)
            if ended is None and not given.began and given.tries < _TRIES and not self.over:
                self._orders.appendleft((given.placed, given.tries + 1))
                return
        if ended is None:
            dead = self._dead()
            parent = "raylet" if dead else "slot"
            ended = {"lost_parent": parent, "detail": dead or "the slot's process died"}
        self._returned(SlotReturn(key=given.placed.key, **ended))

    def fail(self, words: str) -> None:
        """Give up: say so once, and have the Ray thread leave."""
        with self._bell:
            if self._failed or self.over:
                _logger.info("on the way out: %s", words)
                return
            self._failed = self.over = True
        self._lost(words)

    def give_back(self) -> None:
        """Return, after `close`, whatever is left."""
        with self._bell:
            left = [given.placed for given in self._given.values()]
            left += [placed for placed, _ in self._orders]
            self._given.clear()
            self._orders.clear()
        if self._failed:
            return
        for placed in left:
            self._returned(SlotReturn(key=placed.key, lost_parent="slot", detail="closed"))

    def hush(self) -> None:
        """Forget earlier rings: what they told of is looked at next."""
        self._rang = False

    def listen(self) -> None:
        """Wait until an actor rings, an order can be served or the end has come."""
        with self._bell:
            self._bell.wait_for(lambda: self._rang or self.over or self._servable(), _TURN_S)

    def leave_if_busy(self) -> None:
        """Once `over`: leave at once if attempts still run that will not be waited for."""
        closing_at = self._closing_at
        if self._given and (closing_at is None or time.monotonic() - closing_at > _BUSY_S):
            raise Leave

    # From a thread of Ray's.

    def ring(self) -> None:
        """Say that an actor has something."""
        with self._bell:
            self._rang = True
            self._bell.notify_all()

    def _servable(self) -> bool:
        return bool(self._orders) and len(self._given) < min(self._slots, self._up + self._at_once)
