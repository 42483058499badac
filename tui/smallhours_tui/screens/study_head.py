"""What a study's screen says above its trials."""

from __future__ import annotations

from smallhours.snapshot import StudyView
from smallhours_tui import words
from smallhours_tui.feed import Night
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.cells import Cell, width_of


def head_lines(
    night: Night, view: StudyView, signs: Signs, *, arranged: str, matters: str, width: int
) -> list[list[Cell]]:
    """Return the lines above the table.

    Args:
        night: What is known.
        view: The study.
        signs: What is drawn with.
        arranged: What of the trials is shown; empty: all in the usual order.
        matters: Which parameters matter; empty: it is said elsewhere, or not known.
        width: Cells of a line.
    """
    spec = view.spec
    first = [view.name, words.goal(view), words.setting(view), f"{spec.steps} steps"]
    second: list[Cell] = [(" ", ""), *words.tally_line(words.study_tally(view), signs)]
    second.append((f"{view.ended} of {spec.trials}", ""))
    ends, style = words.ends(night, view)
    second += [(f" {signs.dot} ", "dim"), (signs.say(ends), style)] if ends else []
    if sum(width_of(said) for said, _ in second) > width:
        second = [(said.replace("  ", " "), style) for said, style in second]
    third = f" {signs.say(words.joined([arranged, _best(view)], signs))}"
    lines: list[list[Cell]] = [
        [(f" {signs.say(words.joined(first, signs))}", "title")],
        second,
        [(third, "")],
    ]
    if matters:
        said = signs.say(f" {signs.dot} {matters}")
        # Where it does not fit it has a line of its own.
        if width_of(third) + width_of(said) <= width:
            lines[2].append((said, ""))
        else:
            lines.append([(signs.say(f" {matters}"), "")])
    return lines


def _best(view: StudyView) -> str:
    if view.best is None or view.best.score is None:
        return "no trial has completed yet"
    gain = words.gain(view)
    said = f"best {words.best(view)} ({view.trial_name(view.best.trial)})"
    return f"{said}, {gain} than the baseline" if gain else said
