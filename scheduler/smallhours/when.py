"""Times as people type them: "07:30", "2h30m", "2026-11-24 07:30"."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from smallhours.errors import UsageError

_UNITS_S = {
    word: seconds
    for words, seconds in (
        ("d day days", 86_400.0),
        ("h hr hrs hour hours", 3600.0),
        ("m min mins minute minutes", 60.0),
        ("s sec secs second seconds", 1.0),
    )
    for word in words.split()
}
_PART = re.compile(r"(\d+(?:\.\d+)?) *([a-z]+) *", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)")
_DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d")
#: A longer time is taken for a slip of the finger.
_LONGEST_S = 366 * 86_400.0
_TIMES = 'a time like "07:30", "2h30m" or "2026-11-24 07:30"'


def parse_duration(text: str) -> float:
    """Read a duration such as ``2h30m``, ``90 min`` or ``1.5h``; return its seconds.

    Raises:
        UsageError: it is none, is nothing, or is longer than a year.
    """
    rest, total_s = text.strip(), 0.0
    if re.fullmatch(r"\d+(\.\d+)?", rest):
        raise UsageError(f'{text!r} of what? Say "{rest}m" or "{rest}h"')
    while rest:
        part = _PART.match(rest)
        if part is None or part[2].lower() not in _UNITS_S:
            break
        total_s += float(part[1]) * _UNITS_S[part[2].lower()]
        rest = rest[part.end() :]
    if rest or total_s <= 0:
        raise UsageError(f'expected a duration like "2h", "90m" or "1h30m", got {text!r}')
    if total_s > _LONGEST_S:
        raise UsageError(f"{text!r} is more than a year")
    return total_s


def parse_until(text: str, now: datetime) -> float:
    """Read a point in time that lies ahead; return it as Unix seconds.

    ``07:30`` is the next time at which the clocks here show that, ``2h30m`` (or ``+2h30m``) is that
    far from now, and a date with a time is what it says, in local time where it names no zone.

    Args:
        text: What was typed.
        now: The time that it is read at.

    Raises:
        UsageError: it is no time, or it is past.
    """
    typed = text.strip()
    clock = _CLOCK.fullmatch(typed)
    if clock:
        return _next(int(clock[1]), int(clock[2]), now, text)
    if _DATE_ONLY.fullmatch(typed):
        raise UsageError(f'{text!r} has no time of day: say it like "{typed} 07:30"')
    try:
        return _ahead(datetime.fromisoformat(typed).timestamp(), now, text)
    except (ValueError, OverflowError):
        pass
    if not typed.removeprefix("+")[:1].isdecimal():
        raise UsageError(f"expected {_TIMES}, got {text!r}")
    return now.timestamp() + parse_duration(typed.removeprefix("+"))


def parse_past(text: str, now: datetime) -> float:
    """Read a point in time gone by; return it as Unix seconds.

    ``02:41`` is the last time at which the clocks here showed that, ``3h`` is that long ago, and a
    date with a time is what it says, in local time where it names no zone.

    Args:
        text: What was typed.
        now: The time that it is read at.

    Raises:
        UsageError: it is no time, or it lies ahead.
    """
    typed = text.strip()
    clock = _CLOCK.fullmatch(typed)
    if clock:
        # The next time that the clocks show it, seen from a day ago.
        return _next(int(clock[1]), int(clock[2]), now - timedelta(days=1), text)
    if _DATE_ONLY.fullmatch(typed):
        raise UsageError(f'{text!r} has no time of day: say it like "{typed} 02:41"')
    try:
        at = datetime.fromisoformat(typed).timestamp()
    except (ValueError, OverflowError):
        if not typed.removeprefix("-")[:1].isdecimal():
            raise UsageError(f'expected a time like "02:41" or "3h", got {text!r}') from None
        return now.timestamp() - parse_duration(typed.removeprefix("-"))
    if at > now.timestamp():
        raise UsageError(f"{text!r} has not come yet")
    return at


def _next(hour: int, minute: int, now: datetime, text: str) -> float:
    """Return when the clocks here show a time of day next, whatever they are put to in between."""
    if minute > 59 or hour * 60 + minute > 24 * 60:
        raise UsageError(f"there is no time {text!r}: expected 00:00 to 24:00")
    midnight = now.astimezone().replace(
        tzinfo=None, hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    shown = midnight + timedelta(hours=hour, minutes=minute)
    times: list[float] = []
    for day in range(2):
        first = (shown + timedelta(days=day)).timestamp()
        again = (shown + timedelta(days=day)).replace(fold=1).timestamp()
        # Where clocks are put back, a time comes twice; where they are put on, one is left out.
        times += [first, max(first, again)]
    return min(at for at in times if at > now.timestamp())


def _ahead(at: float, now: datetime, text: str) -> float:
    if at <= now.timestamp():
        raise UsageError(f"{text!r} is past")
    if at - now.timestamp() > _LONGEST_S:
        raise UsageError(f"{text!r} is more than a year away")
    return at
