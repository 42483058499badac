"""Copies text to the clipboard of whoever looks: through the terminal, and into a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def path() -> Path:
    """Return the file that copies go to, for terminals that don't take them."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir())
    return base / f"smallhours-copy-{os.getuid()}.txt"


def write(text: str) -> Path | None:
    """Write a copy that only its owner can read; None: it could not be written."""
    file = path()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8") as opened:
            opened.write(text + "\n")
    except OSError:
        return None
    return file
