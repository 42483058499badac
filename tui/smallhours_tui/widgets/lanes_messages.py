"""What a chart of lanes tells those around it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from smallhours_tui.widgets.lanes import LanesChart


class LanesMessage(Message, namespace="lanes_chart"):
    """Something that somebody did to a span; `key` is the span's."""

    def __init__(self, chart: LanesChart, key: Hashable) -> None:
        super().__init__()
        self.chart, self.key = chart, key

    @property
    def control(self) -> LanesChart:
        """The chart."""
        return self.chart


class Moved(LanesMessage, namespace="lanes_chart"):
    """The cursor is on another span."""


class Opened(LanesMessage, namespace="lanes_chart"):
    """Somebody wants to see more of a span."""
