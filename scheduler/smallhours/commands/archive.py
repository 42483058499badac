"""``smallhours archive`` and ``smallhours rm``: studies that are over, put aside or removed."""

from __future__ import annotations

import sys
from pathlib import Path

from smallhours import housekeeping, inbox
from smallhours.commands import asking
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.snapshot.heads import Head
from smallhours.text import count, size

_WAITS = "no engine is running: it will be {} when one is, with `smallhours start`"


def archive(home: Home, name: str) -> int:
    """Put a study that is over out of the way: lists leave it out, its checkpoints go.

    Logs, curves and results stay. Adding the study again with more trials brings it back.

    Args:
        home: The state directory.
        name: The study, or the beginning of its name.

    Returns:
        The exit code: 2 where the engine refused.

    Raises:
        UsageError: it is not over.
        EngineError: the engine is silent.
    """
    head = _over(home, name, "archive")
    if head.archived or head.removed:
        print(f"{head.name} is {'removed' if head.removed else 'archived'} already")
        return 0
    return _ask(home, head, remove=False)


def remove(home: Home, name: str, *, yes: bool) -> int:
    """Remove a study that is over: its checkpoints, its logs, its name.

    What is in the ledger stays, `verify` needs it, but no list shows it.

    Args:
        home: The state directory.
        name: The study, or the beginning of its name.
        yes: Don't ask.

    Returns:
        The exit code: 1 where the answer was no, 2 where the engine refused.

    Raises:
        UsageError: it is not over, or nobody is there to be asked.
        EngineError: the engine is silent.
    """
    head = _over(home, name, "rm")
    if head.removed:
        print(f"{head.name} is removed already")
        return 0
    freed = _freed(home.trials / str(head.id))
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"`rm` deletes for good ({head.name}: {freed}): add --yes where nobody can be asked"
            )
        print(f"{head.name}: this deletes {freed}, for good.", flush=True)
        if not _agreed():
            print("nothing was removed")
            return 1
    return _ask(home, head, remove=True)


def _agreed() -> bool:
    try:
        return input("Remove it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _over(home: Home, name: str, verb: str) -> Head:
    """Return the study that a name means; see `asking.study`.

    Raises:
        UsageError: something of it is left to do.
    """
    head = asking.study(home, name, verb)
    if not head.gone:
        raise UsageError(
            f"{head.name} is not over: `smallhours cancel {head.name}` ends it, then"
            f" `smallhours {verb} {head.name}`"
        )
    return head


def _ask(home: Home, head: Head, *, remove: bool) -> int:
    body = {"study": head.id, "by": inbox.who(), "remove": remove}
    return asking.ask(home, "archive", body, _WAITS.format("removed" if remove else "archived"))


def _freed(folder: Path) -> str:
    """Return what a study has on disk, in words."""
    holding = housekeeping.on_disk(folder)
    if not holding.size_bytes:
        return "no files"
    things = f"{count(holding.checkpoints, 'checkpoint')}, {count(holding.logs, 'log')}"
    return f"{size(holding.size_bytes)} ({things})"
