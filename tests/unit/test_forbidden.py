"""Which line left threads behind that a fork can't take along."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from smallhours.worker import forbidden

SOURCE = """\
first = 1
start()
last = 3
"""


def test_the_line_that_started_native_threads_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(forbidden, "_native_threads", lambda: len(started))
    code = compile(SOURCE, str(tmp_path / "mine.py"), "exec")
    with forbidden.NativeStarts(tmp_path) as starts:
        exec(code, {"start": lambda: started.append(1)})
    assert starts.place == "mine.py:2"


def test_the_last_line_may_be_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(forbidden, "_native_threads", lambda: len(started))
    code = compile("a = 1\nstart()", str(tmp_path / "mine.py"), "exec")
    with forbidden.NativeStarts(tmp_path) as starts:
        exec(code, {"start": lambda: started.append(1)})
    assert starts.place == "mine.py:2"


def test_threads_of_pythons_are_no_librarys() -> None:
    before = forbidden._native_threads()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert forbidden._native_threads() == before
    finally:
        done.set()
        thread.join()


def test_threads_are_told_by_name_or_counted() -> None:
    starts = forbidden.ThreadStarts()
    own = threading.main_thread().native_id
    assert own is not None
    assert starts.describe({}) is None
    said = starts.describe({own: "python3", 999_999_998: "python3", 999_999_999: "python3"})
    assert said == "it keeps thread 'MainThread', 2 threads of a library"
