"""``smallhours watch``: the dashboard; or its first screen as text, for scripts and readers."""

from __future__ import annotations

import os
import sys
from datetime import datetime

from smallhours import when
from smallhours.paths import Home


def watch(
    home: Home,
    *,
    name: str | None = None,
    readonly: bool = False,
    ascii_only: bool = False,
    theme: str | None = None,
    no_mouse: bool = False,
    once: bool = False,
    plain: bool = False,
    at: str | None = None,
    since: str | None = None,
) -> int:
    """Show the night.

    Args:
        home: The state directory.
        name: A study or a trial to begin with.
        readonly: Show, and ask for nothing.
        ascii_only: Draw with ASCII only.
        theme: Name of the theme.
        no_mouse: Leave the mouse to the terminal.
        once: Print the night and leave; so it is where no terminal reads.
        plain: Print the night, then a line for whatever happens.
        at: A time gone by to look at.
        since: A time gone by from which on what happened is told.

    Returns:
        The exit code.
    """
    now = datetime.now().astimezone()
    at_s = None if at is None else when.parse_past(at, now)
    since_s = None if since is None else when.parse_past(since, now)
    ascii_only = ascii_only or not _shows_unicode()
    if once or plain or not (sys.stdout.isatty() and sys.stdin.isatty()):
        from smallhours_tui import plain as text
        from smallhours_tui.feed import Feed

        write = text.follow if plain and not once else text.once
        return write(Feed(home, at=at_s, since=since_s), sys.stdout, ascii_only=ascii_only)
    from smallhours_tui import start
    from smallhours_tui.options import Options

    options = Options(
        readonly=readonly,
        ascii=ascii_only,
        theme=theme,
        mouse=not no_mouse,
        at=at_s,
        since=since_s,
        target=name,
    )
    return start.run(home, options)


def _shows_unicode() -> bool:
    """Say whether the terminal is told to show more than ASCII: Textual sends UTF-8 anyway."""
    named = next((v for k in ("LC_ALL", "LC_CTYPE", "LANG") if (v := os.environ.get(k))), "")
    return named.upper().replace("-", "").endswith("UTF8") or named == ""
