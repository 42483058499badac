"""Slots of a simulated backend: they take a while to come up, and stay."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from smallhours.backends.cards import SimulatedDevices
from smallhours.backends.timeline import Timeline
from smallhours.core.trial import AttemptKey
from smallhours.devices.base import CPU
from smallhours.simulate.interference import Load


@dataclass(slots=True)
class WarmSlots:
    """Gives attempts a slot that is up; while there is none, others come up and they wait."""

    timeline: Timeline
    #: Seconds that a slot takes to come up; 0: none.
    slot_s: float = 0.0
    #: As many come up at a time, each on one.
    cores: float = 1.0
    #: Those that are up and free.
    free: int = 0
    #: Where those that come up take their cores from what runs; None: nowhere.
    devices: SimulatedDevices | None = None
    _coming: int = 0
    _begun: int = 0
    _waiting: deque[tuple[AttemptKey, Callable[[], None]]] = field(default_factory=deque)
    _held: set[AttemptKey] = field(default_factory=set)

    def take(self, key: AttemptKey, begin: Callable[[], None]) -> None:
        """Have an attempt begin once there is a slot for it."""
        if not self.slot_s:
            begin()
            return
        self._waiting.append((key, begin))
        self._serve()

    def give(self, key: AttemptKey) -> None:
        """Take back what an attempt had, or waited for."""
        if key in self._held:
            self._held.remove(key)
            self.free += 1
        self._waiting = deque(one for one in self._waiting if one[0] != key)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self.free:
            self.free -= 1
            key, begin = self._waiting.popleft()
            self._held.add(key)
            begin()
        while self._coming < min(max(1, int(self.cores)), len(self._waiting)):
            self._coming += 1
            self._begun += 1
            mine = AttemptKey(0, 0, self._begun)
            if self.devices is not None:
                self.devices.enter(mine, CPU, Load(1.0, min(1.0, 1.0 / self.cores)), 0, None)
            self.timeline.after(self.slot_s, partial(self._up, mine))

    def _up(self, mine: AttemptKey) -> None:
        if self.devices is not None:
            self.devices.leave(mine)
        self._coming -= 1
        self.free += 1
        self._serve()
