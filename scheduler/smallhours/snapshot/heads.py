"""What is known of studies without their trials."""

from __future__ import annotations

import msgspec

from smallhours.core import facts as f
from smallhours.core.spec import Priority, StudySpec
from smallhours.snapshot.source import Source
from smallhours.snapshot.views import Place

_HEADS = (
    "SELECT at, body FROM event WHERE kind IN ('study_added', 'study_amended', 'study_retired',"
    " 'study_ended', 'study_halted', 'study_paused', 'study_released', 'study_moved',"
    " 'study_archived', 'study_removed', 'search_ended', 'trial_continued') AND seq <= ?"
    " ORDER BY seq"
)


class Head(msgspec.Struct):
    """What is known of a study without its trials."""

    id: int
    spec: StudySpec
    source: str
    added_at: float
    #: Its place in the queue.
    place: Place
    retired: bool = False
    search_ended: f.SearchEnded | None = None
    ended: f.StudyEnded | None = None
    ended_at: float | None = None
    #: How it had ended when a trial of it was taken up again; None: none was since it was open.
    ended_before: f.StudyEnded | None = None
    halted: f.StudyHalted | None = None
    paused: f.StudyPaused | None = None
    archived: bool = False
    removed: bool = False
    #: The smallest number of trials that any version of the study asked for.
    fewest_trials: int = 0

    @property
    def name(self) -> str:
        """The study's name as people type it."""
        return f"{self.spec.name}@{self.id}" if self.nameless else self.spec.name

    @property
    def nameless(self) -> bool:
        """Whether its name is another's, or may be: it is meant only where its id is given."""
        return self.retired or self.removed

    @property
    def over(self) -> bool:
        """Whether nothing of it will be started any more."""
        return self.nameless or self.ended is not None

    @property
    def gone(self) -> str:
        """What it is, where nothing will be started of it any more; empty: it is open."""
        if self.removed:
            return f"{self.name} was removed"
        if self.retired:
            return f"{self.name} was put aside"
        return f"{self.name} is over" if self.ended else ""

    @property
    def held(self) -> bool:
        """Whether it waits for somebody to release it."""
        return not self.over and bool(self.halted or self.paused)

    @property
    def open(self) -> bool:
        """Whether it goes on by itself."""
        return not (self.over or self.held)

    def reopen(self) -> None:
        """Take note that something of it is left to do again."""
        self.ended_before = self.ended or self.ended_before
        self.ended, self.ended_at, self.archived = None, None, False

    def take(self, spec: StudySpec) -> None:
        """Take what the file asks for now; what `move` changed stays where that is as before."""
        place, old = self.place, self.spec
        self.place = msgspec.structs.replace(
            place,
            priority=place.priority if spec.priority == old.priority else spec.priority,
            weight=place.weight if spec.weight == old.weight else spec.weight,
            hours=place.hours if spec.hours == old.hours else spec.hours,
        )
        self.spec = spec


def heads(source: Source) -> dict[int, Head]:
    """Return all studies by id, oldest first."""
    found: dict[int, Head] = {}
    for at, body in source.rows(_HEADS, source.upto):
        match source.fact(body):
            case f.StudyAdded() as fact:
                place = Place.of(fact.spec, float(fact.study))
                head = found[fact.study] = Head(fact.study, fact.spec, fact.source, at, place)
                head.fewest_trials = fact.spec.trials
            case f.StudyAmended() as fact:
                head = found[fact.study]
                head.take(fact.spec)
                head.reopen()
                head.ended_before = head.search_ended = None
                head.fewest_trials = min(head.fewest_trials, fact.spec.trials)
            case f.TrialContinued() as fact:
                found[fact.study].reopen()
            case f.StudyRetired() as fact:
                found[fact.study].retired = True
            case f.SearchEnded() as fact:
                found[fact.study].search_ended = fact
            case f.StudyEnded() as fact:
                found[fact.study].ended, found[fact.study].ended_at = fact, at
            case f.StudyHalted() as fact:
                found[fact.study].halted = fact
            case f.StudyReleased() as fact:
                head = found[fact.study]
                head.halted, head.paused = None, head.paused if fact.halt_only else None
            case f.StudyPaused() as fact:
                found[fact.study].paused = fact
            case f.StudyMoved() as fact:
                found[fact.study].place = Place(fact.priority, fact.weight, fact.hours, fact.place)
            case f.StudyArchived() as fact:
                found[fact.study].archived = True
            case f.StudyRemoved() as fact:
                found[fact.study].removed = True
            case _:
                pass
    return found


def in_order(heads: list[Head]) -> list[Head]:
    """Return studies by priority and place; those that are over at the end.

    Among those of one priority the engine goes by what each had of its share, too.
    """

    def key(head: Head) -> tuple[bool, int, float, int]:
        if head.over:
            return True, 0, -(head.ended_at or head.added_at), head.id
        return False, Priority(head.place.priority).rank, head.place.place, head.id

    return sorted(heads, key=key)
