"""Overnight hyperparameter sweeps on one workstation, with a reason for every trial's end."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smallhours.space import Choice, Float, Int
    from smallhours.study import Asha, Median, Study
    from smallhours.worker.trial import ReportError, Trial, TrialStopped

__all__ = [
    "Asha", "Choice", "Float", "Int", "Median", "ReportError", "Study", "Trial", "TrialStopped",
]  # fmt: skip

#: Where each public name lives; imported on first use, so that commands start quickly.
_HOMES = {
    "Asha": "smallhours.study",
    "Choice": "smallhours.space",
    "Float": "smallhours.space",
    "Int": "smallhours.space",
    "Median": "smallhours.study",
    "ReportError": "smallhours.worker.trial",
    "Study": "smallhours.study",
    "Trial": "smallhours.worker.trial",
    "TrialStopped": "smallhours.worker.trial",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'smallhours' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
