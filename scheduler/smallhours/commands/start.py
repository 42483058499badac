"""``smallhours start`` and ``smallhours attach``: start the engine, and look at what it does."""

from __future__ import annotations

import sys
from datetime import datetime

from smallhours import processes
from smallhours.commands import asking, choosing, run
from smallhours.paths import Home
from smallhours.snapshot import Snapshot
from smallhours.snapshot.heads import Head
from smallhours.text import Page, clean, count, listing
from smallhours.when import parse_until

_REFUSED = 2


def start(
    home: Home, *, detach: bool = False, until: str | None = None, devices: str | None = None
) -> int:
    """See that an engine runs and goes on with the queue, and watch it.

    Args:
        home: The state directory.
        detach: Don't watch; an engine that is started here stays when the queue runs dry.
        until: When all must be over, as it was typed; None: as it was.
        devices: What an engine that is started may use, as it was typed; None: as set.

    Returns:
        The exit code.

    Raises:
        UsageError: the settings are wrong, `until` is no time that lies ahead, or there is no such
            device.
        EngineError: the engine can't be started, or died.
    """
    deadline = None if until is None else parse_until(until, datetime.now().astimezone())
    more = choosing.environment(home, devices)
    if not detach and not _anything_waits(home):
        print("nothing is left to do; `smallhours add STUDY.py` adds something")
        _say_held(asking.heads(home))
        return 0
    living = processes.owner(home)
    if living is not None and devices is None:
        leaves = "" if processes.stays(living) else ", and leaves when the queue is dry"
        print(f"the engine runs already (process {living.pid}){leaves}", flush=True)
    engine = run.Engine(home, stay=detach, more=more)
    code = 0
    if deadline is not None:
        ((ok, text),) = engine.ask_all([run.ask_deadline(home, deadline)])
        print(clean(text), file=sys.stdout if ok else sys.stderr, flush=True)
        code = 0 if ok else _REFUSED
    engine.wait_until_read()
    heads = asking.heads(home)
    _say_held(heads)
    if detach:
        run.say_detached()
        return code
    ids = [head.id for head in heads if head.open]
    if not ids:
        print("nothing is left to do")
        return code
    return run.watch(home, ids, engine) or code


def attach(home: Home, name: str | None = None) -> int:
    """Watch what runs; leaving ends nothing.

    Args:
        home: The state directory.
        name: Watch this study only.

    Returns:
        The exit code.

    Raises:
        NotFoundError: there is no study of that name.
        EngineError: the engine died.
    """
    heads = asking.heads(home)
    running: set[int] = set()
    if heads or name is not None:
        with Snapshot(home) as snapshot:
            running = {run.study for run in snapshot.running()}
            if name is not None:
                chosen = snapshot.resolve(name).study
                heads = [head for head in heads if head.id == chosen]
    ids = [head.id for head in heads if head.open or head.id in running]
    if not asking.engine_lives(home):
        left = "" if not ids else f"; {count(len(ids), 'study is', 'studies are')} not done"
        print(f"nothing runs{left}: `smallhours start` goes on with the queue")
        return 0
    if not ids:
        what = f"nothing of {heads[0].name} is left to do" if name else "the queue is empty"
        print(f"the engine runs, but {what}; `smallhours add STUDY.py` adds something")
        _say_held(heads)
        return 0
    return run.watch(home, ids, run.Engine(home), may_stop=False)


def _anything_waits(home: Home) -> bool:
    """Say whether the queue, or a request that no engine has seen yet, needs an engine."""
    return any(head.open for head in asking.heads(home)) or any(home.inbox.glob("*.json"))


def _say_held(heads: list[Head]) -> None:
    """Name the studies that will not go on by themselves."""
    held = [head.name for head in heads if head.held]
    if held:
        Page(sys.stdout).paragraph(
            f"{listing(held)} {'waits' if len(held) == 1 else 'wait'} to be released:"
            f" `smallhours resume {held[0] if len(held) == 1 else 'NAME'}`"
        )
