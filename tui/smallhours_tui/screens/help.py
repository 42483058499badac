"""Help: what the screen shows, the keys that work there, and what the marks mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from smallhours_tui import marks
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.prose import Paragraphs

if TYPE_CHECKING:
    from smallhours_tui.screens.base import Look

#: Bindings that every Textual app has and nobody needs to read about.
_SILENT = ("ctrl+c", "super+c", "ctrl+insert")
_KEY_WIDTH = 22


class Help(ModalScreen[None]):
    """What can be done on a screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Close", id="help.close"),
        Binding("down,j", "scroll(1)", "Down", show=False, id="help.down"),
        Binding("up,k", "scroll(-1)", "Up", show=False, id="help.up"),
    ]

    def __init__(self, of: Look) -> None:
        super().__init__()
        self._signs = of.signs
        self._about = of.HELP
        self._keys = keys_of(of)

    def compose(self) -> ComposeResult:
        """Put the text into a box that scrolls."""
        with VerticalScroll(id="help"):
            yield Paragraphs()

    def on_mount(self) -> None:
        """Say it."""
        self.query_one(Paragraphs).show([*self._lines()])
        self.query_one("#help").focus()

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one("#help").scroll_relative(y=lines, animate=False)

    def _lines(self) -> list[list[Cell]]:
        signs = self._signs
        lines: list[list[Cell]] = [[(signs.say(self._about), "")], [("", "")]]
        lines += [[(f"{keys:<{_KEY_WIDTH}}", "key"), (what, "")] for keys, what in self._keys]
        lines += [[("", "")], [("Marks", "title")]]
        lines += [
            [(f"{signs.mark(mark)} ", mark.hue), (mark.word, mark.hue)] for mark in marks.legend()
        ]
        lines += [[("", "")], [("Closing the dashboard ends nothing: it only looks.", "dim")]]
        return lines


def keys_of(screen: Look) -> list[tuple[str, str]]:
    """Return the keys that work on a screen now, with what they do; one line for each deed."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if not active.enabled or binding.key in _SILENT or not binding.description:
            continue
        shown = screen.app.get_key_display(binding)
        known = keys.setdefault((binding.action, binding.description), [])
        if shown not in known:
            known.append(shown)
    return [(" ".join(shown), what) for (_, what), shown in keys.items()]
