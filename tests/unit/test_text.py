from __future__ import annotations

import io
import re
import unicodedata
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallhours import text
from smallhours.text import Page, Toned, apart

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


def test_numbers_that_differ_look_different() -> None:
    assert apart(0.3128, 0.3129) == ("0.3128", "0.3129")
    assert apart(0.113314, 0.113271) == ("0.11331", "0.11327")
    assert apart(2.0, 2.0) == ("2", "2")
    assert apart(float("nan"), 1.0) == ("NaN", "1")


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
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colour_follows_the_conventions(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    _only(monkeypatch, environment)
    out = Terminal()
    Page(out, width=80).line(Toned("x", "red"))
    assert out.getvalue() == ("\x1b[31mx\x1b[0m\n" if coloured else "x\n")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_a_pipe_gets_colour_only_where_it_is_forced(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    _only(monkeypatch, environment)
    with (tmp_path / "out").open("w") as out:
        Page(out).line(Toned("x", "red"))
    assert ("\x1b" in (tmp_path / "out").read_text()) is coloured


def test_text_that_is_collected_is_never_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, {"FORCE_COLOR": "1"})
    out = io.StringIO()
    Page(out).line(Toned("x", "red"))
    assert out.getvalue() == "x\n"


def _only(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Have only these of the variables that say something about colour."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)


def test_every_kind_has_a_hue_of_its_own() -> None:
    assert len(set(text.HUES.values())) == len(get_args(text.Kind)) == 5
    assert text.of_kind("paused", "waiting") == Toned("paused", "yellow")
    assert text.of_kind("retired", None) == "retired"


def test_a_table_is_as_wide_with_colours_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    _only(monkeypatch, {})
    rows = [(Toned("wine/1", "bold"), Toned("running", "cyan"), "3"), ("w/2", "waits", "14")]
    plain, coloured = io.StringIO(), Terminal()
    for out in (plain, coloured):
        Page(out, width=40).table(("trial", "state", "n"), rows, right="  r")
    assert "\x1b[36mrunning" in coloured.getvalue()
    assert re.sub(r"\x1b\[\d+m", "", coloured.getvalue()) == plain.getvalue()


def test_a_file_gets_no_colour() -> None:
    out = io.StringIO()
    Page(out).line(Toned("x", "red"))
    assert out.getvalue() == "x\n"
