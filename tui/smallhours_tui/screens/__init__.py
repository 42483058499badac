"""The screens, and the keys and names by which one goes to them."""

from __future__ import annotations

from typing import Final, NamedTuple

from smallhours_tui.screens.base import Look
from smallhours_tui.screens.lanes import LanesScreen
from smallhours_tui.screens.night import NightScreen
from smallhours_tui.screens.study import StudyScreen
from smallhours_tui.screens.why import WhyScreen


class Place(NamedTuple):
    """A screen that a key leads to."""

    key: str
    name: str
    title: str
    screen: type[Look]


#: In the order of the header. A screen that is added here has its key, its tab, its entry in the
#: palette and its line in the help.
PLACES: Final = (
    Place("1", "night", "Night", NightScreen),
    Place("2", "study", "Study", StudyScreen),
    Place("3", "lanes", "Lanes", LanesScreen),
    Place("4", "why", "Why", WhyScreen),
)
