"""What the dashboard can ask the engine for: the requests that the commands send, with words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from smallhours import inbox
from smallhours.core.facts import StudyAdded
from smallhours.core.spec import StudySpec
from smallhours.inbox import Verb
from smallhours.snapshot.heads import Head
from smallhours.text import clock


class Wish(NamedTuple):
    """A request that has not been sent yet."""

    verb: Verb
    body: Mapping[str, Any]
    #: What will be so: ``digits will be paused``.
    will: str


class Field(NamedTuple):
    """A line to be typed."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    #: Whether any letter may be typed; else those that close the form do so here, too.
    free: bool = False


#: Makes a wish of what was typed, None where that changes nothing; raises UsageError where it can't
#: be understood.
Reader: TypeAlias = Callable[[dict[str, str]], Wish | None]


def pause(head: Head) -> Wish:
    """Take a study off until somebody resumes it."""
    return Wish("pause", {"study": head.id, "by": inbox.who()}, f"{head.name} will be paused")


def resume(head: Head) -> Wish:
    """Let a paused or halted study go on."""
    return Wish("release", {"study": head.id, "by": inbox.who()}, f"{head.name} will go on")


def continue_(head: Head, trial: int, how: str) -> Wish:
    """Take a stopped trial up again; `how` says from where."""
    body = {"study": head.id, "trial": trial, "by": inbox.who()}
    return Wish("continue", body, f"{head.name}/{trial} will {how}")


def release(head: Head, trial: int | None) -> Wish:
    """Run a trial, or all of a study (trial None), that waits as a known mistake."""
    name = head.name if trial is None else f"{head.name}/{trial}"
    body = {"study": head.id, "trial": trial, "only_held": True, "by": inbox.who()}
    return Wish("release", body, f"{name} will be released")


def cancel(head: Head, trial: int | None) -> Wish:
    """Give a study (trial None) or a trial up for good."""
    name = head.name if trial is None else f"{head.name}/{trial}"
    body = {"study": head.id, "trial": trial, "by": inbox.who()}
    return Wish("cancel", body, f"{name} will be cancelled")


def move(
    head: Head,
    *,
    to: str | None = None,
    before: Head | None = None,
    priority: str | None = None,
    weight: float | None = None,
) -> Wish:
    """Give a study another place in the queue; what is None stays as it is."""
    body = {
        "study": head.id,
        "to": to,
        "before": None if before is None else before.id,
        "priority": priority,
        "weight": weight,
        "hours": None,
        "by": inbox.who(),
    }
    return Wish("move", body, f"{head.name} will be moved")


def budget(added: StudyAdded, spec: StudySpec, trials: int, study_time_s: float | None) -> Wish:
    """Give a study other limits: it is added once more as it is, but for these.

    Args:
        added: How it was added.
        spec: What it is now.
        trials: Configurations in all.
        study_time_s: Seconds that its trials may run in all; None: no limit.
    """
    changed = msgspec.structs.replace(spec, trials=trials, study_time_s=study_time_s)
    body = {
        "spec": msgspec.to_builtins(changed),
        "snapshot": added.snapshot,
        "digest": added.digest,
        "source": added.source,
        "module": added.module,
        "cwd": added.cwd,
        "replace": False,
        "by": inbox.who(),
    }
    return Wish("add", body, f"{spec.name} will have another budget")


def yield_(until: float, now: float) -> Wish:
    """Give the machine back until a wall time (Unix seconds)."""
    will = f"the machine will be yielded until {clock(until, now)}"
    return Wish("yield", {"until": until, "by": inbox.who()}, will)


def take_back() -> Wish:
    """Go on now with what was taken off the machine."""
    return Wish("yield", {"until": None, "by": inbox.who()}, "the machine will be taken back")


def until(at: float | None, now: float) -> Wish:
    """Have everything over by a wall time (Unix seconds); None: lift that."""
    said = "the deadline will be lifted"
    if at is not None:
        said = f"the deadline will be {clock(at, now)}"
    return Wish("until", {"until": at, "by": inbox.who()}, said)


def note(head: Head, trial: int | None, text: str) -> Wish:
    """Keep a line about a study (trial None) or a trial."""
    name = head.name if trial is None else f"{head.name}/{trial}"
    body = {"study": head.id, "trial": trial, "text": text, "by": inbox.who()}
    return Wish("note", body, f"the note of {name} will be kept")
