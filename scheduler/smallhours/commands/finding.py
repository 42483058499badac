"""What a check of `smallhours doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: ``note``: worth knowing, and no fault.
Verdict: TypeAlias = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    what: str
    verdict: Verdict
    found: str
    #: What to do about it; empty: nothing.
    do: str = ""
