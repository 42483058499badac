from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallhours import text
from smallhours.text import Page, Toned

HOSTILE = "\x1b]52;c;aGk=\x07\x9b31m\u202egnp.exe\u2028\ud800\ue000[/x]"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(st.text(alphabet=st.characters(codec=None), max_size=60))
def test_nothing_that_a_terminal_obeys_survives_cleaning(raw: str) -> None:
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    cleaned = text.clean(raw)
    assert len(cleaned) == len(raw)
    assert not [c for c in cleaned if unicodedata.category(c) in bad]


def test_harmless_text_is_left_as_it_is() -> None:
    assert text.clean("größe = 3 × 4 [/x]\u00a0日本") == "größe = 3 × 4 [/x]\u00a0日本"


def test_long_text_is_capped() -> None:
    assert text.clean("a" * 50, 10) == "aaaaaaaaa…"


def test_the_last_lines_are_kept_and_the_others_counted() -> None:
    assert text.clean_lines("a\nb\n\tc\n", 2) == ["… (1 earlier line)", "b", "    c"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (0.0, "0"), (0.031234, "0.03123"), (12.0, "12"), (123456.0, "123456"),
        (1e9, "1e+09"), (float("nan"), "NaN"), (float("-inf"), "-infinity"),
    ],
)  # fmt: skip
def test_numbers_have_four_significant_digits(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"), (0.123, "0.12 s"), (0.997, "1.0 s"), (9.96, "10 s"), (59.6, "1 m 0 s"),
        (192.0, "3 m 12 s"), (7500.0, "2 h 5 m"), (3599.9, "1 h 0 m"), (90_000.0, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(None, "–"), (512, "512 B"), (2048, "2 KiB"), (1000 * 1024, "0.977 MiB"), (3 << 30, "3 GiB")],
)
def test_bytes_are_said_in_binary_units(size_bytes: int | None, shown: str) -> None:
    assert text.size(size_bytes) == shown


def test_a_listing_names_a_few_and_counts_the_rest() -> None:
    assert text.listing([]) == ""
    assert text.listing(["a", "b"]) == "a and b"
    assert text.listing(["a", "b", "c", "d"], 3) == "a, b and 2 more"


def test_text_is_cut_by_columns_not_by_characters() -> None:
    assert text.fit("日本語の名前", 7) == "日本語…"
    assert text.cells(text.fit("日本語の名前", 7)) == 7
    assert text.cells("e\u0301") == 1


def test_a_curve_becomes_bars_with_what_is_not_finite_marked() -> None:
    assert text.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert text.sparkline([1.0, float("nan"), 1.0]) == "▄!▄"
    assert len(text.sparkline([float(i) for i in range(1000)], 40)) == 40
    assert text.sparkline([]) == ""


def test_a_table_keeps_to_the_width_and_cuts_the_column_that_may_shrink() -> None:
    out = io.StringIO()
    Page(out, width=40).table(("name", "what"), [("wine/1", "x" * 60)], shrink=(1,))
    lines = out.getvalue().splitlines()
    assert [text.cells(line) for line in lines] == [14, 40]
    assert lines[1].startswith("  wine/1  xxx")
    assert lines[1].endswith("x…")


def test_nothing_hostile_passes_a_page() -> None:
    out = io.StringIO()
    page = Page(out, width=80)
    page.line(HOSTILE, Toned(HOSTILE, "red"))
    page.paragraph(HOSTILE)
    page.pairs([(HOSTILE, HOSTILE)])
    page.block(HOSTILE)
    page.table((HOSTILE,), [(HOSTILE,)])
    shown = out.getvalue()
    assert not set("\x1b\x07\x9b\u202e\u2028\ud800\ue000") & set(shown)
    assert "[/x]" in shown


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_follows_the_conventions(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = Terminal()
    Page(out, width=80).line(Toned("x", "red"))
    assert out.getvalue() == ("\x1b[31mx\x1b[0m\n" if coloured else "x\n")


def test_a_file_gets_no_colour() -> None:
    out = io.StringIO()
    Page(out).line(Toned("x", "red"))
    assert out.getvalue() == "x\n"
