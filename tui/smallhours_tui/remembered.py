"""What a person arranged and finds again at the next start: order, filter and columns by study."""

from __future__ import annotations

import contextlib
import os

import msgspec

from smallhours.paths import Home
from smallhours_tui.order import Order

#: Studies that are remembered, the latest arranged.
_KEPT = 200


class Arranged(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody wants to see a study."""

    sort: str = Order().sort
    reverse: bool = False
    filter: str = ""
    folded: bool = False
    #: Keys of columns that are left out.
    hidden: tuple[str, ...] = ()
    #: The metric of the curves; empty: the study's own.
    metric: str = ""

    @property
    def order(self) -> Order:
        """The part of it that says which trials are shown, and how sorted."""
        return Order(self.sort, self.reverse, self.filter, self.folded)


class Remembered:
    """What was arranged, in ``dashboard.json`` of the state directory."""

    def __init__(self, home: Home, *, keep: bool) -> None:
        """Read what there is.

        Args:
            home: The state directory.
            keep: Whether to write what is arranged from now on.
        """
        self._path = home.root / "dashboard.json"
        self._keep = keep
        self._known = self._read()

    def of(self, study: str) -> Arranged:
        """Return how a study was arranged, by its name."""
        return self._known.get(study, Arranged())

    def take(self, study: str, arranged: Arranged) -> None:
        """Remember how a study is arranged now."""
        if arranged == self.of(study):
            return
        # Another dashboard may have written meanwhile.
        known = self._read() if self._keep else self._known
        known.pop(study, None)
        if arranged != Arranged():
            known[study] = arranged
        while len(known) > _KEPT:
            del known[next(iter(known))]
        self._known = known
        if self._keep:
            self._write()

    def _read(self) -> dict[str, Arranged]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Arranged])
        except (OSError, msgspec.MsgspecError):
            return {}  # none yet, or of another version: it is only how things look

    def _write(self) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):  # a full disk: it is only how things look
            temporary.write_bytes(msgspec.json.encode(self._known))
            temporary.replace(self._path)
