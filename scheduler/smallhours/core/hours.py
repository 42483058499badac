"""Windows of the week in local time: when a study may run, when a device shall be quiet."""

from __future__ import annotations

import re
from dataclasses import dataclass

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
#: Windows that are no further apart touch: times of the week are rounded.
_TOUCH_MINUTES = 1e-6

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<days>[a-z,\- ]+?) +)?(?P<h1>\d{1,2}):(?P<m1>\d\d) *- *(?P<h2>\d{1,2}):(?P<m2>\d\d)"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A time of day, on some days of the week; past midnight where its end is before its begin."""

    #: Minutes since midnight, the beginning included, the end not.
    begin: int
    end: int
    #: Days on which it begins, 0 for Monday.
    days: frozenset[int] = frozenset(range(7))

    @property
    def minutes(self) -> int:
        """How long it lasts; equal times are a whole day."""
        return (self.end - self.begin - 1) % DAY_MINUTES + 1

    def left(self, week_minute: float) -> float:
        """Return the minutes until the window closes; 0 where it is not open.

        Args:
            week_minute: Local time in minutes since Monday, 0:00.
        """
        return max((self._left(day, week_minute) for day in self.days), default=0.0)

    def _left(self, day: int, week_minute: float) -> float:
        since = (week_minute - (day * DAY_MINUTES + self.begin)) % WEEK_MINUTES
        return max(0.0, self.minutes - since)

    def until_open(self, week_minute: float) -> float:
        """Return the minutes until the window opens next; 0 where it is open."""
        if self.left(week_minute) > 0:
            return 0.0
        begins = (day * DAY_MINUTES + self.begin for day in self.days)
        return min((begin - week_minute) % WEEK_MINUTES for begin in begins)


def parse(text: str) -> Window:
    """Read a window such as ``22:00-07:00`` or ``mon-fri 09:00-18:00``.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(
            f'expected hours like "22:00-07:00" or "mon-fri 09:00-18:00", got {text!r}'
        )
    begin, end = _minutes(match["h1"], match["m1"]), _minutes(match["h2"], match["m2"])
    return Window(begin % DAY_MINUTES, end % DAY_MINUTES, _days(match["days"]))


def _minutes(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > DAY_MINUTES:
        raise ValueError(f"there is no time {hour}:{minute}")
    return total


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        days.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(days)


def _day(text: str) -> int:
    if text[:3] not in _DAYS:
        raise ValueError(f"there is no day {text!r}: they are {', '.join(_DAYS)}")
    return _DAYS.index(text[:3])


def open_left_s(windows: tuple[Window, ...], week_minute: float) -> float:
    """Return the seconds until the last of the open windows closes; 0 where none is open.

    Windows that touch are one: what ends at 18:00 and begins at 18:00 does not close in between.
    """
    left = max((window.left(week_minute) for window in windows), default=0.0)
    while 0.0 < left < WEEK_MINUTES:
        after = left + _TOUCH_MINUTES
        more = max(window.left(week_minute + after) for window in windows)
        if more <= 0:
            break
        left = after + more
    return min(left, WEEK_MINUTES) * 60.0


def until_open_s(windows: tuple[Window, ...], week_minute: float) -> float | None:
    """Return the seconds until one of the windows opens; 0 where one is open; None: no windows."""
    return min((window.until_open(week_minute) * 60.0 for window in windows), default=None)
