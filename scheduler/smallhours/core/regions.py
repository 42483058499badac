"""What failures have in common: the part of the space in which they lie, where that is clear.

Two questions of one parameter each, both answered by an exact test against chance. `boundary` asks
which split sets failures and the others apart best; it is for people. `edges` asks where, at an end
of a range, nothing but failures was seen; configurations there are held back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from smallhours.core.spec import Params, ParamValue

#: A split is told, and an edge is held, where chance would make one as clear this seldom.
CLEAR_P = 0.01
#: A split is told where at least this share of the trials on its side failed.
_MOST = 0.5
#: Configurations at an edge are held back only where so many failed there.
EDGE_AT_LEAST = 5

#: Configurations of a kind that are compared, at most: the latest ones.
COMPARED = 300

#: On which side of `Boundary.value` failures lie; ``is``: at that value of a choice.
Side: TypeAlias = Literal["from", "to", "is"]


class Boundary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the space, given by one parameter, and what was seen in it and outside."""

    param: str
    side: Side
    value: ParamValue
    #: Trials inside that failed, and all inside; the same outside.
    failed: int
    inside: int
    failed_outside: int
    outside: int
    #: How often chance alone would show a part as clear as this, over all that were looked at.
    p: float

    def holds(self, params: Params) -> bool:
        """Say whether a configuration lies in it."""
        value = params.get(self.param)
        if self.side == "is":
            return self.param in params and value == self.value
        if not (_is_number(value) and _is_number(self.value)):
            return False
        return value >= self.value if self.side == "from" else value <= self.value  # type: ignore[operator]


def boundary(failed: Sequence[Params], others: Sequence[Params]) -> Boundary | None:
    """Return the one-parameter split that sets failures apart best; None: none is clear.

    Every value of every parameter is tried as a split, towards both ends. The p of the best is
    that of Fisher's exact test, times the number of splits (Bonferroni).

    Args:
        failed: Configurations that failed in the same way.
        others: Configurations that did not fail.
    """
    found: list[Boundary] = []
    for name in sorted({name for params in failed for name in params}):
        bad = [params[name] for params in failed if name in params]
        good = [params[name] for params in others if name in params]
        found += _splits(name, bad, good)
    if not found:
        return None
    best = min(found, key=lambda split: (split.p, split.failed_outside, split.inside))
    p = min(1.0, best.p * len(found))
    if p > CLEAR_P or best.failed < _MOST * best.inside:
        return None
    return msgspec.structs.replace(best, p=p)


def edges(failed: Sequence[Params], others: Sequence[Params]) -> list[Boundary]:
    """Return the ends of ranges, and the choices, at which nothing but these failures was seen.

    That the k outermost of n trials are all among the F that failed has the chance
    C(F, k) / C(n, k), exactly; it is multiplied by the number of ends and choices looked at. An
    edge reaches as far in as the innermost of its failures, never further.

    Args:
        failed: Configurations that failed in the same way.
        others: All other configurations that were tried, whatever became of them.
    """
    found: list[Boundary] = []
    looked = 0
    for name in sorted({name for params in failed for name in params}):
        bad = [params[name] for params in failed if name in params]
        good = [params[name] for params in others if name in params]
        ends, count = _ends(name, bad, good)
        found += ends
        looked += count
    corrected = [msgspec.structs.replace(edge, p=min(1.0, edge.p * looked)) for edge in found]
    return [edge for edge in corrected if edge.p <= CLEAR_P]


def in_common(failed: Sequence[Params], others: Sequence[Params]) -> str:
    """Return what failed configurations share and the others have not, in a few words."""
    if not others:
        return "no trial has done better, so it is the code rather than a configuration"
    found = boundary(failed, others)
    if found is not None:
        return words(found)
    alike = shared(failed)
    if alike and not any(all(p.get(k) == v for k, v in alike.items()) for p in others):
        return f"all of them have {', '.join(f'{k}={_short(v)}' for k, v in alike.items())}"
    return "nothing in their parameters sets them apart from those that worked"


def where(region: Boundary) -> str:
    """Return a region in words: ``lr >= 0.31``."""
    sign = {"from": ">=", "to": "<=", "is": "="}[region.side]
    return f"{region.param} {sign} {_short(region.value)}"


def words(found: Boundary) -> str:
    """Return a boundary in words, with its counts and how clear it is."""
    elsewhere = {"from": "below", "to": "above", "is": "elsewhere"}[found.side]
    return (
        f"{found.failed} of {found.inside} trials with {where(found)} failed so,"
        f" {found.failed_outside} of {found.outside} {elsewhere} (p = {found.p:.1g})"
    )


def _splits(name: str, bad: list[ParamValue], good: list[ParamValue]) -> list[Boundary]:
    """Return the splits of a parameter that leave trials on both sides, their p not corrected."""
    everyone = [*bad, *good]
    found = []
    for side, value in _candidates(bad, good):
        probe = Boundary(
            param=name, side=side, value=value, failed=0, inside=0, failed_outside=0, outside=0, p=1
        )
        k = sum(probe.holds({name: it}) for it in bad)
        inside = k + sum(probe.holds({name: it}) for it in good)
        if inside < len(everyone):
            found.append(
                msgspec.structs.replace(
                    probe,
                    failed=k,
                    inside=inside,
                    failed_outside=len(bad) - k,
                    outside=len(everyone) - inside,
                    p=fisher(k, inside, len(bad), len(everyone)),
                )
            )
    return found


def _candidates(bad: list[ParamValue], good: list[ParamValue]) -> list[tuple[Side, ParamValue]]:
    values = [*bad, *good]
    if all(map(_is_number, values)):
        tried: list[ParamValue] = sorted(set(bad))  # type: ignore[type-var]
        return [(side, value) for value in tried for side in ("from", "to")]
    return [("is", value) for value in dict.fromkeys(bad)]


def _ends(name: str, bad: list[ParamValue], good: list[ParamValue]) -> tuple[list[Boundary], int]:
    """Return the edges of a parameter, their p not yet corrected, and how many were looked at."""
    everyone, found = len(bad) + len(good), []
    sides: list[tuple[Side, list[ParamValue]]]
    if all(map(_is_number, [*bad, *good])):
        low, high = min(good, default=math.inf), max(good, default=-math.inf)  # type: ignore[type-var]
        sides = [
            ("from", [it for it in bad if it > high]),  # type: ignore[operator]
            ("to", [it for it in bad if it < low]),  # type: ignore[operator]
        ]
        looked = 2
    else:
        choices = dict.fromkeys([*bad, *good])
        looked = len(choices)
        sides = [("is", [it for it in bad if it == one]) for one in choices if one not in good]
    for side, inside in sides:
        k = len(inside)
        if k < EDGE_AT_LEAST or k == everyone:
            continue
        value = inside[0] if side == "is" else (min if side == "from" else max)(inside)  # type: ignore[type-var]
        p = math.comb(len(bad), k) / math.comb(everyone, k)
        found.append(
            Boundary(
                param=name,
                side=side,
                value=value,
                failed=k,
                inside=k,
                failed_outside=len(bad) - k,
                outside=everyone - k,
                p=p,
            )
        )
    return found, looked


def fisher(k: int, inside: int, failed: int, everyone: int) -> float:
    """Return the chance of k or more failures inside, by Fisher's exact test, one-sided."""
    ways = math.comb(everyone, inside)
    most = min(inside, failed)
    return (
        sum(
            math.comb(failed, i) * math.comb(everyone - failed, inside - i)
            for i in range(k, most + 1)
        )
        / ways
    )


def shared(configurations: Iterable[Params]) -> Params:
    """Return the parameters that all configurations have alike (nothing of a single one)."""
    first, *rest = [*configurations] or [{}]
    if not rest:
        return {}
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in rest)
    }


def _short(value: ParamValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value: ParamValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
