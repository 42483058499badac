"""What a trial wrote, whole, as it grows."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from smallhours.logs import NAME, Tail
from smallhours.text import clean, count
from smallhours_tui.feed import Night, Update
from smallhours_tui.screens.base import Look
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.prose import Lines
from smallhours_tui.widgets.table import Column, LineTable

_COLUMNS: Final = (Column("line", "", 20, flexible=True),)


class LogScreen(Look):
    """The log of an attempt."""

    TAB: ClassVar[str] = "study"
    HELP: ClassVar[str] = (
        "What the trial's process printed, the latest attempt's. At the end (G) it follows what is"
        " added."
    )

    def __init__(self, study: int, trial: int) -> None:
        super().__init__()
        self._study, self._trial = study, trial
        self._tail: Tail | None = None
        self._attempt = 0
        self._lines: list[str] = []

    def body(self) -> Iterator[Widget]:
        """A line that says whose it is, and the lines."""
        self._head = Lines(cut="~" if self.signs.ascii else "…", id="head")
        self._table = LineTable(ascii=self.signs.ascii, id="log", cards_below=0)
        self._table.opens = False
        yield self._head
        yield self._table

    def on_mount(self) -> None:
        """Begin at the end."""
        self._table.set_columns(_COLUMNS)
        self._table.focus()

    def on_unmount(self) -> None:
        """Let the file go."""
        if self._tail is not None:
            self._tail.close()

    def show(self, night: Night, update: Update | None) -> None:
        """Read on."""
        ledger = self.feed.ledger
        if ledger is None:
            return
        trial = ledger.trial(self._study, self._trial)
        attempt = trial.attempts[-1] if trial.attempts else None
        if attempt is not None and attempt.number != self._attempt:
            self._attempt, self._lines = attempt.number, []
            if self._tail is not None:
                self._tail.close()
            directory = self.feed.home.attempt(self._study, self._trial, attempt.number)
            self._tail = Tail(directory / NAME)
        before = len(self._lines)
        if self._tail is not None and attempt is not None:
            over = attempt.reason is not None
            self._lines += [_text(line) for line in self._tail.lines(ended=over)]
        lines = count(len(self._lines), "line")
        self._head.show([[(f" {self.say(trial.name)} wrote {lines}", "title")]])
        self._table.set_empty(([("it wrote nothing", "dim")],))
        if len(self._lines) != before or update is None:
            at_end = before == 0 or self._table.cursor_key == before - 1
            self._table.set_source(range(len(self._lines)), self._row)
            if at_end:
                self._table.action_edge(1)

    def _row(self, key: Hashable) -> Sequence[Cell]:
        assert isinstance(key, int)
        return [(self.say(self._lines[key]), "")]


def _text(line: bytes) -> str:
    return clean(line.decode("utf-8", "replace").expandtabs(4))
