"""The dashboard: one feed, some screens, and what all of them share."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, cast

from rich.style import Style
from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import CommandPalette, Provider
from textual.dom import DOMNode
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.timer import Timer
from textual.widgets._toggle_button import ToggleButton

from smallhours.errors import NotFoundError, UsageError
from smallhours.hints import did_you_mean
from smallhours.paths import Home
from smallhours.text import clean, count
from smallhours_tui import keys, themes
from smallhours_tui.answers import Answer, Answers
from smallhours_tui.commands import Commands
from smallhours_tui.feed import Feed
from smallhours_tui.marks import Signs
from smallhours_tui.messages import Fed, StudyWanted, TrialWanted
from smallhours_tui.options import Options
from smallhours_tui.remembered import Remembered
from smallhours_tui.rhythm import TICK_S, Rhythm
from smallhours_tui.screens import PLACES, Place
from smallhours_tui.screens.base import Look
from smallhours_tui.screens.night import NightScreen
from smallhours_tui.terminal import Terminal
from smallhours_tui.widgets.top import Tab
from smallhours_tui.wishes import Wish

if TYPE_CHECKING:
    from smallhours_tui.screens.study import StudyScreen
    from smallhours_tui.screens.trial import TrialScreen

#: What a process ends with that was left by its terminal: 128 and SIGHUP.
_HUNG_UP: Final = 129
#: By then everything that stays has been made.
_SETTLED_S: Final = 1.0
#: Seconds between two looks for an answer that is to come at any moment.
_ANSWER_POLL_S: Final = 0.1
#: Seconds for which something is told.
_TOLD_S: Final = 8.0


class _AsciiBars(ScrollBarRender):
    """Scrollbars without block elements."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class Dashboard(App[None]):
    """The terminal dashboard."""

    TITLE = "smallhours"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider]]] = {Commands}  # type: ignore[assignment]
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                place.key, f"go('{place.name}')", place.title, show=False, id=f"go.{place.name}"
            )
            for place in PLACES
        ),
        Binding("colon", "command_palette", "Command", key_display=":", id="app.command"),
        Binding("ctrl+p", "command_palette", "Command", show=False, id="app.palette"),
        Binding("q", "leave", "Leave", id="app.leave"),
        Binding("ctrl+c", "leave", "Leave", show=False, priority=True, id="app.interrupt"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend"),
    ]

    def __init__(
        self, home: Home, options: Options | None = None, feed: Feed | None = None
    ) -> None:
        """Read what there is.

        Args:
            home: The state directory.
            options: How it looks and what it may do.
            feed: What is shown; None: what lies in the state directory.

        Raises:
            UsageError: an option, or the file of keys, is wrong.
            LedgerError: the ledger can't be read.
        """
        self.options = options or Options()
        self._terminal = Terminal()
        super().__init__()
        #: What is shown.
        self.feed = feed or Feed(home, at=self.options.at, since=self.options.since)
        #: What is drawn with.
        self.signs = Signs.of(ascii_only=self.options.ascii)
        #: Name of the machine.
        self.host = clean(socket.gethostname().partition(".")[0], 24)
        #: What is asked of the engine.
        self.answers = Answers(home)
        #: How studies were arranged.
        self.remembered = Remembered(home, keep=not self.options.readonly)
        self._listening: Timer | None = None
        self.rhythm = Rhythm(time.monotonic())
        self._screens_by_name: dict[str, Look] = {}
        self._first = self._target(self.options.target)
        for theme in themes.THEMES.values():
            self.register_theme(theme)
        self.theme = self._theme_name()
        self.set_keymap(keys.read(self._names_of_keys))
        if self.options.ascii:
            self.add_class("-ascii")
            ScrollBar.renderer = _AsciiBars
            ToggleButton.BUTTON_LEFT, ToggleButton.BUTTON_RIGHT = "[", "]"

    # -- what others ask

    @property
    def places(self) -> Sequence[Place]:
        """The screens that keys lead to."""
        return PLACES

    @property
    def tabs(self) -> Sequence[Tab]:
        """The same for the header."""
        return [Tab(place.key, place.title, place.name) for place in PLACES]

    @property
    def theme_names(self) -> Sequence[str]:
        """The themes that are our own."""
        return [*themes.THEMES]

    @property
    def style_map(self) -> Mapping[str, Style]:
        """What the names of styles mean in the theme of now."""
        return self._styles

    def order_of(self, study: int) -> Sequence[int]:
        """Return the trials of a study as its table has them; empty: it is not shown there."""
        table = cast("StudyScreen | None", self._screens_by_name.get("study"))
        if table is not None and table.study == study and table.is_mounted:
            return table.shown
        return ()

    # -- asking the engine

    @property
    def may_ask(self) -> bool:
        """Whether anything can be asked: not of a time gone by, nor where one only looks."""
        return not self.options.readonly and self.feed.at is None

    def ask(self, *asked: Wish) -> None:
        """Send wishes; what the engine answers is said when it comes."""
        engine = self.feed.night.engine
        lives = engine is not None and (engine.running or engine.restarting)
        for wish in asked:
            try:
                answer = self.answers.send(wish, engine_lives=lives)
            except UsageError as error:
                answer = Answer(False, str(error))
            if answer is not None:
                self._say_answer(answer)
        if self._listening is None and self.answers.awaited:
            self._listening = self.set_interval(_ANSWER_POLL_S, self._listen)

    def tell(self, text: str, *, failed: bool = False) -> None:
        """Say something for some seconds."""
        severity: SeverityLevel = "error" if failed else "information"
        self.notify(self.signs.say(text), severity=severity, timeout=_TOLD_S, markup=False)

    def _listen(self) -> None:
        """Say what was answered."""
        for answer in self.answers.look():
            self._say_answer(answer)
            self.rhythm.hurry()  # what follows from it is shown at once
        if self._listening is not None and not self.answers.awaited:
            self._listening.stop()
            self._listening = None

    def _say_answer(self, answer: Answer) -> None:
        refused = "refused: " if answer.ok is False else ""
        self.tell(refused + answer.text, failed=answer.ok is False)

    # -- life

    def get_default_screen(self) -> Screen[None]:
        """Begin with the night."""
        night = NightScreen()
        self._screens_by_name["night"] = night
        return night

    def on_mount(self) -> None:
        """Begin to look."""
        self.title = "smallhours"
        self.set_interval(TICK_S, self._poll)
        if self._first is not None:
            study, trial = self._first
            if trial is None:
                self.open_study(study)
            else:
                self.open_trial(study, trial)
        self.set_timer(_SETTLED_S, _settle_memory)

    async def on_event(self, event: events.Event) -> None:
        """Note that somebody is there."""
        if isinstance(event, events.Key | events.MouseDown):
            self.rhythm.touched_at = time.monotonic()
        await super().on_event(event)

    def on_app_focus(self) -> None:
        """Show what came while another window had the focus."""
        self.rhythm.hurry()
        self._poll()

    def on_unmount(self) -> None:
        """Let the ledger go."""
        self.feed.close()

    def _poll(self) -> None:
        """Look at the ledger, and tell the screen on top."""
        if self._terminal.gone:  # nobody is there to be shown anything, nor a screen to restore
            self.feed.close()
            os._exit(_HUNG_UP)
        if not self.screen_stack:  # it is about to be gone: its timers are ended after its screens
            return
        if not self.rhythm.due(time.monotonic(), focused=self.app_focus):
            return
        if self._listening is None:
            self._listen()
        update = self.feed.poll()
        if isinstance(self.screen, Look):
            self.screen.post_message(Fed(self.feed.night, update))

    def watch_theme(self, theme: str) -> None:
        """Take up what the names of styles mean in it."""
        self._styles = themes.style_map(self.current_theme)

    # -- going about

    def go(self, name: str) -> None:
        """Go to a screen by its name."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if name != "night":
            self.push_screen(self._screen(name))

    def action_go(self, name: str) -> None:
        """Go to a screen by its name."""
        if name == "study" and isinstance(self.screen, NightScreen):
            chosen = self.screen.study
            if chosen is not None:
                self._study_screen().look_at(chosen)
        self.go(name)

    def go_back(self) -> None:
        """Go back to the screen before; the night is the first."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def open_study(self, study: int) -> None:
        """Show a study."""
        self._study_screen().look_at(study)
        self.go("study")

    def open_trial(self, study: int, trial: int) -> None:
        """Show a trial on top of what is shown."""
        screen = cast("TrialScreen", self._screen("trial"))
        screen.look_at(study, trial)
        if screen in self.screen_stack:
            while self.screen is not screen:
                self.pop_screen()
            screen.show_anew()
        else:
            self.push_screen(screen)

    def on_study_wanted(self, message: StudyWanted) -> None:
        """Show it."""
        self.open_study(message.study)

    def on_trial_wanted(self, message: TrialWanted) -> None:
        """Show it."""
        self.open_trial(message.study, message.trial)

    def get_key_display(self, binding: Binding) -> str:
        """Return what a key is called; in ASCII where nothing else may be drawn."""
        shown = super().get_key_display(binding)
        return shown if shown.isascii() or not self.options.ascii else binding.key

    def show_help(self) -> None:
        """Say which keys work on the screen on top."""
        if isinstance(self.screen, Look):
            self.screen.action_help()

    def action_command_palette(self) -> None:
        """Show what can be done, with a search; not twice."""
        if not isinstance(self.screen, CommandPalette):
            self.push_screen(CommandPalette(placeholder="a command, a study, or digits/12"))

    def leave(self) -> None:
        """Leave; what runs goes on."""
        running = len(self.feed.night.runs)
        goes_on = f"{count(running, 'trial')} {'keeps' if running == 1 else 'keep'} running; "
        again = "`smallhours watch` comes back"
        self.exit(message=f"{goes_on if running and not self.feed.night.past else ''}{again}")

    def action_leave(self) -> None:
        """Leave; what runs goes on."""
        self.leave()

    # -- how it begins

    def _screen(self, name: str) -> Look:
        """Return a screen by its name; it is made when it is first wanted, and kept."""
        screen = self._screens_by_name.get(name)
        if screen is None:
            screen = self._screens_by_name[name] = _kind(name)()
            self.install_screen(screen, name)
        return screen

    def _study_screen(self) -> StudyScreen:
        return cast("StudyScreen", self._screen("study"))

    def _target(self, text: str | None) -> tuple[int, int | None] | None:
        """Return what to begin with."""
        if text is None:
            return None
        if self.feed.ledger is None:
            raise NotFoundError(f"there is no study {clean(text, 64)!r}: nothing has run yet")
        found = self.feed.ledger.resolve(text)
        return found.study, found.trial

    def _theme_name(self) -> str:
        name = self.options.theme or os.environ.get("TEXTUAL_THEME") or "dark"
        if name in self.available_themes:
            return name
        if self.options.theme is None:
            return "dark"
        hint = did_you_mean(name, self.available_themes)
        own = ", ".join(themes.THEMES)
        raise UsageError(f"there is no theme {name!r}{hint}; there are {own}")

    def _names_of_keys(self) -> set[str]:
        """Return the names of all keys that the user may change."""
        from smallhours_tui.screens.arranging import Arranging
        from smallhours_tui.screens.dialogs import Confirm, Form
        from smallhours_tui.screens.help import Help
        from smallhours_tui.screens.menu import Columns, Menu
        from smallhours_tui.screens.steered import Steered
        from smallhours_tui.screens.trial import TrialScreen
        from smallhours_tui.widgets.lanes import LanesChart
        from smallhours_tui.widgets.table import LineTable

        screens = [place.kind() for place in PLACES]
        kinds: list[type[DOMNode]] = [
            type(self),
            Look,
            TrialScreen,
            *screens,
            Steered,
            Arranging,
            Help,
            Menu,
            Columns,
            Confirm,
            Form,
            LineTable,
            LanesChart,
        ]
        bindings = [binding for kind in kinds for binding in kind.BINDINGS]
        return {b.id for b in bindings if isinstance(b, Binding) and b.id is not None}


def _kind(name: str) -> type[Look]:
    """Return the class of a screen; those that are not wanted are not imported."""
    for place in PLACES:
        if place.name == name:
            return place.kind()
    from smallhours_tui.screens.trial import TrialScreen

    return TrialScreen


def _settle_memory() -> None:
    """Keep the collector off what is there for good: a key's slowest frame from 53 to 18 ms."""
    gc.freeze()
    gc.enable()
