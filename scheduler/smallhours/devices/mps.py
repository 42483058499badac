"""Shares cards among trials through NVIDIA's MPS: one private control daemon a card.

A daemon of its own for each card, so that a fault on one stops nothing on another, and so that a
card is number 0 to all its clients. Everything that may block happens in a thread a card.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from smallhours.clock import Clock
from smallhours.devices.base import Device
from smallhours.devices.mps_card import Card, State
from smallhours.devices.mps_control import PIPE_VARIABLE, ControlDaemon, Limits
from smallhours.devices.mps_usable import Machine
from smallhours.settings import MpsMode

_logger = logging.getLogger(__name__)

#: In the environment of a trial: the most memory that its process may take of each card.
_LIMIT_VARIABLE: Final = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
_MIB: Final = 2**20
#: What a process takes beyond torch's own cap: CUDA's context, and libraries that ask it directly.
_BEYOND_TORCH_BYTES: Final = 512 * _MIB


class Mps:
    """MPS on all cards. Lives in the engine's event loop and never blocks it."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        environment: Mapping[str, str],
        ours: Callable[[int], bool],
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        """Start nothing yet.

        Args:
            directory: The session's private directory (short path).
            clock: The machine's clocks.
            environment: What the daemons see, and where ``PATH`` and the user's own are looked for.
            ours: Says whether a process is of this session.
            limits: How long may be waited.
        """
        self._directory, self._clock, self._limits = directory / "mps", clock, limits
        self._environment = environment
        self._machine = partial(Machine.look, environment, ours)
        self._cards: dict[str, Card] = {}

    def look(self, cards: Iterable[Device], busy: Collection[str], mode: MpsMode) -> None:
        """See that each card is shared as it should be. Returns at once; ask every second or so.

        Args:
            cards: The cards on which trials run or will run; what is no GPU is passed over.
            busy: The names of those on which one runs now.
            mode: What the settings say.
        """
        for device in cards:
            if device.kind == "cpu":
                continue
            card = self._cards.get(device.name)
            if card is None:
                directory = self._directory / str(len(self._cards))
                daemon = ControlDaemon(directory, device.name, self._environment, self._limits)
                card = self._cards[device.name] = Card(daemon, self._clock, self._machine)
            card.look(device, mode, busy=device.name in busy)

    def state(self, card: str) -> State:
        """Return how it stands with a card, by its name; one never looked at is ``off``."""
        return self._cards[card].state if card in self._cards else State("off")

    def shares(self, cards: Collection[Device]) -> bool:
        """Say whether trials share all of some cards through MPS; False where there is none."""
        return bool(cards) and all(
            card.name in self._cards and self._cards[card.name].pipe is not None for card in cards
        )

    # --- as `backends.base.Sharing` -----------------------------------------------------------

    def environment(self, device: str, memory_bytes: int | None) -> dict[str, str]:
        """Return what a trial on a card needs in its environment before it first uses CUDA.

        It must see that card only, by its UUID. Where MPS is not used, this keeps the trial out of
        a daemon of the user's.

        Args:
            device: The card's name; what is no card needs nothing.
            memory_bytes: The most that torch may take of the card; None: no limit.
        """
        if device not in self._cards or (known := self._cards[device]).theirs:
            return {}
        if known.pipe is None:
            return {PIPE_VARIABLE: str(self._directory / "none")}  # where nobody listens
        found = {PIPE_VARIABLE: str(known.pipe)}
        if memory_bytes is not None:
            found[_LIMIT_VARIABLE] = f"0={(memory_bytes + _BEYOND_TORCH_BYTES) // _MIB}M"
        return found

    def before_signal(self, pid: int, then: Callable[[], None]) -> None:
        """Take the cards away from a session of processes, then go on; soon in any case."""
        serving = [card for card in self._cards.values() if card.pipe is not None]
        if not serving:
            then()
            return
        wait = _Wait(len(serving), then)
        asyncio.get_running_loop().call_later(self._limits.signal_s, wait.over)
        for card in serving:
            card.terminate(pid, wait.one_less)

    def ended_badly(self) -> None:
        """Have all servers looked at: a process that may have been a client ended badly."""
        for card in self._cards.values():
            card.suspect()

    async def close(self) -> None:
        """End all daemons; one that hangs is left to the supervisor, which sweeps."""
        ends = [card.close() for card in self._cards.values()]
        if ends:
            _, late = await asyncio.wait(ends, timeout=self._limits.close_s)
            if late:
                _logger.error("MPS does not end within %.0f s", self._limits.close_s)


class _Wait:
    """Goes on once: when all have answered, or when it is over."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left, self._then = count, then

    def one_less(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()

    def over(self) -> None:
        if self._left > 0:
            self._left = 0
            _logger.warning("MPS does not answer; a process is signalled all the same")
            self._then()
