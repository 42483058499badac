"""``smallhours log``: what a trial wrote, cleaned, attempt by attempt, as it grows if asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from smallhours import text
from smallhours.core.trial import TrialState
from smallhours.explain import in_brief
from smallhours.paths import Home
from smallhours.snapshot import AttemptView, Snapshot, TrialView
from smallhours.text import Page, Toned

#: How often a log that is followed is looked at.
_POLL_S = 0.2
_CHUNK_BYTES = 1 << 16


class Tail:
    """Reads the lines that a log has gained since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def lines(self, *, ended: bool) -> Iterator[str]:
        """Yield the new lines, cleaned; the unfinished last one only where it `ended`.

        Of a progress bar that was redrawn over and over (carriage returns), its last state is kept.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while chunk := file.read(_CHUNK_BYTES):
                    self._offset += len(chunk)
                    yield from self._take(chunk)
        except FileNotFoundError:
            return
        if ended and self._rest:
            yield _visible(self._rest)
            self._rest = b""

    def _take(self, chunk: bytes) -> Iterator[str]:
        *whole, rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield _visible(line)
        # What a carriage return overwrote will not be wanted; a line without end is cut.
        drawn = rest.rstrip(b"\r")
        rest = rest[drawn.rfind(b"\r") + 1 :]
        if len(rest) > _CHUNK_BYTES:
            yield _visible(rest)
            rest = b""
        self._rest = rest


class LogPrinter:
    """Prints the logs of a trial."""

    def __init__(
        self, snapshot: Snapshot, home: Home, out: TextIO, *, attempt: int | None = None
    ) -> None:
        """Make a printer.

        Args:
            snapshot: Where trials are read from.
            home: The state directory.
            out: Where to print.
            attempt: Print this attempt's log only; None: all.
        """
        self._snapshot, self._home = snapshot, home
        self._out, self._page = out, Page(out)
        self._attempt = attempt
        self._tails: dict[int, Tail] = {}

    def print(self, trial: TrialView, *, lines: int | None, unfinished: bool = True) -> None:
        """Print what there is.

        Args:
            trial: The trial.
            lines: Only so many lines, the last ones; None: all.
            unfinished: Print a line that has no end yet, too.
        """
        read: list[tuple[AttemptView, Iterable[str]]] = []
        for view in self._wanted(trial):
            fresh = self._tail(trial, view).lines(ended=unfinished or view.reason is not None)
            read.append((view, fresh if lines is None else deque(fresh, lines)))
        for view, shown in read if lines is None else _last(read, lines):
            self._print_head(view)
            if not self._print_lines(shown) and view.reason is not None:
                self._page.line(Toned("(it printed nothing)", "dim"))
        if not trial.attempts:
            self._page.line(Toned(f"{trial.name} has not run yet.", "dim"))

    def follow(self, trial: TrialView, pause: Callable[[float], object] = time.sleep) -> None:
        """Print what is added until the trial is over, or nothing can come any more.

        Args:
            trial: The trial.
            pause: Waits for so many seconds.
        """
        # The ledger is read before the log: what was written before an end is seen with it.
        while not self._nothing_more(trial):
            self._out.flush()
            pause(_POLL_S)
            self._snapshot.refresh()
            trial = self._snapshot.trial(trial.study, trial.number)
            self._print_news(trial)
        if trial.state is TrialState.ENDED and trial.reason is not None:
            said = f"{trial.name} is over: {in_brief(trial.reason)}"
        elif not self._snapshot.engine().running:
            said = "The engine is not running; `smallhours resume` goes on."
        else:
            return
        self._page.line(Toned(said, "dim"))

    def _print_news(self, trial: TrialView) -> None:
        for view in self._wanted(trial):
            if view.number not in self._tails:
                self._print_head(view)
            self._print_lines(self._tail(trial, view).lines(ended=view.reason is not None))

    def _nothing_more(self, trial: TrialView) -> bool:
        chosen = [view for view in trial.attempts if view.number == self._attempt]
        if chosen and chosen[0].reason is not None:
            return True
        return trial.state is TrialState.ENDED or not self._snapshot.engine().running

    def _wanted(self, trial: TrialView) -> list[AttemptView]:
        return [view for view in trial.attempts if self._attempt in (None, view.number)]

    def _tail(self, trial: TrialView, view: AttemptView) -> Tail:
        directory = self._home.attempt(trial.study, trial.number, view.number)
        return self._tails.setdefault(view.number, Tail(directory / "log.txt"))

    def _print_head(self, view: AttemptView) -> None:
        whence = f" from step {view.resume_step}" if view.resume_step else ""
        how = f", {in_brief(view.reason)}" if view.reason is not None else ""
        started = f", {text.moment(view.started_at)}" if view.started_at is not None else ""
        self._page.line(Toned(f"--- attempt {view.number}{whence}{started}{how}", "dim"))

    def _print_lines(self, lines: Iterable[str]) -> bool:
        """Print lines; say whether there were any."""
        printed = False
        for line in lines:
            self._out.write(line + "\n")
            printed = True
        return printed


def _last(
    read: list[tuple[AttemptView, Iterable[str]]], lines: int
) -> list[tuple[AttemptView, list[str]]]:
    """Return the last lines of all logs together, with the attempts they are of."""
    kept: list[tuple[AttemptView, list[str]]] = []
    for view, fresh in reversed(read):
        if lines <= 0:
            break
        last = list(fresh)[-lines:]
        lines -= len(last)
        kept.append((view, last))
    return kept[::-1]


def _visible(line: bytes) -> str:
    shown = line.rstrip(b"\r")
    return text.clean(shown[shown.rfind(b"\r") + 1 :].decode("utf-8", errors="replace"), keep="\t")
