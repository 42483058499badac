"""Guards: what ends a trial whatever the study's rule says. Pure functions of numbers."""

from __future__ import annotations

import math

from smallhours.core.reasons import Budget, Diverged
from smallhours.core.spec import Goal, StudySpec, stored

#: A trial is hung after this many of its own median gaps between reports ...
HUNG_GAPS = 10
#: ... and no sooner than this.
HUNG_AT_LEAST_S = 300.0
#: The limit while no trial of the study has shown yet how long a step takes.
HUNG_UNKNOWN_S = 3600.0
#: A process that was ordered may take this long until it speaks (imports, prepare()).
STARTING_LIMIT_S = 900.0
#: `finally` blocks and checkpoints get this long before SIGTERM, and again before SIGKILL.
GRACE_S = 10.0
#: Longest wait for the next report of a trial that was told to stop.
NOTICE_AT_MOST_S = 120.0
#: Host memory that is never given to trials: this much, or this share of all, the larger.
RESERVE_BYTES = 512 * 2**20
RESERVE_SHARE = 0.03
#: A study halts when its latest ends are all the same failure: this many at first ...
SAME_FAILURES_AT_FIRST = 3
#: A trial that lost its process this often in a row without a report of its own is not resumed.
STALLS_ALLOWED = 3


def diverged(spec: StudySpec, step: int, value: float) -> Diverged | None:
    """Say whether a metric value is divergence: NaN, infinite, or beyond the study's limit."""
    limit = spec.diverged_at
    beyond = limit is not None and (value > limit if spec.goal is Goal.MINIMIZE else value < limit)
    if math.isfinite(value) and not beyond:
        return None
    return Diverged(metric=spec.metric, value=stored(value), step=step, limit=limit)


def trial_time(spec: StudySpec, used_s: float) -> Budget | None:
    """Say whether a trial has used up its own time."""
    limit = spec.trial_time_s
    if limit is None or used_s <= limit:
        return None
    return Budget(budget="trial_time_s", limit=limit, used=round(used_s, 3))


def study_time(spec: StudySpec, used_s: float) -> Budget | None:
    """Say whether a study's trials have used up its time."""
    limit = spec.study_time_s
    if limit is None or used_s <= limit:
        return None
    return Budget(budget="study_time_s", limit=limit, used=round(used_s, 3))


def silence_limit_s(spec: StudySpec, gap_s: float | None) -> float:
    """Return how long a running trial may be silent before it counts as hung.

    Args:
        spec: Its study.
        gap_s: Seconds between its reports, or of others of its study; None: nobody has shown it.
    """
    if spec.hang_s is not None:
        return spec.hang_s
    return HUNG_UNKNOWN_S if gap_s is None else max(HUNG_AT_LEAST_S, HUNG_GAPS * gap_s)


def notice_limit_s(gap_s: float | None) -> float:
    """Return how long a trial that was told to stop may take to its next report."""
    return min(max(GRACE_S, 3.0 * (gap_s or 0.0)), NOTICE_AT_MOST_S)


def reserve_bytes(total_bytes: int | None) -> int:
    """Return the host memory that is kept free."""
    return max(RESERVE_BYTES, int(RESERVE_SHARE * (total_bytes or 0)))
