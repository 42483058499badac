"""Starting the dashboard: what must be set before Textual is imported, and the run itself."""

from __future__ import annotations

import gc
import os

from smallhours.paths import Home
from smallhours_tui.options import Options


def run(home: Home, options: Options) -> int:
    """Show the dashboard until the user leaves.

    Args:
        home: The state directory.
        options: How it looks and what it may do.

    Returns:
        The exit code.

    Raises:
        UsageError: an option, or the file of keys, is wrong.
        LedgerError: the ledger can't be read.
    """
    # Textual reads these when it is imported. Over ssh frames cost more than they show.
    os.environ.setdefault("TEXTUAL_FPS", "30" if "SSH_CONNECTION" in os.environ else "60")
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    # Thousands of objects that stay: the app collects once, when everything is there.
    gc.disable()
    from smallhours_tui.app import Dashboard

    app = Dashboard(home, options)
    app.run(mouse=options.mouse)
    return app.return_code or 0
