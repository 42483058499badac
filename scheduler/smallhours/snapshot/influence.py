"""Which parameters a study's score goes with, from the trials that completed: cheap, and rough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Final, NamedTuple

from smallhours.core.spec import ParamValue
from smallhours.core.trial import Role
from smallhours.snapshot.lines import TrialLine

#: Fewer completed trials say nothing.
LEAST_TRIALS: Final = 12
#: Parts that the values of a numeric parameter are cut into, at most.
_PARTS = 6
#: Of each part, trials at least.
_EACH = 4


class Influence(NamedTuple):
    """How much of the order of the scores goes with a parameter."""

    parameter: str
    #: 0 to 1, less what chance alone would give.
    share: float


def influences(lines: Iterable[TrialLine]) -> list[Influence]:
    """Return every parameter with the share of the scores' order that goes with it, most first.

    The values of a parameter are cut into parts of equal size (a choice into its values). The share
    is the part of the variance of the scores' ranks that lies between these parts, as epsilon
    squared has it: 1 - (1 - eta²)(n - 1)/(n - k), which is 0 on average where there is nothing
    (T. L. Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935). Each parameter is
    looked at alone: what only two of them do together is not seen.

    Empty: too few trials completed.
    """
    done = [
        line
        for line in lines
        if line.reason == "completed"
        and line.value is not None
        and line.role is not Role.CONFIRMATION
    ]
    done = [line for line in done if line.value == line.value]
    if len(done) < LEAST_TRIALS:
        return []
    ranks = _ranks([line.value or 0.0 for line in done])
    names = {name: None for line in done for name in line.params}
    found = []
    for name in names:
        parts = _parts([line.params.get(name) for line in done])
        share = _epsilon_squared(parts, ranks)
        if share is not None:
            found.append(Influence(name, share))
    return sorted(found, key=lambda item: -item.share)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, of equal ones the mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for i in order[begin:end]:
            ranks[i] = (begin + end - 1) / 2
        begin = end
    return ranks


def _parts(values: Sequence[ParamValue]) -> list[Hashable]:
    """Return the part that each value falls into."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= _PARTS:
        return list(values)
    parts = min(_PARTS, len(numbers) // _EACH)
    return [int(rank * parts / len(numbers)) for rank in _ranks([float(n) for n in numbers])]


def _epsilon_squared(parts: Sequence[Hashable], ranks: Sequence[float]) -> float | None:
    """Return the share between the parts; None: there is only one, or one for each trial."""
    n, mean = len(ranks), sum(ranks) / len(ranks)
    total = sum((rank - mean) ** 2 for rank in ranks)
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for part, rank in zip(parts, ranks, strict=True):
        groups[part].append(rank)
    k = len(groups)
    if k < 2 or k >= n or total == 0:
        return None
    within = sum(
        sum((rank - sum(group) / len(group)) ** 2 for rank in group) for group in groups.values()
    )
    return max(0.0, 1 - within / total * (n - 1) / (n - k))
