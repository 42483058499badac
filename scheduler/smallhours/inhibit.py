"""Keeps the machine from going to sleep over a night's work, where systemd-logind can be asked."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess

_logger = logging.getLogger(__name__)

_PROGRAM = "systemd-inhibit"
#: How long the holder may take to notice that it is over.
_END_LIMIT_S = 2.0


class Inhibitor:
    """Holds an inhibitor lock against suspend and idling while something runs.

    The lock is held by ``systemd-inhibit`` for as long as its child, a ``cat``, reads from a pipe
    whose other end is here: it ends with this process, however that ends.
    """

    def __init__(self, why: str = "trials are running") -> None:
        """Hold nothing yet.

        Args:
            why: What ``systemd-inhibit --list`` says of the lock.
        """
        self._why = why
        self._holder: subprocess.Popen[bytes] | None = None
        #: It was tried and failed: it would fail again.
        self._hopeless = False

    def hold(self) -> None:
        """See that the lock is held, or being taken; ask again now and then. Never blocks."""
        if self._holder is not None:
            self._see_after(self._holder)
        elif not self._hopeless:
            self._start()

    def release(self) -> None:
        """Let the machine sleep again."""
        holder, self._holder = self._holder, None
        if holder is None:
            return
        # Closes the pipe; what it had to say is of no interest any more.
        assert holder.stdin is not None
        assert holder.stderr is not None
        holder.stdin.close()
        holder.stderr.close()
        try:
            holder.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()

    def _start(self) -> None:
        program = shutil.which(_PROGRAM)
        if program is None:
            self._give_up(f"{_PROGRAM} is not there")
            return
        what = ["--what=sleep:idle", "--who=smallhours", f"--why={self._why}", "--mode=block"]
        try:
            self._holder = subprocess.Popen(
                [program, *what, "cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._give_up(str(error))

    def _see_after(self, holder: subprocess.Popen[bytes]) -> None:
        """Notice that the lock could not be taken, or was lost; then it isn't tried again."""
        status = holder.poll()
        if status is None:
            return
        assert holder.stderr is not None
        os.set_blocking(holder.stderr.fileno(), False)  # a child that is left may hold it open
        said = (holder.stderr.read() or b"").decode("utf-8", errors="replace").strip()
        self.release()
        self._give_up(said.splitlines()[-1] if said else f"{_PROGRAM} ended with {status}")

    def _give_up(self, why: str) -> None:
        self._hopeless = True
        _logger.warning("the machine may go to sleep while trials run: %s", why)
