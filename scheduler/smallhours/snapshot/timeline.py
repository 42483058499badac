"""What ran where and when: every attempt on its slot, fold by fold, and all ends in their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from smallhours.core import facts as f
from smallhours.core.footprint import Prediction
from smallhours.core.reasons import tag
from smallhours.core.slots import placed
from smallhours.core.trial import AttemptKey
from smallhours.snapshot.moments import sequence_at
from smallhours.snapshot.source import Source
from smallhours.snapshot.studies import SAVING
from smallhours.snapshot.views import RunView, Then

#: How far back a timeline reaches where nobody says: one night and the day before it.
REACH_S: Final = 86_400.0

# The unary plus makes SQLite read on from a sequence number instead of all facts of these kinds.
_EVENTS = (
    "SELECT seq, at, kind, study, trial, attempt, reason, body FROM event"
    " WHERE seq > ? AND seq <= ? AND +kind IN ('attempt_started', 'attempt_ended') ORDER BY seq"
)
_STARTED = (
    "SELECT at, body FROM event WHERE kind = 'attempt_started' AND study = ? AND trial = ?"
    " AND attempt = ? AND seq <= ?"
)


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt on its slot."""

    study: int
    trial: int
    attempt: int
    #: UUID of a GPU or of a part of one, or ``cpu``; empty: no process was started for it.
    device: str
    #: Wall times (Unix seconds); until None: it runs.
    since: float
    until: float | None = None
    #: The step it went on from.
    resume_step: int = 0
    #: None: nobody knew what it would need.
    predicted: Prediction | None = None
    #: Whether it was watched alone for a few steps first.
    probe: bool = False
    #: Name of the reason why it ended; None: it runs.
    reason: str | None = None
    then: Then | None = None
    last_step: int = 0
    #: On its slot.
    seconds: float = 0.0
    #: Where the ledger has its end; 0: it has none.
    end_seq: int = 0

    @property
    def key(self) -> AttemptKey:
        """What tells it from others."""
        return AttemptKey(self.study, self.trial, self.attempt)

    def saved_s(self, steps: int) -> float:
        """Return the seconds that a rule saved by stopping it, at its own pace.

        Args:
            steps: Of a whole trial of its study.
        """
        run = self.last_step - self.resume_step
        if self.reason not in SAVING or run <= 0:
            return 0.0
        return max(0, steps - self.last_step) * self.seconds / run


class _Started(msgspec.Struct, frozen=True):
    """The part of a start that is shown."""

    device: str
    resume_step: int
    predicted: Prediction | None = None
    probe: bool = False
    slot: int | None = None


class _Ended(msgspec.Struct, frozen=True):
    """The part of an end that is shown."""

    seconds: float
    last_step: int
    then: Then


_STARTED_BODY = msgspec.json.Decoder(_Started)
_ENDED_BODY = msgspec.json.Decoder(_Ended)


class Timeline:
    """Attempts by device and slot, and the ends of attempts, from a moment on.

    The ledger says where an attempt is. In one of an older version it says no more than the device:
    there an attempt takes the lowest slot that is free. An end comes before what follows it on its
    slot.
    """

    def __init__(self, since: float) -> None:
        #: Wall time (Unix seconds) from which on it knows everything.
        self.since = since
        #: By device: the attempts of each slot in the order of time. Lists grow at their ends only;
        #: the last of one is replaced when it ends.
        self.slots: dict[str, list[list[Stay]]] = {}
        #: Attempts that are over, in the order they ended.
        self.ends: list[Stay] = []
        self._living: dict[AttemptKey, tuple[str, int]] = {}

    @property
    def began(self) -> float:
        """When the first attempt that it knows began; where it knows none, what it reaches to."""
        firsts = [slot[0].since for slots in self.slots.values() for slot in slots if slot]
        return min(firsts, default=self.since)

    @classmethod
    def read(cls, source: Source, since: float, runs: Iterable[RunView] = ()) -> Timeline:
        """Read what ran since a wall time, that which began before it included.

        Args:
            source: The ledger.
            since: Wall time (Unix seconds).
            runs: What runs now: it may have begun long before.
        """
        line = cls(since)
        rows = source.rows(_EVENTS, sequence_at(source, since), source.upto)
        keys = [AttemptKey(study, trial, attempt) for _, _, _, study, trial, attempt, *_ in rows]
        started = {key for key, row in zip(keys, rows, strict=True) if row[2] == "attempt_started"}
        wanted = [AttemptKey(run.study, run.number, run.attempt) for run in runs] + keys
        for key in dict.fromkeys(wanted):
            if key not in started:
                for at, body in source.rows(_STARTED, *key, source.upto):
                    line._start(key, at, _STARTED_BODY.decode(body))
        for key, (seq, at, kind, *_, reason, body) in zip(keys, rows, strict=True):
            if kind == "attempt_started":
                line._start(key, at, _STARTED_BODY.decode(body))
            else:
                line._end(key, at, seq, reason, _ENDED_BODY.decode(body))
        return line

    def take(self, fact: f.Fact, seq: int, at: float) -> None:
        """Take in what was recorded."""
        match fact:
            case f.AttemptStarted():
                began = _Started(
                    fact.device, fact.resume_step, fact.predicted, fact.probe, fact.slot
                )
                self._start(f.key_of(fact), at, began)
            case f.AttemptEnded():
                ended = _Ended(fact.seconds, fact.last_step, fact.then)
                self._end(f.key_of(fact), at, seq, tag(fact.reason), ended)
            case _:
                pass

    def _start(self, key: AttemptKey, at: float, fact: _Started) -> None:
        slots = self.slots.setdefault(fact.device, [])
        taken = {slot for device, slot in self._living.values() if device == fact.device}
        slot = placed(fact.slot, taken)
        while slot >= len(slots):
            slots.append([])
        self._living[key] = fact.device, slot
        slots[slot].append(
            Stay(
                study=key.study,
                trial=key.trial,
                attempt=key.attempt,
                device=fact.device,
                since=at,
                resume_step=fact.resume_step,
                predicted=fact.predicted,
                probe=fact.probe,
            )
        )

    def _end(self, key: AttemptKey, at: float, seq: int, reason: str, fact: _Ended) -> None:
        place = self._living.pop(key, None)
        if place is None:  # it was refused before there was a process
            begun = Stay(study=key.study, trial=key.trial, attempt=key.attempt, device="", since=at)
        else:
            begun = self.slots[place[0]][place[1]][-1]
        # An end that nobody saw is recorded when the next engine looks.
        until = begun.since + fact.seconds
        over = msgspec.structs.replace(
            begun,
            until=min(at, until) if fact.seconds else at,
            reason=reason,
            then=fact.then,
            last_step=fact.last_step,
            seconds=fact.seconds,
            end_seq=seq,
        )
        if place is not None:
            self.slots[place[0]][place[1]][-1] = over
        self.ends.append(over)
