import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region

from fakes.stage import lines, perform
from smallhours_tui.widgets import curves
from smallhours_tui.widgets.axes import axis, labels, time_ticks
from smallhours_tui.widgets.braille import Canvas, cells_of, glyphs
from smallhours_tui.widgets.curves import Traced, View, smoothed
from smallhours_tui.widgets.plot import Band, Curve, CurvePlot, Mark


class Watched(CurvePlot):
    """Keeps the lines that it paints again."""

    def __init__(self, **keys: Any) -> None:
        self.again: list[int] = []
        super().__init__(**keys)

    def refresh(self, *regions: Region, **keys: Any) -> CurvePlot:
        self.again += [region.y for region in regions]
        return super().refresh(*regions, **keys)


def falling(n: int, to: float = 0.2) -> list[tuple[float, float]]:
    return [(float(step), to + math.exp(-step / n * 4)) for step in range(1, n + 1)]


def drawn(
    *given_curves: Curve,
    set_up: Callable[[CurvePlot], None] = lambda _: None,
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    size: tuple[int, int] = (60, 12),
    **keys: Any,
) -> list[str]:
    plot, kept = CurvePlot(**keys), []

    async def act(app: Any, pilot: Any) -> None:
        set_up(plot)
        plot.show(given_curves, bands, marks)
        kept.extend(lines(plot))

    perform(plot, act, size)
    return kept


def dots(text: str) -> int:
    """Count the dots of braille."""
    return sum((ord(c) - 0x2800).bit_count() for c in text if 0x2800 <= ord(c) < 0x2900)


def test_a_picture_has_its_dots_where_they_were_drawn() -> None:
    canvas = Canvas(2, 1)
    canvas.line([(0, 0), None, (3, 3)])
    assert list(cells_of(canvas.picture(), 2, 1)) == [bytes([0x01, 0x80])]
    assert [glyphs(ascii_only=False)[n] for n in (0, 0x01, 0xFF)] == [" ", "⠁", "⣿"]


def test_a_line_has_no_holes() -> None:
    canvas = Canvas(4, 3)
    canvas.line([(0, 0), (7, 11)])
    picture = list(cells_of(canvas.picture(), 4, 3))
    columns = [
        any(row[x // 2] & (0x47 if x % 2 == 0 else 0xB8) for row in picture) for x in range(8)
    ]
    assert all(columns)
    assert sum(n.bit_count() for row in picture for n in row) >= 12


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-(10**6), 10**6)) | st.none()))
def test_whatever_is_drawn_stays_in_the_picture(points: list[tuple[int, int] | None]) -> None:
    canvas = Canvas(3, 2)
    canvas.line(sorted((p for p in points if p is not None), key=lambda p: p[0]))
    assert canvas.picture() < 2 ** (8 * 6)


def test_ascii_glyphs_are_ascii() -> None:
    assert glyphs(ascii_only=True).isascii()
    assert len(glyphs(ascii_only=True)) == 256
    assert glyphs(ascii_only=True)[0] == " "
    assert " " not in glyphs(ascii_only=True)[1:]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 1.0, ["0", "0.25", "0.50", "0.75", "1.00"]),
        (0.13, 0.87, ["0", "0.25", "0.50", "0.75", "1.00"]),
        (0.0, 2000.0, ["0", "500", "1000", "1500", "2000"]),
        (0.0, 3e7, ["0", "1e7", "2e7", "3e7"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]) -> None:
    assert [tick.label for tick in axis(low, high).ticks(5)] == texts


def test_a_logarithmic_axis_has_decades() -> None:
    found = [tick.label for tick in axis(1e-4, 2.0, log=True).ticks(6)]
    assert found == ["0.0001", "0.001", "0.01", "0.1", "1"]


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.booleans(), st.integers(2, 20))
def test_an_axis_holds_what_it_was_made_for(a: float, b: float, log: bool, most: int) -> None:
    low, high = min(a, b), max(a, b)
    made = axis(low, high, log=log, most=most)
    slack = 1e-6 * max(abs(low), abs(high))
    assert made.low <= low + slack
    assert made.high >= high - slack
    assert made.high > made.low
    assert len(made.ticks(most)) <= most + 1


def test_labels_of_an_axis_have_as_many_decimals() -> None:
    assert labels([0.0, 0.5, 1.0]) == ["0", "0.5", "1.0"]


def test_times_are_round() -> None:
    assert [t.value % 600 for t in time_ticks(1_000_001.0, 1_004_000.0, 8)] == [0.0] * 7


def test_smoothing_is_not_drawn_to_zero_at_the_begin() -> None:
    assert [y for _, y in smoothed([(1, 2.0), (2, 2.0), (3, 2.0)], 0.9)] == pytest.approx([2.0] * 3)
    ((_, first), (_, second)) = smoothed([(1, 1.0), (2, 3.0)], 0.5)
    assert (first, second) == pytest.approx((1.0, (0.25 * 1 + 0.5 * 3) / 0.75))


def test_smoothing_leaves_gaps() -> None:
    _, gap, after = smoothed([(1, 1.0), (2, math.nan), (3, 1.0)], 0.5)
    assert math.isnan(gap[1])
    assert after[1] == pytest.approx(1.0)


def test_a_curve_falls_from_the_upper_left_to_the_lower_right() -> None:
    picture = drawn(Curve("a", falling(50)))
    rows = [line[5:] for line in picture if dots(line)]
    assert len(rows) > 6
    assert (dots(rows[0][:5]) > 0, dots(rows[0][20:])) == (True, 0)
    assert (dots(rows[-1][-5:]) > 0, dots(rows[-1][:5])) == (True, 0)


def test_a_gap_is_not_bridged() -> None:
    whole = [(x, 1.0 + x % 2 * 0.01) for x in map(float, range(60))]
    gap = [(x, math.nan if 20 <= x < 40 else y) for x, y in whole]
    assert dots("".join(drawn(Curve("a", gap)))) < 0.75 * dots("".join(drawn(Curve("a", whole))))
    assert dots("".join(line[28:36] for line in drawn(Curve("a", gap)))) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nothing_that_can_be_drawn_is_said(bad: float) -> None:
    assert drawn(Curve("a", [(1, bad)]), empty="no reports yet")[0].strip() == "no reports yet"
    assert drawn(empty="no reports yet")[0].strip() == "no reports yet"


def test_a_single_point_is_a_dot() -> None:
    assert dots("".join(drawn(Curve("a", [(3, 0.5)])))) == 1


def test_a_value_that_blew_up_does_not_press_the_rest_flat() -> None:
    points = [*falling(50), (51.0, 1e30)]
    picture = drawn(Curve("a", points))
    assert "1e30" not in "".join(picture)
    assert sum(dots(line) > 0 for line in picture) > 6


def test_a_logarithmic_axis_spreads_small_values() -> None:
    points = [(float(x), 10.0 ** -(x / 10)) for x in range(50)]

    def set_up(plot: CurvePlot) -> None:
        plot.log_y = True

    straight = drawn(Curve("a", points), set_up=set_up)
    assert all(dots(line) > 0 for line in straight[:-1])
    assert "0.001" in "".join(straight)
    negative = drawn(Curve("a", [(1, -1.0), (2, -2.0)]), set_up=set_up)
    assert dots("".join(negative)) > 0


def test_the_legend_names_curves_and_their_signs_stand_at_their_ends() -> None:
    def set_up(plot: CurvePlot) -> None:
        plot.y_label, plot.x_label = "val_loss", "step"

    picture = drawn(
        Curve("a", falling(50), label="this", sign="▸"),
        Curve("b", falling(50, 0.5), label="best \x1b[31mw/3"),
        set_up=set_up,
    )
    assert picture[0].rstrip() == "val_loss  ▸ this  ─ best \N{REPLACEMENT CHARACTER}[31mw/3"
    assert any(line.rstrip().endswith("▸") for line in picture[1:])
    assert picture[-1].endswith("step")


def test_marks_are_drawn_and_lines_go_behind_curves() -> None:
    picture = drawn(
        Curve("a", falling(50)),
        marks=[Mark(25, 0.9, sign="┬", text="cut"), Mark(40, None, text="stop"), Mark(None, 0.8)],
    )
    text = "\n".join(picture)
    assert "┬cut" in text
    assert "┆stop" in text
    assert text.count("┆") >= 9
    assert text.count("┄") > 40
    assert dots(text) > 40


def test_ascii_needs_nothing_else() -> None:
    picture = drawn(
        *(Curve(i, falling(50, i / 9), layer="dim") for i in range(9)),
        Curve("a", falling(50), label="this"),
        bands=[Band([(1, 0.2, 0.4), (30, 0.2, 0.3)], label="others")],
        marks=[Mark(25, None), Mark(None, 0.8)],
        ascii=True,
        fold_over=5,
    )
    assert "".join(picture).isascii()


def test_many_dim_curves_become_a_band_of_their_middle_four_fifths() -> None:
    flat = [Curve(i, [(1.0, i / 100), (99.0, i / 100)], layer="dim") for i in range(101)]
    picture = drawn(*flat, fold_over=40)
    assert picture[0].strip() == "⠅⠅ 101 others, p10 to p90"
    rows = [i for i, line in enumerate(picture[1:-1]) if dots(line)]
    # 0 to 1 on ten lines: a tenth is left free above and below.
    assert rows == list(range(1, 9))
    assert "others" not in "".join(drawn(*flat[:40], fold_over=40))


def test_a_given_band_is_shaded_between_its_bounds() -> None:
    picture = drawn(Curve("a", [(0, 0.0), (9, 1.0)]), bands=[Band([(0, 0.4, 0.6), (9, 0.4, 0.6)])])
    middle = len(picture) // 2 - 1
    assert dots(picture[middle]) > 20
    assert dots(picture[0]) < 20


def test_only_the_curve_that_grew_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[Any] = []
    original = Traced._dots

    def counted(self: Traced, view: View) -> Any:
        pictures.append(self.curve.key)
        return original(self, view)

    monkeypatch.setattr(curves.Traced, "_dots", counted)
    plot = Watched()
    whole = [Curve(i, falling(80, 0.1 + i / 20)) for i in range(4)]

    async def act(app: Any, pilot: Any) -> None:
        plot.show([*whole, Curve("live", falling(80, 0.33)[:40])], x_range=(0, 80))
        lines(plot)
        pictures.clear()
        plot.again.clear()
        plot.show([*whole, Curve("live", falling(80, 0.33)[:42])], x_range=(0, 80))
        assert pictures == ["live"]
        assert 1 <= len(plot.again) <= 2

    perform(plot, act)


def test_a_dense_curve_keeps_its_extremes() -> None:
    points = [(float(x), 0.0) for x in range(10_000)]
    points[5_000] = (5_000.0, 1.0)
    view = View(axis(0, 10_000), axis(0, 1), 40, 10)
    rows = list(cells_of(Traced(Curve("a", points), 0.0).picture(view), 40, 10))
    assert sum(any(row) for row in rows) == 10


@pytest.mark.parametrize("size", [(15, 10), (40, 3), (16, 4), (1, 1), (200, 60)])
def test_no_size_breaks_it(size: tuple[int, int]) -> None:
    picture = drawn(Curve("a", falling(50), label="日本" * 50, sign="日"), size=size)
    assert len(picture) == size[1]
