"""Windows of the week: what is open when, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallhours.core import hours
from smallhours.core.hours import DAY_MINUTES, WEEK_MINUTES, Window, parse

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

windows = st.builds(
    Window,
    begin=st.integers(0, DAY_MINUTES - 1),
    end=st.integers(0, DAY_MINUTES - 1),
    days=st.frozensets(st.integers(0, 6), min_size=1),
)
several = st.lists(windows, min_size=1, max_size=4).map(tuple)
times = st.floats(0.0, WEEK_MINUTES, exclude_max=True)


def at(day: str, time: str) -> float:
    """Return a time of the week in minutes."""
    hour, minute = time.split(":")
    return DAYS.index(day) * DAY_MINUTES + int(hour) * 60 + int(minute)


def minutes_of(*chosen: Window) -> set[int]:
    """Return the minutes of the week in which one of the windows is open, by counting."""
    return {
        (day * DAY_MINUTES + window.begin + n) % WEEK_MINUTES
        for window in chosen
        for day in window.days
        for n in range(window.minutes)
    }


class TestParse:
    @pytest.mark.parametrize(
        ("text", "begin", "end", "days"),
        [
            ("22:00-07:00", 1320, 420, range(7)),
            ("mon-fri 09:00-18:00", 540, 1080, range(5)),
            ("sat,sun 0:00-24:00", 0, 0, (5, 6)),
            ("fri-mon 20:30 - 21:00", 1230, 1260, (4, 5, 6, 0)),
            ("Mon-Tue, Thursday 9:05-9:06", 545, 546, (0, 1, 3)),
            (" 00:00-00:00 ", 0, 0, range(7)),
        ],
    )
    def test_windows_are_read(self, text: str, begin: int, end: int, days: range) -> None:
        assert parse(text) == Window(begin, end, frozenset(days))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("night", 'expected hours like "22:00-07:00"'),
            ("", 'expected hours like "22:00-07:00"'),
            ("22:00", 'expected hours like "22:00-07:00"'),
            ("22:60-23:00", "there is no time 22:60"),
            ("22:00-25:00", "there is no time 25:00"),
            ("24:01-25:00", "there is no time 24:01"),
            ("noday 22:00-23:00", "there is no day 'noday'"),
            ("mon-xyz 22:00-23:00", "there is no day 'xyz'"),
            ("mon,, 22:00-23:00", "there is no day ''"),
        ],
    )
    def test_what_is_no_window_is_refused_with_the_reason(self, text: str, expected: str) -> None:
        with pytest.raises(ValueError, match=expected):
            parse(text)


class TestWindow:
    def test_a_window_past_midnight_belongs_to_the_day_on_which_it_begins(self) -> None:
        window = parse("fri 22:00-07:00")
        assert window.left(at("fri", "21:59")) == 0
        assert window.left(at("fri", "22:00")) == 9 * 60
        assert window.left(at("sat", "06:59")) == 1
        assert window.left(at("sat", "07:00")) == 0
        assert window.left(at("sat", "22:30")) == 0

    def test_a_window_that_begins_on_sunday_reaches_into_the_next_week(self) -> None:
        window = parse("sun 22:00-07:00")
        assert window.left(at("mon", "01:00")) == 6 * 60
        assert window.until_open(at("mon", "08:00")) == at("sun", "22:00") - at("mon", "08:00")

    def test_equal_times_are_a_whole_day(self) -> None:
        assert parse("mon 08:00-08:00").minutes == DAY_MINUTES

    @given(windows, st.integers(0, WEEK_MINUTES - 1))
    def test_it_is_open_exactly_in_its_minutes(self, window: Window, minute: int) -> None:
        assert (window.left(minute) > 0) == (minute in minutes_of(window))

    @given(windows, times)
    def test_it_either_is_open_or_opens_within_a_week(self, window: Window, minute: float) -> None:
        wait = window.until_open(minute)
        assert (wait == 0) == (window.left(minute) > 0)
        assert 0 <= wait <= WEEK_MINUTES


class TestSeveral:
    def test_windows_that_touch_do_not_close_in_between(self) -> None:
        both = (parse("09:00-18:00"), parse("18:00-22:00"))
        assert hours.open_left_s(both, at("mon", "17:00")) == pytest.approx(5 * 3600)
        assert hours.open_left_s(both, at("mon", "22:00")) == 0

    def test_windows_that_overlap_are_open_until_the_last_of_them_closes(self) -> None:
        both = (parse("20:00-23:00"), parse("22:00-02:00"))
        assert hours.open_left_s(both, at("wed", "21:00")) == pytest.approx(5 * 3600)

    def test_what_is_always_open_has_a_week_left(self) -> None:
        assert hours.open_left_s((parse("00:00-24:00"),), 12.5) == pytest.approx(WEEK_MINUTES * 60)

    def test_without_windows_nothing_opens(self) -> None:
        assert hours.until_open_s((), 5.0) is None
        assert hours.open_left_s((), 5.0) == 0

    @given(several, st.integers(0, WEEK_MINUTES - 1))
    def test_they_close_in_the_first_minute_in_which_none_is_open(
        self, chosen: tuple[Window, ...], minute: int
    ) -> None:
        open_minutes, left = minutes_of(*chosen), 0
        while left < WEEK_MINUTES and (minute + left) % WEEK_MINUTES in open_minutes:
            left += 1
        assert hours.open_left_s(chosen, minute) == pytest.approx(left * 60)

    @given(several, times)
    def test_any_time_gets_an_answer(self, chosen: tuple[Window, ...], minute: float) -> None:
        left, wait = hours.open_left_s(chosen, minute), hours.until_open_s(chosen, minute)
        assert wait is not None
        assert (left > 0) != (wait > 0)

    @given(several, times, st.floats(0.0, 1.0, exclude_max=True))
    def test_time_that_passes_is_time_less(
        self, chosen: tuple[Window, ...], minute: float, share: float
    ) -> None:
        left = hours.open_left_s(chosen, minute)
        if left >= WEEK_MINUTES * 60:
            return
        passed = left * share
        later = hours.open_left_s(chosen, (minute + passed / 60) % WEEK_MINUTES)
        assert later == pytest.approx(left - passed, abs=1e-3)
