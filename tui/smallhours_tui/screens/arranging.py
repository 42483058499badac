"""How the trials of a study are arranged: the keys and menus for order, columns and metric."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from smallhours.snapshot import StudyView
from smallhours_tui import order
from smallhours_tui.feed import Night
from smallhours_tui.remembered import Arranged
from smallhours_tui.screens import study_rows
from smallhours_tui.screens.steered import Steered
from smallhours_tui.widgets.table import LineTable


class Arranging(Steered):
    """A screen that shows the trials of a study as somebody wants them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "Sort", id="study.sort"),
        Binding("S", "reverse", "Turn the order around", show=False, id="study.reverse"),
        Binding("f", "fold", "Fold stopped", id="study.fold"),
        Binding("c", "columns", "Columns", show=False, id="study.columns"),
        Binding("m", "metric", "Metric of the curves", show=False, id="study.metric"),
    ]

    def __init__(self) -> None:
        super().__init__()
        #: What is wanted.
        self.arrangement = Arranged()

    @abstractmethod
    def view_in(self, night: Night) -> StudyView | None:
        """Return the study that is shown; None: there is none."""

    @abstractmethod
    def params(self) -> list[str]:
        """Return the parameters of its trials, those that matter most first."""

    @abstractmethod
    def rearrange(self, **changes: Any) -> None:
        """Show the trials as it is wanted now, with changes of `arrangement`."""

    def action_sort(self) -> None:
        """Offer what can be sorted by."""
        names = {order.of_param(name): self.say(name) for name in self.params()}
        choices = {**order.SORTS, **names}
        current = self.arrangement.sort
        if current in choices:
            choices[current] += "   (turn around)"
        self.offer("sort", "sort by", choices, self._sort_by, current)

    def action_reverse(self) -> None:
        """Turn the order around; what has no score stays last."""
        self.rearrange(reverse=not self.arrangement.reverse)

    def action_columns(self) -> None:
        """Offer the columns, to be shown or left out."""
        from smallhours_tui.screens.menu import Columns

        titles = {order.of_param(name): self.say(name) for name in self.params()}
        menu = Columns(
            {**study_rows.OPTIONAL, **titles},
            self.arrangement.hidden,
            close_keys=self.keys("columns"),
        )
        self.app.push_screen(menu, self._hide)

    def _hide(self, hidden: frozenset[str] | None) -> None:
        if hidden is not None:
            self.rearrange(hidden=tuple(sorted(hidden)))

    def action_metric(self) -> None:
        """Offer the metrics that the curves can be drawn of."""
        ledger, (study, trial) = self.feed.ledger, self.subject
        view = self.view_in(self.feed.night)
        if ledger is None or study is None or trial is None or view is None:
            return
        names = {name: self.say(name) for name in ledger.metrics(study, trial)}
        names = {view.spec.metric: self.say(view.spec.metric), **names}
        current = self.arrangement.metric or view.spec.metric
        self.offer("metric", "curves of", names, self._take_metric, current)

    def _take_metric(self, name: str | None) -> None:
        view = self.view_in(self.feed.night)
        if name is not None and view is not None:
            self.rearrange(metric="" if name == view.spec.metric else name)

    def on_line_table_sort_requested(self, message: LineTable.SortRequested) -> None:
        """Sort by the column whose title was clicked."""
        column = {"mark": "state", "trial": "number"}.get(message.column, message.column)
        self._sort_by(column)

    def action_fold(self) -> None:
        """Hide what a rule stopped, or show it again."""
        self.rearrange(folded=not self.arrangement.folded)

    def _sort_by(self, key: str | None) -> None:
        if key is None:
            return
        turn = key == self.arrangement.sort and not self.arrangement.reverse
        self.rearrange(sort=key, reverse=turn)
