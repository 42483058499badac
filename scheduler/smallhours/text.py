"""Everything that reaches a terminal: cleaned, cut to width, and numbers as people read them."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TextIO, TypeAlias

Tone: TypeAlias = Literal["bold", "dim", "green", "cyan", "yellow", "magenta", "red"]
#: What a colour stands for; it always goes with a word that says so.
Kind: TypeAlias = Literal["done", "running", "waiting", "stopped", "failed"]

#: Longest piece of other people's text that is shown in one go, in characters.
LONGEST: Final = 4096
#: Digits that tell any two floating-point numbers apart.
_MOST_DIGITS = 17
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_CODES: Mapping[Tone, str] = {
    "bold": "1",
    "dim": "2",
    "green": "32",
    "cyan": "36",
    "yellow": "33",
    "magenta": "35",
    "red": "31",
}
#: The five hues.
HUES: Final[Mapping[Kind, Tone]] = {
    "done": "green",
    "running": "cyan",
    "waiting": "yellow",
    "stopped": "magenta",
    "failed": "red",
}
#: A column of a table is never cut below this.
_NARROWEST = 10
_BARS = "▁▂▃▄▅▆▇█"


class Toned(NamedTuple):
    """A text with a colour; the colour is added after the text was cleaned."""

    text: str
    tone: Tone


Piece: TypeAlias = str | Toned


def of_kind(text: str, kind: Kind | None) -> Piece:
    """Return a text in the colour of what it says; None: it says none of these things."""
    return text if kind is None else Toned(text, HUES[kind])


def clean(text: str, limit: int = LONGEST, keep: str = "") -> str:
    """Return `text` without anything that a terminal could obey, at most `limit` characters.

    Characters of the categories Cc, Cf, Cs, Co and Cn, and the separators U+2028 and U+2029, become
    U+FFFD: escape sequences, overrides of the writing direction and lone surrogates among them.

    Args:
        text: Text from anywhere.
        limit: Longest result; a longer one ends in ``…``.
        keep: Characters that may stay although they are of these categories.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    from unicodedata import category

    return "".join(_REPLACEMENT if category(c) in _FORBIDDEN and c not in keep else c for c in text)


def clean_lines(text: str, last: int | None = None) -> list[str]:
    """Return the lines of `text`, each cleaned, tabs expanded; only the `last` ones if given."""
    lines = [clean(line.expandtabs(4)) for line in text.strip("\n").split("\n")]
    if last is not None and len(lines) > last:
        return [f"… ({count(len(lines) - last, 'earlier line')})", *lines[-last:]]
    return lines


def cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes up."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def fit(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with ``…`` where something was cut off."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for c in text:
        used += _columns(c)
        if used > width - 1:
            break
        kept.append(c)
    return "".join(kept) + "…"


def _columns(c: str) -> int:
    from unicodedata import combining, east_asian_width

    if combining(c):
        return 0
    return 2 if east_asian_width(c) in "WF" else 1


def number(value: float | None) -> str:
    """Return a number with four significant digits; ``–`` where there is none."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def apart(one: float, other: float) -> tuple[str, str]:
    """Return two numbers, with as many digits as it takes to tell them apart."""
    said = number(one), number(other)
    digits = 4
    while one != other and said[0] == said[1] and digits < _MOST_DIGITS:
        digits += 1
        said = f"{one:.{digits}g}", f"{other:.{digits}g}"
    return said


def percent(share: float) -> str:
    """Return a share as whole per cent, with a decimal below 10 %."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 9.95 else f"{value:.0f} %"


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: ``0.12 s``, ``3 m 12 s``, ``2 h 5 m``, ``3 d 4 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 0.005:
        return "0 s"
    if seconds < 59.5:
        digits = 2 if seconds < 0.995 else 1 if seconds < 9.95 else 0
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours} h {minutes} m"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"


def size(size_bytes: float | None) -> str:
    """Return bytes with three significant digits in binary units: ``1.21 GiB``."""
    if size_bytes is None:
        return "–"
    value, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.3g} {units[0]}"


def count(n: int, thing: str, things: str = "") -> str:
    """Return a number with its noun: ``1 step``, ``33 steps``, ``2 retries``."""
    return f"{n} {thing if n == 1 else things or thing + 's'}"


def listing(names: Sequence[str], most: int = 8) -> str:
    """Return names as a phrase: ``a, b and c``, ``a, b and 5 more``."""
    if len(names) <= 1:
        return "".join(names)
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def moment(at: float | None, day: bool = True) -> str:
    """Return a wall time in the reader's own zone; ``–`` where there is none."""
    if at is None:
        return "–"
    from time import localtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S", localtime(at))


def clock(at: float, now: float) -> str:
    """Return a wall time as clocks show it, with its date where that is not within a day."""
    from time import localtime, strftime

    near = abs(at - now) < 86_400
    return strftime("%H:%M" if near else "%Y-%m-%d %H:%M", localtime(at))


def value(param: bool | float | str | None) -> str:
    """Return a parameter's value for reading: floats with four digits, the rest as it is."""
    if isinstance(param, float):
        return number(param)
    return clean(str(param), 60)


def params(configuration: Mapping[str, bool | float | str | None]) -> str:
    """Return a configuration on one line: ``lr=0.05 width=16``."""
    return " ".join(f"{clean(name, 60)}={value(v)}" for name, v in configuration.items())


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return a curve as one line of bars, highest value highest; ``!`` where one isn't finite."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)]
    means = [
        math.fsum(values[a:b]) / (b - a) if all(map(math.isfinite, values[a:b])) else math.nan
        for a, b in pairwise(edges)
    ]
    finite = [m for m in means if math.isfinite(m)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return "".join("▄" if math.isfinite(m) else "!" for m in means)
    return "".join(
        _BARS[min(7, int((m - low) / span * 8))] if math.isfinite(m) else "!" for m in means
    )


class Page:
    """Writes to a terminal or a file; everything it is given is cleaned first."""

    def __init__(self, out: TextIO, width: int | None = None) -> None:
        self._out = out
        self._colour = _wants_colour(out)
        #: Columns that may be used.
        self.width = width or _width(out)

    def line(self, *pieces: Piece, indent: int = 0) -> None:
        """Write one line, however long."""
        self._out.write((" " * indent + "".join(map(self._render, pieces))).rstrip() + "\n")

    def paragraph(self, text: str, indent: int = 0, hang: int | None = None) -> None:
        """Write text wrapped to the width; later lines are indented by `hang`."""
        wrapped = textwrap.wrap(
            clean(_one_line(text)),
            self.width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent if hang is None else hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in wrapped:
            self.line(line)

    def pairs(self, items: Iterable[tuple[str, str]], indent: int = 2) -> None:
        """Write labelled texts, one under the other, wrapped beside their labels."""
        kept = [(clean(label, 40), text) for label, text in items if text]
        column = indent + max((cells(label) for label, _ in kept), default=0) + 2
        for label, text in kept:
            pad = " " * (column - indent - cells(label))
            wrapped = textwrap.wrap(
                clean(_one_line(text)),
                max(20, self.width - column),
                break_long_words=False,
                break_on_hyphens=False,
            )
            for i, line in enumerate(wrapped):
                head: Piece = Toned(label + pad, "dim") if i == 0 else " " * (column - indent)
                self.line(head, line, indent=indent)

    def block(self, text: str, indent: int = 6, last: int = 15) -> None:
        """Write the last lines of a text as they are (a traceback, a log)."""
        for line in clean_lines(text, last):
            self.line(Toned(line, "dim"), indent=indent)

    def table(
        self,
        titles: Sequence[str],
        rows: Sequence[Sequence[Piece]],
        *,
        right: str = "",
        shrink: Sequence[int] = (-1,),
        indent: int = 2,
    ) -> None:
        """Write a table that keeps to the width, with a line of titles.

        Args:
            titles: Of the columns.
            rows: A cell for each column.
            right: One letter a column: ``r`` sets its cells flush right.
            shrink: Columns that are cut where the table is too wide, first this, then that.
            indent: Columns left free at the left.
        """
        head = [Toned(title, "dim") for title in titles]
        self.rows([head, *rows], right=right, shrink=shrink, indent=indent)

    def rows(
        self,
        rows: Sequence[Sequence[Piece]],
        *,
        right: str = "",
        shrink: Sequence[int] = (-1,),
        indent: int = 2,
    ) -> None:
        """Write a table without titles; arguments as for `table`."""
        texts = [[clean(_text(cell)) for cell in row] for row in rows]
        widths = [max(map(cells, column)) for column in zip(*texts, strict=True)]
        over = indent + sum(widths) + 2 * (len(widths) - 1) - self.width
        for i in shrink:
            cut = min(max(over, 0), max(0, widths[i] - _NARROWEST))
            widths[i] -= cut
            over -= cut
        for row, shown in zip(rows, texts, strict=True):
            pieces: list[Piece] = []
            for i, cell in enumerate(row):
                fitted = fit(shown[i], widths[i])
                pad = " " * (widths[i] - cells(fitted))
                fitted = pad + fitted if right[i : i + 1] == "r" else fitted + pad
                pieces += [cell._replace(text=fitted) if isinstance(cell, Toned) else fitted, "  "]
            self.line(*pieces[:-1], indent=indent)

    def _render(self, piece: Piece) -> str:
        text = clean(_text(piece))
        if self._colour and isinstance(piece, Toned) and text:
            return f"\x1b[{_CODES[piece.tone]}m{text}\x1b[0m"
        return text


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ")


def _text(piece: Piece) -> str:
    return piece.text if isinstance(piece, Toned) else piece


def _wants_colour(out: TextIO) -> bool:
    """Say whether colour is wanted, by the conventions that Python itself keeps.

    ``NO_COLOR`` goes first, then ``FORCE_COLOR`` and ``CLICOLOR_FORCE`` (for files and pipes, never
    for text that is collected to be put into JSON), then what the terminal can do.
    """
    environment = os.environ.get
    if environment("NO_COLOR"):
        return False
    if environment("FORCE_COLOR") or environment("CLICOLOR_FORCE", "0") not in ("", "0"):
        return _is_file(out)
    return out.isatty() and environment("TERM") != "dumb"


def _is_file(out: TextIO) -> bool:
    """Say whether what is written goes somewhere outside this process."""
    try:
        out.fileno()
    except OSError:
        return False
    return True


def _width(out: TextIO) -> int:
    """Return the columns of the terminal; ``COLUMNS`` goes first, 80 where nothing is known."""
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named) >= 40:
        return int(named)
    if out.isatty():
        try:
            return max(40, os.get_terminal_size(out.fileno()).columns)
        except OSError:
            return 80
    return 80
