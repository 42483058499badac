"""What the keys of a study may hold, whatever they are called; standard library only."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from smallhours import sizes
from smallhours.errors import StudyFileError
from smallhours.hints import expected

#: The largest share that a study may want; the smallest is anything above 0.
MOST_WEIGHT = 1000.0


class Keys:
    """Checks values and says of wrong ones in which file and under which key they stand."""

    def __init__(self, file: str, name: str) -> None:
        """Take the file and the name that errors begin with."""
        self.file, self.name = file, name

    def error(self, key: str, message: str) -> StudyFileError:
        """Return the error that says what is wrong with one key of this study."""
        return StudyFileError(self.file, f"{self.name}.{key}", message)

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(key, f"expected text, got {value!r}")
        return value

    def _flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.error(key, f"expected True or False, got {value!r}")
        return value

    def _one_of(self, key: str, value: object, known: Collection[str]) -> str:
        if not isinstance(value, str) or value not in known:
            raise self.error(key, expected(value, known))
        return value

    def _whole(self, key: str, value: object, least: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
            raise self.error(key, f"expected a whole number, {least} or more, got {value!r}")
        return value

    def _limit(self, key: str, value: object) -> float | None:
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.error(key, f"expected a finite number or None, got {value!r}")
        return float(value)

    def _seconds(self, key: str, value: object) -> float | None:
        seconds = self._limit(key, value)
        if seconds is not None and seconds <= 0:
            raise self.error(key, f"expected seconds above 0, or None, got {value!r}")
        return seconds

    def _interval(self, key: str, value: object) -> float:
        seconds = self._limit(key, value)
        if seconds is None or seconds < 0:
            raise self.error(key, f"expected seconds, 0 or more, got {value!r}")
        return seconds

    def _share(self, key: str, value: object) -> float:
        share = self._limit(key, value)
        if share is None or not 0 <= share <= 1:
            raise self.error(key, f"expected a share from 0 to 1, like 0.03, got {value!r}")
        return share

    def _bytes(self, value: object) -> int | None:
        if value is None:
            return None
        try:
            return sizes.in_bytes(value)
        except ValueError as error:
            raise self.error("memory_bytes", str(error)) from None

    def _weight(self, value: object) -> float:
        weight = self._limit("weight", value)
        if weight is None or not 0 < weight <= MOST_WEIGHT:
            raise self.error(
                "weight", f"expected a number above 0, {MOST_WEIGHT:.0f} at most, got {value!r}"
            )
        return weight

    def _hours(self, value: object) -> list[str]:
        windows = [value] if isinstance(value, str) else value
        if not isinstance(windows, Sequence):
            raise self.error("hours", f'expected hours like ["22:00-07:00"], got {value!r}')
        if not windows:
            return []
        from smallhours.core import hours  # not above: few studies name hours

        for window in windows:
            if not isinstance(window, str):
                raise self.error("hours", f'expected hours like "22:00-07:00", got {window!r}')
            try:
                hours.parse(window)
            except ValueError as error:
                raise self.error("hours", str(error)) from None
        return list(windows)
