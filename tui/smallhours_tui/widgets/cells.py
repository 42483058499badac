"""Text in cells of a terminal: made inert, measured as Textual measures, cut to a width."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rich.cells import cell_len, set_cell_size

from smallhours.text import clean

#: A text and the name of the style that it is drawn in.
Cell: TypeAlias = tuple[str, str]
Align: TypeAlias = Literal["left", "right"]

#: They choose between two pictures of a character, and terminals disagree on how wide that is.
_VARIATIONS = dict.fromkeys(range(0xFE00, 0xFE10))


def inert(text: str) -> str:
    """Return `text` on one line, with nothing in it that a terminal could obey."""
    if text.isascii() and text.isprintable():
        return text
    return clean(text.translate(_VARIATIONS).replace("\n", " ").replace("\t", " "))


def width_of(text: str) -> int:
    """Return how many cells an inert text takes up, as Textual will count them."""
    return len(text) if text.isascii() else cell_len(text)


def ellipsis(ascii_only: bool) -> str:
    """Return the sign that something was cut off."""
    return "~" if ascii_only else "…"


def fit(text: str, width: int, align: Align = "left", cut: str = "…") -> str:
    """Return an inert text at exactly `width` cells: padded, or cut with `cut` at its end."""
    used = width_of(text)
    if used < width:
        pad = " " * (width - used)
        return pad + text if align == "right" else text + pad
    if used == width:
        return text
    if width <= 0:
        return ""
    kept = text[: width - 1] if text.isascii() else set_cell_size(text, width - 1)
    return kept + cut
