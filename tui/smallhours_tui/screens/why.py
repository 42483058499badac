"""Why: every end of the night with its reason, newest first or grouped, and the evidence."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import ClassVar, Final

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input

from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.trial import AttemptKey
from smallhours.explain import WORDS, evidence, in_brief, kind, sentences
from smallhours.explain.why_trial import about
from smallhours.snapshot.following import Following
from smallhours.snapshot.timeline import Stay
from smallhours.text import clean_lines, clock, count, duration, listing
from smallhours_tui import marks, words
from smallhours_tui.ends import Ends, Group
from smallhours_tui.feed import Night, Update
from smallhours_tui.messages import TrialWanted
from smallhours_tui.ranking import ranking
from smallhours_tui.screens.base import Look
from smallhours_tui.widgets.cells import Cell, width_of
from smallhours_tui.widgets.prose import Lines, Paragraphs
from smallhours_tui.widgets.table import Card, Column, LineTable

#: The evidence is shown once the cursor has rested for so long: reading it takes some ms.
_REST_S: Final = 0.1
_BLOCK_LINES: Final = 20
_LABEL: Final = 14
_NAMED: Final = 12
_THEN: Final = {"retry": "; tried again", "resume": "; goes on"}
#: Cells that a trial's name gets.
_NAME_LEAST, _NAME_MOST = 10, 24
_GROUPS: Final = (
    Column("mark", "", 1),
    Column("why", "why", 24, flexible=True),
    Column("trials", "ends", 6, align="right"),
    Column("took", "took", 6, align="right"),
    Column("saved", "saved", 6, align="right"),
)


class WhyScreen(Look):
    """The fourth screen."""

    TAB: ClassVar[str] = "why"
    HELP: ClassVar[str] = (
        "Why attempts ended. 'b' puts them into groups: failures by what went wrong, the rest by"
        " reason; enter shows a group's trials, then a trial. Trials that ran to their end are"
        " folded away until 'f' shows them. What a stop saved is reckoned at the trial's own pace."
        "\n\nA filter is made of words that must all be in the trial's name or its reason:"
        "  digits  rule_cut  failed  !memory"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="why.filter"),
        Binding("b", "group", "By reason", id="why.group"),
        Binding("f", "fold", "Fold done", id="why.fold"),
        Binding("tab", "app.focus_next", "Next pane", show=False, id="why.pane"),
        Binding("shift+tab", "app.focus_previous", "Pane before", show=False, id="why.pane_back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._ledger: Following | None = None
        self._ends: Ends | None = None
        self._shown: Mapping[Hashable, Stay | list[Stay]] = {}
        self._seen = -1
        self._grouped, self._folded = False, True
        #: The group whose ends are shown; None: all of them.
        self._group: Group | None = None
        self._words = ""
        self._resting: Timer | None = None

    def body(self) -> Iterator[Widget]:
        """Head, the ends, and the evidence below them or at their side."""
        self._head = Lines(cut="~" if self.signs.ascii else "…", id="head")
        self._table = LineTable(ascii=self.signs.ascii, id="ends")
        self._told = Paragraphs(id="told")
        self._input = Input(placeholder="filter: digits rule_cut !memory", id="filter")
        yield self._head
        yield Container(self._table, VerticalScroll(self._told, id="evidence"), id="why-panes")
        yield self._input

    def on_mount(self) -> None:
        """Show the table first."""
        self._table.set_cards(2, self._card)
        self._input.display = False
        self._table.focus()

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        ledger = self.feed.ledger
        if ledger is None:
            self._table.set_empty(([("nothing has ended yet", "dim")],))
            self._table.set_source((), lambda _: ())
            return
        timeline = ledger.timeline(self.dashboard.options.since)
        if ledger is not self._ledger:
            self._ledger, self._ends = ledger, Ends(ledger, timeline.ends)
            self._group = None
        if update is None or len(timeline.ends) != self._seen:
            self._seen = len(timeline.ends)
            self._arrange()

    # -- what the user does

    def action_group(self) -> None:
        """Put ends into groups by what brought them about, or show them newest first."""
        self._grouped, self._group = not self._grouped, None
        self._arrange()

    def action_fold(self) -> None:
        """Leave out trials that ran to their end, or show them."""
        self._folded = not self._folded
        self._arrange()

    def action_filter(self) -> None:
        """Begin to type a filter."""
        self._input.display = True
        self._input.focus()

    @on(Input.Changed, "#filter")
    def filter_as_typed(self, message: Input.Changed) -> None:
        """Filter while one types."""
        self._words = message.value
        self._arrange()

    @on(Input.Submitted, "#filter")
    def filter_typed(self) -> None:
        """Keep the filter and go on in the table."""
        self._input.display = bool(self._input.value.strip())
        self._table.focus()

    def action_back(self) -> None:
        """Take the filter away, leave the group, else go back."""
        if self._input.display:
            self._input.value = ""
            self._input.display = False
            self._table.focus()
        elif self._group is not None:
            self._group = None
            self._arrange()
        else:
            super().action_back()

    def on_line_table_opened(self, message: LineTable.Opened) -> None:
        """Open the trial, or show the ends of the group."""
        if isinstance(message.key, AttemptKey):
            self.post_message(TrialWanted(message.key.study, message.key.trial))
        elif isinstance(message.key, Group):
            self._group = message.key
            self._arrange()

    def on_line_table_moved(self) -> None:
        """Show the evidence of the row once the cursor rests."""
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(_REST_S, self._show_evidence)

    # -- the parts

    def _arrange(self) -> None:
        """Show the ends that are wanted."""
        ends = self._ends
        if ends is None:
            return
        grouped = self._grouped and self._group is None
        stays = ends.chosen(self._words, folded=self._folded and not grouped, group=self._group)
        if grouped != isinstance(self._table.cursor_key, Group):
            # Rows of the one kind can't be drawn in columns of the other.
            self._table.set_source((), self._row)
        self._shown = ends.grouped(stays) if grouped else {stay.key: stay for stay in stays}
        self._table.set_columns(_GROUPS if grouped else self._columns())
        self._table.set_source([*self._shown], self._group_row if grouped else self._row)
        self._table.set_empty(([(self._nothing(), "dim")],))
        self._show_head()
        self._show_evidence()

    def _columns(self) -> tuple[Column, ...]:
        assert self._ends is not None
        studies = {stay.study: stay for stay in self._shown.values() if isinstance(stay, Stay)}
        names = [width_of(self.say(self._ends.name(stay))) for stay in studies.values()]
        return (
            Column("at", "ended", 5),
            Column("mark", "", 1),
            Column("trial", "trial", max(_NAME_LEAST, min(_NAME_MOST, max(names, default=0)))),
            Column("why", "why", 24, flexible=True),
            Column("saved", "saved", 6, align="right"),
        )

    def _nothing(self) -> str:
        if self._words:
            return "no end passes the filter: esc takes it away"
        folded = self._folded and self._seen
        return "all ran to their end: f shows them" if folded else "nothing has ended yet"

    def _show_head(self) -> None:
        night, ends, ledger = self.feed.night, self._ends, self._ledger
        assert ends is not None
        assert ledger is not None
        timeline = ledger.timeline()
        counts = dict.fromkeys(marks.HUES, 0)
        for stay in timeline.ends:
            counts[kind(stay.reason or "")] += 1
        line: list[Cell] = [(f" since {clock(timeline.began, night.now)}  ", "title")]
        named = (
            (marks.DONE, ""),
            (marks.STOPPED, ""),
            (marks.FAILED, ""),
            (marks.WAITING, "put off"),
        )
        for mark, word in named:
            n = counts[mark.hue]
            said = f"{self.signs.mark(mark)} {n} {word or mark.word}  "
            line.append((said, mark.hue if n else "dim"))
        saved = ends.saved_s(timeline.ends)
        spared = f"stopping saved ~{duration(saved)}" if saved else ""
        how = "by reason" if self._grouped else "newest first"
        if self._group is not None:
            how = f"{self._group_words(self._group)}: esc goes back to the groups"
        hidden = "done ones folded" if self._folded and not self._grouped else ""
        self._head.show(
            [line, [(f" {self.say(words.joined([how, hidden, spared], self.signs))}", "dim")]]
        )

    # -- rows

    def _row(self, key: Hashable) -> Sequence[Cell]:
        stay = self._shown[key]
        assert isinstance(stay, Stay)
        assert self._ends is not None
        mark = marks.of_reason(stay.reason or "")
        return [
            (clock(stay.until or 0.0, self.feed.night.now)[-5:], "dim"),
            (self.signs.mark(mark), mark.hue),
            (self.say(self._ends.name(stay)), ""),
            (self._brief(stay), "" if mark.hue == "done" else mark.hue),
            (self._saved([stay]), "dim"),
        ]

    def _group_row(self, key: Hashable) -> Sequence[Cell]:
        members = self._shown[key]
        assert isinstance(key, Group)
        assert isinstance(members, list)
        mark = marks.of_reason(key.reason)
        return [
            (self.signs.mark(mark), mark.hue),
            (self.say(self._group_words(key)), "" if mark.hue == "done" else mark.hue),
            (str(len(members)), ""),
            (words.took(sum(stay.seconds for stay in members)), "dim"),
            (self._saved(members), "dim"),
        ]

    def _card(self, key: Hashable) -> Card:
        if isinstance(key, Group):
            mark, why, ends, took, saved = self._group_row(key)
            second = f"  {ends[0]} ended, took {took[0]}" + (
                f", saved {saved[0]}" if saved[0] else ""
            )
            return [(f"{mark[0]} ", mark[1]), why], [(second, "dim")]
        at, mark, trial, why, saved = self._row(key)
        first = [(f"{mark[0]} ", mark[1]), trial, (f"  {at[0]}", "dim")]
        return first, [("  ", ""), why, (f"  saved {saved[0]}" if saved[0] else "", "dim")]

    def _saved(self, stays: Sequence[Stay]) -> str:
        assert self._ends is not None
        saved = self._ends.saved_s(stays)
        return f"~{words.took(saved)}" if saved else ""

    def _brief(self, stay: Stay) -> str:
        assert self._ledger is not None
        reason = self._ledger.end(stay.end_seq).reason
        return self.say(in_brief(reason) + _THEN.get(stay.then or "", ""))

    def _group_words(self, group: Group) -> str:
        """Return what a group's ends have in common."""
        if not group.fingerprint or self._ends is None or self._ledger is None:
            return WORDS.get(group.reason, group.reason)
        failed = self._ends.with_fingerprint(group)
        where = f" (in {failed.where})" if failed.where else ""
        return f"{self._ledger.head(group.study).name}: {failed.type}: {failed.message}{where}"

    # -- the evidence

    def _show_evidence(self) -> None:
        ledger, shown = self._ledger, self._shown.get(self._table.cursor_key)
        self.query_one("#evidence").scroll_home(animate=False)
        if ledger is None or shown is None:
            self._told.show([])
        elif isinstance(shown, list):
            self._told.show(self._of_group(ledger, shown))
        else:
            self._told.show(self._of_end(ledger, shown))

    def _of_group(self, ledger: Following, members: list[Stay]) -> list[list[Cell]]:
        assert self._ends is not None
        names = [*dict.fromkeys(self._ends.name(stay) for stay in members)]
        ended = count(len(members), "end")
        parts: list[list[Cell]] = [[(self.say(f"{ended}: {listing(names, _NAMED)}."), "")]]
        return [
            *parts,
            [("", "")],
            [("the latest of them", "title")],
            *self._of_end(ledger, members[0]),
        ]

    def _of_end(self, ledger: Following, stay: Stay) -> list[list[Cell]]:
        end, study = ledger.end(stay.end_seq), ledger.study(stay.study)
        failed = None if self._ends is None else self._ends.failure(stay)
        alike = () if failed is None else tuple(n for n in failed.trials if n != stay.trial)
        known = about(
            study, ledger.trial(stay.study, stay.trial), tuple(map(study.trial_name, alike))
        )
        told = known._replace(last_step=stay.last_step, then=stay.then or "over")
        parts: list[list[Cell]] = [[(self.say(sentences(end.reason, told)), "")], [("", "")]]
        if isinstance(end.reason, RungCut | RuleCut):
            width = self.query_one("#evidence").size.width
            parts += [*ranking(end.reason, stay.trial, self.signs, width), [("", "")]]
        for item in evidence(end.reason, study.name):
            parts.append([(self.say(f"{item.label:<{_LABEL}} "), "dim"), (self.say(item.text), "")])
            lines = clean_lines(item.block, _BLOCK_LINES) if item.block else ()
            parts += [[(f"  {self.say(line)}", "dim")] for line in lines]
        return parts
