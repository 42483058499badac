"""Lanes: time from left to right, a lane a slot: which trial ran where, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.widget import Widget

from smallhours.core.trial import AttemptKey
from smallhours.explain import in_brief
from smallhours.snapshot.following import Following
from smallhours.snapshot.timeline import Stay, Timeline
from smallhours.status import DeviceReading, Waiting
from smallhours.text import clock, count, duration, moment, size
from smallhours_tui import devices, marks, words
from smallhours_tui.feed import Night, Update
from smallhours_tui.messages import TrialWanted
from smallhours_tui.screens.base import Look
from smallhours_tui.widgets.bars import bar
from smallhours_tui.widgets.cells import Cell, width_of
from smallhours_tui.widgets.lanes import Heading, Lane, LanesChart, Row, Span
from smallhours_tui.widgets.prose import Lines

#: Cells that a name and a bit of a line take: the middle one of the attempts gets them at first.
_LABEL: Final = 14
#: What waits is told up to this many, in a low terminal and in a high one.
_WAITING, _WAITING_HIGH = 2, 6
_HIGH: Final = 36
_BAR, _BAR_WIDE = 12, 24


class LanesScreen(Look):
    """The third screen."""

    TAB: ClassVar[str] = "lanes"
    HELP: ClassVar[str] = (
        "Which trial ran on which slot, and when. A line ends in the mark of how the trial ended."
        " The arrows (or h j k l) choose one, enter opens it; + and - change the time that is seen,"
        " 0 shows all of it, page up and down go back and forth. Slots are numbered as they were"
        " taken: the lowest that is free. Below: the trial under the cursor, and what waits."
    )

    def __init__(self) -> None:
        super().__init__()
        self._ledger: Following | None = None
        self._spans: dict[tuple[str, int], list[Span]] = {}
        self._stays: dict[AttemptKey, Stay] = {}
        self._now = 0.0

    def body(self) -> Iterator[Widget]:
        """Head, chart, what is under the cursor, what waits."""
        cut = "~" if self.signs.ascii else "…"
        self._head = Lines(cut=cut, id="head")
        self._chart = LanesChart(ascii=self.signs.ascii, id="lanes", empty="nothing has run yet")
        self._chosen = Lines(cut=cut, id="chosen")
        self._waits = Lines(cut=cut, id="waits")
        yield self._head
        yield self._chart
        yield self._chosen
        yield self._waits

    def on_mount(self) -> None:
        """Move with the keys."""
        self._chart.focus()

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        ledger = self.feed.ledger
        if ledger is None:
            self._show_head(night, None)
            return
        first = ledger is not self._ledger
        if first:
            self._ledger, self._spans, self._stays = ledger, {}, {}
        elif update is None:  # another theme, another size, another state of the engine
            self._spans.clear()
        timeline = ledger.timeline(self.dashboard.options.since)
        # Without an engine the time stands still where it left, or a night long gone were a blank.
        left = night.now if night.last_at is None else night.last_at
        self._now = night.now if night.running or night.past else left
        rows = self._rows(night, timeline)
        self._chart.tall = self._has_details() and self._fits_twice(rows)
        self._chart.show(rows, self._now)
        if first:
            self._chart.action_fit(_LABEL)
        self._show_head(night, timeline)
        self._show_chosen(night)
        self._show_waiting(night)

    def on_lanes_chart_moved(self) -> None:
        """Say more about what is under the cursor."""
        self._show_chosen(self.feed.night)

    def on_lanes_chart_opened(self, message: LanesChart.Opened) -> None:
        """Open the trial."""
        if isinstance(message.key, AttemptKey):
            self.post_message(TrialWanted(message.key.study, message.key.trial))

    # -- the chart

    def _rows(self, night: Night, timeline: Timeline) -> list[Row]:
        """Return the devices with their lanes, as the engine numbers them."""
        readings = night.plans.devices if night.plans else ()
        order = {reading.name: place for place, reading in enumerate(readings)}
        rows: list[Row] = []
        for device in sorted(timeline.slots, key=lambda name: (order.get(name, len(order)), name)):
            slots = timeline.slots[device]
            rows.append(self._heading(night, readings, device, len(slots)))
            rows += [
                Lane(
                    key=(device, slot),
                    title=f" {slot + 1}",
                    spans=self._spans_of(night, (device, slot), stays),
                    note=_note(stays[-1]) if stays else "",
                )
                for slot, stays in enumerate(slots)
            ]
        return rows

    def _heading(
        self, night: Night, readings: tuple[DeviceReading, ...], device: str, slots: int
    ) -> Heading:
        name = self.say(devices.short(readings, device))
        cells: list[Cell] = [(f" {name}  ", "title")]
        reading = devices.find(readings, device)
        if reading is None:
            return Heading([*cells, (count(slots, "slot"), "dim")])
        width = _BAR_WIDE if self.wide else _BAR
        for what, (share, said) in (
            ("mem", words.memory(reading)),
            ("busy", words.busy(reading)),
        ):
            if share is not None:
                drawn = bar(share, width, self.signs.ascii)
                cells += [(f"{what} ", "dim"), (drawn, "running"), (f" {said}  ", "")]
        style = "failed" if reading.too_hot else "dim"
        room = self.app.size.width - sum(width_of(text) for text, _ in cells)
        for figure in (*words.device_figures(reading), devices.model(reading)):
            said = self.say(f"{figure} {self.signs.dot} ")
            # The separator after the last may be cut off, a figure may not.
            if width_of(said) - 3 > room:
                break
            cells.append((said, style))
            room -= width_of(said)
        return Heading(_without_last_dot(cells, self.signs.dot))

    def _spans_of(self, night: Night, lane: tuple[str, int], stays: list[Stay]) -> list[Span]:
        """Return a slot's spans; those that were over before are as they were."""
        spans = self._spans.setdefault(lane, [])
        settled = max(0, len(spans) - 1)
        spans[settled:] = [self._span(night, stay) for stay in stays[settled:]]
        self._stays.update((stay.key, stay) for stay in stays[settled:])
        return spans

    def _span(self, night: Night, stay: Stay) -> Span:
        mark = _mark(night, stay)
        lost = stay.until is None and not night.running
        detail = size(stay.predicted.upper_bytes) if stay.predicted is not None else ""
        return Span(
            key=stay.key,
            start=stay.since,
            end=self._now if lost else stay.until,
            label=self.say(self._trial_name(stay)),
            sign=self.signs.mark(mark),
            style=mark.hue,
            detail=f"{detail} probe".strip() if stay.probe else detail,
        )

    def _has_details(self) -> bool:
        return any(span.detail for spans in self._spans.values() for span in spans[-1:])

    def _fits_twice(self, rows: list[Row]) -> bool:
        return self._chart.size.height > 2 * len(rows)

    def _trial_name(self, stay: Stay) -> str:
        assert self._ledger is not None
        return f"{self._ledger.head(stay.study).name}/{stay.trial}"

    # -- the lines around it

    def _show_head(self, night: Night, timeline: Timeline | None) -> None:
        lines: list[list[Cell]] = []
        if timeline is not None:
            slots = sum(len(of) for of in timeline.slots.values())
            parts = [
                f"{count(len(timeline.slots), 'device')}, {count(slots, 'slot')}",
                f"since {clock(timeline.began, night.now)}",
                "" if self._chart.follows else "time gone by: G comes back",
            ]
            lines.append([(f" {self.say(words.joined(parts, self.signs))}", "title")])
        if stale := words.stale(night):
            lines.append([(f" {self.say(stale)}", words.engine(night)[1])])
        self._head.show(lines)

    def _show_chosen(self, night: Night) -> None:
        key, ledger = self._chart.cursor_key, self._ledger
        stay = self._stays.get(key) if isinstance(key, AttemptKey) else None
        if stay is None or ledger is None:
            self._chosen.show([])
            return
        mark = _mark(night, stay)
        dot = f" {self.signs.dot} "
        readings = night.plans.devices if night.plans else ()
        number = self._chart.lane_key[1] + 1 if isinstance(self._chart.lane_key, tuple) else 0
        until = "now" if stay.until is None else moment(stay.until, day=False)
        took = (self._now if stay.until is None else stay.until) - stay.since
        first: list[Cell] = [
            (f" {self.signs.mark(mark)} {self.say(self._trial_name(stay))}", mark.hue),
            (
                self.say(
                    f"{dot}{devices.short(readings, stay.device)} slot {number}{dot}"
                    f"{moment(stay.since, day=False)} to {until}, {duration(took)}"
                    + (f"{dot}attempt {stay.attempt}" if stay.attempt > 1 else "")
                ),
                "",
            ),
        ]
        end = ledger.end(stay.end_seq) if stay.end_seq else None
        why = self._doing(night, stay) if end is None else in_brief(end.reason)
        footprint = None if end is None else end.footprint
        memory = devices.memory_words(stay.device, stay.predicted, footprint)
        probe = "a probe: watched alone for a few steps first" if stay.probe else ""
        self._chosen.show(
            [
                [(self.signs.line * self.app.size.width, "dim")],
                first,
                [(f"   {self.say(why)}", mark.hue if end is not None else "")],
                [(f"   {self.say(words.joined([memory, probe], self.signs))}", "dim")],
            ]
        )

    def _doing(self, night: Night, stay: Stay) -> str:
        """Return what an attempt without an end is doing."""
        if not night.running:
            return "cut off when the engine ended"
        run = next((r for r in night.runs if (r.study, r.number) == (stay.study, stay.trial)), None)
        if run is None:
            return marks.RUNNING.word
        steps = f"step {run.step} of {run.steps}"
        return words.joined([steps, words.doing(run), words.pace(run)], self.signs)

    def _show_waiting(self, night: Night) -> None:
        waiting = night.plans.waiting if night.plans else ()
        most = _WAITING if self.app.size.height < _HIGH else _WAITING_HIGH
        lines = [[(f"   {self.say(self._waits_for(night, item))}", "")] for item in waiting[:most]]
        if len(waiting) > most:
            lines[-1].append((f"  and {len(waiting) - most} more wait", "dim"))
        self._waits.show([[(" waiting", "dim")], *lines] if lines else [])

    def _waits_for(self, night: Night, item: Waiting) -> str:
        assert self._ledger is not None
        name = self._ledger.head(item.study).name
        whose = f"the next trial of {name}" if item.trial is None else f"{name}/{item.trial}"
        return f"{whose}: {item.why.value}, for {words.age(night.now - item.since)}"


def _without_last_dot(cells: list[Cell], dot: str) -> list[Cell]:
    text, style = cells[-1]
    return [*cells[:-1], (text.removesuffix(f" {dot} "), style)]


def _mark(night: Night, stay: Stay) -> marks.Mark:
    if stay.reason is not None:
        return marks.of_reason(stay.reason)
    return marks.RUNNING if night.running else marks.WAITING


def _note(stay: Stay) -> str:
    """Return what the attempt that runs on a slot may take; empty: none does, or nobody knows."""
    if stay.until is not None or stay.predicted is None:
        return ""
    return size(stay.predicted.upper_bytes)
