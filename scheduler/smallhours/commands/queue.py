"""``smallhours move``, ``pause`` and ``until``: who goes first, who not now, and till when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from smallhours import inbox
from smallhours.commands import asking
from smallhours.errors import UsageError
from smallhours.hints import expected
from smallhours.paths import Home
from smallhours.standing import read_priority, read_weight
from smallhours.text import clock

_PLACES = ("first", "last")
_ALWAYS = "always"


def move(
    home: Home,
    name: str,
    *,
    place: str | None = None,
    before: str | None = None,
    priority: str | None = None,
    weight: str | None = None,
    hours: list[str] | None = None,
) -> int:
    """Give a study another place in the queue; what is None stays as it is.

    Args:
        home: The state directory.
        name: Which study.
        place: ``first`` or ``last`` of its priority.
        before: Put it right before this study, in that one's priority.
        priority: ``urgent``, ``normal`` or ``low``.
        weight: Its share beside the others of its priority, as typed.
        hours: When it may run; ``always`` lifts that.

    Returns:
        The exit code.

    Raises:
        UsageError: an argument can't be understood, or there is none.
        NotFoundError: there is no such study.
    """
    if place is not None and place not in _PLACES:
        raise UsageError(f"move: {expected(place, _PLACES)}")
    if place is not None and before is not None:
        raise UsageError(f"move: `{place}` and `--before` are two places: take one")
    body: dict[str, Any] = {
        "to": place,
        "priority": None if priority is None else read_priority(priority),
        "weight": None if weight is None else read_weight(weight),
        "hours": None if hours is None else _read_hours(hours),
    }
    if before is None and all(value is None for value in body.values()):
        raise UsageError(
            "move it where? Say `first`, `last`, `--before OTHER`, `--priority`, `--weight` or"
            " `--hours`"
        )
    head = asking.study(home, name, "move")
    other = None if before is None else asking.study(home, before, "move")
    if other is not None and other.id == head.id:
        raise UsageError(f"{head.name} can't go before itself")
    gone = head.gone or (other.gone if other is not None else "")
    if gone:
        raise UsageError(f"{gone}: it has no place in the queue")
    body |= {
        "study": head.id,
        "before": None if other is None else other.id,
        "by": inbox.who(),
    }
    return asking.ask(home, "move", body, f"{head.name} will be moved: {inbox.WAITS}")


def pause(home: Home, name: str | None = None, *, everything: bool = False) -> int:
    """Take a study's trials off the machine, to their checkpoints, until it is resumed.

    Args:
        home: The state directory.
        name: Which study.
        everything: All studies that are open, instead of one.

    Returns:
        The exit code.

    Raises:
        UsageError: neither a study nor all are named, or both.
        NotFoundError: there is no such study.
    """
    if (name is not None) is everything:
        raise UsageError("pause which? `smallhours pause NAME`, or `--all`")
    if name is None:
        body: dict[str, Any] = {"study": None, "by": inbox.who()}
        return asking.ask(home, "pause", body, f"all will be paused: {inbox.WAITS}")
    head = asking.study(home, name, "pause")
    gone = head.gone
    if gone or head.paused:
        print(f"{gone or f'{head.name} is paused already'}: there is nothing to pause")
        return 0
    body = {"study": head.id, "by": inbox.who()}
    return asking.ask(home, "pause", body, f"{head.name} will be paused: {inbox.WAITS}")


def until(home: Home, when: str) -> int:
    """Set the time by which everything must be over, or lift it.

    Args:
        home: The state directory.
        when: ``07:30``, or whatever `when.parse_until` takes; ``none`` lifts it.

    Returns:
        The exit code.

    Raises:
        UsageError: it is no time.
    """
    from smallhours.when import parse_until  # not above, like what follows: `pause` needs none

    now = datetime.now().astimezone()
    at = None if when == "none" else parse_until(when, now)
    wish = (
        "the deadline will be lifted"
        if at is None
        else f"the deadline will be {clock(at, now.timestamp())}"
    )
    return asking.ask(home, "until", {"until": at, "by": inbox.who()}, f"{wish}: {inbox.WAITS}")


def _read_hours(texts: list[str]) -> list[str]:
    if texts == [_ALWAYS]:
        return []
    from smallhours.core.hours import parse

    for text in texts:
        try:
            parse(text)
        except ValueError as error:
            raise UsageError(f"--hours: {error}; `{_ALWAYS}` lifts them") from None
    return texts
