"""Whether the host has memory for one more trial."""

from __future__ import annotations

from smallhours.core.guards import reserve_bytes
from smallhours.core.model import Study
from smallhours.core.night import Night


def memory_for(study: Study, night: Night) -> bool:
    """Whether one more trial of the study may start: what it has needed so far must be free.

    With nothing running there is nothing to wait for: it is tried, and judged by what it does.
    """
    if night.available_bytes is None or not night.state.live:
        return True
    return night.available_bytes >= reserve_bytes(night.total_bytes) + study.peak_bytes
