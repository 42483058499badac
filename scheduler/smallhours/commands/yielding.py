"""``smallhours yield``: gives the machine back at once, and takes it back."""

from __future__ import annotations

import time
from datetime import datetime

from smallhours import inbox, processes, status
from smallhours.commands import asking
from smallhours.errors import EngineError, UsageError
from smallhours.paths import Home
from smallhours.progress import working
from smallhours.text import clock, count
from smallhours.text import duration as words
from smallhours.when import parse_duration, parse_until

#: Where nothing is said: a forgotten `yield` shall not cost a night.
_DEFAULT_S = 3600.0
#: Checkpoints, `finally` blocks and the end of what runs the trials may take their time.
_OFF_LIMIT_S = 60.0
#: Seconds between two looks at the engine's view, which it writes once a second at most.
_LOOK_S = 0.1
_NOTHING = "no engine is running: nothing of smallhours is on the machine"


def yield_(
    home: Home, *, duration: str | None = None, until: str | None = None, end: bool = False
) -> int:
    """Give the machine back at once: everything is paused, and goes on by itself later.

    Args:
        home: The state directory.
        duration: For how long, as typed; with `until` None, too: an hour.
        until: Till when, as typed.
        end: Go on now instead.

    Returns:
        The exit code.

    Raises:
        UsageError: a time can't be understood, or there is more than one.
        EngineError: something of smallhours is still on the machine after a minute.
    """
    if sum((duration is not None, until is not None, end)) > 1:
        raise UsageError("yield: a duration, `--until` and `--end` are three wishes: take one")
    goes_on_at = None if end else _goes_on_at(duration, until)
    if not asking.engine_lives(home):
        print(_NOTHING)
        return 0
    begun = time.monotonic()
    body = {"until": goes_on_at, "by": inbox.who()}
    request = inbox.submit(home, "yield", body)
    answered = asking.answer(home, request)
    if answered is None:
        inbox.discard(home, request)  # the next engine is started to run, not to wait
    code = asking.tell(answered, _NOTHING)
    if code or answered is None or goes_on_at is None:
        return code
    with working("taking everything off the machine"):
        said = _wait_until_off(home, begun, goes_on_at)
    print(said)
    return code


def _goes_on_at(duration: str | None, until: str | None) -> float:
    now = datetime.now().astimezone()
    if until is not None:
        return parse_until(until, now)
    return now.timestamp() + (_DEFAULT_S if duration is None else parse_duration(duration))


def _wait_until_off(home: Home, begun: float, goes_on_at: float) -> str:
    """Wait until no trial runs and what runs them is gone; return how long that took."""
    running: int | None = None
    while time.monotonic() - begun < _OFF_LIMIT_S:
        if not asking.engine_lives(home):
            return _NOTHING
        seen, engine = status.read(home), processes.owner(home)
        current = seen is not None and engine is not None and seen.pid == engine.pid
        if seen is not None and current and seen.yielded_until is not None:
            running = seen.running
            if not running and seen.backend == "closed":
                took = words(time.monotonic() - begun)
                at = clock(goes_on_at, time.time())
                return (
                    f"the machine is yours after {took}; it goes on by itself at {at},"
                    " `smallhours yield --end` takes it back sooner"
                )
        time.sleep(_LOOK_S)
    left = "what runs the trials" if running == 0 else count(running or 0, "trial")
    raise EngineError(
        f"after {_OFF_LIMIT_S:.0f} s {left} is still on the machine; {home.log} says what the"
        " engine does, `smallhours stop --now` ends it"
    )
