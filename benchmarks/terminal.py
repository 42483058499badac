"""A terminal without a screen: runs a program in a pseudo-terminal and times its frames."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: A program asks whether frames may be sent as one; it is told that they may.
_ASKED, _ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
_FRAME_END = b"\x1b[?2026l"
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_=>])")
_TICKS = os.sysconf("SC_CLK_TCK")


class Terminal:
    """A program and what it has written."""

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        columns: int,
        lines: int,
        *,
        drained: bool = False,
    ) -> None:
        """Start a program.

        Args:
            command: Its path and arguments.
            env: Added to the environment.
            columns: Of the terminal.
            lines: Of the terminal.
            drained: Let a ``cat`` read what it writes; nothing can be measured then.
        """
        self._master, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "SSH_CONNECTION")}
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=child,
            stdout=child,
            stderr=child,
            env={**clean, "TERM": "xterm-256color", "COLORTERM": "", "LANG": "C.UTF-8", **env},
            start_new_session=True,
        )
        os.close(child)
        self.written = b""
        #: Bytes so far; and when each frame was complete.
        self.bytes, self.frames = 0, list[float]()
        self._cat = None
        if drained:
            self._cat = subprocess.Popen(
                ["cat"], stdin=self._master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def focus(self, *, gained: bool) -> None:
        """Tell it whether its terminal has the focus."""
        self.press("\x1b[I" if gained else "\x1b[O")

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def wait(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Read until something is so; False: it was not within the limit.

        Raises:
            RuntimeError: the program is gone.
        """
        end = time.perf_counter() + limit_s
        while not done():
            left = end - time.perf_counter()
            if left <= 0:
                return False
            if select.select([self._master], [], [], left)[0]:
                self._read()
        return True

    def rest(self, seconds: float) -> None:
        """Read for a while."""
        self.wait(lambda: False, seconds)

    def text(self) -> str:
        """Return the frames that are complete, without what moves the cursor and colours."""
        complete = self.written.rpartition(_FRAME_END)[0]
        return _ESCAPES.sub(b" ", complete).decode("utf-8", "replace")

    def keystroke(self, keys: str, limit_s: float = 1.0) -> float | None:
        """Return the seconds from a key to the end of the next frame; None: there was none."""
        before, began = len(self.frames), time.perf_counter()
        self.press(keys)
        if not self.wait(lambda: len(self.frames) > before, limit_s):
            return None
        return self.frames[before] - began

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has spent."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mib(self) -> float:
        """Return what it has in memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait()
        os.close(self._master)
        if self._cat is not None:
            self._cat.kill()
            self._cat.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            raise RuntimeError(f"it is gone; its last words: {self.written[-2000:]!r}") from None
        now = time.perf_counter()
        # An escape sequence may come in two pieces.
        tail = self.written[-len(_ASKED) :]
        if _ASKED in tail + data and _ASKED not in tail:
            os.write(self._master, _ANSWER)
        tail = tail[-len(_FRAME_END) + 1 :]
        self.frames += [now] * (tail + data).count(_FRAME_END)
        self.bytes += len(data)
        self.written = (self.written + data)[-1_000_000:]
