"""The user's own keys: ``keys.toml`` beside the settings, read when the dashboard starts.

Every key of the dashboard has a name; the file gives names other keys::

    [keys]
    "study.sort" = "o"
    "app.leave" = "q,ctrl+q"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from smallhours import settings
from smallhours.errors import UsageError
from smallhours.hints import did_you_mean


def path() -> Path:
    """Return the file that keys are read from (it need not exist)."""
    return settings.path().with_name("keys.toml")


def read(names: Callable[[], Collection[str]], file: Path | None = None) -> Mapping[str, str]:
    """Return the keys that the user wants by name of what they do.

    Args:
        names: Returns the names that there are; called where there is a file.
        file: The file; None: where it is looked for.

    Raises:
        UsageError: it can't be read, or holds something else than names and keys.
    """
    file = file or path()
    try:
        with file.open("rb") as opened:
            found = tomllib.load(opened)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: can't be read: {error}") from error
    for key in found.keys() - {"keys"}:
        raise UsageError(f"{file}: there is no {key!r}: keys stand below [keys]")
    known = names()
    keys = found.get("keys", {})
    for name, key in keys.items():
        if name not in known:
            hint = did_you_mean(name, sorted(known))
            raise UsageError(f"{file}: keys.{name}: there is no such key{hint}")
        if not isinstance(key, str) or not key:
            raise UsageError(f'{file}: keys.{name}: expected a key like "x" or "ctrl+x"')
    return dict(keys)
