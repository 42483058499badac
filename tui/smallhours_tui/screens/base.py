"""What all screens share: header, footer, a feed that is shown while the screen is on top."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from smallhours_tui.feed import Feed, Night, Update
from smallhours_tui.marks import Signs
from smallhours_tui.messages import Fed
from smallhours_tui.widgets.top import Top

if TYPE_CHECKING:
    from smallhours_tui.app import Dashboard

#: Below this nothing useful fits.
_LEAST = (40, 12)


class Look(Screen[None]):
    """A screen of the dashboard.

    It is told of what is new only while it is on top; when it comes back it shows everything anew.
    What it remembers (cursor, filter, order) it keeps, since it is never thrown away.
    """

    #: Columns from which on the classes hold: cards, the design size, room for a second panel.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - Textual has it as an instance's
        (0, "-narrow"),
        (100, "-normal"),
        (140, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", "Help", key_display="?", id="screen.help"),
        Binding("escape", "back", "Back", show=False, id="screen.back"),
    ]
    #: What the header calls it; it is the name of a tab, or of the tab that it belongs to.
    TAB: ClassVar[str] = ""
    #: What the help says first.
    HELP: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        #: How large it was laid out last; None: never yet.
        self._sized: Size | None = None

    def compose(self) -> ComposeResult:
        """Put header and footer around what the screen has."""
        yield Top(self.dashboard.tabs, self.TAB, self.signs, self.dashboard.host)
        yield from self.body()
        yield Footer(show_command_palette=False, compact=True)
        small = f"The terminal is too small: {_LEAST[0]} x {_LEAST[1]} is the least."
        yield Static(small, id="too-small", markup=False)

    @abstractmethod
    def body(self) -> Iterator[Widget]:
        """Yield what is between header and footer."""

    @abstractmethod
    def show(self, night: Night, update: Update | None) -> None:
        """Show what is known.

        Args:
            night: All of it.
            update: What of it is new; None: show everything anew.
        """

    @property
    def dashboard(self) -> Dashboard:
        """The app."""
        return cast("Dashboard", self.app)

    @property
    def feed(self) -> Feed:
        """Where everything that is shown comes from."""
        return self.dashboard.feed

    @property
    def signs(self) -> Signs:
        """What is drawn with."""
        return self.dashboard.signs

    @property
    def wide(self) -> bool:
        """Whether there is room for a panel at the side."""
        return self.app.size.width >= 120

    def say(self, text: str) -> str:
        """Return a text from anywhere so that it can be drawn."""
        return self.signs.say(text)

    def show_anew(self) -> None:
        """Show everything that is known now."""
        night = self.feed.night
        self.query_one(Top).show(night)
        self.show(night, None)

    def on_fed(self, message: Fed) -> None:
        """Show what is new."""
        message.stop()
        self.query_one(Top).show(message.night)
        self.show(message.night, None if message.update.replaced else message.update)

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another screen was on top."""
        if self._sized:  # else it is shown once it knows how large it is
            self.show_anew()

    def on_resize(self, event: events.Resize) -> None:
        """Say so where nothing fits; else lay out anew what depends on the width."""
        small = event.size.width < _LEAST[0] or event.size.height < _LEAST[1]
        self.set_class(small, "-too-small")
        before, self._sized = self._sized, event.size
        if self.is_current and not small and event.size != before:
            self.call_after_refresh(self.show_anew)

    def action_help(self) -> None:
        """Say which keys work here."""
        from smallhours_tui.screens.help import Help

        self.app.push_screen(Help(self))

    def action_back(self) -> None:
        """Go back to the screen before."""
        self.dashboard.go_back()
