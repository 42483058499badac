"""``smallhours add``: studies join the queue, whether an engine runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smallhours import inbox, submit
from smallhours.commands import asking
from smallhours.core.spec import Priority
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.standing import read_priority, read_weight


def add(
    home: Home,
    file: Path,
    *,
    replace: bool = False,
    rename: str | None = None,
    priority: str | None = None,
    weight: str | None = None,
    first: bool = False,
) -> int:
    """Add the studies of a file; start nothing and watch nothing.

    Args:
        home: The state directory.
        file: The study file.
        replace: Put studies of the same names that differ aside, instead of being refused.
        rename: Another name for the file's only study.
        priority: Instead of what the file says.
        weight: Instead of what the file says, as typed.
        first: Put them before all others of their priority.

    Returns:
        The exit code: 2 where one was refused.

    Raises:
        StudyFileError: something in the file is wrong.
        UsageError: an argument can't be understood.
    """
    changes: dict[str, Any] = {}
    if priority is not None:
        changes["priority"] = Priority(read_priority(priority))
    if weight is not None:
        changes["weight"] = read_weight(weight)
    if first and not asking.engine_lives(home):
        raise UsageError(
            "--first needs an engine that runs: add the study without it, then `smallhours start`"
            " and `smallhours move NAME first`"
        )
    _, added = submit.add(home, file, replace=replace, rename=rename, changes=changes)
    code = 0
    for study in added:
        answered = asking.answer(home, study.request)
        code = max(code, asking.tell(answered, f"{study.name} will be added: {inbox.WAITS}"))
        if first and answered is not None and answered[0]:
            code = max(code, _put_first(home, study.name))
    return code


def _put_first(home: Home, name: str) -> int:
    head = asking.study(home, name, "move")
    body = {"study": head.id, "to": "first", "by": inbox.who()}
    return asking.tell(asking.answer(home, inbox.submit(home, "move", body)), inbox.WAITS)
