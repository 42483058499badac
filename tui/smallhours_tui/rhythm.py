"""How often the dashboard looks at the ledger."""

from __future__ import annotations

import math
from typing import Final

#: Seconds between two calls of `Rhythm.due`.
TICK_S: Final = 0.5
#: Seconds between two looks; one comes with every call while somebody presses keys.
_POLL_S: Final = 1.0
#: The same while the terminal says that another window has the focus.
_AWAY_S: Final = 4.0
#: How long after a key that is.
_TOUCHED_S: Final = 3.0


class Rhythm:
    """Says when to look again; all times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        """Begin just after a look."""
        #: When a key was pressed or something was clicked last.
        self.touched_at = -math.inf
        self._looked_at = now

    def due(self, now: float, *, focused: bool) -> bool:
        """Say whether to look now, and take note that it is done.

        Args:
            now: The time.
            focused: Whether the terminal has the focus, as far as it tells.
        """
        every_s = _POLL_S if focused else _AWAY_S
        if now - self.touched_at >= _TOUCHED_S and now - self._looked_at < every_s - TICK_S / 5:
            return False
        self._looked_at = now
        return True

    def hurry(self) -> None:
        """Have the next call say yes: something new is sure to be there."""
        self._looked_at = -math.inf
