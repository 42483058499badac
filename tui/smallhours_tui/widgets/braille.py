"""Pictures of dots: eight dots a cell, a picture kept as one big integer.

A picture of ``w`` x ``h`` cells is an integer of ``8 * w * h`` bits, a byte a cell in the order of
reading. Pictures are laid on top of each other with ``|``, which makes it cheap to draw one of two
hundred curves again and none of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

#: Dots from the left (None: no curve here) and from the top.
Dots: TypeAlias = Sequence[tuple[int, int] | None]

_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE: Final = "".join(" " if n == 0 else chr(0x2800 + n) for n in range(256))


def _ascii_of(dots: int) -> str:
    """Return the ASCII character that looks most like eight dots."""
    rows = [y for y, bits in enumerate(_BITS) for bit in bits if dots & bit]
    if not rows:
        return " "
    left = [y for y, bits in enumerate(_BITS) if dots & bits[0]]
    right = [y for y, bits in enumerate(_BITS) if dots & bits[1]]
    if max(rows) - min(rows) >= 2:
        if left and right and left != right:
            return "\\" if sum(left) / len(left) < sum(right) / len(right) else "/"
        return "|"
    return "'--.."[min(rows) + (max(rows) > min(rows))] if max(rows) < 3 else "."


_ASCII: Final = "".join(map(_ascii_of, range(256)))


class Canvas:
    """Draws one picture; coordinates are dots from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        """Begin an empty picture of `width` x `height` cells."""
        self._cells = bytearray(width * height)
        self._width = width
        self._columns, self._lines = 2 * width, 4 * height

    def line(self, dots: Iterable[tuple[int, int] | None]) -> None:
        """Draw a line through dots; None lifts the pen. A dot on its own is drawn as one."""
        before: tuple[int, int] | None = None
        for dot in dots:
            if dot is not None:
                if before is None:
                    self.upright(dot[0], dot[1], dot[1])
                else:
                    self._stroke(*before, *dot)
            before = dot

    def _stroke(self, x0: int, y0: int, x1: int, y1: int) -> None:
        """Draw a straight line to the right, each column of dots as one upright piece."""
        if x1 == x0:
            self.upright(x0, y0, y1)
            return
        # What is far outside is cut to what is next to the picture, or steep strokes take for ever.
        x, y, slope = x0, float(y0), (y1 - y0) / (x1 - x0)
        while x < x1:
            after = y + slope
            self.upright(x, round(y), round(y + slope / 2))
            x += 1
            self.upright(x, round(y + slope / 2), round(after))
            y = after

    def upright(self, x: int, y0: int, y1: int) -> None:
        """Draw an upright line in a column of dots, both ends included."""
        if not 0 <= x < self._columns:
            return
        if y0 > y1:
            y0, y1 = y1, y0
        cells, width, side = self._cells, self._width, x & 1
        column = x >> 1
        for y in range(max(y0, 0), min(y1, self._lines - 1) + 1):
            cells[(y >> 2) * width + column] |= _BITS[y & 3][side]

    def shade(self, x: int, y0: int, y1: int) -> None:
        """Shade a column of dots thinly between two heights: one dot in four."""
        if x & 1 or not 0 <= x < self._columns:
            return
        cells, width, column = self._cells, self._width, x >> 1
        first = max(min(y0, y1), 0)
        for y in range(first + (first + column) % 2, min(max(y0, y1), self._lines - 1) + 1, 2):
            cells[(y >> 2) * width + column] |= _BITS[y & 3][0]

    def picture(self) -> int:
        """Return the picture."""
        return int.from_bytes(self._cells, "little")


def cells_of(picture: int, width: int, height: int) -> Iterator[bytes]:
    """Yield the lines of a picture, a byte a cell."""
    data = picture.to_bytes(width * height, "little")
    for y in range(height):
        yield data[y * width : (y + 1) * width]


def glyphs(ascii_only: bool) -> str:
    """Return the character of each of the 256 ways to set the dots of a cell."""
    return _ASCII if ascii_only else _BRAILLE
