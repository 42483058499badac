"""A mistake in the code, in the idea, or an honest bad result: kinds of ends, kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum, unique
from typing import Final, Protocol

from smallhours.core import reasons as r
from smallhours.core.regions import Boundary, edges
from smallhours.core.spec import Params


@unique
class Kind(StrEnum):
    """What an end says of its trial; the words are shown to people as they are."""

    RESULT = "honest result"
    #: The code failed: every configuration may meet it.
    CODE = "mistake in the code"
    #: The configuration can't work: out of memory, diverged.
    IDEA = "configuration that can't work"
    #: It says nothing of code or configuration: cancelled, lost, a fault of the machine.
    OTHER = "neither"


#: By the reason's tag.
KINDS: Final[Mapping[str, Kind]] = {
    "completed": Kind.RESULT,
    "rung_cut": Kind.RESULT,
    "rule_cut": Kind.RESULT,
    "budget": Kind.RESULT,
    "exception": Kind.CODE,
    "crash": Kind.CODE,
    "hung": Kind.CODE,
    "diverged": Kind.IDEA,
    "gpu_oom": Kind.IDEA,
    "host_oom": Kind.IDEA,
    "refused": Kind.OTHER,
    "disk": Kind.OTHER,
    "gpu_fault": Kind.OTHER,
    "cancelled": Kind.OTHER,
    "interrupted": Kind.OTHER,
    "paused": Kind.OTHER,
    "lost": Kind.OTHER,
}


class Ended(Protocol):
    """A trial, as far as its end is compared with others."""

    @property
    def number(self) -> int:
        """Its number."""
        ...

    @property
    def params(self) -> Params:
        """Its configuration."""
        ...


def fingerprint(reason: r.Reason) -> str | None:
    """Return what tells this failure from others; None: it is no failure of the user's code."""
    if isinstance(reason, r.Failure):
        return reason.fingerprint
    if isinstance(reason, r.Crash):
        return f"crash {reason.signal or reason.exit_code}"
    if isinstance(reason, r.Hung) and reason.process_state is None:
        return "hung before it spoke"
    return None


def cause(reason: r.Reason) -> str | None:
    """Return what makes failures the same one: a fingerprint, or the resource; None: no failure."""
    mark = fingerprint(reason)
    if mark is not None:
        return mark
    if isinstance(reason, r.GpuOom) and reason.fault == "neighbour":
        return None
    name = r.tag(reason)
    return name if KINDS[name] is Kind.IDEA else None


class Mistakes:
    """The known mistakes of one study: edges of its space at which nothing but failures was seen.

    Out of GPU memory is left to the packer, which knows how many bytes there are.
    """

    __slots__ = ("_edges", "_failed", "_others")

    def __init__(self) -> None:
        self._failed: dict[str, list[tuple[int, Params]]] = defaultdict(list)
        self._others: dict[int, Params] = {}
        #: Made when asked for; None: something ended since.
        self._edges: list[tuple[Boundary, tuple[int, ...]]] | None = None

    def __repr__(self) -> str:
        return f"Mistakes({dict(self._failed)!r}, {self._others!r})"

    def add(self, number: int, params: Params, reason: r.Reason) -> None:
        """Take note of a trial that is over; of one taken up again, its latest end counts."""
        self._others.pop(number, None)
        mark = cause(reason)
        if mark is not None:
            self._failed[mark].append((number, params))
        elif KINDS[r.tag(reason)] is Kind.RESULT:
            self._others[number] = params
        self._edges = None

    def region_of(self, params: Params) -> tuple[Boundary, tuple[int, ...]] | None:
        """Return the edge in which a configuration lies, and the trials that failed there."""
        if self._edges is None:
            self._edges = list(self._find())
        return next((found for found in self._edges if found[0].holds(params)), None)

    def _find(self) -> Iterable[tuple[Boundary, tuple[int, ...]]]:
        for mark, failed in self._failed.items():
            if mark == "gpu_oom" or not self._others:
                continue
            rest = [p for other, ps in self._failed.items() if other != mark for _, p in ps]
            for edge in edges([params for _, params in failed], [*self._others.values(), *rest]):
                yield edge, tuple(number for number, params in failed if edge.holds(params))


def groups(trials: Sequence[tuple[Ended, r.Reason]]) -> dict[str, list[Ended]]:
    """Return failed trials by cause, the most frequent first."""
    found: dict[str, list[Ended]] = defaultdict(list)
    for trial, reason in trials:
        mark = cause(reason)
        if mark is not None:
            found[mark].append(trial)
    return dict(sorted(found.items(), key=lambda group: -len(group[1])))
