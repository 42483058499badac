"""Menus: one thing to be chosen of some, or some of many."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, SelectionList
from textual.widgets.option_list import Option
from textual.widgets.selection_list import Selection


class Menu(ModalScreen[str | None]):
    """A list to choose from; the result is the key that was chosen, None: nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", id="menu.close"),
        Binding("down,j", "move('down')", "Down", show=False, id="menu.down"),
        Binding("up,k", "move('up')", "Up", show=False, id="menu.up"),
    ]

    def __init__(
        self,
        title: str,
        choices: Mapping[str, str],
        current: str = "",
        *,
        close_keys: Collection[str] = (),
    ) -> None:
        """Make a menu.

        Args:
            title: What is chosen.
            choices: Inert words by key.
            current: The key that is chosen now.
            close_keys: Keys that close it besides: the ones that opened it.
        """
        super().__init__()
        self._title, self._choices, self._current = title, choices, current
        self._close_keys = close_keys

    def compose(self) -> ComposeResult:
        """Offer the choices."""
        choices = [Option(words, id=key) for key, words in self._choices.items()]
        yield OptionList(*choices, id="menu", markup=False)

    def on_mount(self) -> None:
        """Begin where one is."""
        menu = self.query_one(OptionList)
        menu.border_title = self._title
        if self._current in self._choices:
            menu.highlighted = [*self._choices].index(self._current)
        menu.focus()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Hand the choice back."""
        self.dismiss(message.option.id)

    def on_key(self, event: events.Key) -> None:
        """Close with the key that opened it."""
        if event.key in self._close_keys:
            event.stop()
            self.dismiss(None)

    def action_move(self, direction: str) -> None:
        """Move as the arrows do."""
        menu = self.query_one(OptionList)
        (menu.action_cursor_down if direction == "down" else menu.action_cursor_up)()


class Columns(ModalScreen[frozenset[str] | None]):
    """The columns of a table, each to be shown or not; the result are those to be left out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Close", id="columns.close"),
        Binding("down,j", "move('down')", "Down", show=False, id="columns.down"),
        Binding("up,k", "move('up')", "Up", show=False, id="columns.up"),
    ]

    def __init__(
        self,
        titles: Mapping[str, str],
        hidden: Collection[str],
        *,
        close_keys: Collection[str] = (),
    ) -> None:
        """Make a list.

        Args:
            titles: Inert words by the key of the column.
            hidden: Keys of those that are left out now.
            close_keys: Keys that close it besides: the ones that opened it.
        """
        super().__init__()
        self._titles, self._hidden, self._close_keys = titles, hidden, close_keys

    def compose(self) -> ComposeResult:
        """Offer the columns."""
        yield SelectionList[str](
            *(
                Selection(Content(title), key, key not in self._hidden)
                for key, title in self._titles.items()
            ),
            id="menu",
        )

    def on_mount(self) -> None:
        """Say what it is."""
        menu = self.query_one(SelectionList)
        menu.border_title = "columns (space: show or not)"
        menu.focus()

    def on_key(self, event: events.Key) -> None:
        """Close with the key that opened it."""
        if event.key in self._close_keys:
            event.stop()
            self.action_close()

    def action_close(self) -> None:
        """Hand back what is to be left out."""
        shown = set(self.query_one(SelectionList).selected)
        self.dismiss(frozenset(key for key in self._titles if key not in shown))

    def action_move(self, direction: str) -> None:
        """Move as the arrows do."""
        menu = self.query_one(SelectionList)
        (menu.action_cursor_down if direction == "down" else menu.action_cursor_up)()
