"""``smallhours release``: run what waits because it lies where other configurations failed."""

from __future__ import annotations

from smallhours import inbox
from smallhours.commands import asking
from smallhours.paths import Home
from smallhours.snapshot import Snapshot


def release(home: Home, target: str) -> int:
    """Let a trial run that waits as a known mistake, or all of a study.

    Args:
        home: The state directory.
        target: Its name, or the beginning of it.

    Returns:
        The exit code: 2 where the trial does not wait as one.

    Raises:
        NotFoundError: there is no such study or trial.
    """
    with Snapshot(home) as snapshot:
        found = snapshot.resolve(target)
        head = snapshot.head(found.study)
    name = head.name if found.trial is None else f"{head.name}/{found.trial}"
    ids = {"study": found.study, "trial": found.trial}
    body = {**ids, "only_held": True, "by": inbox.who()}
    return asking.ask(home, "release", body, f"{name} will be released: {inbox.WAITS}")
