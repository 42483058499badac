"""Questions before something is asked of the engine; the safe answer has the focus."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from smallhours.errors import UsageError
from smallhours_tui.widgets.cells import Cell
from smallhours_tui.widgets.prose import Paragraphs
from smallhours_tui.wishes import Field, Reader, Wish


class Confirm(ModalScreen[bool]):
    """A question; True: yes, do it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(False)", "Close", id="confirm.close"),
        Binding("left,up,h,k", "app.focus_previous", "Before", show=False, id="confirm.before"),
        Binding("right,down,l,j", "app.focus_next", "Next", show=False, id="confirm.next"),
    ]

    def __init__(
        self,
        title: str,
        told: Sequence[Sequence[Cell]],
        *,
        yes: str,
        no: str,
        close_keys: Collection[str] = (),
    ) -> None:
        """Make a question.

        Args:
            title: Inert; what is asked.
            told: Inert; what comes of it.
            yes: The button that does it.
            no: The button that doesn't; it has the focus.
            close_keys: Keys that close it besides: the ones that opened it.
        """
        super().__init__()
        self._title, self._told = title, told
        self._yes, self._no, self._close_keys = yes, no, close_keys

    def compose(self) -> ComposeResult:
        """Say it, above two buttons."""
        with Vertical(id="dialog") as box:
            box.border_title = _plain(self._title)
            told = Paragraphs()
            told.show(self._told)
            yield told
            with Horizontal(id="buttons"):
                yield Button(self._no, id="no", compact=True)
                yield Button(self._yes, id="yes", compact=True)

    def on_mount(self) -> None:
        """Begin on the safe side."""
        self.query_one("#no").focus()

    @on(Button.Pressed)
    def answered(self, message: Button.Pressed) -> None:
        """Hand the answer back."""
        self.dismiss(message.button.id == "yes")

    def on_key(self, event: events.Key) -> None:
        """Close with the key that opened it."""
        if event.key in self._close_keys:
            event.stop()
            self.dismiss(False)


class _Line(Input):
    """A line that gives keys which close the form away."""

    def __init__(self, field: Field, close_keys: Collection[str]) -> None:
        super().__init__(field.value, placeholder=field.hint, compact=True, name=field.name)
        self._close_keys = () if field.free else close_keys

    async def _on_key(self, event: events.Key) -> None:
        if event.key in self._close_keys:
            event.stop()
            event.prevent_default()
            self.screen.dismiss(None)
            return
        await super()._on_key(event)


class Form(ModalScreen[Wish | None]):
    """Some lines to be typed, that become a wish; None: nothing is wished for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="form.close"),
        Binding("down", "app.focus_next", "Next", show=False, id="form.next"),
        Binding("up", "app.focus_previous", "Before", show=False, id="form.before"),
    ]

    def __init__(
        self,
        title: str,
        told: Sequence[Sequence[Cell]],
        fields: Sequence[Field],
        *,
        read: Reader,
        yes: str,
        close_keys: Collection[str] = (),
    ) -> None:
        """Make a form.

        Args:
            title: Inert; what is asked for.
            told: Inert; what comes of it.
            fields: The lines.
            read: Makes a wish of what was typed.
            yes: The button that asks for it.
            close_keys: Keys that close it besides: the ones that opened it.
        """
        super().__init__()
        self._title, self._told, self._fields = title, told, fields
        self._read, self._yes, self._close_keys = read, yes, {*close_keys, "q"}

    def compose(self) -> ComposeResult:
        """Say what it is about, above the lines and two buttons."""
        with Vertical(id="dialog") as box:
            box.border_title = _plain(self._title)
            told = Paragraphs()
            told.show(self._told)
            yield told
            for field in self._fields:
                if field.label:
                    yield Static(field.label, markup=False, classes="label")
                yield _Line(field, self._close_keys)
            yield Static("", id="problem", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Close", id="no", compact=True)
                yield Button(self._yes, id="yes", compact=True)

    def on_mount(self) -> None:
        """Begin to type."""
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def next_line(self, message: Input.Submitted) -> None:
        """Go on to the next line; after the last one, ask."""
        lines = [*self.query(Input)]
        if message.input is lines[-1]:
            self._ask()
        else:
            self.focus_next()

    @on(Button.Pressed)
    def answered(self, message: Button.Pressed) -> None:
        """Ask, or don't."""
        if message.button.id == "yes":
            self._ask()
        else:
            self.dismiss(None)

    def _ask(self) -> None:
        try:
            wish = self._read({str(line.name): line.value.strip() for line in self.query(Input)})
        except UsageError as error:
            self.query_one("#problem", Static).update(str(error))
            return
        self.dismiss(wish)


def _plain(title: str) -> str:
    """Return a title for a border, in which brackets mean nothing."""
    return title.replace("[", "\\[")
