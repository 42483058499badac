"""What is seen of an attempt on its device: by its own process, and by the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from smallhours.core.footprint import Footprint
from smallhours.core.recall import LEAST_BYTES
from smallhours.core.seen import DeviceSeen
from smallhours.core.spec import DeviceKind
from smallhours.packing.context import CONTEXT_BYTES


@dataclass(slots=True)
class Watched:
    """What was seen of an attempt that runs on a device."""

    kind: DeviceKind
    device: str
    #: Bytes that the device had given away before it came; None: not known, or it wasn't alone.
    before_bytes: int | None
    #: The most that its process was seen to hold, and how that is known.
    held_bytes: int | None = None
    source: Literal["processes", "card delta"] = "processes"
    #: The most that it was known to need at its latest report.
    peak_bytes: int | None = None
    #: How busy the device was at each look while it was alone there and had reported.
    busy: list[float] = field(default_factory=list)

    def peak(self, footprint: Footprint | None, seen: DeviceSeen | None) -> int | None:
        """Return the most that it is known to have taken of its device; None: nothing is known.

        Args:
            footprint: What its process measured of itself.
            seen: Its device.
        """
        if self.kind == "cpu":
            return None if footprint is None else footprint.host_bytes
        torch = footprint.gpu_bytes if footprint is not None else None
        known = [self.held_bytes] if self.held_bytes is not None else []
        known += [torch + (0 if known else CONTEXT_BYTES)] if torch is not None else []
        if known:
            return max(*known, LEAST_BYTES)
        # Its processes can be listed and it isn't among them: it does not use the card.
        return LEAST_BYTES if seen is not None and seen.ours_bytes is not None else None
