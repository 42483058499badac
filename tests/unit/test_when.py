"""Times as people type them, also in the nights in which clocks are put on or back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from smallhours.errors import UsageError
from smallhours.when import parse_duration, parse_until


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("90m", 5400),
        ("2h30m", 9000),
        ("2 h 5 m", 7500),
        ("1.5h", 5400),
        ("45s", 45),
        ("1d 2h", 93_600),
        ("90 min", 5400),
        ("2 Hours", 7200),
        ("1 hour 30 minutes", 5400),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("90", 'Say "90m" or "90h"'),
        ("", "expected a duration"),
        ("soon", "expected a duration"),
        ("2h soon", "expected a duration"),
        ("-2h", "expected a duration"),
        ("0m", "expected a duration"),
        ("2x", "expected a duration"),
        ("9999d", "more than a year"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_duration(text)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-11-23 22:00", "07:30", "2026-11-24 07:30"),
        ("2026-11-24 07:29:59", "7:30", "2026-11-24 07:30"),
        ("2026-11-24 07:30", "07:30", "2026-11-25 07:30"),
        ("2026-11-24 12:00", "24:00", "2026-11-25 00:00"),
        ("2026-11-24 00:00", "00:00", "2026-11-25 00:00"),
        ("2026-12-31 23:00", "01:00", "2027-01-01 01:00"),
        ("2026-11-23 22:00", "2026-11-24 07:30", "2026-11-24 07:30"),
        ("2026-11-23 22:00", "2026-11-24T07:30", "2026-11-24 07:30"),
        ("2026-11-23 22:00", "2026-11-24T07:30+00:00", "2026-11-24 08:30"),
        ("2026-11-23 22:00", "2h30m", "2026-11-24 00:30"),
        ("2026-11-23 22:00", "+90m", "2026-11-23 23:30"),
    ],
)
def test_a_time_ahead_is_read(now: str, text: str, expected: str) -> None:
    assert parse_until(text, local(now)) == local(expected).timestamp()


def test_a_morning_after_the_clocks_were_put_on_is_an_hour_nearer() -> None:
    now = local("2026-03-28 22:00")
    assert parse_until("07:30", now) - now.timestamp() == 8.5 * 3600


def test_a_morning_after_the_clocks_were_put_back_is_an_hour_farther() -> None:
    now = local("2026-10-24 22:00")
    assert parse_until("07:30", now) - now.timestamp() == 10.5 * 3600


def test_a_time_that_the_clocks_leave_out_is_taken_as_it_would_have_been() -> None:
    now = local("2026-03-28 22:00")
    assert parse_until("02:30", now) == local("2026-03-29 03:30").timestamp()


def test_a_time_that_comes_twice_is_the_next_of_both() -> None:
    first = local("2026-10-25 02:30").timestamp()
    assert parse_until("02:30", local("2026-10-25 01:00")) == first
    assert parse_until("02:30", datetime.fromtimestamp(first + 60).astimezone()) == first + 3600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25:00", "there is no time '25:00'"),
        ("24:01", "there is no time"),
        ("07:60", "there is no time"),
        ("2026-11-24", 'say it like "2026-11-24 07:30"'),
        ("2026-11-23 21:59", "is past"),
        ("2030-01-01 00:00", "more than a year"),
        ("tomorrow", 'expected a time like "07:30"'),
        ("2h soon", "expected a duration"),
        ("", "expected a time"),
        ("730", 'Say "730m"'),
    ],
)
def test_what_is_no_time_ahead_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_until(text, local("2026-11-23 22:00"))
