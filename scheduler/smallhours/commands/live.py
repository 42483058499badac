"""Following studies while they run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable
from enum import Enum, auto, unique
from types import FrameType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smallhours import inbox, processes
from smallhours.commands.board import Board, End, Running, StudyBoard
from smallhours.core.reasons import Completed, RuleCut, tag
from smallhours.core.spec import Goal
from smallhours.core.trial import Role
from smallhours.explain.words import in_brief, kind
from smallhours.paths import Home
from smallhours.text import HUES, clean, count, duration, number

#: Seconds between two looks at the ledger.
_INTERVAL_S = 0.2
#: Ends that are shown, at most.
_ENDS_SHOWN = 8
#: How long an engine may be away before it is given up: its supervisor starts it again.
_AWAY_LIMIT_S = 30.0

#: What is said of a trial that goes on after its attempt has ended.
_THEN = {"over": "", "retry": "; will be tried again", "resume": "; will go on"}

_RUNNING = "Ctrl-C: leave it running, or stop it"
_WATCHING = "Ctrl-C: leave; it goes on without you"
_STOPPING = "stopping: running trials may save a checkpoint first (Ctrl-C: don't wait for it)"
_EARLY = "nothing runs yet: the engine is getting ready, which takes some seconds"
_AWAY = "the engine died; it is being started again and goes on by itself"
_QUESTION = "[l]eave it running, [s]top it (resumes later), or go [b]ack to watching? "


@unique
class Outcome(Enum):
    """Why following came to an end."""

    #: Every study that was followed ended or was halted.
    OVER = auto()
    #: The engine was told to stop, and did.
    STOPPED = auto()
    #: The engine is gone without a word.
    DIED = auto()
    #: The user went away; everything goes on.
    LEFT = auto()


class Engine(Protocol):
    """What is asked about the engine while its work is followed."""

    def gave_up(self) -> bool:
        """Say whether it is known that no engine will come back."""
        ...


class Follower:
    """Shows what becomes of some studies until nothing more will, or the user goes away."""

    def __init__(
        self, home: Home, studies: Iterable[int], engine: Engine, *, may_stop: bool = True
    ) -> None:
        """Get ready; nothing is read or shown yet.

        Args:
            home: The state directory.
            studies: Ids of the studies to follow.
            engine: What is known of the engine.
            may_stop: An interrupt may mean to stop everything; else it only means to leave.
        """
        self.board = Board(home, studies)
        #: Whether the user asked here for a stop.
        self.stopped_here = False
        self._home = home
        self._engine = engine
        # FORCE_COLOR colours a pipe; it doesn't make it a terminal.
        self._console = Console(
            highlight=False, markup=False, emoji=False, force_terminal=sys.stdout.isatty()
        )
        self._may_stop = may_stop
        self._interactive = self._console.is_terminal and sys.stdin.isatty()
        self._interrupted = False
        self._away_since: float | None = None
        #: Whether it has been away long enough to be worth a word.
        self._away = False

    def follow(self) -> Outcome:
        """Show what happens until it is over."""
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            self.board.refresh()
            self.board.news = []  # what ended before is in the display, and no news
            return self._follow_live() if self._console.is_terminal else self._follow_lines()
        finally:
            signal.signal(signal.SIGINT, before)
            self.board.close()

    @property
    def _footer(self) -> str:
        if self.stopped_here:
            return _STOPPING
        if self._away:
            return _AWAY
        return _RUNNING if self._may_stop else _WATCHING

    def _on_interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._interrupted = True

    def _follow_live(self) -> Outcome:
        while True:
            with Live(console=self._console, transient=True, auto_refresh=False) as live:

                def show(live: Live = live) -> None:
                    width, height = self._console.size
                    shown = render(self.board, time.time(), width, height, self._footer)
                    live.update(shown, refresh=True)

                outcome = self._until_something(show)
            if outcome is None:
                outcome = self._ask()
            if outcome is not None:
                return outcome

    def _follow_lines(self) -> Outcome:
        halted = {study.id for study in self.board.studies.values() if study.halted}

        def show() -> None:
            for study, end in self.board.news:
                print(sentence(study, end), flush=True)
            self.board.news = []
            for study in self.board.studies.values():
                if study.halted and study.id not in halted:
                    halted.add(study.id)
                    print(f"{study.label} is halted: {clean(study.halted.sentence)}", flush=True)

        while True:
            outcome = self._until_something(show)
            if outcome is not None:
                return outcome
            if self.stopped_here or not self._may_stop:
                return Outcome.LEFT
            self._stop()

    def _until_something(self, show: Callable[[], None]) -> Outcome | None:
        """Refresh and show until it is over; None: the user wants something."""
        while True:
            show()
            if all(not study.open for study in self.board.studies.values()):
                return Outcome.OVER
            if self._interrupted:
                self._interrupted = False
                return None
            gone = self._engine_is_gone()
            if gone is not None:
                return gone
            time.sleep(_INTERVAL_S)
            self.board.refresh()

    def _engine_is_gone(self) -> Outcome | None:
        if processes.owner(self._home) is not None:
            self._away_since, self._away = None, False
            return None
        now = time.monotonic()
        self._away = now - (self._away_since or now) > _INTERVAL_S
        if self._away_since is None:
            self._away_since = now
            return None  # its last words are read first
        if self.board.session_ended is not None:
            return Outcome.STOPPED
        if self._engine.gave_up() or now - self._away_since > _AWAY_LIMIT_S:
            return Outcome.DIED
        return None

    def _ask(self) -> Outcome | None:
        """Ask what an interrupt was meant to do; None: go on watching."""
        if self.stopped_here or not (self._may_stop and self._interactive):
            return Outcome.LEFT
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            answer = input(_QUESTION).strip().lower()[:1]
        except (EOFError, KeyboardInterrupt):
            print()
            answer = "l"
        finally:
            signal.signal(signal.SIGINT, self._on_interrupt)
        if answer == "s":
            self._stop()
            return None
        return None if answer == "b" else Outcome.LEFT

    def _stop(self) -> None:
        inbox.submit(self._home, "stop", {"now": False, "cause": "ctrl-c"})
        self.stopped_here = True
        if not self._console.is_terminal:
            print(_STOPPING, flush=True)


def sentence(study: StudyBoard, end: End) -> str:
    """Return one line on an end: the trial's name and what became of it."""
    metric = clean(study.spec.metric, 40)
    match end.reason:
        case RuleCut(rule="median") as cut:
            what = (
                f"stopped at step {cut.step}: {metric} {number(cut.value)},"
                f" {clean(cut.rule, 20)} was {number(cut.threshold)}"
            )
        case Completed() as done:
            what = f"ran to step {done.steps}: {metric} {number(end.score)}"
        case other:
            what = in_brief(other)
    return f"{study.label}/{end.trial} {what}{_THEN[end.then]}"


def render(
    board: Board, now: float, width: int, height: int, footer: str = _RUNNING
) -> RenderableType:
    """Return the whole display.

    Args:
        board: What is known.
        now: Wall time in seconds.
        width: Columns of the terminal.
        height: Lines of the terminal.
        footer: The last line.
    """
    shown = [study for study in board.studies.values() if study.open] or list(
        board.studies.values()
    )
    active = [study for study in shown if study.running or study.over] or shown[:1]
    blocks: list[RenderableType] = []
    used = 3
    for study in active:
        head = _head(study, width)
        running = _running(study, now, ready=board.ready)
        blocks += [*head, Text(), running, Text()]
        used += len(head) + len(study.running) + 2
    waiting = [study.label for study in shown if study not in active]
    if waiting:
        blocks.append(_line(f"after that: {', '.join(waiting)}", "dim"))
        used += 1
    room = max(0, min(_ENDS_SHOWN, height - used))
    if room:
        blocks += [_end(study, end) for study, end in _latest(active, room)]
    blocks += [Text(), _line(footer, "dim")]
    return Group(*blocks)


def _head(study: StudyBoard, width: int) -> list[RenderableType]:
    spec = study.spec
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(study.label, "bold")
    title.append(f"  {clean(spec.question)}", "dim")
    done, total = len(study.over), spec.trials + study.confirmations
    said = f"{study.searched} of {count(spec.trials, 'trial')}"
    if study.confirmed or study.searched >= spec.trials:
        said += f", {study.confirmed} of {count(study.confirmations, 'confirmation')}"
    left = study.left_s()
    if left is not None:
        said += f", about {_roughly(left)} left"
    bar = Table.grid(padding=(0, 2))
    room = max(10, min(30, width - len(said) - 2))
    bar.add_row(ProgressBar(total, done, width=room), _line(said))
    return [title, bar, _standing(study)]


def _standing(study: StudyBoard) -> Text:
    spec = study.spec
    line = Text(no_wrap=True, overflow="ellipsis")
    direction = "lower" if spec.goal is Goal.MINIMIZE else "higher"
    line.append(f"{clean(spec.metric, 40)} ({direction} is better): ")
    if study.best is None:
        line.append("none yet")
    else:
        trial, score = study.best
        line.append(f"best {number(score)}", "green")
        line.append(f" ({study.label}/{trial})")
    if study.baseline is not None:
        line.append(f", baseline {number(study.baseline)}")
    return line


def _running(study: StudyBoard, now: float, *, ready: bool) -> RenderableType:
    if study.halted:
        return _line(f"halted: {clean(study.halted.sentence, 400)}", "red")
    if study.paused and not study.running:
        return _line(f"paused by {clean(study.paused.by, 60)}", "yellow")
    if not study.running:
        return _line("nothing of it runs right now" if ready else _EARLY, "dim")
    table = Table.grid(padding=(0, 2))
    for run in sorted(study.running.values(), key=lambda run: run.since):
        table.add_row(
            Text(f"{study.label}/{run.trial}", no_wrap=True),
            Text(_doing(study, run), no_wrap=True),
            Text(
                "" if run.value is None else f"{clean(study.spec.metric, 24)} {number(run.value)}"
            ),
            Text(_roughly(now - run.since), "dim", no_wrap=True),
            Text("" if run.role is Role.SEARCH else run.role.value, "dim", no_wrap=True),
        )
    return table


def _roughly(seconds: float) -> str:
    """Return a duration without fractions of a second, which would only flicker."""
    return f"{max(0.0, seconds):.0f} s" if seconds < 59.5 else duration(seconds)


def _doing(study: StudyBoard, run: Running) -> str:
    if run.stopping:
        return "is being stopped"
    if not run.spoke:
        return "starts"
    return f"step {run.step}/{study.spec.steps}"


def _latest(studies: list[StudyBoard], room: int) -> list[tuple[StudyBoard, End]]:
    """Return the latest ends of all studies, oldest first."""
    found = [(study, end) for study in studies for end in study.ends]
    found.sort(key=lambda pair: pair[1].at)
    return found[-room:]


def _end(study: StudyBoard, end: End) -> Text:
    style = "" if isinstance(end.reason, Completed) else HUES[kind(tag(end.reason))]
    return _line(sentence(study, end), style)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
