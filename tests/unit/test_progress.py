"""The line that says what is being waited for."""

from __future__ import annotations

import io
import sys
from threading import Event

import pytest

from smallhours import progress
from smallhours.progress import working


class Terminal(io.StringIO):
    """Says when something with a given word was written to it."""

    def __init__(self, word: str = "\N{REPLACEMENT CHARACTER}") -> None:
        super().__init__()
        self.word, self.seen = word, Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.word in text:
            self.seen.set()
        return super().write(text)


@pytest.fixture(autouse=True)
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.01)


def test_what_takes_long_is_named_with_its_seconds_and_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Terminal("1 s")
    monkeypatch.setattr(sys, "stderr", out)
    with working("loading wine.py"):
        assert out.seen.wait(8.0)
    written = out.getvalue()
    assert "loading wine.py ... 1 s" in written
    assert written.endswith("\r\x1b[2K")


def test_what_is_over_soon_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 60.0)
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    with working("loading wine.py"):
        pass
    assert out.getvalue() == ""


@pytest.mark.parametrize("how", ["file", "dumb", "quiet"])
def test_nobody_who_cannot_see_it_is_told(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[object] = []
    monkeypatch.setattr("threading.Thread", lambda **keys: threads.append(keys))
    out = io.StringIO() if how == "file" else Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    with working("loading wine.py", quiet=how == "quiet"):
        pass
    assert out.getvalue() == ""
    assert threads == []


def test_an_error_passes_and_the_line_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal("loading")
    monkeypatch.setattr(sys, "stderr", out)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(out)
    assert out.getvalue().endswith("\r\x1b[2K")


def _interrupted(out: Terminal) -> None:
    with working("loading wine.py"):
        assert out.seen.wait(8.0)
        raise KeyboardInterrupt


def test_a_hostile_name_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal("evil")
    monkeypatch.setattr(sys, "stderr", out)
    with working("loading \x1b]52;evil\x07.py"):
        assert out.seen.wait(8.0)
    assert "\x1b]" not in out.getvalue()
    assert "\x07" not in out.getvalue()
