"""Which curves are drawn: of thousands the telling ones, with the cutoffs beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from smallhours.core.reasons import RuleCut, RungCut
from smallhours.snapshot import StudyView, TrialView
from smallhours.snapshot.following import Following
from smallhours.snapshot.lines import TrialLine
from smallhours.text import number
from smallhours_tui import marks
from smallhours_tui.feed import Feed
from smallhours_tui.widgets.plot import Curve, CurvePlot, Mark

#: Curves that are drawn, at most: of more, a spread over all the trials shown.
_MOST: Final = 160


class StudyCurves:
    """The curves of a study beside its table."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._points: dict[tuple[int, int], Sequence[tuple[float, float]]] = {}
        self._metric = ""

    def forget(self) -> None:
        """Read everything anew when it is drawn next."""
        self._points.clear()

    def draw(
        self,
        plot: CurvePlot,
        view: StudyView,
        lines: Mapping[int, TrialLine],
        bright: Collection[int],
        shown: Sequence[int],
        *,
        metric: str = "",
    ) -> None:
        """Draw what is shown: dim as a band where there is much, the chosen and the best bright.

        Args:
            plot: Where.
            view: The study.
            lines: Its trials.
            bright: The chosen ones.
            shown: All that the table shows.
            metric: Which metric; empty: the study's own.
        """
        if metric != self._metric:
            self._metric = metric
            self.forget()
        ledger = self._feed.ledger
        if ledger is None:
            return
        best = None if view.best is None else view.best.trial
        living = {run.number for run in self._feed.night.runs if run.study == view.id}
        chosen = {*bright, *living} | ({best} if best is not None else set())
        rest = [n for n in _spread(shown, _MOST) if n not in chosen]
        curves = [self._curve(ledger, view, lines[n], "dim") for n in rest if n in lines]
        for trial in sorted(chosen & lines.keys()):
            layer = "bright" if trial in bright or trial == best else "normal"
            drawn = self._curve(ledger, view, lines[trial], layer)
            if trial in bright or trial == best:
                label = f"best {trial}" if trial == best else str(trial)
                style = "best" if trial == best else drawn.style
                drawn = Curve(drawn.key, drawn.points, style, "bright", label)
            curves.append(drawn)
        plot.x_label, plot.y_label = "step", metric or view.spec.metric
        plot.show(curves, x_range=(0.0, float(view.spec.steps)))

    def _curve(self, ledger: Following, view: StudyView, line: TrialLine, layer: str) -> Curve:
        hue = marks.of_line(line, engine_runs=self._feed.night.running).hue
        key = (view.id, line.number)
        points = self._points.get(key)
        if points is None or line.lives:
            points = tuple(sorted(ledger.curve(*key, self._metric or None).items()))
            self._points[key] = points
        match layer:
            case "dim":
                return Curve(line.number, points, "dim", "dim")
            case "normal":
                return Curve(line.number, points, hue, "normal")
            case _:
                return Curve(line.number, points, hue, "bright")


def draw_trial(
    plot: CurvePlot,
    ledger: Following,
    study: StudyView,
    trial: TrialView,
    best: TrialView | None,
    *,
    metric: str = "",
) -> None:
    """Draw a trial's curve bright, the best one's beside it, and where it was or would be cut.

    Args:
        plot: Where.
        ledger: Where curves are read.
        study: The study.
        trial: The trial.
        best: The best one; None: there is none, or it is this one.
        metric: Which metric; empty: the study's own, which cutoffs are of.
    """
    curves = []
    if best is not None:
        points = tuple(ledger.curve(best.study, best.number, metric or None).items())
        curves.append(Curve("best", tuple(sorted(points)), "dim", "normal", f"best {best.number}"))
    curve = ledger.curve(trial.study, trial.number, metric) if metric else trial.curve
    own = tuple(sorted(curve.items()))
    curves.append(Curve("this", own, "running", "bright", f"this {trial.number}"))
    plot.x_label, plot.y_label = "step", metric or study.spec.metric
    cutoffs = () if metric else _cutoffs(trial)
    plot.show(curves, marks=cutoffs, x_range=(0.0, float(study.spec.steps)))


def _cutoffs(trial: TrialView) -> list[Mark]:
    """Return where the trial was stopped, and what it was measured against there."""
    match trial.reason:
        case RungCut(step=step, cutoff=cutoff, value=value):
            at, limit, own = step, cutoff, value
        case RuleCut(step=step, threshold=threshold, value=value):
            at, limit, own = step, threshold, value
        case _:
            return []
    return [
        Mark(float(at), None, "stopped"),
        Mark(None, limit, "stopped", text=f"cutoff {number(limit)}"),
        Mark(float(at), own, "stopped", sign="x"),
    ]


def _spread(numbers: Sequence[int], most: int) -> Sequence[int]:
    """Return at most so many of some trials, spread evenly over them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[i * len(numbers) // most] for i in range(most)]
