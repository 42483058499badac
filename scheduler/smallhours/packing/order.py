"""Whose turn it is: studies by what they were served, and of those in turn the longest trial."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from smallhours.packing.cards import Wish
from smallhours.packing.work import Work

#: Studies whose service is less than this many of their own trials ahead of the hindmost share its
#: turn: among them the longest trial goes first.
SLACK_TRIALS: Final = 0.5
#: Service counts in rounds of so many seconds of a card, and of more for each study beyond those
#: whose warm processes live side by side: short trials of many studies in turn would do nothing but
#: warm up.
_ROUND_S: Final = 4.0
#: Studies that can take turns without one's warm process being given up for another's.
WARM: Final = 3
#: A trial that takes this share of all the time that is left, at least, is on its critical path.
_CRITICAL: Final = 0.5
#: The same while others are owed a turn, for one whose study is ahead.
_YIELDING: Final = 1.0
#: A study is behind once it is this many of its own trials behind the mean.
_BEHIND_TRIALS: Final = 1.0


class Turns:
    """What each study was served, and what it is owed.

    A study that had nothing to run for a while does not save up: it joins where the hindmost is.
    """

    def __init__(self, slack_trials: float = SLACK_TRIALS) -> None:
        self._slack_trials = slack_trials
        self._weights: dict[str, float] = {}
        #: Those that had something to run when last asked, and whose turn they took part in.
        self._taking: dict[str, int] = {}
        #: Card time by study, over its weight.
        self.served: dict[str, float] = {}
        #: Those that were, when last asked, more than one of their own trials behind the mean.
        self.behind: set[str] = set()
        #: Those of them whose running trials will not make up for it: others make room for them.
        self.owed: set[str] = set()
        #: Those that were served more than the mean of their turn by then, the foremost first.
        self.ahead: list[str] = []

    def serve(self, study: str, card_s: float) -> None:
        """Count what a study was served."""
        served = self.served.get(study, 0.0) + card_s / self._weights.get(study, 1.0)
        self.served[study] = served

    def order(
        self,
        wishes: Sequence[Wish],
        running: Collection[str],
        work: Work,
        known: Callable[[str], bool],
    ) -> list[Wish]:
        """Return the wishes in the order in which they are to be tried.

        What is on the critical path goes first, whosever turn it is: it would end last. Of the
        others, those that are ahead go last while anybody is owed a turn.

        Args:
            wishes: What could be started.
            running: The studies of the trials that run.
            work: What there is to do.
            known: Whether a study's first trial was watched.
        """
        self._join(wishes, running)
        most: dict[str, float] = {}
        for wish in wishes:
            service = work.service.get(wish.key, 0.0)
            most[wish.study] = max(most.get(wish.study, 0.0), service)
        late = self._late(most, work.committed)
        self._stand(most, work.committed)

        def key(wish: Wish) -> tuple[int, bool, bool, float, bool, float]:
            first = self._goes_first(wish, work)
            yields = self._yields(wish.study) and not first
            ahead_s = 0.0 if first else late[wish.study]
            length = work.lengths.get(wish.key, 0.0)
            return wish.turn, known(wish.study), yields, ahead_s, not (first or wish.begun), -length

        return sorted(wishes, key=key)

    def _yields(self, study: str) -> bool:
        """Whether a study that is ahead waits for one that is owed a turn."""
        return bool(self.owed) and study in self.ahead

    def _goes_first(self, wish: Wish, work: Work) -> bool:
        """Whether a trial is on the critical path, so that it is started whosever turn it is.

        While others are owed a turn, one of a study that is ahead must take all the time there is.
        """
        share = _YIELDING if self._yields(wish.study) else _CRITICAL
        return work.is_critical(wish, share)

    def _join(self, wishes: Sequence[Wish], running: Collection[str]) -> None:
        """Let those that are new in a turn begin where its hindmost is."""
        taking = {study: self._taking[study] for study in running if study in self._taking}
        taking |= {wish.study: wish.turn for wish in sorted(wishes, key=_turn, reverse=True)}
        self._weights |= {wish.study: wish.weight for wish in wishes}
        before, self._taking = self._taking, taking
        for study, turn in taking.items():
            was = before.get(study)
            if was == turn:
                continue
            there = [s for s, own in taking.items() if own == turn and before.get(s) == turn]
            least = min((self.served[s] for s in there), default=0.0)
            if was is None:
                least = max(self.served.get(study, least), least)
            self.served[study] = least  # what it had in another turn is no matter here

    def _late(self, most: Mapping[str, float], committed: Mapping[str, float]) -> dict[str, float]:
        """Return where each study stands: 0 for those whose turn it is.

        What a study's running trials will still take counts as served: else whoever comes first
        takes all there is before anything was served.

        Args:
            most: Card time that the largest trial of each takes.
            committed: Card time that their running trials will still take.
        """
        round_s = _round_s(len(most))
        served = {s: self.served[s] + committed.get(s, 0.0) / self._weights[s] for s in most}
        rounds = {study: served[study] // round_s for study in most}
        hindmost: dict[int, float] = {}
        for study, done in rounds.items():
            turn = self._taking[study]
            hindmost[turn] = min(done, hindmost.get(turn, done))
        late = {}
        for study, service in most.items():
            ahead = (rounds[study] - hindmost[self._taking[study]]) * round_s
            late[study] = max(0.0, ahead - self._slack_trials * service / self._weights[study])
        return late

    def _stand(self, most: Mapping[str, float], committed: Mapping[str, float]) -> None:
        """Say who is behind, who is owed a turn, and who is ahead.

        Args:
            most: Card time that the largest waiting trial of each study takes.
            committed: Card time that their running trials will still take.
        """
        self.behind, self.owed, ahead = set(), set(), []
        for study, turn in self._taking.items():
            alike = [self.served[other] for other, own in self._taking.items() if own == turn]
            lacks_s = (sum(alike) / len(alike) - self.served[study]) * self._weights[study]
            if lacks_s > max(_BEHIND_TRIALS * most.get(study, 0.0), _round_s(len(alike))):
                self.behind.add(study)
                if lacks_s > committed.get(study, 0.0):
                    self.owed.add(study)
            elif lacks_s < 0.0:
                ahead.append((lacks_s / self._weights[study], study))
        self.ahead = [study for _, study in sorted(ahead)]


def _round_s(studies: int) -> float:
    return _ROUND_S * (1 + 2 * max(0, studies - WARM))


def _turn(wish: Wish) -> int:
    return wish.turn
