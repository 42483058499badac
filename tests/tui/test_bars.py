import math

import pytest

from smallhours_tui.widgets.bars import bar, sparkline


def test_a_bar_is_filled_to_its_share() -> None:
    assert bar(0.5, 8) == "████░░░░"
    assert bar(0.5, 10, ascii=True) == "[####....]"
    assert bar(0.3125, 8) == "██▌░░░░░"


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.001, 0.5, 0.999, 1.0, 7.0, None, math.nan])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_bar_is_as_wide_as_asked(share: float | None, width: int, ascii_only: bool) -> None:
    text = bar(share, width, ascii_only)
    assert len(text) == width
    assert text.isascii() or not ascii_only


def test_a_bar_is_empty_only_of_nothing_and_full_only_of_all() -> None:
    assert bar(0.0, 4) == "░░░░"
    assert bar(0.001, 4) != "░░░░"
    assert bar(0.999, 4) != "████"
    assert bar(1.0, 4) == "████"
    assert bar(0.001, 6, ascii=True) == "[#...]"
    assert bar(0.999, 6, ascii=True) == "[###.]"


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    assert bar(None, 4) == "┄┄┄┄"
    assert bar(math.nan, 6, ascii=True) == "[????]"


def test_a_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1], 2, ascii=True) == "_#"


def test_a_sparkline_keeps_to_given_bounds() -> None:
    assert sparkline([0.5, 2.0], 2, low=0.0, high=1.0) == "▅█"


def test_gaps_stay_gaps() -> None:
    assert sparkline([0.0, None, math.nan, 1.0], 4) == "▁  █"


def test_many_values_are_averaged_and_few_stand_at_the_right() -> None:
    assert sparkline([0, 0, 8, 8], 2) == "▁█"
    assert sparkline([0, 8], 4) == "  ▁█"
    assert sparkline([], 3) == "   "
    assert sparkline([3, 3], 2) == "▅▅"
    assert sparkline([1], 0) == ""
