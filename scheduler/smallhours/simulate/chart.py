"""A Gantt chart in characters: a line for each place on a card, a letter for each study."""

from __future__ import annotations

from collections.abc import Sequence

from smallhours.simulate.cards import Span

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Trials that were ended otherwise than by completing.
_ENDS = {"failed": "!", "gpu_oom": "x", "paused": ">"}


def letters(studies: Sequence[str]) -> dict[str, str]:
    """Return a letter for each study; beyond 26 they come again."""
    return {study: _LETTERS[i % len(_LETTERS)] for i, study in enumerate(studies)}


def chart(spans: Sequence[Span], letter: dict[str, str], span_s: float, width: int) -> list[str]:
    """Return the lines of one card's chart.

    Args:
        spans: What was on the card.
        letter: By trial; the first column of each is a capital.
        span_s: Seconds that the whole width stands for.
        width: In columns.
    """
    lanes: list[list[str]] = []
    ends: list[int] = []
    for span in sorted(spans, key=lambda span: (span.start_s, span.trial)):
        begin = min(width - 1, int(span.start_s / span_s * width))
        end = min(width, max(begin + 1, round(span.end_s / span_s * width)))
        lane = next((i for i, until in enumerate(ends) if until <= begin), len(lanes))
        if lane == len(lanes):
            lanes.append([" "] * width)
            ends.append(0)
        ends[lane] = end
        lanes[lane][begin:end] = [letter[span.trial]] * (end - begin)
        lanes[lane][begin] = letter[span.trial].upper()
        if span.ending in _ENDS and end - begin > 1:
            lanes[lane][end - 1] = _ENDS[span.ending]
    return ["".join(lane).rstrip() for lane in lanes]
