"""The menu of what trials can be sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class Sorting(ModalScreen[str | None]):
    """A list to choose from; the result is the key that was chosen, None: nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,s", "dismiss(None)", "Close", id="sorting.close"),
        Binding("down,j", "move('down')", "Down", show=False, id="sorting.down"),
        Binding("up,k", "move('up')", "Up", show=False, id="sorting.up"),
    ]

    def __init__(self, choices: Mapping[str, str], current: str) -> None:
        """Make a menu.

        Args:
            choices: Inert words by key.
            current: The key in force; choosing it again turns the order around.
        """
        super().__init__()
        self._choices, self._current = choices, current

    def compose(self) -> ComposeResult:
        """Offer the choices."""
        marked = [
            Option(f"{words}   (turn around)" if key == self._current else words, id=key)
            for key, words in self._choices.items()
        ]
        yield OptionList(*marked, id="sorting", markup=False)

    def on_mount(self) -> None:
        """Begin where one is."""
        menu = self.query_one(OptionList)
        menu.border_title = "sort by"
        if self._current in self._choices:
            menu.highlighted = [*self._choices].index(self._current)
        menu.focus()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Hand the choice back."""
        self.dismiss(message.option.id)

    def action_move(self, direction: str) -> None:
        """Move as the arrows do."""
        menu = self.query_one(OptionList)
        (menu.action_cursor_down if direction == "down" else menu.action_cursor_up)()
