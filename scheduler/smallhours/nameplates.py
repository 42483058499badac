"""What devices are called: ``devices.json``, a view that nothing depends on.

The ledger knows GPUs by their UUIDs. Their labels and numbers are kept here as the engine saw them
last, so that commands can name them without asking a driver, also those that are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from smallhours.paths import Home


class Nameplate(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it was when it was seen last."""

    kind: Literal["cpu", "gpu", "mig"]
    #: ``NVIDIA GeForce RTX 3090``.
    label: str
    #: Where it stood among the GPUs; None: it is no GPU.
    index: int | None
    #: Its memory; None: not known.
    total_bytes: int | None = None


def read(home: Home) -> dict[str, Nameplate]:
    """Return all devices that were ever seen, by name; empty: none was, or they can't be read."""
    try:
        return msgspec.json.decode(home.devices.read_bytes(), type=dict[str, Nameplate])
    except (OSError, msgspec.MsgspecError):
        return {}


def write(home: Home, plates: Mapping[str, Nameplate]) -> None:
    """Replace what is kept."""
    temporary = home.devices.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(plates))
    temporary.replace(home.devices)
