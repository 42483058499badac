"""What the engine looks after beside its trials: clock, memory, settings, devices, others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from smallhours.clock import Clock
from smallhours.core import events as e
from smallhours.core.trial import AttemptKey
from smallhours.devices import host
from smallhours.devices.inventory import Inventory, of_this_machine
from smallhours.devices.mps import Mps
from smallhours.foreign import Foreign, in_session
from smallhours.settings import Settings, Watcher

_logger = logging.getLogger(__name__)

#: Seconds between two looks at what others run.
_FOREIGN_S = 5.0
#: Seconds between two looks at the devices while nothing runs on them.
_IDLE_DEVICES_S = 5.0


class Surroundings:
    """Everything that the core must be told with the time."""

    def __init__(
        self,
        clock: Clock,
        directory: Path,
        environment: Mapping[str, str],
        devices: Inventory | None = None,
    ) -> None:
        """Read the settings.

        Args:
            clock: The machine's clocks.
            directory: The session's private directory (short path).
            environment: What processes that are started here see.
            devices: What is watched; None: the devices of this machine.
        """
        self._clock = clock
        #: Looked at with every tick, in threads of their own.
        self.devices = devices or of_this_machine(clock, in_session)
        self._devices_at = -_IDLE_DEVICES_S
        #: Kept as the settings say with every tick.
        self.mps = Mps(directory, clock, environment=environment, ours=in_session)
        self._watcher = Watcher()
        self._foreign = Foreign(self.settings.yield_to)
        self._looked_at = -_FOREIGN_S
        self._seen: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._watcher.settings

    def settings_changed(self) -> bool:
        """Read the settings again where the file changed; say whether others are in force now."""
        if self._watcher.changed() is None:
            return False
        _logger.info("the settings changed")
        self._foreign = Foreign(self.settings.yield_to)
        self._looked_at = -_FOREIGN_S
        return True

    async def close(self) -> None:
        """Let go of the devices."""
        await self.mps.close()
        self.devices.close()

    def wall(self) -> e.WallTime:
        """Return what the clock on the wall says."""
        unix = self._clock.wall()
        local = datetime.fromtimestamp(unix).astimezone()
        minute = local.hour * 60 + local.minute + local.second / 60
        return e.WallTime(unix=unix, week_minute=local.weekday() * 24 * 60 + minute)

    def tick(self, processes: Mapping[AttemptKey, e.ProcessSample]) -> e.Tick:
        """Return what the machine looks like now."""
        now = self._clock.mono()
        if now - self._looked_at >= _FOREIGN_S:
            self._looked_at, self._seen = now, self._foreign.seen()
        if processes or now - self._devices_at >= _IDLE_DEVICES_S:
            self._devices_at = now
            self.devices.look()
        self._share_cards(busy=bool(processes))
        available, total = host.memory()
        return e.Tick(
            at=now,
            available_bytes=available,
            total_bytes=total,
            processes=dict(processes),
            wall=self.wall(),
            foreign=self._seen,
        )

    def _share_cards(self, *, busy: bool) -> None:
        cards = [seen.device for seen in self.devices.observed() if seen.reading is not None]
        self.mps.look(cards, {card.name for card in cards} if busy else (), self.settings.mps)
