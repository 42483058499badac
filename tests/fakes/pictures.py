"""Pictures of the dashboard: drawn as SVG, compared with those that somebody looked at and kept."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path

from fakes.audience import Shown

#: Set to draw all pictures anew; look at them before they are committed.
REDRAW = "SMALLHOURS_REDRAW"
KEPT = Path(__file__).parent.parent / "tui" / "pictures"
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_TEXT = re.compile(r'<text [^>]*\by="([\d.]+)"[^>]*>(.*?)</text>')


def picture(shown: Shown) -> str:
    """Return what is on the screen as an SVG that fetches nothing."""
    svg = _FONTS.sub("", shown.app.export_screenshot(title="smallhours watch", simplify=True))
    # The name of everything in it is a hash of the whole: one cell would change each line.
    svg = re.sub(r"terminal-\d+", "t", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def assert_as_kept(shown: Shown, name: str) -> None:
    """Compare what is on the screen with the picture that was kept under a name."""
    drawn, path = picture(shown), KEPT / f"{name}.svg"
    if os.environ.get(REDRAW):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
        return
    assert path.exists(), f"there is no picture {path}: set {REDRAW}=1 to draw it, and look at it"
    kept = path.read_text(encoding="utf-8")
    before, after = _lines(kept), _lines(drawn)
    differ = [
        f"- {before.get(y, '')}\n+ {after.get(y, '')}"
        for y in sorted(before.keys() | after.keys())
        if before.get(y) != after.get(y)
    ]
    hint = f"if that is meant, set {REDRAW}=1 and look at the pictures that change"
    assert not differ, f"{name} looks different ({hint}):\n" + "\n".join(differ)
    assert drawn == kept, f"{name} has other colours ({hint})"


def _lines(svg: str) -> dict[float, str]:
    """Return the text of a picture by the height that it stands at."""
    lines: dict[float, str] = {}
    for y, text in _TEXT.findall(svg):
        lines[float(y)] = lines.get(float(y), "") + unescape(text).replace("\xa0", " ")
    return lines
