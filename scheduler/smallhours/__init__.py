"""Overnight hyperparameter sweeps on one workstation, with a reason for every trial's end."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smallhours.space import Choice, Float, Int
    from smallhours.stopping import (
        After,
        AllOf,
        AnyOf,
        Asha,
        Extrapolate,
        Halving,
        Median,
        Patience,
        Threshold,
        Wilcoxon,
    )  # fmt: skip
    from smallhours.study import Study
    from smallhours.worker.trial import ReportError, Trial, TrialStopped

__all__ = [
    "After", "AllOf", "AnyOf", "Asha", "Choice", "Extrapolate", "Float", "Halving", "Int",
    "Median", "Patience", "ReportError", "Study", "Threshold", "Trial", "TrialStopped",
    "Wilcoxon",
]  # fmt: skip

#: Where each public name lives; imported on first use, so that commands start quickly.
_HOMES = {
    "After": "smallhours.stopping",
    "AllOf": "smallhours.stopping",
    "AnyOf": "smallhours.stopping",
    "Asha": "smallhours.stopping",
    "Choice": "smallhours.space",
    "Extrapolate": "smallhours.stopping",
    "Float": "smallhours.space",
    "Halving": "smallhours.stopping",
    "Int": "smallhours.space",
    "Median": "smallhours.stopping",
    "Patience": "smallhours.stopping",
    "ReportError": "smallhours.worker.trial",
    "Study": "smallhours.study",
    "Threshold": "smallhours.stopping",
    "Trial": "smallhours.worker.trial",
    "TrialStopped": "smallhours.worker.trial",
    "Wilcoxon": "smallhours.stopping",
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
