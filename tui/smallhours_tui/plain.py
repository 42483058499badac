"""The night as lines of text: once, or line by line as it happens, for scripts and screen readers.

Nothing is ever drawn over, there are no colours without words, and Textual is not needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, TextIO

from smallhours.explain.devices import words as device_words
from smallhours.explain.packing import title as device_title
from smallhours.snapshot import StudyView
from smallhours.text import Page, Piece, clock, moment, of_kind
from smallhours_tui import marks, words
from smallhours_tui.feed import Feed, Night
from smallhours_tui.marks import Signs

#: Lines of what happened that are told at first.
_HAPPENED: Final = 8
_POLL_S: Final = 1.0
#: Left with by `once` where something needs attention.
_ATTENTION: Final = 1


def once(feed: Feed, out: TextIO, *, ascii_only: bool) -> int:
    """Write the night as it is.

    Returns:
        The exit code: 1 where a study is halted, the engine died, or the ledger can't be read.
    """
    night, signs, page = feed.night, Signs.of(ascii_only=ascii_only), Page(out)
    for line in _lines(night, signs):
        page.line(signs.say(line))
    if night.studies:
        page.line()
        page.table(
            ("study", "state", "trials", "best", "vs baseline", "done"),
            [_row(night, view, signs) for view in night.studies],
            right="  rr",
            shrink=(0, 4),
            indent=0,
        )
    if night.runs:
        page.line()
        page.table(
            ("running", "on", "step", "metric", "for"),
            [
                (
                    signs.say(run.trial),
                    run.device,
                    f"{run.step}/{run.steps}",
                    signs.say(words.doing(run)),
                    words.age(night.now - run.since),
                )
                for run in night.runs
            ],
            right="  r r",
            shrink=(3, 0),
            indent=0,
        )
    if night.happened:
        page.line()
    for told in night.happened[:_HAPPENED]:
        page.line(f"{clock(told.at, night.now)}  {signs.say(told.text)}")
    return _ATTENTION if _needs_attention(night) else 0


def follow(feed: Feed, out: TextIO, *, ascii_only: bool) -> int:
    """Write the night as it is, then a line for whatever happens, until interrupted."""
    signs, page = Signs.of(ascii_only=ascii_only), Page(out)
    once(feed, out, ascii_only=ascii_only)
    out.flush()
    if feed.at is not None:
        return 0
    told = set(feed.night.happened)
    engine = words.engine(feed.night)[0]
    while True:
        time.sleep(_POLL_S)
        feed.poll()
        night = feed.night
        for happening in reversed(night.happened):
            if happening not in told:
                page.line(f"{moment(happening.at, day=False)} {signs.say(happening.text)}")
        told = set(night.happened)
        if (now := words.engine(night)[0]) != engine and not now.startswith(_SILENT):
            engine = now
            page.line(f"{moment(night.now, day=False)} {signs.say(now)}")
        out.flush()


#: How long it has been silent would be a line a second.
_SILENT: Final = "the engine has been silent"


def _lines(night: Night, signs: Signs) -> Iterator[str]:
    state, _ = words.engine(night)
    rest = [state, words.done_at(night), *words.machine(night)]
    yield words.joined([moment(night.now), *rest], signs)
    if stale := words.stale(night):
        yield stale
    if night.engine is None and not night.trouble:
        yield "the queue is empty: `smallhours add STUDY.py` adds a study, `start` runs it"
        return
    counts = words.tally(night)
    shown = (marks.RUNNING, marks.WAITING, marks.DONE, marks.STOPPED, marks.FAILED)
    yield ", ".join(f"{counts[mark.hue]} {mark.word}" for mark in shown)
    for reading in night.plans.devices if night.plans else ():
        name = device_title(reading.kind, reading.index, reading.name)
        yield f"{name}: {device_words(reading, night.now)}"


def _row(night: Night, view: StudyView, signs: Signs) -> tuple[Piece, ...]:
    mark = marks.of_study(view)
    running = len(view.running_since)
    state = f"{running} running" if running else mark.word
    return (
        signs.say(view.name),
        of_kind(state, mark.hue),
        f"{view.ended}/{view.spec.trials}",
        words.best(view),
        signs.say(words.gain(view)),
        signs.say(words.ends(night, view)[0]),
    )


def _needs_attention(night: Night) -> bool:
    halted = any(view.state == "halted" for view in night.studies)
    died = night.engine is not None and words.engine(night)[0].startswith("the engine died")
    return halted or died or bool(night.trouble)
