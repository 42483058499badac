"""The screens, and the keys and names by which one goes to them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from smallhours_tui.screens.base import Look


class Place(NamedTuple):
    """A screen that a key leads to."""

    key: str
    name: str
    title: str
    #: Module below this package, and class: it is imported when it is first wanted.
    where: str

    def kind(self) -> type[Look]:
        """Return the class of the screen."""
        module, _, name = self.where.partition(".")
        found: type[Look] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


#: In the order of the header. A screen that is added here has its key, its tab, its entry in the
#: palette and its line in the help.
PLACES: Final = (
    Place("1", "night", "Night", "night.NightScreen"),
    Place("2", "study", "Study", "study.StudyScreen"),
    Place("3", "lanes", "Lanes", "lanes.LanesScreen"),
    Place("4", "why", "Why", "why.WhyScreen"),
)
