"""How an attempt that must end is made to: an order, then SIGTERM, then SIGKILL, each when due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from smallhours.core.events import ProcessSample
from smallhours.core.guards import GRACE_S
from smallhours.core.trial import AttemptKey

Rung: TypeAlias = tuple[float, Literal["SIGTERM", "SIGKILL"]]

#: A hung process has this long for its stacks to be written, and then to die of SIGTERM.
_STACKS_S = 1.0
_HUNG_GRACE_S = 5.0


@dataclass(slots=True)
class _Ladder:
    #: Signals that are due at these times, in order.
    rungs: list[Rung] = field(default_factory=list)
    #: What was sent, and when.
    sent: list[Rung] = field(default_factory=list)
    noticed: bool = False
    #: Its times stand: they follow from when the place is needed, not from what the trial does.
    fixed: bool = False
    #: When it was killed without any ado.
    killed_at: float | None = None
    #: When it was last heard of, and the CPU seconds of its process tree at the tick after that.
    heard_at: float | None = None
    cpu_s: float | None = None


class Ladders:
    """The ladders of all living attempts."""

    def __init__(self) -> None:
        self._of: dict[AttemptKey, _Ladder] = {}

    def _get(self, key: AttemptKey) -> _Ladder:
        return self._of.setdefault(key, _Ladder())

    def ordered(self, key: AttemptKey, at: float, notice_s: float) -> None:
        """It was told to stop and may take `notice_s` seconds to hear it."""
        first = at + notice_s
        self._get(key).rungs = [(first, "SIGTERM"), (first + GRACE_S, "SIGKILL")]

    def needed(self, key: AttemptKey, term_at: float, kill_at: float) -> None:
        """It was told to stop, and its place is needed at a certain time whatever it does."""
        ladder = self._get(key)
        if ladder.sent:
            return
        if not ladder.fixed or kill_at < ladder.rungs[-1][0]:
            ladder.rungs, ladder.fixed = [(term_at, "SIGTERM"), (kill_at, "SIGKILL")], True

    def noticed(self, key: AttemptKey, at: float) -> None:
        """It heard the order: its `finally` blocks have their grace from now."""
        ladder = self._get(key)
        if ladder.rungs and not (ladder.sent or ladder.noticed or ladder.fixed):
            ladder.noticed = True
            ladder.rungs = [(at + GRACE_S, "SIGTERM"), (at + 2 * GRACE_S, "SIGKILL")]

    def hung(self, key: AttemptKey, at: float) -> None:
        """It does not answer: once its stacks are written it has to go."""
        first = at + _STACKS_S
        self._get(key).rungs = [(first, "SIGTERM"), (first + _HUNG_GRACE_S, "SIGKILL")]

    def kill(self, key: AttemptKey, at: float) -> None:
        """It has to go at once."""
        ladder = self._get(key)
        ladder.rungs, ladder.killed_at = [(at, "SIGKILL")], at

    def killed(self, key: AttemptKey) -> bool:
        """Say whether it has to go at once."""
        return key in self._of and self._of[key].killed_at is not None

    def killed_since(self, since: float) -> bool:
        """Say whether one that lives yet had to go at once since then."""
        times = [ladder.killed_at for ladder in self._of.values()]
        return any(at is not None and at > since for at in times)

    def due(self, at: float) -> Iterator[tuple[AttemptKey, Literal["SIGTERM", "SIGKILL"]]]:
        """Yield the signals that are due, each once; SIGKILL again while a process stays."""
        for key, ladder in self._of.items():
            while ladder.rungs and ladder.rungs[0][0] <= at:
                _, signal = ladder.rungs.pop(0)
                ladder.sent.append((at, signal))
                if signal == "SIGKILL":
                    ladder.rungs.append((at + GRACE_S, "SIGKILL"))
                yield key, signal

    def deeds(self, key: AttemptKey, since: float) -> tuple[tuple[float, str], ...]:
        """Return what was sent: seconds since `since`, and the signal."""
        sent = self._of[key].sent if key in self._of else []
        return tuple((round(at - since, 3), signal) for at, signal in sent)

    def heard(self, key: AttemptKey, heard_at: float, sample: ProcessSample | None) -> None:
        """Note the CPU time of a process, once for each time it was heard of."""
        ladder = self._get(key)
        if sample is not None and heard_at != ladder.heard_at:
            ladder.heard_at, ladder.cpu_s = heard_at, sample.cpu_s

    def cpu_since(self, key: AttemptKey, sample: ProcessSample | None) -> float | None:
        """Return the CPU seconds since it was last heard of; None: not known."""
        before = self._get(key).cpu_s
        if sample is None or before is None:
            return None
        return round(sample.cpu_s - before, 3)

    def forget(self, key: AttemptKey) -> None:
        """The attempt is over."""
        self._of.pop(key, None)
