"""What the user wishes of the machine as a whole, as the core takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smallhours.core.hours import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Read from the settings file, again whenever it changes; not recorded."""

    #: When a device shall be quiet, local time, by its name (``cpu``); nothing runs there then.
    quiet: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    #: Bytes that all checkpoints may take; None: what the disk has.
    checkpoint_bytes: int | None = None
