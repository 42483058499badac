"""``smallhours log``: what a trial wrote, cleaned, attempt by attempt, as it grows if asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from smallhours import logs, text
from smallhours.commands import documents
from smallhours.core.trial import TrialState
from smallhours.explain import in_brief
from smallhours.paths import Home
from smallhours.snapshot import AttemptView, Snapshot, TrialView
from smallhours.text import Page, Toned

#: How often a log that is followed is looked at.
_POLL_S = 0.2


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
        self._tails: dict[int, logs.Tail] = {}

    def print(self, trial: TrialView, *, lines: int | None, unfinished: bool = True) -> None:
        """Print what there is.

        Args:
            trial: The trial.
            lines: Only so many lines, the last ones; None: all.
            unfinished: Print a line that has no end yet, too.
        """
        for view, shown in self._read(trial, lines, unfinished=unfinished):
            self._print_head(view)
            if not self._print_lines(shown) and view.reason is not None:
                self._page.line(Toned("(it printed nothing)", "dim"))
        if not trial.attempts:
            self._page.line(Toned(f"{trial.name} has not run yet.", "dim"))

    def write_json(self, trial: TrialView, *, lines: int | None) -> None:
        """Write what there is as one JSON object; `lines` as for `print`."""
        attempts = [
            {"number": view.number, "lines": list(shown)}
            for view, shown in self._read(trial, lines, unfinished=True)
        ]
        document = {"trial": trial.name, "state": trial.state, "attempts": attempts}
        documents.write(self._out, document)

    def follow(self, trial: TrialView, pause: Callable[[float], object] = time.sleep) -> None:
        """Print what is added until the trial is over, or nothing can come any more.

        Args:
            trial: The trial.
            pause: Waits for so many seconds.
        """
        try:
            # The ledger is read before the log: what was written before an end is seen with it.
            while not self._nothing_more(trial):
                self._out.flush()
                pause(_POLL_S)
                self._snapshot.refresh()
                trial = self._snapshot.trial(trial.study, trial.number)
                self._print_news(trial)
        finally:
            for tail in self._tails.values():
                tail.close()
        if trial.state is TrialState.ENDED and trial.reason is not None:
            said = f"{trial.name} is over: {in_brief(trial.reason)}"
        elif not self._snapshot.engine().running:
            said = "The engine is not running; `smallhours resume` goes on."
        else:
            return
        self._page.line(Toned(said, "dim"))

    def _read(
        self, trial: TrialView, lines: int | None, *, unfinished: bool
    ) -> Sequence[tuple[AttemptView, Iterable[str]]]:
        """Return the attempts that are wanted, each with its lines."""
        read: list[tuple[AttemptView, Iterable[str]]] = []
        for view in self._wanted(trial):
            fresh = self._lines(trial, view, ended=unfinished or view.reason is not None)
            read.append((view, fresh if lines is None else deque(fresh, lines)))
        return read if lines is None else _last(read, lines)

    def _print_news(self, trial: TrialView) -> None:
        for view in self._wanted(trial):
            if view.number not in self._tails:
                self._print_head(view)
            self._print_lines(self._lines(trial, view, ended=view.reason is not None))

    def _nothing_more(self, trial: TrialView) -> bool:
        chosen = [view for view in trial.attempts if view.number == self._attempt]
        if chosen and chosen[0].reason is not None:
            return True
        return trial.state is TrialState.ENDED or not self._snapshot.engine().running

    def _wanted(self, trial: TrialView) -> list[AttemptView]:
        return [view for view in trial.attempts if self._attempt in (None, view.number)]

    def _lines(self, trial: TrialView, view: AttemptView, *, ended: bool) -> Iterator[str]:
        """Return the lines that an attempt's log has gained, cleaned.

        Its tail is made on the first call, not on the first line: it marks the attempt as seen.
        """
        directory = self._home.attempt(trial.study, trial.number, view.number)
        tail = self._tails.setdefault(view.number, logs.Tail(directory / logs.NAME))
        return map(_visible, tail.lines(ended=ended))

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
    return text.clean(line.decode("utf-8", errors="replace"), keep="\t")
