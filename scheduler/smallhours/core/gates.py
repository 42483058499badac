"""When a study may run: what opens and shuts with the clock, or at somebody's wish."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smallhours.core import hours
from smallhours.core.estimates import whole_s, worth_starting_s
from smallhours.core.model import Study, Trial
from smallhours.core.night import Night
from smallhours.core.waiting import Why


@dataclass(frozen=True, slots=True)
class Gate:
    """Until when a study may run, and what shuts it then."""

    #: Seconds until it shuts; 0: it is shut; infinite: it never does.
    open_s: float
    #: What is said of a trial that waits while it is shut.
    shut: Why | None = None
    #: What is said of a trial that would not end before it shuts.
    too_late: Why | None = None


_NEVER_SHUT = Gate(math.inf)


def gate(study: Study, night: Night) -> Gate:
    """Return the gate that shuts first for what waits."""
    if study.paused:
        return Gate(0.0, Why.PAUSED)
    if study.halted:
        return Gate(0.0, Why.HALTED)
    return gate_of_running(study, night)


def gate_of_running(study: Study, night: Night) -> Gate:
    """Return the gate that shuts first for what runs, with a time by which it must be gone."""
    if night.state.yielded is not None:
        return Gate(0.0, Why.YIELDED)
    if night.wall is None:
        return _NEVER_SHUT
    found = [_NEVER_SHUT]
    deadline = night.state.deadline
    if deadline is not None and deadline.until is not None:
        left = max(0.0, deadline.until - night.wall.unix)
        found.append(Gate(left, Why.DEADLINE, Why.TOO_LATE))
    week_minute = night.wall.week_minute
    if study.standing.windows:
        left = hours.open_left_s(study.standing.windows, week_minute)
        found.append(Gate(left, Why.HOURS, Why.TOO_LATE_HOURS))
    quiet = night.settings.quiet.get(night.placement.kind_of(study) or "cpu", ())
    until_quiet = hours.until_open_s(quiet, week_minute)
    if until_quiet is not None:
        found.append(Gate(until_quiet, Why.QUIET, Why.TOO_LATE_HOURS))
    return min(found, key=lambda gate: gate.open_s)


def too_late(study: Study, trial: Trial | None, gate: Gate, night: Night) -> Why | None:
    """Say why a trial should not be started though the gate is open yet; None: it may.

    It is not started if it would not end before the gate shuts. One of a study whose trials save
    checkpoints is, where that would keep it from ever running: before its hours end it is paused
    and goes on the next time; before a deadline only if not even the whole night were long enough.
    Nor is it where it would have to leave at once.
    """
    if gate.too_late is None:
        return None
    needed = whole_s(study, trial, night.at)
    if needed is not None and needed <= gate.open_s:
        return None
    if gate.open_s <= worth_starting_s(study, trial):
        return gate.too_late
    if needed is None:
        return None
    if not study.saves:
        return gate.too_late
    if gate.too_late is Why.TOO_LATE:
        deadline = night.state.deadline
        assert deadline is not None
        assert deadline.until is not None
        return gate.too_late if needed <= deadline.until - deadline.since else None
    return None
