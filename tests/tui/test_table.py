from collections.abc import Hashable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Region

from fakes.stage import lines, perform
from smallhours_tui.widgets.columns import widths
from smallhours_tui.widgets.table import Cell, Column, LineTable

COLUMNS = [
    Column("mark", "", 1),
    Column("trial", "trial", 6),
    Column("value", "value", 8, "right"),
    Column("why", "why", 6, flexible=True),
]


class Watched(LineTable):
    """Keeps the lines that it paints again."""

    def __init__(self, **keys: Any) -> None:
        self.again: list[int] = []
        super().__init__(**keys)

    def refresh(self, *regions: Region, **keys: Any) -> LineTable:
        self.again += [region.y for region in regions]
        return super().refresh(*regions, **keys)


class Source:
    """Rows with a value each."""

    def __init__(self) -> None:
        self.values: dict[Hashable, object] = {}
        self.asked: list[Hashable] = []

    def __call__(self, key: Hashable) -> Sequence[Cell]:
        self.asked.append(key)
        why = str(self.values.get(key, "all is well"))
        return [("▸", "running"), (f"t{key}", ""), ("0.25", ""), (why, "failed")]


def table(rows: int = 1000, **keys: Any) -> tuple[Watched, Source]:
    made, source = Watched(**keys), Source()
    made.set_columns(COLUMNS)
    made.set_source(list(range(rows)), source)
    return made, source


def test_only_rows_that_are_seen_are_rendered() -> None:
    shown, source = table(10_000)

    async def act(app: Any, pilot: Any) -> None:
        assert set(source.asked) == set(range(11))
        assert shown.virtual_size.height == 10_001

    perform(shown, act)


def test_titles_and_cells_stand_in_their_columns() -> None:
    shown, _ = table(2)

    async def act(app: Any, pilot: Any) -> None:
        assert lines(shown)[0].rstrip() == "   trial     value why"
        assert lines(shown)[1].rstrip() == ">▸ t0         0.25 all is well"
        assert lines(shown)[2].rstrip() == " ▸ t1         0.25 all is well"

    perform(shown, act)


def test_the_title_of_the_column_that_is_sorted_by_says_so() -> None:
    shown, _ = table(2)

    async def act(app: Any, pilot: Any) -> None:
        shown.set_columns(COLUMNS, sort=("value", True))
        assert "value▾" in lines(shown)[0]
        shown.ascii = True
        await pilot.pause()
        assert "valuev" in lines(shown)[0]

    perform(shown, act)


def test_the_flexible_column_takes_the_rest() -> None:
    assert widths(COLUMNS, 40) == [1, 6, 8, 22]


def test_columns_without_room_are_cut_and_then_left_out() -> None:
    assert widths(COLUMNS, 13) == [1, 6, 4, 0]


def test_a_text_too_long_ends_in_an_ellipsis_at_the_edge() -> None:
    shown, source = table(1)
    source.values[0] = "a very long reason " * 9

    async def act(app: Any, pilot: Any) -> None:
        line = lines(shown)[1]
        assert len(line) == 60
        assert line.rstrip().endswith("…")

    perform(shown, act)


def test_wide_characters_keep_columns_straight() -> None:
    shown, source = table(2)
    source.values.update({0: "日本語" * 40, 1: "e\u0301clair ☃\ufe0f"})

    async def act(app: Any, pilot: Any) -> None:
        assert {cell_len(line) for line in lines(shown)} == {60}

    perform(shown, act)


def test_what_a_terminal_could_obey_is_not_drawn() -> None:
    shown, source = table(1)
    source.values[0] = "\x1b]52;c;ZXZpbA==\x07[red]x[/]\nnext\u202eline"

    async def act(app: Any, pilot: Any) -> None:
        line = lines(shown)[1]
        assert "[red]x[/] next" in line
        assert line.isprintable()

    perform(shown, act)


def test_a_changed_row_is_painted_alone() -> None:
    shown, source = table()

    async def act(app: Any, pilot: Any) -> None:
        shown.again.clear()
        source.asked.clear()
        source.values[3] = "else"
        shown.changed([3, 900])
        assert (shown.again, source.asked) == ([4], [3])
        assert "else" in lines(shown)[4]

    perform(shown, act)


def test_rows_given_again_are_painted_only_where_they_differ() -> None:
    shown, source = table()

    async def act(app: Any, pilot: Any) -> None:
        shown.again.clear()
        source.values[5] = "else"
        shown.set_source(list(range(1000)), source)
        assert shown.again == [6]

    perform(shown, act)


def test_keys_move_the_cursor() -> None:
    shown, _ = table(100)
    presses = [
        ("j", 1), ("down", 2), ("k", 1), ("up", 0), ("G", 99), ("g", 0), ("end", 99), ("home", 0),
        ("ctrl+d", 5), ("ctrl+u", 0), ("pagedown", 11), ("pageup", 0), ("up", 0),
    ]  # fmt: skip

    async def act(app: Any, pilot: Any) -> None:
        for key, row in presses:
            await pilot.press(key)
            assert shown.cursor_key == row, key
        assert app.said(LineTable.Moved)[-1].key == 0

    perform(shown, act)


def test_at_the_edge_the_view_moves_by_half_a_page() -> None:
    shown, _ = table(100)

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press(*["j"] * 10)
        assert shown.scroll_y == 0
        await pilot.press("j")
        assert shown.scroll_y == 6
        assert lines(shown)[6].startswith(">▸ t11")

    perform(shown, act)


def test_the_cursor_stays_with_its_row_and_on_its_line_when_the_order_changes() -> None:
    shown, source = table(100)

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press(*["j"] * 20)
        line = next(i for i, text in enumerate(lines(shown)) if text.startswith(">"))
        shown.set_source([*range(200, 250), *range(100)], source)
        await pilot.pause()
        assert shown.cursor_key == 20
        assert lines(shown)[line].startswith(">▸ t20 ")

    perform(shown, act)


def test_what_is_read_stays_in_place_though_the_cursor_is_elsewhere() -> None:
    shown, source = table(100)

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("j")
        shown.scroll_to(y=50, animate=False)
        await pilot.pause()
        before = lines(shown)[1:]
        shown.set_source([*range(200, 203), *range(100)], source)
        await pilot.pause()
        assert lines(shown)[1:] == before

    perform(shown, act)


def test_until_it_was_moved_the_cursor_stays_on_the_first_row() -> None:
    shown, source = table(5)

    async def act(app: Any, pilot: Any) -> None:
        shown.set_source([9, *range(5)], source)
        assert shown.cursor_key == 9

    perform(shown, act)


def test_a_row_that_is_filtered_out_leaves_the_cursor_to_the_nearest() -> None:
    shown, source = table(100)

    async def act(app: Any, pilot: Any) -> None:
        shown.cursor_key = 51
        shown.set_source([k for k in range(100) if k % 10 == 0], source)
        assert shown.cursor_key == 60
        shown.set_source([10, 20], source)
        assert shown.cursor_key == 20
        shown.set_source([], source)
        assert shown.cursor_key is None

    perform(shown, act)


def test_a_click_moves_and_a_second_one_opens() -> None:
    shown, _ = table()

    async def act(app: Any, pilot: Any) -> None:
        await pilot.click(shown, offset=(5, 4))
        assert shown.cursor_key == 3
        assert not app.said(LineTable.Opened)
        await pilot.click(shown, offset=(5, 4), times=2)
        assert [m.key for m in app.said(LineTable.Opened)] == [3]

    perform(shown, act)


def test_a_click_on_a_title_asks_for_sorting() -> None:
    shown, _ = table()

    async def act(app: Any, pilot: Any) -> None:
        await pilot.click(shown, offset=(4, 0))
        await pilot.click(shown, offset=(17, 0))
        assert [m.column for m in app.said(LineTable.SortRequested)] == ["trial", "value"]
        assert shown.cursor_key == 0

    perform(shown, act)


def test_space_marks_and_goes_on() -> None:
    shown, source = table(5)

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("space", "space", "up", "space")
        assert shown.marked == {0}
        assert lines(shown)[1].startswith("*▸ t0")
        shown.set_source([3, 4], source)
        await pilot.press("asterisk")
        assert shown.marked == {0, 3, 4}
        await pilot.press("asterisk")
        assert shown.marked == {0}
        assert len(app.said(LineTable.MarksChanged)) == 5

    perform(shown, act)


def test_enter_opens_the_row_under_the_cursor() -> None:
    shown, _ = table()

    async def act(app: Any, pilot: Any) -> None:
        await pilot.press("j", "enter")
        assert [m.key for m in app.said(LineTable.Opened)] == [1]

    perform(shown, act)


def test_an_empty_table_says_what_it_was_told() -> None:
    shown, source = table(0)

    async def act(app: Any, pilot: Any) -> None:
        shown.set_empty([[("Nothing here. ", "bold"), ("Add a study.", "")]])
        assert lines(shown)[2].rstrip() == "  Nothing here. Add a study."
        await pilot.press("j", "enter", "space", "G", "ctrl+d")
        assert not app.said(LineTable.Opened)
        shown.set_source([1], source)
        assert "t1" in lines(shown)[1]

    perform(shown, act)


def test_style_names_follow_the_apps_map() -> None:
    shown, _ = table(2)

    async def act(app: Any, pilot: Any) -> None:
        def colours() -> set[str]:
            styles = [segment.style for segment in shown.render_line(2)]
            return {s.color.name for s in styles if s is not None and s.color is not None}

        assert "#d55e00" in colours()
        app.style_map = {"failed": Style(color="#123456")}
        app.theme = "textual-light"
        await pilot.pause()
        assert "#123456" in colours()

    perform(shown, act)


def cards(key: Hashable) -> Sequence[Sequence[Cell]]:
    return [[(f"t{key}", "running"), (" 0.25", "")], [("  a long reason " * 9, "dim")]]


def test_a_narrow_app_gets_cards() -> None:
    shown, _ = table(100)

    async def act(app: Any, pilot: Any) -> None:
        shown.set_cards(2, cards)
        assert lines(shown)[0].rstrip() == ">t0 0.25"
        assert lines(shown)[1].startswith("   a long reason")
        assert lines(shown)[2].rstrip() == " t1 0.25"
        await pilot.press(*["j"] * 6)
        assert shown.cursor_key == 6
        assert shown.scroll_y == 6
        await pilot.click(shown, offset=(3, 3))
        assert shown.cursor_key == 4
        await pilot.resize_terminal(100, 12)
        await pilot.pause()
        assert "trial" in lines(shown)[0]
        assert any(line.startswith(">▸ t4") for line in lines(shown))

    perform(shown, act)


def test_ascii_needs_nothing_else() -> None:
    shown, source = table(3, ascii=True)
    source.values[0] = "x" * 99

    async def act(app: Any, pilot: Any) -> None:
        shown.set_columns(COLUMNS[1:], sort=("trial", False))
        source_rows = [0, 1, 2]
        shown.set_source(source_rows, lambda key: source(key)[1:])
        assert "".join(lines(shown)).isascii()

    perform(shown, act)
