from typing import Any

import pytest
from rich.cells import cell_len

from fakes.stage import lines, perform
from smallhours_tui.widgets.lanes import Heading, Lane, LanesChart, Span
from smallhours_tui.widgets.spans import Window, paint

#: 2026-03-02 00:00:00 UTC, a whole number of minutes.
NOW = 1_772_409_600.0
MINUTE = 60.0


def span(key: str, start: float, end: float | None, **keys: Any) -> Span:
    """A span; times are minutes before now."""
    sign = keys.pop("sign", "▸" if end is None else "✓")
    ended = None if end is None else NOW - end * MINUTE
    return Span(key, NOW - start * MINUTE, ended, keys.pop("label", key), sign, **keys)


ROWS = [
    Heading([("g0 ", "bold"), ("24 GiB", "dim")]),
    Lane("A", "g0.A", [span("a/1", 50, 40), span("a/2", 39.5, 20, sign="▽"), span("a/3", 10, None)],
         "5.1/5.4"),
    Lane("B", "g0.B", [span("b/1", 45, 0.5, detail="9 GiB")]),
    Heading([("g1", "bold")]),
    Lane("C", "g1.A", []),
    Lane("D", "g1.B", [span("d/1", 600, 500), span("d/2", 30, 29, sign="!")]),
]  # fmt: skip


def chart(**keys: Any) -> LanesChart:
    made = LanesChart(**keys)
    made.show(ROWS, NOW)
    return made


def text(lane: Lane, cells: int = 20, cell_s: float = 60.0) -> str:
    window = Window(NOW - (cells - 1) * cell_s, cell_s, cells, NOW)
    return "".join(sign for sign, _, _ in paint(lane, window, ascii_only=False)[0])


def test_a_span_has_its_label_and_ends_in_its_sign() -> None:
    assert text(Lane("A", "", [span("a/1", 15, 5)])) == "····a/1 ━━━━━━✓·····"


def test_a_running_span_reaches_the_present() -> None:
    assert text(Lane("A", "", [span("a/1", 10, None)])).endswith("a/1 ━━━━━━▸")


def test_a_span_that_began_before_is_cut_at_the_left() -> None:
    assert text(Lane("A", "", [span("a/1", 100, 10)])) == "a/1 ━━━━━✓··········"


def test_a_sign_is_not_hidden_by_what_follows_at_once() -> None:
    both = [span("a/1", 15, 8, sign="▽"), span("a/2", 8, None)]
    assert text(Lane("A", "", both)) == "····a/1 ━━━▽a/2 ━━━▸"


def test_short_spans_show_their_signs() -> None:
    many = [span(f"a/{i}", 20 - i, 19.9 - i, sign="!") for i in range(20)]
    assert text(Lane("A", "", many)).count("!") >= 18


def test_the_chart_has_headings_titles_notes_and_times() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        drawn = lines(shown)
        assert drawn[0].rstrip() == "g0 24 GiB"
        assert drawn[1].startswith("g0.A ")
        assert drawn[1].endswith("5.1/5.4")
        assert "a/2 ━" in drawn[1]
        assert "▽" in drawn[1]
        assert drawn[1].rstrip("5.14/ ").endswith("▸")
        assert drawn[6].count(":") >= 2

    perform(shown, act, (80, 12))


def test_arrows_go_along_and_across() -> None:
    shown = chart()
    presses = [
        ("left", "a/2"), ("left", "a/1"), ("left", "a/1"), ("right", "a/2"), ("down", "b/1"),
        ("down", "d/2"), ("down", "d/2"), ("up", "b/1"), ("k", "a/2"), ("l", "a/3"), ("j", "b/1"),
    ]  # fmt: skip

    async def act(app: Any, pilot: Any) -> None:
        assert shown.cursor_key == "a/3"
        for key, expected in presses:
            await pilot.press(key)
            assert shown.cursor_key == expected, key
        await pilot.press("enter")
        assert [m.key for m in app.said(LanesChart.Opened)] == ["b/1"]
        assert app.said(LanesChart.Moved)[-1].key == "b/1"

    perform(shown, act, (80, 12))


def test_the_view_goes_to_what_is_chosen_and_back_to_the_present() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        shown.cursor_key = "d/1"
        assert not shown.follows
        assert "d/1 ━" in lines(shown)[5]
        await pilot.press("G")
        assert shown.follows
        assert "d/1" not in lines(shown)[5]
        await pilot.press("g")
        assert "d/1 ━" in lines(shown)[5]
        await pilot.press("pagedown")
        assert not shown.follows
        for _ in range(20):
            shown.action_pan(0.5)
        assert shown.follows

    perform(shown, act, (80, 12))


def test_zoom_keeps_what_is_chosen_in_sight() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("left", "left")
        assert shown.cell_s == 60
        await pilot.press("minus")
        assert shown.cell_s == 120
        await pilot.press(*["plus"] * 5)
        assert shown.cell_s == 5
        assert "━" in lines(shown)[1]
        for steps, least in ((-1, 1), (1, 3600)):
            for _ in range(20):
                shown.action_zoom(steps)
            assert shown.cell_s == least

    perform(shown, act, (80, 12))


def test_a_click_chooses_a_span() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        at = lines(shown)[1].index("a/2")
        await pilot.click(shown, offset=(at + 6, 1))
        assert shown.cursor_key == "a/2"
        await pilot.click(shown, offset=(at + 6, 1), times=2)
        assert app.said(LanesChart.Opened)

    perform(shown, act, (80, 12))


def test_the_cursor_stays_when_time_goes_on() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("left")
        shown.show(ROWS, NOW + 300)
        assert shown.cursor_key == "a/2"
        shown.show([Lane("Z", "new", [span("z/1", 5, None)])], NOW)
        assert shown.cursor_key == "z/1"

    perform(shown, act, (80, 12))


def test_tall_lanes_have_their_details_below() -> None:
    shown = chart()

    async def act(app: Any, pilot: Any) -> None:
        shown.tall = True
        await pilot.pause()
        assert lines(shown)[3].startswith("g0.B")
        assert "9 GiB" in lines(shown)[4]

    perform(shown, act, (80, 12))


def test_more_lanes_than_lines_are_scrolled() -> None:
    shown = LanesChart()
    rows = [Lane(i, f"s{i:02}", [span(f"a/{i}", 20, None)]) for i in range(16)]

    async def act(app: Any, pilot: Any) -> None:
        shown.show(rows, NOW)
        for expected in range(16):
            assert any(f"a/{expected} ━" in line for line in lines(shown)), expected
            await pilot.press("down")

    perform(shown, act, (80, 12))


def test_empty_lanes_say_so() -> None:
    shown = LanesChart(empty="nothing has run yet")

    async def act(app: Any, pilot: Any) -> None:
        for rows in ([], [Lane("A", "a", [])]):
            shown.show(rows, NOW)
            assert lines(shown)[0].strip() == "nothing has run yet"
            await pilot.press("left", "down", "plus", "enter", "g", "G")
        assert shown.cursor_key is None

    perform(shown, act, (80, 12))


@pytest.mark.parametrize("size", [(80, 24), (10, 3), (1, 1), (160, 50)])
def test_no_size_breaks_it_and_hostile_names_are_inert(size: tuple[int, int]) -> None:
    shown = LanesChart()
    rows = [
        Heading([("\x1b]0;x\x07日本", "bold")]),
        Lane("A", "日本語\n", [span("a", 30, 5, label="\x1b[2J日本e\u0301", sign="日")], "\x07"),
    ]

    async def act(app: Any, pilot: Any) -> None:
        shown.show(rows, NOW)
        drawn = lines(shown)
        assert {cell_len(line) for line in drawn} == {size[0]}
        assert all(line.isprintable() for line in drawn)

    perform(shown, act, size)


def test_ascii_needs_nothing_else() -> None:
    shown = LanesChart(ascii=True)
    rows = [Lane("A", "a", [span("a/1", 20, 10, sign="%"), span("a/2", 9, None, sign=">")])]

    async def act(app: Any, pilot: Any) -> None:
        shown.show(rows, NOW)
        assert "".join(lines(shown)).isascii()

    perform(shown, act)
