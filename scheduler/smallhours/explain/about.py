"""What a sentence about an attempt needs to know beside its reason."""

from __future__ import annotations

from typing import NamedTuple

from smallhours.core.spec import Goal
from smallhours.snapshot.views import Then


class About(NamedTuple):
    """An attempt, its trial and its study, as far as sentences name them."""

    #: ``digits/12``.
    name: str
    #: ``digits``.
    study: str
    metric: str
    goal: Goal
    #: Of a whole trial.
    steps: int
    last_step: int
    #: Of the trial: seconds on its places, and steps run there.
    seconds: float
    steps_run: int
    then: Then
    retries: int = 0
    #: The file that the study was read from.
    source: str = "STUDY.py"
    #: Other trials with the same failure.
    alike: tuple[str, ...] = ()
    #: The step that it goes on from, should it.
    from_step: int = 0
    #: What it ran on, as people call it: ``GPU 0 (RTX 3090)``; empty: nobody remembers.
    device: str = ""
    #: So much of its compute the trials there may ask for together; None: nothing had done harm.
    cap: float | None = None


def where(about: About) -> str:
    """Return how far an attempt had come: ``at step 3 of 40``."""
    if not about.last_step:
        return "before its first report"
    return f"at step {about.last_step} of {about.steps}"
