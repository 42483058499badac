"""``smallhours continue``: take a stopped trial up again, to its end."""

from __future__ import annotations

from smallhours import inbox
from smallhours.commands import asking
from smallhours.errors import UsageError
from smallhours.explain.continuing import lost, nothing_to_continue, whence
from smallhours.paths import Home
from smallhours.snapshot import Snapshot


def continue_(home: Home, target: str) -> int:
    """Ask for a trial that was stopped to go on; say before if it must begin again.

    Args:
        home: The state directory.
        target: Its name, or the beginning of it.

    Returns:
        The exit code.

    Raises:
        UsageError: it is a study.
        NotFoundError: there is no such trial.
    """
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        head = snapshot.head(found.study)
        if found.trial is None:
            raise UsageError(
                f"`continue` is for trials that were stopped, like `smallhours continue"
                f" {head.name}/3`; a study goes on with `smallhours resume {head.name}`"
            )
        trial = snapshot.trial(found.study, found.trial)
    if nothing := nothing_to_continue(trial):
        print(nothing)
        return 0
    if again := lost(trial):
        print(again, flush=True)
    body = {"study": found.study, "trial": found.trial, "by": inbox.who()}
    return asking.ask(home, "continue", body, f"{trial.name} will {whence(trial)}: {inbox.WAITS}")
