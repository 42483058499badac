"""The real dashboard in a real pseudo-terminal, shown names and logs that try to take it over."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.ledgers import Recording
from smallhours.core import reasons as r

#: A window's title, the clipboard, a C1 sequence, an answer-back, bidi marks, markup, wide letters.
TITLE, CLIPBOARD, C1 = "\x1b]0;owned\x07", "\x1b]52;c;b3duZWQ=\x07", "\x9b31mowned"
EVIL = f"{TITLE}{CLIPBOARD}{C1}\x05\u202e[bold]測定[/bold]\r\n"
LIMIT_S = 30.0


class Terminal:
    """A program in a pseudo-terminal, and all that it wrote."""

    def __init__(self, *command: str, home: Path) -> None:
        self.master, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        env = {
            **os.environ,
            "SMALLHOURS_HOME": str(home),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=env, start_new_session=True
        )
        os.close(child)
        self.written = b""

    def press(self, keys: str) -> None:
        """Type, and forget what was written before."""
        self.read(0.0)
        os.write(self.master, keys.encode())

    def wait_for(self, part: str) -> None:
        """Read until something was written since `begin`."""
        end, begin = time.monotonic() + LIMIT_S, len(self.written)
        while part.encode() not in self.written[begin:]:
            assert time.monotonic() < end, f"no {part!r} in {self.written[begin:]!r}"
            self.read(0.2)

    def read(self, wait_s: float) -> None:
        """Take in what is there."""
        while select.select([self.master], [], [], wait_s)[0]:
            try:
                self.written += os.read(self.master, 65536)
            except OSError:
                return
            wait_s = 0.0

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    night = Recording(tmp_path / "state")
    night.session()
    night.study(1, f"digits{EVIL}", trials=9, question=EVIL, metric=f"loss{EVIL}")
    night.create(0, {f"lr{EVIL}": EVIL})
    night.start(0)
    night.log(0, EVIL.encode() + b"the last words\n")
    night.end(0, r.Failure(type=EVIL, message=EVIL, fingerprint="f", where=EVIL,
                           traceback=EVIL, phase="train"))  # fmt: skip
    night.close()
    shown = Terminal(
        str(Path(sys.executable).with_name("smallhours")), "watch", home=tmp_path / "state"
    )
    yield shown
    shown.close()


@pytest.mark.processes
@pytest.mark.timeout(4 * LIMIT_S)
def test_nothing_hostile_reaches_the_terminal_on_any_screen(terminal: Terminal) -> None:
    terminal.wait_for("1 failed")
    for keys, seen in (
        ("2", "why"),
        ("\r", "fingerprint"),
        ("o", "last words"),
        ("3", "slot"),
        ("4", "newest first"),
        ("b", "took"),
        ("?", "Why attempts ended"),
        ("q", ""),
    ):
        terminal.press(keys)
        terminal.wait_for(seen)
    terminal.read(0.5)
    written = terminal.written
    assert "測定".encode() in written
    for hostile in (TITLE, CLIPBOARD, C1, "\u202e"):
        assert hostile.encode() not in written
    for part in (b"\x1b]0;owned", b"\x1b]52;c;b3du", b"\x9b31m", b"\x05"):
        assert part not in written


@pytest.mark.processes
@pytest.mark.timeout(4 * LIMIT_S)
def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    night = Recording(tmp_path / "state")
    night.session()
    night.study(1, "digits", trials=9)
    night.close()
    command = [sys.executable, "-m", "smallhours.cli", "watch"]
    shown = Terminal(*command, home=tmp_path / "state")
    try:
        shown.wait_for("digits")
        os.close(shown.master)
        assert shown.process.wait(timeout=LIMIT_S) == 129
    finally:
        shown.process.kill()
        shown.process.wait()
