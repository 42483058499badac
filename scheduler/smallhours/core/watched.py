"""What is seen of an attempt on its device: by its own process, and by the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from smallhours.core.footprint import Footprint
from smallhours.core.recall import LEAST_BYTES
from smallhours.core.spec import DeviceKind
from smallhours.packing.context import CONTEXT_BYTES

#: What was listed may be older than the report that the look came after: one look says nothing.
_LOOKS: Final = 5


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
    #: How often its device listed its processes after its first report, and it wasn't among them;
    #: those of the study's trials before it count too, which may each have been too short.
    unlisted: int = 0

    def peak(self, footprint: Footprint | None) -> int | None:
        """Return the most that it is known to have taken of its device; None: nothing is known.

        Args:
            footprint: What its process measured of itself.
        """
        if self.kind == "cpu":
            return None if footprint is None else footprint.host_bytes
        torch = footprint.gpu_bytes if footprint is not None else None
        known = [self.held_bytes] if self.held_bytes is not None else []
        known += [torch + (0 if known else CONTEXT_BYTES)] if torch is not None else []
        if known:
            return max(*known, LEAST_BYTES)
        # It had time to be listed, and isn't: it does not use the card.
        return LEAST_BYTES if self.unlisted >= _LOOKS else None
