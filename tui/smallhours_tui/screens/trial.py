"""A trial: why it is where it is, its curve beside the best one, what it needed, what it wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widget import Widget

from smallhours.core.reasons import tag
from smallhours.core.trial import Role, TrialState
from smallhours.explain import evidence, footprint_words, in_brief
from smallhours.explain.why_trial import paragraphs
from smallhours.logs import NAME
from smallhours.snapshot import AttemptView, StudyView, TrialView
from smallhours.snapshot.following import Following
from smallhours.text import clean_lines, duration, moment, number, size, value
from smallhours_tui import devices, marks
from smallhours_tui.curves import draw_trial
from smallhours_tui.feed import Night, Update
from smallhours_tui.logtail import last_lines
from smallhours_tui.screens.log import LogScreen
from smallhours_tui.screens.steered import Steered, Subject
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.plot import CurvePlot
from smallhours_tui.widgets.prose import Lines, Paragraphs

_LOG_LINES: Final = 12
_BLOCK_LINES: Final = 20
_LABEL: Final = 16
#: Lines of the curve, as app.tcss has them, and by how many it can be made larger or smaller.
_CURVE: Final = 12
_WIDE_CURVE: Final = 18
_ZOOM: Final = 4
_SMALLER: Final = -4
_LARGER: Final = 40


class TrialScreen(Steered):
    """One trial; it is told which before it is shown."""

    TAB: ClassVar[str] = "study"
    HELP: ClassVar[str] = (
        "Why the trial is where it is, with the evidence; its curve beside the best trial's; its"
        " parameters beside the best trial's; what it needed; the end of what it wrote."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "other(-1)", "Trial before", key_display="[",
                id="trial.previous"),
        Binding("right_square_bracket", "other(1)", "Next trial", key_display="]",
                id="trial.next"),
        Binding("o", "log", "Log", id="trial.log"),
        Binding("L", "log_axis", "Log axis", id="trial.log_axis"),
        Binding("m", "metric", "Metric of the curve", show=False, id="trial.metric"),
        Binding("plus", "zoom(1)", "Larger curve", key_display="+", show=False,
                id="trial.zoom_in"),
        Binding("minus", "zoom(-1)", "Smaller curve", key_display="-", show=False,
                id="trial.zoom_out"),
        Binding("e", "smooth", "Smooth", id="trial.smooth"),
        Binding("down,j", "scroll(1)", "Down", show=False, id="trial.down"),
        Binding("up,k", "scroll(-1)", "Up", show=False, id="trial.up"),
        Binding("pagedown,ctrl+d", "page(1)", "Page down", show=False, id="trial.page_down"),
        Binding("pageup,ctrl+u", "page(-1)", "Page up", show=False, id="trial.page_up"),
        Binding("home,g", "scroll(-100000)", "First", show=False, id="trial.first"),
        Binding("end,G", "scroll(100000)", "Last", show=False, id="trial.last"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        #: Study and number of what is shown.
        self.target: tuple[int, int] | None = None
        #: Of the curve; empty: the study's own.
        self._metric = ""
        #: Lines that the curve has more, or less, than usual.
        self._taller = 0

    def body(self) -> Iterator[Widget]:
        """Head, and below it what scrolls."""
        self._head = Lines(cut="~" if self.signs.ascii else "…", id="head")
        self._why = Paragraphs(id="why")
        self._plot = CurvePlot(ascii=self.signs.ascii, id="curve")
        self._facts = Paragraphs(id="facts")
        self._log = Paragraphs(id="wrote")
        yield self._head
        yield VerticalScroll(
            self._why, Container(self._plot, self._facts, id="beside"), self._log, id="trial"
        )

    def on_mount(self) -> None:
        """Scroll with the keys."""
        self.query_one("#trial").focus()

    @property
    def subject(self) -> Subject:
        """The trial."""
        return Subject(*self.target) if self.target is not None else Subject(None)

    def look_at(self, study: int, trial: int) -> None:
        """Show another trial; `show` does it, once the screen is there."""
        if self.target is not None and self.target[0] != study:
            self._metric = ""
        self.target = study, trial
        if self.is_mounted:
            self.query_one("#trial").scroll_home(animate=False)

    def show(self, night: Night, update: Update | None) -> None:
        """Show it."""
        ledger = self.feed.ledger
        if ledger is None or self.target is None:
            return
        study_id, number_ = self.target
        if update is not None and not self._concerned(update, night):
            return
        study, trial = ledger.study(study_id), ledger.trial(study_id, number_)
        best = None
        if study.best is not None and study.best.trial != number_:
            best = ledger.trial(study_id, study.best.trial)
        self._show_head(night, study, trial)
        self._why.show(self._reasons(ledger, study, trial))
        draw_trial(self._plot, ledger, study, trial, best, metric=self._metric)
        self._facts.show(self._known(study, trial, best))
        self._log.show(self._wrote(trial))

    def action_other(self, steps: int) -> None:
        """Go to the next trial in the order of the study's table, or by number."""
        if self.target is None or self.feed.ledger is None:
            return
        study, trial = self.target
        numbers = self.dashboard.order_of(study) or sorted(self.feed.ledger.trials(study))
        if trial in numbers:
            there = numbers.index(trial) + steps
            if 0 <= there < len(numbers):
                self.look_at(study, numbers[there])
                self.show_anew()

    def action_log(self) -> None:
        """Show all that it wrote."""
        if self.target is not None:
            self.app.push_screen(LogScreen(*self.target))

    def action_log_axis(self) -> None:
        """Draw the metric on a logarithmic axis, or on a plain one."""
        self._plot.log_y = not self._plot.log_y

    def action_metric(self) -> None:
        """Offer the metrics that the curve can be drawn of."""
        if self.target is None or self.feed.ledger is None:
            return
        own = self.feed.ledger.head(self.target[0]).spec.metric
        names = [own, *self.feed.ledger.metrics(*self.target)]
        choices = {name: self.say(name) for name in names}
        self.offer("metric", "curve of", choices, self._take_metric, self._metric or own)

    def _take_metric(self, name: str | None) -> None:
        if name is not None and self.target is not None and self.feed.ledger is not None:
            own = self.feed.ledger.head(self.target[0]).spec.metric
            self._metric = "" if name == own else name
            self.show_anew()

    def action_zoom(self, steps: int) -> None:
        """Draw the curve larger, or smaller."""
        self._taller = max(_SMALLER, min(_LARGER, self._taller + steps * _ZOOM))
        usual = _WIDE_CURVE if self.has_class("-wide") else _CURVE
        self._plot.styles.height = None if self._taller == 0 else usual + self._taller

    def action_smooth(self) -> None:
        """Smooth the curves, or draw them as they are."""
        self._plot.smoothing = 0.0 if self._plot.smoothing else 0.9

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one("#trial").scroll_relative(y=lines, animate=False)

    def action_page(self, direction: int) -> None:
        """Scroll by a page."""
        pane = self.query_one("#trial")
        pane.scroll_relative(y=direction * max(1, pane.size.height - 2), animate=False)

    # -- the parts

    def _concerned(self, update: Update, night: Night) -> bool:
        """Whether something is new of the trial, or time passes for it."""
        assert self.target is not None
        study, trial = self.target
        if update.changed.engine or trial in update.changed.trials.get(study, ()):
            return True
        return any((run.study, run.number) == self.target for run in night.runs)

    def _show_head(self, night: Night, study: StudyView, trial: TrialView) -> None:
        over = trial.state is TrialState.ENDED and trial.reason is not None
        if over and trial.reason is not None:
            mark = marks.of_reason(tag(trial.reason))
            said = in_brief(trial.reason)
        else:
            mark = marks.of_state(trial.state, engine_runs=night.running)
            said = mark.word
        steps = f"step {trial.last_step} of {study.spec.steps}"
        role = "" if trial.role is Role.SEARCH else trial.role.value
        if trial.of is not None:
            role += f" of {study.trial_name(trial.of)}"
        dot = f" {self.signs.dot} "
        line: list[Cell] = [
            (f" {self.say(trial.name)}  ", "title"),
            (f"{self.signs.mark(mark)} {self.say(said)}", mark.hue),
            (self.say(f"{dot}{steps}{dot}{duration(trial.seconds)}"), ""),
            (self.say(f"{dot}{role}" if role else ""), ""),
        ]
        self._head.show([line])

    def _reasons(self, ledger: Following, study: StudyView, trial: TrialView) -> list[list[Cell]]:
        parts: list[list[Cell]] = [
            [(self.say(said), "")]
            for said in paragraphs(ledger, study, trial, _alike(ledger, study, trial))
        ]
        for item in evidence(trial.reason, study.name) if trial.reason is not None else ():
            label = f"{item.label:<{_LABEL}}"
            parts.append([(self.say(label), "dim"), (self.say(item.text), "")])
            parts += [
                [(f"  {self.say(line)}", "dim")]
                for line in (clean_lines(item.block, _BLOCK_LINES) if item.block else ())
            ]
        return parts

    def _known(
        self, study: StudyView, trial: TrialView, best: TrialView | None
    ) -> list[list[Cell]]:
        name = self.say(f"{'parameter':<{_LABEL}}{'this':<12}")
        head: list[Cell] = [(name, "title")]
        if best is not None:
            head.append((self.say(f"best ({best.name})"), "title"))
        lines: list[list[Cell]] = [head]
        for parameter, chosen in trial.params.items():
            line: list[Cell] = [
                (self.say(f"{parameter[: _LABEL - 1]:<{_LABEL}}"), "dim"),
                (self.say(f"{value(chosen):<12}"), ""),
            ]
            if best is not None and parameter in best.params:
                other = best.params[parameter]
                line.append(("=" if other == chosen else self.say(value(other)), "dim"))
            lines.append(line)
        rank = ""
        if trial.number in study.ranking:
            rank = f"{study.ranking.index(trial.number) + 1} of {len(study.ranking)} completed"
        facts = [
            ("seed", str(trial.seed)),
            (study.spec.metric, number(trial.score)),
            ("rank", rank),
            ("needed", footprint_words(trial.footprint)),
        ]
        lines.append([("", "")])
        lines += [
            [(self.say(f"{label:<{_LABEL}}"), "dim"), (self.say(said), "")]
            for label, said in facts
            if said
        ]
        lines += [line for attempt in trial.attempts for line in self._attempt(attempt)]
        if trial.checkpoints:
            latest = trial.checkpoints[-1]
            said = f"step {latest.step}, {size(latest.size_bytes)}, {latest.path}"
            lines.append([(f"{'checkpoint':<{_LABEL}}", "dim"), (self.say(said), "")])
        return lines

    def _attempt(self, attempt: AttemptView) -> Iterator[list[Cell]]:
        how = "it has no end" if attempt.reason is None else in_brief(attempt.reason)
        plans = self.feed.night.plans
        device = devices.long(plans.devices if plans else (), attempt.device)
        where = f" on {device}" if device else ""
        peak = "" if attempt.peak_bytes is None else f", at most {size(attempt.peak_bytes)}"
        said = (
            f"{moment(attempt.started_at)}{where}, {duration(attempt.seconds)}, steps"
            f" {attempt.resume_step}-{attempt.last_step}{peak}: {how}"
        )
        label = f"attempt {attempt.number}"
        yield [(f"{label:<{_LABEL}}", "dim"), (self.say(said), "")]
        memory = devices.memory_words(attempt.device, attempt.predicted, attempt.footprint)
        if memory:
            yield [(f"{'  memory':<{_LABEL}}", "dim"), (self.say(memory), "")]
        if attempt.probe:
            said = "a probe: watched alone for a few steps first, to learn what its study needs"
            yield [(" " * _LABEL, ""), (said, "")]
        for path, why in attempt.rejected:
            yield [(self.say(f"  passed over a bad checkpoint: {path} ({why})"), "failed")]

    def _wrote(self, trial: TrialView) -> list[list[Cell]]:
        if not trial.attempts:
            return []
        attempt = trial.attempts[-1].number
        path = self.feed.home.attempt(trial.study, trial.number, attempt) / NAME
        lines = last_lines(path, _LOG_LINES)
        if not lines:
            return [[("it wrote nothing", "dim")]]
        head: list[Cell] = [("the end of what it wrote (o: all of it)", "title")]
        return [head, *([(f"  {self.say(line.expandtabs(4))}", "")] for line in lines)]


def _alike(ledger: Following, study: StudyView, trial: TrialView) -> tuple[str, ...]:
    """Return the names of other trials that failed at the same place."""
    if trial.reason is None or tag(trial.reason) != "exception":
        return ()
    group = next((g for g in ledger.failures(study.id) if trial.number in g.trials), None)
    return tuple(study.trial_name(n) for n in group.trials if n != trial.number) if group else ()
