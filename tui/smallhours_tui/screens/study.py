"""A study: its trials as a table that sorts, filters and folds, with curves at their side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

import msgspec
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from smallhours.snapshot import StudyView
from smallhours.snapshot.following import Changed
from smallhours.snapshot.lines import TrialLine
from smallhours_tui import order
from smallhours_tui.feed import Night, Update
from smallhours_tui.messages import TrialWanted
from smallhours_tui.screens.arranging import Arranging
from smallhours_tui.screens.steered import Subject
from smallhours_tui.screens.study_head import head_lines
from smallhours_tui.screens.study_rows import StudyRows
from smallhours_tui.screens.study_side import StudySide
from smallhours_tui.widgets.prose import Lines
from smallhours_tui.widgets.table import LineTable

#: Rows keep their order for so long after a key or a click: one is reading.
_READING_S: Final = 8.0
#: The curve of the row under the cursor is drawn once the cursor has rested for so long.
_REST_S: Final = 0.2
#: Parameters that the head names, where there is no room for the panel.
_MATTER: Final = 2
#: Seconds for which the screen is left alone while nothing is reported.
_STILL_S: Final = 5.0
_NO_STUDY: Final = "There is no study yet: `smallhours add STUDY.py` adds one."


class StudyScreen(Arranging):
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
        Binding("full_stop", "settle", "Sort anew", key_display=".", show=False, id="study.settle"),
        Binding("left_square_bracket", "other(-1)", "Study before", key_display="[", show=False,
                id="study.previous"),
        Binding("right_square_bracket", "other(1)", "Next study", key_display="]", show=False,
                id="study.next"),
        Binding("plus", "zoom(1)", "More room for curves", key_display="+", show=False,
                id="study.zoom_in"),
        Binding("minus", "zoom(-1)", "Less room for curves", key_display="-", show=False,
                id="study.zoom_out"),
        Binding("L", "log_axis", "Log axis", show=False, id="study.log_axis"),
        Binding("e", "smooth", "Smooth", show=False, id="study.smooth"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        #: The study shown; None: none yet.
        self.study: int | None = None
        self._lines: Mapping[int, TrialLine] = {}
        self._new: set[int] = set()
        self._rows: StudyRows | None = None
        self._resting: Timer | None = None
        #: Wall time at which it was shown last.
        self._shown_at = 0.0
        #: Room for the curves: less than 0 none, 1 more than usual, 2 all.
        self._zoom = 0

    def body(self) -> Iterator[Widget]:
        """Head, table, curves at its side, more about the row under the cursor."""
        cut = "~" if self.signs.ascii else "…"
        self._head = Lines(cut=cut, id="head")
        self._table = LineTable(ascii=self.signs.ascii, id="trials")
        self._side = StudySide(self.feed, self.signs)
        self._note = Lines(cut=cut, id="note")
        self._input = Input(placeholder="filter: lr<0.01 state:failed !word", id="filter")
        yield self._head
        yield Horizontal(self._table, self._side, id="study")
        yield self._note
        yield self._input

    def on_mount(self) -> None:
        """Show the table first, with the filter of the last time."""
        self._recall()
        self._table.focus()

    @property
    def subject(self) -> Subject:
        """The trial under the cursor."""
        key = self._table.cursor_key
        return Subject(self.study, key if isinstance(key, int) else None)

    @property
    def chosen(self) -> Sequence[int]:
        """The trials that are marked, else the one under the cursor."""
        marked = [key for key in self._table.keys if key in self._table.marked]
        return [key for key in marked if isinstance(key, int)] or super().chosen

    def row_text(self) -> str:
        """Return the row under the cursor as text."""
        key = self._table.cursor_key
        if key is None or self._rows is None:
            return ""
        return "  ".join(text for text, _ in self._rows.row(key) if text)

    @property
    def shown(self) -> Sequence[int]:
        """The trials in the order they are shown in."""
        return cast("Sequence[int]", self._table.keys)

    def look_at(self, study: int) -> None:
        """Show another study; `show` does it, once the screen is there."""
        if study != self.study:
            self.study, self._new = study, set()
            if self.is_mounted:
                self._side.begin()
                self._table.marked.clear()
                self._recall()

    def _recall(self) -> None:
        """Arrange the study as it was the last time."""
        view = self.view_in(self.feed.night)
        if view is None:
            self._input.display = False
            return
        self.arrangement = self.dashboard.remembered.of(view.name)
        with self._input.prevent(Input.Changed):
            self._input.value = self.arrangement.filter
        self._input.display = bool(self.arrangement.filter)

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        view = self.view_in(night)
        if view is None:
            self._head.show([[(f" {_NO_STUDY}", "dim")]])
            self._table.set_source((), lambda _: ())
            return
        if update is None:
            self._side.forget()
        changed = None if update is None else update.changed.trials.get(view.id, frozenset())
        facts = update is not None and view.id in update.changed.studies
        news = changed or facts or (self._sees_curves and self._side.behind)
        still = update is not None and not (news or update.changed.engine)
        if still and 0 <= night.now - self._shown_at < _STILL_S:
            return  # but for clocks that go on nothing is new
        self._shown_at = night.now
        self._take(view, changed, facts=facts)
        self._show_head(night, view)
        self._show_note()
        self._share_room()
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
            self._arrange(filter=message.value)

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

    def rearrange(self, **changes: Any) -> None:
        """Show the trials as it is wanted now."""
        self._arrange(**changes)
        if "metric" in changes:
            self._draw_curves()

    def action_zoom(self, steps: int) -> None:
        """Give the curves more room, or less."""
        self._zoom = max(-1, min(2, self._zoom + steps))
        if self._zoom == 1 and not self.wide:
            self._zoom += steps  # there is no room for both
        self.show_anew()

    def _share_room(self) -> None:
        """Give table and curves their room."""
        self._side.display = self._sees_curves
        self._table.display = self._zoom < 2
        self._side.set_class(self._zoom == 1, "-more")
        if self._table.display and self.focused is None:
            self._table.focus()

    @property
    def _sees_curves(self) -> bool:
        return self._zoom == 2 or (self._zoom >= 0 and self.wide)

    def action_settle(self) -> None:
        """Bring the rows into order now."""
        self._arrange()

    def action_other(self, steps: int) -> None:
        """Go to the next study of the queue, or the one before."""
        ids = [view.id for view in self.feed.night.studies]
        if self.study in ids:
            self.look_at(ids[(ids.index(self.study) + steps) % len(ids)])
            self.show_anew()

    def action_log_axis(self) -> None:
        """Draw the metric on a logarithmic axis, or on a plain one."""
        self._side.turn_log()

    def action_smooth(self) -> None:
        """Smooth the curves, or draw them as they are."""
        self._side.turn_smooth()

    def on_line_table_opened(self, message: LineTable.Opened) -> None:
        """Open the trial."""
        if self.study is not None and isinstance(message.key, int):
            self.post_message(TrialWanted(self.study, message.key))

    def on_line_table_moved(self) -> None:
        """Say more about the row, while a key is held down once it rests; then its curve, too."""
        if self._resting is None:
            self._show_note()
        else:
            self._resting.stop()
        self._resting = self.set_timer(_REST_S, self._rest)

    def _rest(self) -> None:
        """Catch up with the cursor."""
        self._resting = None
        self._show_note()
        self._show_rest(None)

    def on_line_table_marks_changed(self) -> None:
        """Draw the curves of marked trials bright."""
        self._draw_curves()

    # -- the parts

    def view_in(self, night: Night) -> StudyView | None:
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
            self._arrange()
            return
        if not changed:
            self._table.changed(self._living())
            return
        reading = time.monotonic() - self.dashboard.rhythm.touched_at < _READING_S
        self._new |= {trial for trial in changed if not self._table.holds(trial)}
        by_reports = self.arrangement.sort == "step" or bool(self.arrangement.filter)
        if reading or not (self._new or facts or by_reports):
            self._table.changed([*changed, *self._living()])
        else:
            self._arrange()

    def _living(self) -> list[int]:
        return [run.number for run in self.feed.night.runs if run.study == self.study]

    def _arrange(self, **changes: Any) -> None:
        """Bring the rows into order, after changes of what is wanted."""
        self._new = set()
        view = self.view_in(self.feed.night)
        if view is None:
            return
        wanted = self.arrangement = msgspec.structs.replace(self.arrangement, **changes)
        if changes:
            self.dashboard.remembered.take(view.name, wanted)
        running = self.feed.night.running
        numbers = order.arranged(
            self._lines.values(), wanted.order, view.spec.goal, engine_runs=running
        )
        column = {"state": "mark", "number": "trial"}.get(wanted.sort, wanted.sort)
        # The table's own width is not known before it is laid out; a scrollbar and a gutter go off.
        room = self.app.size.width * (3 if self._sees_curves else 5) // 5 - 2
        best = view.best.trial if view.best else None
        rows = StudyRows(self.feed, self.signs, self._lines, best)
        self._rows = rows
        self._table.set_columns(
            rows.fit(self.params(), room, wanted.hidden), (column, wanted.reverse)
        )
        self._table.set_cards(2, rows.card)
        self._table.set_source(numbers, rows.row)
        nothing = (
            "no trial passes the filter: esc takes it away" if wanted.filter else "no trial yet"
        )
        self._table.set_empty(([(nothing, "dim")],))
        self._show_head(self.feed.night, view)

    def params(self) -> list[str]:
        """Return the parameters, those that matter most first."""
        view = self.view_in(self.feed.night)
        space = () if view is None else view.spec.space or ()
        names = [dimension.name for dimension in space]
        if not names:
            some = next(iter(self._lines.values()), None)
            names = [] if some is None else [*some.params]
        rank = {item.parameter: i for i, item in enumerate(self._side.influences)}
        return sorted(names, key=lambda name: rank.get(name, len(rank)))

    def _show_head(self, night: Night, view: StudyView) -> None:
        lines = head_lines(
            night,
            view,
            self.signs,
            arranged=self._arranged(),
            matters="" if self._sees_curves else self._side.in_brief(_MATTER),
            width=self.app.size.width,
        )
        self._head.show(lines)

    def _arranged(self) -> str:
        """Return what of the trials is shown, where that is not all in the usual order."""
        said = []
        if len(self._table.keys) < len(self._lines):
            said.append(f"{len(self._table.keys)} of {len(self._lines)} shown")
        if self.arrangement.folded:
            said.append("stopped ones folded")
        if self._new:
            said.append(f"{len(self._new)} new: . sorts them in")
        return ", ".join(said)

    def _show_note(self) -> None:
        line = self._under_cursor()
        if line is None or self._rows is None:
            self._note.show([])
            return
        self._note.show(self._rows.note(line))

    def _under_cursor(self) -> TrialLine | None:
        key = self._table.cursor_key
        return self._lines.get(key) if isinstance(key, int) else None

    def _show_rest(self, changed: Changed | None) -> None:
        """Show what matters, and the curves; None: everything anew."""
        view = self.view_in(self.feed.night)
        if view is None:
            return
        if changed is not None and self._resting is not None:
            return  # a key's frame goes first, and `_rest` shows it
        fresh = self._side.work_out(self._lines.values())
        if not self._sees_curves:
            if fresh:
                self._show_head(self.feed.night, view)
            return
        self._side.show_matters()
        if self._side.due(view.id, changed):
            self._draw_curves()

    def _draw_curves(self) -> None:
        view = self.view_in(self.feed.night)
        if view is None or not self._sees_curves:
            return
        key = self._table.cursor_key
        bright = {n for n in self._table.marked if isinstance(n, int)}
        bright |= {key} if isinstance(key, int) else set()
        self._side.draw(view, self._lines, bright, self.shown, metric=self.arrangement.metric)
