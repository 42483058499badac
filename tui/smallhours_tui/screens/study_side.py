"""Beside the trials of a study: their curves, and the parameters that matter."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical

from smallhours.snapshot import StudyView
from smallhours.snapshot.following import Changed
from smallhours.snapshot.influence import LEAST_TRIALS, Influence, influences
from smallhours.snapshot.lines import TrialLine
from smallhours.text import percent
from smallhours_tui.curves import StudyCurves
from smallhours_tui.feed import Feed
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.bars import bar
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.plot import CurvePlot
from smallhours_tui.widgets.prose import Lines

#: What matters is worked out again at most this often.
_INFLUENCE_S: Final = 30.0
#: Curves are drawn again at most this often where nothing but reports is new.
_CURVES_S: Final = 4.0
#: Parameters that are listed, at most.
_LISTED: Final = 6


class StudySide(Vertical):
    """Curves above what matters."""

    def __init__(self, feed: Feed, signs: Signs) -> None:
        super().__init__(id="side")
        self._signs = signs
        self._curves = StudyCurves(feed)
        self._plot = CurvePlot(ascii=signs.ascii, id="curves")
        self._matters = Lines(cut="~" if signs.ascii else "…", id="matters")
        self._worked_out_at = -_INFLUENCE_S
        self._drawn_at = -_CURVES_S
        #: Whether there are reports that the curves don't show yet.
        self.behind = False
        #: The parameters that matter, most first.
        self.influences: Sequence[Influence] = ()

    def compose(self) -> ComposeResult:
        """One below the other."""
        yield self._plot
        yield self._matters

    def forget(self) -> None:
        """Read every curve anew when it is drawn next."""
        self._curves.forget()

    def begin(self) -> None:
        """Begin with another study."""
        self.influences, self._worked_out_at = (), -_INFLUENCE_S
        self.forget()

    def turn_log(self) -> None:
        """Draw the metric on a logarithmic axis, or on a plain one."""
        self._plot.log_y = not self._plot.log_y

    def turn_smooth(self) -> None:
        """Smooth the curves, or draw them as they are."""
        self._plot.smoothing = 0.0 if self._plot.smoothing else 0.9

    def work_out(self, lines: Iterable[TrialLine]) -> bool:
        """Work out what matters, if that was long ago; say whether it was done."""
        if time.monotonic() - self._worked_out_at < _INFLUENCE_S:
            return False
        self._worked_out_at = time.monotonic()
        self.influences = influences(lines)
        return True

    def show_matters(self) -> None:
        """Show what matters."""
        lines: list[list[Cell]] = [[(" what matters (each parameter by itself)", "title")]]
        if not self.influences:
            lines = [[(f" what matters: known from {LEAST_TRIALS} completed trials on", "dim")]]
        for item in self.influences[:_LISTED]:
            drawn = bar(item.share, 16, self._signs.ascii)
            name = self._signs.say(item.parameter)
            lines.append(
                [(f" {name:<14.14} ", ""), (drawn, "running"), (f" {percent(item.share)}", "")]
            )
        self._matters.show(lines)

    def in_brief(self, most: int) -> str:
        """Return what matters on one line; empty: it is not known."""
        told = [f"{item.parameter} {percent(item.share)}" for item in self.influences[:most]]
        return f"what matters: {', '.join(told)}" if told else ""

    def due(self, study: int, changed: Changed | None) -> bool:
        """Say whether to draw the curves: all that reports add to them may wait for some seconds.

        Args:
            study: The one that is shown.
            changed: What is new; None: everything.
        """
        if changed is None or study in changed.studies:
            return True
        self.behind = self.behind or study in changed.trials
        return self.behind and time.monotonic() - self._drawn_at >= _CURVES_S

    def draw(
        self,
        view: StudyView,
        lines: Mapping[int, TrialLine],
        bright: Collection[int],
        shown: Sequence[int],
        *,
        metric: str,
    ) -> None:
        """Draw the curves; `StudyCurves.draw` says how."""
        self.behind, self._drawn_at = False, time.monotonic()
        self._curves.draw(self._plot, view, lines, bright, shown, metric=metric)
