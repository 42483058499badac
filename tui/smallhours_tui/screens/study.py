"""A study: its trials as a table that sorts, filters and folds, their curves, what matters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from smallhours.snapshot import StudyView
from smallhours.snapshot.following import Changed
from smallhours.snapshot.influence import LEAST_TRIALS, Influence, influences
from smallhours.snapshot.lines import TrialLine
from smallhours.text import percent, value
from smallhours_tui import marks, order, words
from smallhours_tui.curves import StudyCurves
from smallhours_tui.feed import Night, Update
from smallhours_tui.messages import TrialWanted
from smallhours_tui.order import Order
from smallhours_tui.screens.base import Look
from smallhours_tui.screens.sorting import Sorting
from smallhours_tui.screens.study_rows import StudyRows
from smallhours_tui.widgets.bars import bar
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.plot import CurvePlot
from smallhours_tui.widgets.prose import Lines
from smallhours_tui.widgets.table import LineTable

#: Rows keep their order for so long after a key or a click: one is reading.
_READING_S: Final = 8.0
#: The curve of the row under the cursor is drawn once the cursor has rested for so long.
_REST_S: Final = 0.2
#: What matters is worked out again at most this often.
_INFLUENCE_S: Final = 30.0
_NO_STUDY: Final = "There is no study yet: `smallhours add STUDY.py` adds one."


class StudyScreen(Look):
    """The second screen."""

    TAB: ClassVar[str] = "study"
    HELP: ClassVar[str] = (
        "The trials of a study. What has no score yet comes last whatever the order is. While you"
        " move, rows stay where they are; new ones wait at the end.\n\n"
        "A filter is made of words that must all hold: lr<0.01  score<0.3  step>=10  state:failed"
        "  why:memory  !mlp  197"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="study.filter"),
        Binding("s", "sort", "Sort", id="study.sort"),
        Binding("f", "fold", "Fold stopped", id="study.fold"),
        Binding("full_stop", "settle", "Sort anew", key_display=".", show=False, id="study.settle"),
        Binding("left_square_bracket", "other(-1)", "Study before", key_display="[", show=False,
                id="study.previous"),
        Binding("right_square_bracket", "other(1)", "Next study", key_display="]", show=False,
                id="study.next"),
        Binding("L", "log_axis", "Log axis", show=False, id="study.log_axis"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        #: The study shown; None: none yet.
        self.study: int | None = None
        self._order = Order()
        self._lines: Mapping[int, TrialLine] = {}
        self._new: set[int] = set()
        self._rows: StudyRows | None = None
        self._resting: Timer | None = None
        self._influences: list[Influence] = []
        self._influenced = (0, -_INFLUENCE_S)

    def body(self) -> Iterator[Widget]:
        """Head, table, curves at its side, more about the row under the cursor."""
        self._curves = StudyCurves(self.feed)
        cut = "~" if self.signs.ascii else "…"
        self._head = Lines(cut=cut, id="head")
        self._table = LineTable(ascii=self.signs.ascii, id="trials")
        self._plot = CurvePlot(ascii=self.signs.ascii, id="curves")
        self._matters = Lines(cut=cut, id="matters")
        self._note = Lines(cut=cut, id="note")
        self._input = Input(placeholder="filter: lr<0.01 state:failed !word", id="filter")
        yield self._head
        yield Horizontal(self._table, Vertical(self._plot, self._matters, id="side"), id="study")
        yield self._note
        yield self._input

    def on_mount(self) -> None:
        """Show the table first."""
        self._input.display = False
        self._table.focus()

    @property
    def shown(self) -> Sequence[int]:
        """The trials in the order they are shown in."""
        return [key for key in self._table.keys if isinstance(key, int)]

    def look_at(self, study: int) -> None:
        """Show another study; `show` does it, once the screen is there."""
        if study != self.study:
            self.study, self._order, self._new = study, Order(), set()
            self._influenced = (0, -_INFLUENCE_S)
            if self.is_mounted:
                self._input.value = ""
                self._input.display = False
                self._table.marked.clear()

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        view = self._view(night)
        if view is None:
            self._head.show([[(f" {_NO_STUDY}", "dim")]])
            self._table.set_source((), lambda _: ())
            return
        if update is None:
            self._curves.forget()
        changed = None if update is None else update.changed.trials.get(view.id, frozenset())
        facts = update is not None and view.id in update.changed.studies
        self._take(view, changed, facts=facts)
        self._show_head(night, view)
        self._show_note()
        side = self.query_one("#side")
        side.display = self.wide
        # The rows come first: what is worked out from all trials may take a moment.
        self.call_after_refresh(self._show_rest, None if update is None else update.changed)

    # -- what the user does

    def action_filter(self) -> None:
        """Begin to type a filter."""
        self._input.display = True
        self._input.focus()

    @on(Input.Changed, "#filter")
    def filter_as_typed(self, message: Input.Changed) -> None:
        """Filter while one types."""
        if self.study is not None:
            self._arrange(self._order._replace(filter=message.value))

    @on(Input.Submitted, "#filter")
    def filter_typed(self) -> None:
        """Keep the filter and go on in the table."""
        self._input.display = bool(self._input.value.strip())
        self._table.focus()

    def action_back(self) -> None:
        """Take the filter away, else go back."""
        if self._input.display:
            self._input.value = ""
            self._input.display = False
            self._table.focus()
        else:
            super().action_back()

    def action_sort(self) -> None:
        """Offer what can be sorted by."""
        names = {order.of_param(name): self.say(name) for name in self._params()}
        choices = {**order.SORTS, **names}
        self.app.push_screen(Sorting(choices, self._order.sort), self._sort_by)

    def on_line_table_sort_requested(self, message: LineTable.SortRequested) -> None:
        """Sort by the column whose title was clicked."""
        column = {"mark": "state", "trial": "number"}.get(message.column, message.column)
        self._sort_by(column)

    def action_fold(self) -> None:
        """Hide what a rule stopped, or show it again."""
        self._arrange(self._order._replace(folded=not self._order.folded))

    def action_settle(self) -> None:
        """Bring the rows into order now."""
        self._arrange(self._order)

    def action_other(self, steps: int) -> None:
        """Go to the next study of the queue, or the one before."""
        ids = [view.id for view in self.feed.night.studies]
        if self.study in ids:
            self.look_at(ids[(ids.index(self.study) + steps) % len(ids)])
            self.show_anew()

    def action_log_axis(self) -> None:
        """Draw the metric on a logarithmic axis, or on a plain one."""
        self._plot.log_y = not self._plot.log_y

    def on_line_table_opened(self, message: LineTable.Opened) -> None:
        """Open the trial."""
        if self.study is not None and isinstance(message.key, int):
            self.post_message(TrialWanted(self.study, message.key))

    def on_line_table_moved(self) -> None:
        """Say more about the row, and draw its curve bright once the cursor rests."""
        self._show_note()
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(_REST_S, self._draw_curves)

    def on_line_table_marks_changed(self) -> None:
        """Draw the curves of marked trials bright."""
        self._draw_curves()

    # -- the parts

    def _view(self, night: Night) -> StudyView | None:
        """Return the study to show: the one wanted, else the first of the queue."""
        if self.study is None and night.studies:
            self.study = night.studies[0].id
        if self.study is None or self.feed.ledger is None:
            return None
        found = next((view for view in night.studies if view.id == self.study), None)
        return found or self.feed.ledger.study(self.study)

    def _take(
        self, view: StudyView, changed: frozenset[int] | None, *, facts: bool = False
    ) -> None:
        """Take in what is new.

        Args:
            view: The study.
            changed: Trials of which something is new; None: everything.
            facts: Whether that is more than reports, which leave nearly every order as it is.
        """
        assert self.feed.ledger is not None
        self._lines = self.feed.ledger.trials(view.id)
        if changed is None:
            self._arrange(self._order)
            return
        if not changed:
            self._table.changed(self._living())
            return
        reading = time.monotonic() - self.dashboard.touched_at < _READING_S
        known = set(self._table.keys)
        self._new |= {trial for trial in changed if trial not in known}
        by_reports = self._order.sort == "step" or bool(self._order.filter)
        if reading or not (self._new or facts or by_reports):
            self._table.changed([*changed, *self._living()])
        else:
            self._arrange(self._order)

    def _living(self) -> list[int]:
        return [run.number for run in self.feed.night.runs if run.study == self.study]

    def _sort_by(self, key: str | None) -> None:
        if key is None:
            return
        turn = key == self._order.sort and not self._order.reverse
        self._arrange(self._order._replace(sort=key, reverse=turn))

    def _arrange(self, wanted: Order) -> None:
        """Bring the rows into order."""
        self._order, self._new = wanted, set()
        view = self._view(self.feed.night)
        if view is None:
            return
        running = self.feed.night.running
        numbers = order.arranged(self._lines.values(), wanted, view.spec.goal, engine_runs=running)
        column = {"state": "mark", "number": "trial"}.get(wanted.sort, wanted.sort)
        # The table's own width is not known before it is laid out; a scrollbar and a gutter go off.
        room = self.app.size.width * (3 if self.wide else 5) // 5 - 2
        best = view.best.trial if view.best else None
        rows = StudyRows(self.feed, self.signs, self._lines, best)
        self._rows = rows
        self._table.set_columns(rows.fit(self._params(), room), (column, wanted.reverse))
        self._table.set_cards(2, rows.card)
        self._table.set_source(numbers, rows.row)
        nothing = (
            "no trial passes the filter: esc takes it away" if wanted.filter else "no trial yet"
        )
        self._table.set_empty(([(nothing, "dim")],))
        self._show_head(self.feed.night, view)

    def _params(self) -> list[str]:
        """Return the parameters, those that matter most first."""
        view = self._view(self.feed.night)
        space = () if view is None else view.spec.space or ()
        names = [dimension.name for dimension in space]
        if not names:
            some = next(iter(self._lines.values()), None)
            names = [] if some is None else [*some.params]
        rank = {item.parameter: i for i, item in enumerate(self._influences)}
        return sorted(names, key=lambda name: rank.get(name, len(rank)))

    def _show_head(self, night: Night, view: StudyView) -> None:
        spec, signs = view.spec, self.signs
        first = [view.name, words.goal(view), words.setting(view), f"{spec.steps} steps"]
        second: list[Cell] = [(" ", ""), *words.tally_line(words.study_tally(view), signs)]
        second.append((f"{view.ended} of {spec.trials}", ""))
        ends, style = words.ends(night, view)
        second += [(f" {signs.dot} ", "dim"), (self.say(ends), style)] if ends else []
        third = [self._arranged(), self._best(view)]
        third += [] if self.wide else [self._what_matters(2)]
        self._head.show(
            [
                [(f" {self.say(words.joined(first, signs))}", "title")],
                second,
                [(f" {self.say(words.joined(third, signs))}", "")],
            ]
        )

    def _best(self, view: StudyView) -> str:
        if view.best is None or view.best.score is None:
            return "no trial has completed yet"
        gain = words.gain(view)
        said = f"best {words.best(view)} ({view.trial_name(view.best.trial)})"
        return f"{said}, {gain} than the baseline" if gain else said

    def _arranged(self) -> str:
        """Return what of the trials is shown, where that is not all in the usual order."""
        said = []
        if len(self._table.keys) < len(self._lines):
            said.append(f"{len(self._table.keys)} of {len(self._lines)} shown")
        if self._order.folded:
            said.append("stopped ones folded")
        if self._new:
            said.append(f"{len(self._new)} new: . sorts them in")
        return ", ".join(said)

    def _what_matters(self, most: int) -> str:
        told = [f"{item.parameter} {percent(item.share)}" for item in self._influences[:most]]
        return f"what matters: {', '.join(told)}" if told else ""

    def _work_out_influences(self) -> None:
        study, at = self._influenced
        if study == self.study and time.monotonic() - at < _INFLUENCE_S:
            return
        self._influenced = (self.study or 0, time.monotonic())
        self._influences = influences(self._lines.values())

    def _show_note(self) -> None:
        line = self._under_cursor()
        if line is None or self._rows is None:
            self._note.show([])
            return
        mark = marks.of_line(line, engine_runs=self.feed.night.running)
        params = " ".join(f"{name}={value(v)}" for name, v in line.params.items())
        why, style = self._rows.why(line)
        first: list[Cell] = [
            (f" {self.signs.mark(mark)} {line.number} ", mark.hue),
            (why or mark.word, style),
        ]
        self._note.show([first, [(f"   {self.say(params)} seed={line.seed}", "dim")]])

    def _under_cursor(self) -> TrialLine | None:
        key = self._table.cursor_key
        return self._lines.get(key) if isinstance(key, int) else None

    def _show_rest(self, changed: Changed | None) -> None:
        """Show what matters, and the curves; None: everything anew."""
        view = self._view(self.feed.night)
        if view is None:
            return
        self._work_out_influences()
        if not self.wide:
            self._show_head(self.feed.night, view)
            return
        lines: list[list[Cell]] = [[(" what matters (each parameter by itself)", "title")]]
        if not self._influences:
            lines = [[(f" what matters: known from {LEAST_TRIALS} completed trials on", "dim")]]
        for item in self._influences[:6]:
            drawn = bar(item.share, 16, self.signs.ascii)
            lines.append(
                [(f" {self.say(item.parameter):<14.14} ", ""), (drawn, "running"),
                 (f" {percent(item.share)}", "")]
            )  # fmt: skip
        self._matters.show(lines)
        if changed is None or view.id in changed.trials:
            self._draw_curves()

    def _draw_curves(self) -> None:
        view = self._view(self.feed.night)
        if view is None or not self.wide:
            return
        key = self._table.cursor_key
        bright = {n for n in self._table.marked if isinstance(n, int)}
        bright |= {key} if isinstance(key, int) else set()
        self._curves.draw(self._plot, view, self._lines, bright, self.shown)
