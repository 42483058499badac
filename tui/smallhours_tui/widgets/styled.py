"""Style names: widgets know what a thing is, the app says what that looks like."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rich.style import Style
from textual.widget import Widget

#: Used for names that the app's map does not have.
PLAIN: Final[Mapping[str, Style]] = MappingProxyType(
    {
        "": Style.null(),
        "dim": Style(dim=True),
        "bold": Style(bold=True),
        "selected": Style(bold=True, reverse=True),
    }
)
_NULL: Final = Style.null()


class Styled(Widget):
    """A widget whose style names are looked up in the ``style_map`` of the app.

    An app without one, or a name that is not in it, gets `PLAIN`'s. `restyled` is called when the
    theme has changed: what was drawn with the old styles is to be forgotten there.
    """

    def named(self, name: str) -> Style:
        """Return what a style name looks like now."""
        given: Mapping[str, Style] = getattr(self.app, "style_map", PLAIN)
        found = given.get(name)
        return PLAIN.get(name, _NULL) if found is None else found

    def restyled(self) -> None:
        """Forget what was drawn with other styles."""

    def notify_style_update(self) -> None:
        """Take up a change of theme or stylesheet."""
        super().notify_style_update()
        self.restyled()
