"""What a rule compared, as bars: the competitors, the cutoff, and the trial that it stopped."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.spec import Goal
from smallhours.text import count, number
from smallhours_tui import marks
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.bars import bar
from smallhours_tui.widgets.cells import Cell

#: Competitors that are drawn, those nearest to the cutoff.
_MOST: Final = 6
_NAME, _VALUE = 7, 10
#: Where all values are of one size, bars begin this share of their range below the least.
_BELOW: Final = 0.3


def ranking(cut: RungCut | RuleCut, trial: int, signs: Signs, width: int) -> list[list[Cell]]:
    """Return the values around a cutoff as lines, best first.

    Args:
        cut: The verdict.
        trial: Number of the trial that it stopped.
        signs: What is drawn with.
        width: Cells that there are.
    """
    cutoff = cut.cutoff if isinstance(cut, RungCut) else cut.threshold
    worse_is_more = cut.goal == Goal.MINIMIZE
    near = sorted(cut.competitors, key=lambda one: abs(one[1] - cutoff))[:_MOST]
    ranked = sorted([*near, (trial, cut.value)], key=itemgetter(1), reverse=not worse_is_more)
    scale = _Scale([cutoff, *(value for _, value in ranked)])
    room = max(8, min(40, width - _NAME - _VALUE - 12))
    lines: list[list[Cell]] = []
    ruled = False
    for number_, value in ranked:
        beyond = value > cutoff if worse_is_more else value < cutoff
        if not ruled and (beyond or number_ == trial):
            lines.append(_cutoff(cutoff, signs, room))
            ruled = True
        own = number_ == trial
        mark, style = (marks.STOPPED, "stopped") if own else (marks.DONE, "dim")
        sign = signs.mark(mark) if own else " "
        name = f"{sign} {number_}"
        lines.append(
            [
                (f" {name:<{_NAME}}", style),
                (f"{signs.say(number(value)):>{_VALUE}} ", "bold" if own else ""),
                (bar(scale.share(value), room, signs.ascii), style),
                ("  this" if own else "", style),
            ]
        )
    left = (cut.of or 0) - len(ranked)
    if left > 0:
        said = f" {count(left, 'other')} came to this step"
        lines.append([(said, "dim")])
    return lines


def _cutoff(cutoff: float, signs: Signs, room: int) -> list[Cell]:
    said = f"{signs.say(number(cutoff)):>{_VALUE}} "
    return [(f" {'cutoff':<{_NAME}}", "dim"), (said, "dim"), (signs.line * room, "dim")]


class _Scale:
    """How long bars are: from 0 where that tells values apart, else from just below the least."""

    def __init__(self, values: list[float]) -> None:
        low, high = min(values), max(values)
        self._low = 0.0 if low >= 0 and high - low > _BELOW * high else low - _BELOW * (high - low)
        self._range = high - self._low

    def share(self, value: float) -> float:
        """Return the part of a bar that a value fills."""
        return (value - self._low) / self._range if self._range > 0 else 0.5
