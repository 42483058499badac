"""What a table tells those around it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from smallhours_tui.widgets.table import LineTable


class TableMessage(Message, namespace="line_table"):
    """Something that somebody did to a table."""

    def __init__(self, table: LineTable) -> None:
        super().__init__()
        self.table = table

    @property
    def control(self) -> LineTable:
        """The table."""
        return self.table


class Moved(TableMessage, namespace="line_table"):
    """The cursor is on another row; key None: there are no rows."""

    def __init__(self, table: LineTable, key: Hashable | None) -> None:
        super().__init__(table)
        self.key = key

    def can_replace(self, message: Message) -> bool:
        """Only the last of several moves matters."""
        return isinstance(message, Moved) and message.table is self.table


class Opened(TableMessage, namespace="line_table"):
    """Somebody wants to see more of a row."""

    def __init__(self, table: LineTable, key: Hashable) -> None:
        super().__init__(table)
        self.key = key


class SortRequested(TableMessage, namespace="line_table"):
    """Somebody clicked the title of a column; `column` is its key."""

    def __init__(self, table: LineTable, column: str) -> None:
        super().__init__(table)
        self.column = column


class MarksChanged(TableMessage, namespace="line_table"):
    """Somebody marked rows, or took marks away."""
