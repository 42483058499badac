"""A plot of learning curves in braille: what has not changed is not drawn again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.reactive import var
from textual.strip import Strip

from smallhours_tui.widgets.axes import Axis, axis
from smallhours_tui.widgets.braille import Canvas, cells_of, glyphs
from smallhours_tui.widgets.cells import Cell, fit, inert, width_of
from smallhours_tui.widgets.curves import (
    LAYERS,
    Band,
    Curve,
    Layer,
    Mark,
    Traced,
    View,
    fold,
    range_of,
)
from smallhours_tui.widgets.painted import PaintedWidget

__all__ = ["Band", "Curve", "CurvePlot", "Layer", "Mark"]

#: The least of a plot that says anything, in cells.
_LEAST_WIDTH, _LEAST_HEIGHT = 16, 4
_NULL = Style.null()


class CurvePlot(PaintedWidget):
    """Curves over steps with round axes, shaded bands, marks and a legend.

    Of the three layers only the uppermost is seen in a cell. Where there are more than `fold_over`
    dim curves, a band from their 10th to their 90th percentile is drawn in their place.
    """

    DEFAULT_CSS = """
    CurvePlot { height: 1fr; }
    """

    #: Draw with ASCII only.
    ascii = var(False)
    #: Logarithmic y; a linear one is drawn where there is no value above 0.
    log_y = var(False)
    #: Weight of what was before in a moving average, 0 (raw) to below 1.
    smoothing = var(0.0)
    x_label = var("")
    y_label = var("")

    def __init__(
        self,
        *,
        ascii: bool = False,  # noqa: A002 - the name that all widgets have for it
        fold_over: int = 40,
        empty: str = "no reports yet",
        name: str | None = None,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """Make an empty plot.

        Args:
            ascii: See the attribute.
            fold_over: Dim curves that are still drawn one by one.
            empty: Said where there is nothing to draw.
            name: Of the widget.
            id: Of the widget.
            classes: Of the widget.
        """
        super().__init__(name=name, id=id, classes=classes)
        self.set_reactive(CurvePlot.ascii, ascii)
        self._fold_over, self._empty = fold_over, empty
        self._curves: Sequence[Curve] = ()
        self._bands: Sequence[Band] = ()
        self._marks: Sequence[Mark] = ()
        self._x_range: tuple[float, float] | None = None
        self._traced: dict[Hashable, Traced] = {}

    def show(
        self,
        curves: Sequence[Curve],
        bands: Sequence[Band] = (),
        marks: Sequence[Mark] = (),
        x_range: tuple[float, float] | None = None,
    ) -> None:
        """Draw curves; those drawn before with the same points cost nothing.

        Args:
            curves: The later of a layer lies on the earlier; keys differ.
            bands: Shaded below all curves.
            marks: Signs and lines; lines are seen only where there is no curve.
            x_range: Ends of the x axis; None: what the curves need.
        """
        self._curves, self._bands, self._marks = curves, bands, marks
        self._x_range = x_range
        self.draw_again()

    # -- painting

    def draw(self) -> list[Strip]:
        """Return all lines."""
        width, height = self.size
        if width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
            return [self._said("too small to draw", width)]
        traces = self._trace()
        legend = self._legend(len(self._folded(traces)))
        lines = height - 1 - bool(legend)
        axes = self._axes(traces, lines)
        if axes is None:
            return [self._said(self._empty, width)]
        x, y = axes
        ticks = {round((1 - y.share(t.value)) * (lines - 1)): t.label for t in y.ticks(lines // 2)}
        gutter = max(map(len, ticks.values()), default=0) + 1
        view = View(x, y, width - gutter, lines)
        strips = [self._row(legend, width)] if legend else []
        marked = self._marked(view)
        for line, cells in enumerate(self._cells(traces, view)):
            label = ticks.get(line, "").rjust(gutter - 1) + " "
            body = self._merged(cells, marked.get(line, {}))
            strips.append(Strip([Segment(label, self.named("dim")), *body], width))
        strips.append(self._x_labels(x, gutter, view.width))
        return strips

    def _trace(self) -> list[Traced]:
        """Return the curves with what is known of them, computing only what is new."""
        known, self._traced = self._traced, {}
        for curve in self._curves:
            trace = known.get(curve.key)
            if trace is None or not trace.same(curve, self.smoothing):
                trace = Traced(curve, self.smoothing)
            trace.curve = curve
            self._traced[curve.key] = trace
        return [trace for trace in self._traced.values() if trace.known]

    def _folded(self, traces: Sequence[Traced]) -> list[Traced]:
        """Return the curves that a band is drawn for."""
        dim = [trace for trace in traces if trace.curve.layer == "dim"]
        return dim if len(dim) > self._fold_over else []

    def _axes(self, traces: Sequence[Traced], lines: int) -> tuple[Axis, Axis] | None:
        others = [m.y for m in self._marks if m.y is not None]
        others += [v for band in self._bands for _, low, high in band.points for v in (low, high)]
        log = self.log_y and any(trace.positive is not None for trace in traces)
        values = range_of(traces, others, log=log)
        if values is None:
            return None
        if self._x_range is not None:
            first, last = self._x_range
        else:
            first = min((trace.first_x for trace in traces), default=0.0)
            last = max((trace.last_x for trace in traces), default=first)
        x = Axis(first, last) if last > first else Axis(first - 0.5, first + 0.5)
        return x, axis(*values, log=log, most=max(2, lines // 2))

    def _cells(self, traces: Sequence[Traced], view: View) -> Iterator[list[tuple[str, Style]]]:
        """Yield the lines of the plot as characters with their styles."""
        layers = self._layers(traces, view)
        pictures = [list(cells_of(picture, view.width, view.height)) for _, picture in layers]
        styles = [style for style, _ in layers]
        signs = glyphs(self.ascii)
        for line in range(view.height):
            cells = [(" ", _NULL)] * view.width
            for style, picture in zip(styles, pictures, strict=True):
                row = picture[line]
                if any(row):
                    for column, dots in enumerate(row):
                        if dots:
                            cells[column] = signs[dots], style
            yield cells

    def _layers(self, traces: Sequence[Traced], view: View) -> list[tuple[Style, int]]:
        """Return what is drawn, the lowest first: a style and a picture each."""
        folded = self._folded(traces)
        pictures: defaultdict[tuple[int, str], int] = defaultdict(int)
        if folded:
            pictures[-1, "dim"] |= _shade(fold(folded, view.x, view.width), view)
        for band in self._bands:
            pictures[-1, band.style] |= _shade(_spread(band, view), view)
        for trace in traces:
            curve = trace.curve
            if not folded or curve.layer != "dim":
                pictures[LAYERS.index(curve.layer), curve.style] |= trace.picture(view)
        ordered = sorted(pictures.items(), key=lambda item: item[0][0])
        return [(self._style(layer, name), picture) for (layer, name), picture in ordered]

    def _style(self, layer: int, name: str) -> Style:
        style = self.named(name)
        if layer == LAYERS.index("dim") and not name:
            return self.named("dim")
        return style + Style(bold=True) if layer == LAYERS.index("bright") else style

    def _merged(
        self, cells: list[tuple[str, Style]], marked: dict[int, tuple[str, Style, bool]]
    ) -> Iterator[Segment]:
        """Yield a line's cells with the marks on it, those of one style in one segment."""
        for column, (sign, style, over) in marked.items():
            if over or cells[column][0] == " ":
                cells[column] = sign, style
        text, last = "", cells[0][1]
        for sign, style in cells:
            # A gap needs no style of its own: it goes with what is before it.
            if style is not last and sign != " " and style != last:
                yield Segment(text, last)
                text, last = "", style
            text += sign
        yield Segment(text, last)

    # -- marks, legend and labels

    def _marked(self, view: View) -> dict[int, dict[int, tuple[str, Style, bool]]]:
        """Return by line and column: what marks draw, its style, whether it goes over curves."""
        marked: dict[int, dict[int, tuple[str, Style, bool]]] = defaultdict(dict)
        # Signs first: a line goes behind everything.
        for mark in sorted(self._marks, key=lambda m: m.x is None or m.y is None):
            self._mark(mark, view, marked)
        for trace in self._traced.values():
            last = trace.last()
            cell = view.cell(*last) if last is not None and trace.curve.sign else None
            if cell is not None:
                sign = fit(inert(trace.curve.sign), 1)
                style = self._style(LAYERS.index(trace.curve.layer), trace.curve.style)
                marked[cell[1]][cell[0]] = sign, style, True
        return marked

    def _mark(
        self, mark: Mark, view: View, marked: dict[int, dict[int, tuple[str, Style, bool]]]
    ) -> None:
        style = self.named(mark.style)
        cell = view.cell(
            view.x.low if mark.x is None else mark.x, view.y.low if mark.y is None else mark.y
        )
        if cell is None:
            return
        column, line = cell
        if mark.y is None:
            line = 0
            for y in range(view.height):
                marked[y].setdefault(column, (":" if self.ascii else "┆", style, False))
        elif mark.x is None:
            for x in range(view.width):
                marked[line].setdefault(x, ("-" if self.ascii else "┄", style, False))
        else:
            marked[line][column] = fit(inert(mark.sign), 1), style, True
        text = inert(mark.text)
        if text and text.isascii() and column + 1 + len(text) < view.width:
            for i, letter in enumerate(text, column + 1):
                if not marked[line].get(i, (" ", style, False))[2]:
                    marked[line][i] = letter, style, False

    def _legend(self, folded: int) -> list[Cell]:
        """Return what the first line says; empty: there is no such line."""
        line = "-" if self.ascii else "─"
        cells: list[Cell] = [(self.y_label, "bold")] if self.y_label else []
        for curve in self._curves:
            if curve.label:
                cells += [("  ", ""), (f"{curve.sign or line} {curve.label}", curve.style)]
        shade = "::" if self.ascii else "⠅⠅"
        for band in self._bands:
            if band.label:
                cells += [("  ", ""), (f"{shade} {band.label}", band.style)]
        if folded:
            cells += [("  ", ""), (f"{shade} {folded} others, p10 to p90", "dim")]
        return cells

    def _row(self, cells: Sequence[Cell], width: int) -> Strip:
        segments, room = [], width
        for raw, style in cells:
            text = inert(raw)
            if width_of(text) > room:
                text = fit(text, room, cut="~" if self.ascii else "…")
            segments.append(Segment(text, self.named(style)))
            room -= width_of(text)
            if room <= 0:
                break
        return Strip(segments).adjust_cell_length(width, _NULL)

    def _x_labels(self, x: Axis, gutter: int, width: int) -> Strip:
        name = inert(self.x_label)
        room = width - width_of(name) - 1
        text = ""
        for tick in x.ticks(max(2, width // 12)):
            at = round(x.share(tick.value) * (width - 1)) - (len(tick.label) // 2 if text else 0)
            if at >= len(text) + bool(text) and at + len(tick.label) <= room:
                text = text.ljust(at) + tick.label
        line = " " * gutter + text.ljust(room + 1) + name
        return Strip([Segment(line, self.named("dim"))]).adjust_cell_length(gutter + width, _NULL)

    def _said(self, text: str, width: int) -> Strip:
        return Strip([Segment(fit(" " + text, width), self.named("dim"))], width)

    # -- what Textual says

    def watch_ascii(self) -> None:
        """Draw with other characters."""
        self.draw_again()

    def watch_log_y(self) -> None:
        """Draw on another axis."""
        self.draw_again()

    def watch_smoothing(self) -> None:
        """Draw other curves."""
        self.draw_again()

    def watch_x_label(self) -> None:
        """Say something else."""
        self.draw_again()

    def watch_y_label(self) -> None:
        """Say something else."""
        self.draw_again()


def _shade(ranges: Sequence[tuple[float, float] | None], view: View) -> int:
    """Return a band that has a range of values in each column of cells."""
    canvas = Canvas(view.width, view.height)
    for column, values in enumerate(ranges):
        if values is None:
            continue
        low, high = view.dot(view.x.low, values[0]), view.dot(view.x.low, values[1])
        if low is not None and high is not None:
            canvas.shade(2 * column, high[1], low[1])
    return canvas.picture()


def _spread(band: Band, view: View) -> list[tuple[float, float] | None]:
    """Return the range that a band has in each column of cells."""
    step = (view.x.high - view.x.low) / view.width
    ranges: list[tuple[float, float] | None] = [None] * view.width
    for (x, low, high), after in zip(band.points, (*band.points[1:], None), strict=False):
        first = int((x - view.x.low) / step)
        last = first + 1 if after is None else int((after[0] - view.x.low) / step)
        for column in range(max(first, 0), min(max(last, first + 1), view.width)):
            ranges[column] = low, high
    return ranges
