"""`smallhours export`: what the ledger knows, as files for other tools."""

from __future__ import annotations

from pathlib import Path

from smallhours.errors import UsageError
from smallhours.hints import expected
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.replay import history
from smallhours.snapshot import Snapshot
from smallhours.snapshot.heads import Head

_WHAT = ("curves",)
#: Trials that a rule stopped are missing from a table: it looks tamer than the search was.
_STOPPED = ("rule_cut", "rung_cut")


def export(home: Home, *, what: str, names: list[str], path: Path) -> int:
    """Write the learning curves of finished trials as a table for `smallhours replay`.

    Args:
        home: The state directory.
        what: ``curves``.
        names: Studies, or the beginnings of their names; empty: all.
        path: The file to write.

    Returns:
        0.

    Raises:
        UsageError: there is nothing to export, or it can't be written.
        NotFoundError: no study has such a name.
    """
    if what not in _WHAT:
        raise UsageError(f"export: {expected(what, _WHAT)}")
    with Snapshot(home) as snapshot, working("reading curves"):
        found = history.collect(snapshot, _studies(snapshot, names))
    history.write(found, path)
    print(f"{path}: {history.described(found)}")
    if any(reason in found.left_out for reason in _STOPPED):
        print(
            "Trials that a rule stopped have no whole curve: what it stopped wrongly can't be seen"
            ' in this table. A study with stopping="none" gives a fair one.'
        )
    return 0


def _studies(snapshot: Snapshot, names: list[str]) -> list[Head]:
    """Return the studies that names mean, each once.

    Raises:
        UsageError: a name means a trial, or there is no study.
    """
    chosen: dict[int, Head] = {}
    for name in names or snapshot.names():
        target = snapshot.resolve(name)
        if target.trial is not None:
            raise UsageError(f"export: expected a study, got the trial {name!r}")
        chosen[target.study] = snapshot.head(target.study)
    if not chosen:
        raise UsageError("there is no study to export")
    return list(chosen.values())
