"""The night at a glance: the queue, the devices with what runs on them, what happened last."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import ClassVar, Final, NamedTuple

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widget import Widget

from smallhours.core.slots import placed
from smallhours.explain.packing import title as device_title
from smallhours.snapshot import RunView, StudyView
from smallhours.status import DeviceReading
from smallhours.text import clock, number
from smallhours_tui import devices, marks, words
from smallhours_tui.feed import Happening, Night, Update
from smallhours_tui.messages import StudyWanted, TrialWanted
from smallhours_tui.screens.steered import Steered, Subject
from smallhours_tui.widgets.bars import bar
from smallhours_tui.widgets.cells import Cell, width_of
from smallhours_tui.widgets.prose import Lines
from smallhours_tui.widgets.table import Card, Column, LineTable

#: Slots that are seen without scrolling.
_SLOTS_SEEN: Final = 8
_FIRST_STEPS: Final[Card] = (
    [("Nothing is in the queue yet.", "bold")],
    [("", "")],
    [("  smallhours add STUDY.py     puts a study into it", "")],
    [("  smallhours start --detach   runs it, also after logout", "")],
    [("  smallhours doctor           says whether this machine is fit", "")],
)


class Slot(NamedTuple):
    """A place for a trial on a device, or all of them that are free."""

    device: str
    #: From 0; None: those that are free.
    number: int | None


class NightScreen(Steered):
    """The first screen."""

    TAB: ClassVar[str] = "night"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Next pane", id="night.pane"),
        Binding("shift+tab", "app.focus_previous", "Pane before", show=False, id="night.pane_back"),
    ]
    HELP: ClassVar[str] = (
        "The queue in the order in which studies get places, with how far each has come, its best"
        " score beside the baseline's and when it will be done. Below: the devices, which trial"
        " sits on which slot, and what happened last, newest first."
    )

    def __init__(self) -> None:
        super().__init__()
        self._views: dict[Hashable, StudyView] = {}
        self._slots: dict[Hashable, RunView | None] = {}
        self._most_slots = 1
        self._told: Sequence[Happening] = ()

    def body(self) -> Iterator[Widget]:
        """Queue, devices and slots; what happened last below them, or at their side."""
        ascii_only = self.signs.ascii
        cut = "~" if ascii_only else "…"
        self._tally = Lines(cut=cut, id="tally")
        self._queue = LineTable(ascii=ascii_only, id="queue")
        self._note = Lines(cut=cut, id="note")
        self._devices = Lines(cut=cut, id="devices")
        self._places = LineTable(ascii=ascii_only, id="slots", cards_below=0)
        self._happened = LineTable(ascii=ascii_only, id="happened", cards_below=0)
        yield self._tally
        yield Container(
            Vertical(self._queue, self._note, self._devices, self._places, id="now"),
            self._happened,
            id="night",
        )

    def on_mount(self) -> None:
        """Say what the columns are."""
        self._queue.set_cards(2, self._card)
        self._places.set_columns(_SLOT_COLUMNS)
        self._queue.focus()

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        self._show_tally(night)
        self._show_queue(night)
        self._show_devices(night)
        self._show_slots(night)
        self._show_happened(night, anew=update is None)

    def on_line_table_opened(self, message: LineTable.Opened) -> None:
        """Open the study or the trial of a row."""
        key = message.key
        if message.table is self._queue and isinstance(key, int):
            self.post_message(StudyWanted(key))
        elif message.table is self._places:
            run = self._slots.get(key)
            if run is not None:
                self.post_message(TrialWanted(run.study, run.number))
        elif isinstance(key, Happening) and key.study is not None:
            if key.trial is None:
                self.post_message(StudyWanted(key.study))
            else:
                self.post_message(TrialWanted(key.study, key.trial))

    def on_line_table_moved(self, message: LineTable.Moved) -> None:
        """Say more about the study under the cursor."""
        if message.table is self._queue:
            self._show_note(self.feed.night)

    @property
    def subject(self) -> Subject:
        """What is under the cursor of the table that keys go to."""
        if self._places.has_focus:
            run = self._slots.get(self._places.cursor_key)
            return Subject(None) if run is None else Subject(run.study, run.number)
        key = self._happened.cursor_key
        if self._happened.has_focus and isinstance(key, Happening):
            return Subject(key.study, key.trial)
        return Subject(self.study)

    @property
    def study(self) -> int | None:
        """The study under the cursor; None: there is none."""
        key = self._queue.cursor_key
        return key if isinstance(key, int) else None

    @property
    def _room(self) -> int:
        """Columns that the queue has, known before it is laid out."""
        width = self.app.size.width
        return width * 3 // 5 if width >= 140 else width

    # -- the parts

    def _show_tally(self, night: Night) -> None:
        counts = words.tally(night)
        line = [(" ", ""), *words.tally_line(counts, self.signs)]
        room = self.app.size.width - sum(width_of(said) for said, _ in line)
        for part in filter(None, (words.done_at(night), *words.machine(night))):
            said = f"{self.signs.dot} {self.say(part)} "
            if width_of(said) <= room:
                line.append((said, "bold"))
                room -= width_of(said)
        lines: list[list[Cell]] = [line]
        if stale := words.stale(night):
            lines.append([(f" {self.say(stale)}", words.engine(night)[1])])
        self._tally.show(lines)

    def _show_queue(self, night: Night) -> None:
        views: dict[Hashable, StudyView] = {view.id: view for view in night.studies}
        before, self._views = self._views, views
        self._queue.set_columns(_queue_columns(self._room))
        if [*before] != [*views] or not views:
            self._queue.set_source([*views], self._row)
            self._queue.set_empty(_FIRST_STEPS)
            # Where there is room, what belongs together stands together.
            tall = "1fr" if not self.has_class("-wide") else max(len(_FIRST_STEPS), len(views)) + 2
            self._queue.styles.height = tall
        else:
            self._queue.changed(views)
        self._show_note(night)

    def _show_note(self, night: Night) -> None:
        view = self._views.get(self._queue.cursor_key)
        said = "" if view is None else self.say(words.study_note(night, view))
        more = f" {night.more} more are over." if night.more else ""
        self._note.show([[(f" {said}{more}", "dim")]])

    def _show_devices(self, night: Night) -> None:
        readings = night.plans.devices if night.plans else ()
        room = self._devices.size.width or self.app.size.width
        self._devices.show([self._device(reading, room) for reading in readings])

    def _device(self, reading: DeviceReading, room: int) -> list[Cell]:
        width = next(bar for least, bar in _BARS_BY_ROOM if room >= least)
        name = device_title(reading.kind, reading.index, reading.name)
        line: list[Cell] = [(f" {self.say(name):<6} ", "title")]
        for what, wide, (share, said) in (
            ("mem", 12, words.memory(reading)),
            ("busy", 5, words.busy(reading)),
        ):
            if share is None:
                continue
            drawn = bar(share, width, self.signs.ascii)
            full = "stopped" if share > 0.9 and what == "mem" else "running"
            line += [(f"{what} ", "dim"), (drawn, full), (f" {said:>{wide}}  ", "")]
        figures = words.device_figures(reading)
        # What does not fit is left out whole, the last first.
        room -= sum(width_of(said) for said, _ in line)
        while figures and width_of(words.joined(figures, self.signs)) > room:
            figures.pop()
        said = self.say(words.joined(figures, self.signs))
        line.append((said, "failed" if reading.too_hot else "dim"))
        return line

    def _show_slots(self, night: Night) -> None:
        slots = _slots(night)
        before, self._slots = self._slots, slots
        if [*before] != [*slots]:
            self._most_slots = max(self._most_slots, len(slots))  # what is below stays in place
            self._places.styles.height = 1 + min(_SLOTS_SEEN, self._most_slots)
            self._places.set_source([*slots], self._slot_row)
        else:
            self._places.changed(slots)
        if not slots:
            nothing = "nothing runs" if night.engine is not None else ""
            self._places.set_empty(([(nothing, "dim")],))

    def _show_happened(self, night: Night, *, anew: bool) -> None:
        self._happened.set_columns(_HAPPENED_COLUMNS)
        if anew or night.happened != self._told:
            self._told = night.happened
            self._happened.set_source(night.happened, self._line)
        if not night.happened:
            self._happened.set_empty(([("nothing has happened yet", "dim")],))

    # -- rows

    def _row(self, key: Hashable) -> Sequence[Cell]:
        view, night, signs = self._views[key], self.feed.night, self.signs
        mark = marks.of_study(view)
        share = view.ended / view.spec.trials if view.spec.trials else 0.0
        cells: dict[str, Cell] = {
            "mark": (signs.mark(mark), mark.hue),
            "study": (self.say(view.name), "bold" if view.outcome is None else ""),
            "bar": (bar(share, _BAR, signs.ascii), mark.hue),
            "trials": (f"{view.ended}/{view.spec.trials}", ""),
            "best": (self.say(words.best(view)), "best"),
            "gain": (self.say(words.gain(view)), ""),
            "state": _state(night, view, signs),
            "baseline": (
                self.say(number(view.baseline.score if view.baseline else None)),
                "dim",
            ),
            "metric": (self.say(view.spec.metric), "dim"),
            "ends": words.ends(night, view),
        }
        return [cells[column.key] for column in _queue_columns(self._room)]

    def _card(self, key: Hashable) -> Card:
        view, night, signs = self._views[key], self.feed.night, self.signs
        mark = marks.of_study(view)
        ends, style = words.ends(night, view)
        gain = words.gain(view)
        return (
            [
                (f"{signs.mark(mark)} ", mark.hue),
                (self.say(view.name), "bold"),
                (f"  {view.ended}/{view.spec.trials}  ", ""),
                (ends, style),
            ],
            [
                (self.say(f"  best {words.best(view)}"), "best"),
                (f"  {self.say(gain)}" if gain else "", ""),
            ],
        )

    def _slot_row(self, key: Hashable) -> Sequence[Cell]:
        assert isinstance(key, Slot)
        night, run = self.feed.night, self._slots[key]
        readings = night.plans.devices if night.plans else ()
        called = devices.short(readings, key.device)
        if run is None or key.number is None:
            free, packed = _free(night), night.plans is not None and night.plans.packed
            said = f"{free} if it pays" if packed else f"{free} free"
            return [(self.say(called), "dim"), (" ", ""), (said, "dim"), *[("", "")] * 4]
        return [
            (self.say(f"{called} {key.number + 1}"), "dim"),
            (self.signs.mark(marks.RUNNING), "running"),
            (self.say(run.trial), ""),
            (f"{run.step}/{run.steps}", ""),
            (self.say(words.doing(run)), ""),
            (words.pace(run), "dim"),
            (words.age(night.now - run.since), "dim"),
        ]

    def _line(self, key: Hashable) -> Sequence[Cell]:
        assert isinstance(key, Happening)
        mark = next((m for m in marks.legend() if m.hue == key.hue), None)
        return [
            (clock(key.at, self.feed.night.now), "dim"),
            (self.signs.mark(mark) if mark else " ", key.hue or ""),
            (self.say(key.text), ""),
        ]


_BAR: Final = 10
#: How long a device's bars are where there is so much room at least.
_BARS_BY_ROOM: Final = ((120, 24), (90, 14), (0, 8))
_SLOT_COLUMNS: Final = (
    Column("slot", "slot", 8),
    Column("mark", "", 1),
    Column("trial", "trial", 14, flexible=True),
    Column("step", "step", 11, align="right"),
    Column("doing", "metric", 20, flexible=True),
    Column("pace", "pace", 11, align="right"),
    Column("for", "for", 4, align="right"),
)
_HAPPENED_COLUMNS: Final = (
    Column("at", "when", 5),
    Column("mark", "", 1),
    Column("text", "what happened", 20, flexible=True),
)


def _queue_columns(room: int) -> tuple[Column, ...]:
    """Return the columns of the queue that there is room for."""
    columns = [
        Column("mark", "", 1),
        Column("study", "study", 12, flexible=True),
        Column("bar", "", _BAR),
        Column("trials", "trials", 11, align="right"),
        Column("best", "best", 9, align="right"),
    ]
    if room >= 110:
        columns += [Column("baseline", "baseline", 9, align="right")]
    columns += [Column("gain", "vs baseline", 13)]
    if room >= 110:
        columns += [Column("metric", "metric", 12), Column("state", "state", 14, flexible=True)]
    return (*columns, Column("ends", "done", 13))


def _state(night: Night, view: StudyView, signs: marks.Signs) -> Cell:
    mark = marks.of_study(view)
    waits = night.waits(view.id)
    if view.running_since:
        return f"{len(view.running_since)} running", "running"
    if view.outcome is None and waits is not None:
        return signs.say(waits[0]), "waiting"
    return mark.word, mark.hue


def _slots(night: Night) -> dict[Hashable, RunView | None]:
    """Return every slot with what sits on it; those that are free in one row, with None.

    The ledger says where a trial runs, the engine how many slots there are.
    """
    taken: dict[str, dict[int | None, RunView]] = {}
    for run in night.runs:
        here = taken.setdefault(run.device, {})
        here[placed(run.slot, here)] = run
    slots: dict[Hashable, RunView | None] = {
        Slot(device, number): taken[device][number]
        for device in sorted(taken)
        for number in sorted(taken[device], key=lambda number: number or 0)
    }
    if _free(night) > 0 and night.plans is not None:
        slots[Slot(night.plans.device, None)] = None
    return slots


def _free(night: Night) -> int:
    """Return how many trials more the engine would have run at once."""
    plans = night.plans
    return 0 if plans is None or not plans.device else plans.slots - len(night.runs)
