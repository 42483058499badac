"""Whose turn it is: studies by what they were served, and of those in turn the longest trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from smallhours.packing.cards import Wish

#: Studies whose service is less than this many of their own trials ahead of the hindmost share its
#: turn: among them the longest trial goes first.
SLACK_TRIALS: Final = 0.5


class Turns:
    """What each study was served, and what it is owed."""

    def __init__(
        self, weights: Mapping[str, float] | None = None, slack_trials: float = SLACK_TRIALS
    ) -> None:
        self._weights = dict(weights or {})
        self._slack_trials = slack_trials
        #: Card time by study, over its weight.
        self.served: dict[str, float] = {}

    def joins(self, study: str) -> None:
        """Let a study take part from now on; it is owed nothing of the time before."""
        if study not in self.served:
            self.served[study] = min(self.served.values(), default=0.0)

    def serve(self, study: str, card_s: float) -> None:
        """Count what a study was served."""
        served = self.served.get(study, 0.0) + card_s / self._weights.get(study, 1.0)
        self.served[study] = served

    def order(
        self,
        wishes: Sequence[Wish],
        expected_s: Callable[[Wish], float | None],
        known: Callable[[str], bool],
    ) -> list[Wish]:
        """Return the wishes in the order in which they are to be tried.

        Args:
            wishes: What could be started.
            expected_s: How long a trial takes alone; None: not known.
            known: Whether a study's first trial was watched.
        """
        lengths = {wish.key: expected_s(wish) or 0.0 for wish in wishes}
        late = self._late({wish.study for wish in wishes}, lengths, wishes)

        def key(wish: Wish) -> tuple[int, bool, float, bool, float]:
            mine = known(wish.study), late[wish.study], not wish.begun, -lengths[wish.key]
            return wish.turn, *mine

        return sorted(wishes, key=key)

    def _late(
        self, studies: Iterable[str], lengths: Mapping[str, float], wishes: Sequence[Wish]
    ) -> dict[str, float]:
        """Return where each study stands: 0 for those whose turn it is."""
        served = {study: self.served.get(study, 0.0) for study in studies}
        least = min(served.values(), default=0.0)
        found = {}
        for study, has in served.items():
            own = [lengths[wish.key] for wish in wishes if wish.study == study]
            slack = self._slack_trials * max(own, default=0.0) / self._weights.get(study, 1.0)
            found[study] = 0.0 if has - least <= slack else has - least - slack
        return found
