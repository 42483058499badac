"""What the engine looks after beside its trials: clock, memory, settings, devices, others."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from smallhours.backends.places import ON_A_GPU, Places
from smallhours.clock import Clock
from smallhours.core import events as e
from smallhours.core.seen import DevicesSeen
from smallhours.core.trial import AttemptKey
from smallhours.devices import host, seen, visible
from smallhours.devices.base import CPU
from smallhours.devices.inventory import Inventory, Observed, of_this_machine
from smallhours.devices.mps import Mps
from smallhours.errors import UsageError
from smallhours.foreign import Foreign, in_session
from smallhours.settings import Settings, Watcher

_logger = logging.getLogger(__name__)

#: Seconds between two looks at what others run.
_FOREIGN_S = 5.0
#: The devices that a command named (``--devices``), with commas between them.
DEVICES_VARIABLE = "SMALLHOURS_DEVICES"
#: The first look at the devices is waited for so long.
_FIRST_LOOK_S = 10.0
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
        #: Kept as the settings say whenever the devices are seen.
        self.mps = Mps(directory, clock, environment=environment, ours=in_session)
        self._watcher = Watcher()
        self._foreign = Foreign(self.settings.yield_to)
        #: What the user named; empty: all. What a command said goes before the settings.
        said = os.environ.get(DEVICES_VARIABLE)
        self._chosen = tuple(said.split(",")) if said else self.settings.devices
        self._looked_at = -_FOREIGN_S
        self._seen: tuple[str, ...] = ()

    async def first_look(self) -> None:
        """Wait until the devices were seen once, or for a while: a driver may sleep, or hang."""
        self.devices.look()
        await asyncio.to_thread(self.devices.wait, _FIRST_LOOK_S)

    def places(self) -> Places:
        """Return how many trials may run at a time, and where."""
        return Places.of_this_machine(self.settings.slots, len(self.gpus))

    @property
    def gpus(self) -> tuple[Observed, ...]:
        """The GPUs that may be used, as they were at the latest look."""
        gpus = [one for one in self.devices.observed() if one.device.kind != CPU]
        if not self._chosen or not gpus:  # before the first look nothing is known to be missing
            return tuple(gpus)
        try:
            chosen = visible.chosen([one.device for one in gpus], self._of_gpus(self._chosen))
        except UsageError as error:
            _logger.error("%s", error)
            return ()
        return tuple(one for one in gpus if one.device in chosen)

    def devices_seen(
        self, processes: Mapping[AttemptKey, e.ProcessSample], busy: Collection[str]
    ) -> DevicesSeen:
        """Return the devices that trials may run on, as they are now.

        Args:
            processes: Samples of the attempts that run.
            busy: The devices of all attempts that were started and are not over.
        """
        gpus = self.gpus
        cards = [one.device for one in gpus if one.reading is not None]
        self.mps.look(cards, busy, self.settings.mps)
        shared = self.mps.shares(cards)
        found = [
            seen.gpu(one, ON_A_GPU, open_=self.mps.state(one.device.name).ready, shared=shared)
            for one in gpus
        ]
        if not self._chosen or CPU in self._chosen:
            cpus = (one.device for one in self.devices.observed() if one.device.kind == CPU)
            ours = sum(sample.resident_bytes for sample in processes.values())
            found.append(seen.cpu(next(cpus, None), ours))
        faults = seen.faults(self.devices.take_faults())
        return DevicesSeen(
            at=self._clock.mono(),
            devices=tuple(found),
            faults=faults,
            sharing="mps" if shared else "time_slicing",
        )

    @staticmethod
    def _of_gpus(words: Sequence[str]) -> list[str]:
        return [word for word in words if word != CPU]

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
        available, total = host.memory()
        return e.Tick(
            at=now,
            available_bytes=available,
            total_bytes=total,
            processes=dict(processes),
            wall=self.wall(),
            foreign=self._seen,
        )
