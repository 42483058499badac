"""The ends of a night's attempts: filtered, and grouped by what brought them about."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from smallhours.core.reasons import TAGS
from smallhours.explain import WORDS, kind
from smallhours.snapshot import FailureGroup
from smallhours.snapshot.following import Following
from smallhours.snapshot.timeline import Stay

#: A reason whose ends are told apart by what went wrong.
_FAILURE: Final = "exception"
_ORDER: Final[Mapping[str, int]] = {name: place for place, name in enumerate(TAGS)}


class Group(NamedTuple):
    """What some ends have in common."""

    reason: str
    #: Of failures: which study's, and the hash of what went wrong there; else 0 and empty.
    study: int = 0
    fingerprint: str = ""


class Ends:
    """The ends that a timeline knows, with what is asked of them again and again."""

    def __init__(self, ledger: Following, stays: Sequence[Stay]) -> None:
        """Take the ends, in the order they ended."""
        self._ledger, self._stays = ledger, stays
        self._failures: dict[int, tuple[int, list[FailureGroup]]] = {}

    def name(self, stay: Stay) -> str:
        """Return the trial's name as people type it."""
        return f"{self._ledger.head(stay.study).name}/{stay.trial}"

    def saved_s(self, stays: Iterable[Stay]) -> float:
        """Return the seconds that the rules saved by these ends."""
        return sum(stay.saved_s(self._ledger.head(stay.study).spec.steps) for stay in stays)

    def chosen(self, words: str, *, folded: bool, group: Group | None = None) -> list[Stay]:
        """Return ends, newest first.

        Args:
            words: Must all be in a trial's name or its reason; ``!word`` must not.
            folded: Leave out trials that ran to their end.
            group: Only this one's; None: all.
        """
        wanted = words.lower().split()
        found = [
            stay
            for stay in reversed(self._stays)
            if (group is None or stay.reason == group.reason)
            and not (folded and stay.reason == "completed" and group is None)
            and (not wanted or self._passes(stay, wanted))
        ]
        if group is None or not group.fingerprint:
            return found
        return [stay for stay in found if self.group(stay) == group]

    def grouped(self, stays: Iterable[Stay]) -> Mapping[Hashable, list[Stay]]:
        """Return ends by what brought them about: what failed and was stopped first."""
        groups: dict[Group, list[Stay]] = {}
        for stay in stays:
            groups.setdefault(self.group(stay), []).append(stay)
        order = sorted(groups, key=lambda group: (_rank(group), -len(groups[group])))
        return {group: groups[group] for group in order}

    def group(self, stay: Stay) -> Group:
        """Return what an end belongs to."""
        reason = stay.reason or ""
        if reason != _FAILURE:
            return Group(reason)
        failure = self.failure(stay)
        return Group(reason, stay.study, "" if failure is None else failure.fingerprint)

    def failure(self, stay: Stay) -> FailureGroup | None:
        """Return the trials that failed like this one; None: it did not fail in that way."""
        if stay.reason != _FAILURE:
            return None
        return next((g for g in self._failed(stay.study) if stay.trial in g.trials), None)

    def with_fingerprint(self, group: Group) -> FailureGroup:
        """Return the failure that a group of them is about."""
        return next(g for g in self._failed(group.study) if g.fingerprint == group.fingerprint)

    def _failed(self, study: int) -> list[FailureGroup]:
        """Return a study's failures, read again only where something has ended since."""
        known = self._failures.get(study)
        if known is None or known[0] != len(self._stays):
            known = self._failures[study] = len(self._stays), self._ledger.failures(study)
        return known[1]

    def _passes(self, stay: Stay, wanted: Sequence[str]) -> bool:
        reason = stay.reason or ""
        text = f"{self.name(stay)} {reason} {WORDS.get(reason, '')} {kind(reason)}".lower()
        return all(
            word[1:] not in text if len(word) > 1 and word[0] == "!" else word in text
            for word in wanted
        )


def _rank(group: Group) -> tuple[int, int]:
    """Return where a group stands: failures, what was stopped, what goes on, what is done."""
    hues = ("failed", "stopped", "running", "waiting", "done")
    return hues.index(kind(group.reason)), _ORDER.get(group.reason, 0)
