"""Four themes, and what the names of styles mean in each.

The hues of the dark theme stay apart for every kind of colour blindness (five states, closest pair
19 in CIE 76 over four visions); the light one has their dark twins. ``ansi`` uses the terminal's
own sixteen colours and its background.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.style import Style
from textual.theme import Theme

from smallhours_tui.marks import HUES

_CURSOR: Final = {
    "block-cursor-text-style": "bold",
    "footer-key-foreground": "#56B4E9",
    "input-selection-background": "#56B4E9 35%",
}

DARK: Final = Theme(
    name="dark",
    primary="#56B4E9",
    secondary="#8AA4B8",
    accent="#56B4E9",
    warning="#E6C200",
    error="#D55E00",
    success="#7FB77E",
    foreground="#E0E0E0",
    background="#121212",
    surface="#1A1A1A",
    panel="#242424",
    dark=True,
    variables={
        **_CURSOR,
        "hue-running": "#56B4E9",
        "hue-waiting": "#8A8A8A",
        "hue-done": "#E0E0E0",
        "hue-stopped": "#E6C200",
        "hue-failed": "#D55E00",
        "muted": "#8A8A8A",
    },
)
LIGHT: Final = Theme(
    name="light",
    primary="#005A94",
    secondary="#4A6572",
    accent="#005A94",
    warning="#7A5F00",
    error="#A84300",
    success="#2E6B2E",
    foreground="#1A1A1A",
    background="#FFFFFF",
    surface="#F4F4F4",
    panel="#E8E8E8",
    dark=False,
    variables={
        **_CURSOR,
        "footer-key-foreground": "#005A94",
        "hue-running": "#005A94",
        "hue-waiting": "#6A6A6A",
        "hue-done": "#1A1A1A",
        "hue-stopped": "#7A5F00",
        "hue-failed": "#A84300",
        "muted": "#6A6A6A",
    },
)
CONTRAST: Final = Theme(
    name="contrast",
    primary="#FFFFFF",
    secondary="#FFFFFF",
    accent="#00E5FF",
    warning="#FFE600",
    error="#FF8A3D",
    success="#FFFFFF",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#000000",
    dark=True,
    variables={
        **_CURSOR,
        "footer-key-foreground": "#00E5FF",
        "hue-running": "#00E5FF",
        "hue-waiting": "#C8C8C8",
        "hue-done": "#FFFFFF",
        "hue-stopped": "#FFE600",
        "hue-failed": "#FF8A3D",
        "muted": "#C8C8C8",
    },
)
ANSI: Final = Theme(
    name="ansi",
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_cyan",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    ansi=True,
    variables={
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border-blurred": "ansi_black",
        "block-cursor-text-style": "reverse",
        "block-cursor-background": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-blurred-text-style": "underline",
        "block-cursor-blurred-background": "ansi_default",
        "block-cursor-blurred-foreground": "ansi_default",
        "footer-key-foreground": "ansi_cyan",
        "input-selection-background": "ansi_blue",
        "hue-running": "cyan",
        "hue-waiting": "bright_black",
        "hue-done": "default",
        "hue-stopped": "yellow",
        "hue-failed": "red",
        "muted": "bright_black",
    },
)
THEMES: Final[Mapping[str, Theme]] = {t.name: t for t in (DARK, LIGHT, CONTRAST, ANSI)}


def style_map(theme: Theme) -> dict[str, Style]:
    """Return what the names of styles mean: the hues, ``dim``, ``bold``, ``title``, ``key``."""
    own = theme.variables
    base = (DARK if theme.dark else LIGHT).variables
    colours = {name: own.get(name, base[name]) for name in base if name.startswith("hue-")}
    styles: dict[str, Style] = {hue: Style(color=colours[f"hue-{hue}"]) for hue in HUES}
    styles["failed"] += Style(bold=True)
    muted = Style(color=own.get("muted", base["muted"]))
    accent = styles["running"]
    return {
        **styles,
        "": Style.null(),
        "dim": muted,
        "bold": Style(bold=True),
        "title": Style(bold=True),
        "best": styles["done"] + Style(bold=True),
        "baseline": accent,
        "key": accent,
    }
