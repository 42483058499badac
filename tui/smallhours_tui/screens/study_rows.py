"""A trial on one line of a study's table, or as a card."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Final

from smallhours.core.trial import Role
from smallhours.explain import in_brief
from smallhours.snapshot.lines import TrialLine
from smallhours.text import number, value
from smallhours_tui import marks, order, words
from smallhours_tui.feed import Feed
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.table import Card, Column

_WHY_LEAST: Final = 18
#: Columns that can be left out besides parameters, with their titles.
OPTIONAL: Final = {"score": "score", "step": "step", "took": "took", "why": "why"}


class StudyRows:
    """Renders trials."""

    def __init__(
        self, feed: Feed, signs: Signs, lines: Mapping[int, TrialLine], best: int | None
    ) -> None:
        """Make a renderer.

        Args:
            feed: Where reasons are read.
            signs: What is drawn with.
            lines: The trials by number.
            best: The one that stands out; None: none does.
        """
        self._feed, self._signs, self._lines, self._best = feed, signs, lines, best
        self._columns: tuple[Column, ...] = ()

    def fit(
        self, params: Sequence[str], room: int, hidden: Collection[str] = ()
    ) -> tuple[Column, ...]:
        """Return the columns that there is room for, and draw rows in them.

        Args:
            params: Names of the parameters, those to be shown first.
            room: Cells.
            hidden: Keys of columns that nobody wants.
        """
        columns = [
            Column("mark", "", 1),
            Column("trial", "trial", 6, align="right"),
            Column("score", "score", 9, align="right"),
            Column("step", "step", 6, align="right"),
        ]
        last = [
            Column("took", "took", 4, align="right"),
            Column("why", "why", _WHY_LEAST, flexible=True),
        ]
        columns = [column for column in columns if column.key not in hidden]
        last = [column for column in last if column.key not in hidden]
        used = sum(column.width + 1 for column in [*columns, *last])
        for name in params:
            column = Column(
                order.of_param(name),
                self._signs.say(name),
                max(8, min(12, len(name))),
                align="right",
            )
            if column.key in hidden:
                continue
            if used + column.width + 1 > room:
                break
            columns.append(column)
            used += column.width + 1
        self._columns = (*columns, *last)
        return self._columns

    def row(self, key: Hashable) -> Sequence[Cell]:
        """Return a trial's cells."""
        assert isinstance(key, int)
        line = self._lines[key]
        mark = marks.of_line(line, engine_runs=self._feed.night.running)
        best = line.number == self._best
        cells: dict[str, Cell] = {
            "mark": (self._signs.mark(mark), mark.hue),
            "trial": (str(line.number), "bold" if best else ""),
            "score": (
                self._signs.say(number(line.value)),
                "best" if best else "" if line.over else "running",
            ),
            "step": (str(line.step) if line.step else "", ""),
            "took": (self._took(line), "dim"),
            "why": self.why(line),
        }
        shown: list[Cell] = []
        for column in self._columns:
            if column.key in cells:
                shown.append(cells[column.key])
            else:
                name = column.key.removeprefix(order.of_param(""))
                known = name in line.params
                shown.append((self._signs.say(value(line.params[name])) if known else "", ""))
        return shown

    def card(self, key: Hashable) -> Card:
        """Return a trial as a card of two lines."""
        assert isinstance(key, int)
        line = self._lines[key]
        mark = marks.of_line(line, engine_runs=self._feed.night.running)
        params = " ".join(f"{name}={value(v)}" for name, v in line.params.items())
        why, style = self.why(line)
        return (
            [
                (f"{self._signs.mark(mark)} {line.number}", mark.hue),
                (self._signs.say(f"  {number(line.value)}"), "bold"),
                (f"  step {line.step}  " if line.step else "  ", ""),
                (why, style),
            ],
            [(f"  {self._signs.say(params)}", "dim")],
        )

    def note(self, line: TrialLine) -> list[list[Cell]]:
        """Return more about a trial than its row has room for."""
        mark = marks.of_line(line, engine_runs=self._feed.night.running)
        params = " ".join(f"{name}={value(v)}" for name, v in line.params.items())
        why, style = self.why(line)
        first: list[Cell] = [
            (f" {self._signs.mark(mark)} {line.number} ", mark.hue),
            (why or mark.word, style),
        ]
        return [first, [(f"   {self._signs.say(params)} seed={line.seed}", "dim")]]

    def _took(self, line: TrialLine) -> str:
        living = self._feed.night.now - line.since if line.since and self._feed.night.running else 0
        seconds = line.seconds + max(0.0, living)
        if not seconds:
            return ""
        # What still grows is told in steps, so that the line is not drawn anew every second.
        return words.age(seconds) if living else words.took(seconds)

    def why(self, line: TrialLine) -> Cell:
        """Return why a trial ended, or what it is, in a few words."""
        role = {Role.BASELINE: "baseline; ", Role.CONFIRMATION: f"repeats {line.of}; "}
        prefix = role.get(line.role, "")
        if line.over and self._feed.ledger is not None:
            reason = self._feed.ledger.reason(line)
            assert reason is not None
            hue = marks.of_line(line, engine_runs=True).hue
            return self._signs.say(prefix + in_brief(reason)), "" if hue == "done" else hue
        mark = marks.of_line(line, engine_runs=self._feed.night.running)
        return self._signs.say(prefix + mark.word), mark.hue
