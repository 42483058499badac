"""Reads devices in a thread of their own: a driver that takes its time, or hangs, holds up nobody.

A call of a GPU's driver takes microseconds as a rule, seconds while a card wakes up, and for ever
when it has crashed. Whoever asks gets the latest reading there is; `at` says how old it is.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from smallhours.clock import Clock
from smallhours.devices.base import Device, Fault, Probe, Reading

_logger = logging.getLogger(__name__)

#: A reading that is asked for and takes longer than this is worth a line in the log.
SLOW_S: Final = 10.0
_CLOSE_S: Final = 1.0
#: A card that fails for good reports without end.
_FAULTS_KEPT: Final = 256
_FAULTS_TOLD: Final = 4


class Seen(NamedTuple):
    """What was seen of some devices at the latest look."""

    #: Monotonic clock when that look ended.
    at: float
    devices: tuple[Device, ...]
    #: By name; None: the device is gone.
    readings: Mapping[str, Reading | None]


_NOTHING: Final = Seen(at=0.0, devices=(), readings={})


class Watch:
    """Looks at the devices of one probe whenever it is asked to; never makes the asker wait."""

    def __init__(self, name: str, make: Callable[[], Probe], clock: Clock) -> None:
        """Look at nothing yet.

        Args:
            name: What is watched, for the log.
            make: Makes the probe, in the thread: that may take seconds.
            clock: The machine's clocks.
        """
        self._name, self._make, self._clock = name, make, clock
        self._seen = _NOTHING
        #: The latest, for whoever asks.
        self._faults: deque[Fault] = deque(maxlen=_FAULTS_KEPT)
        self._wanted = threading.Event()
        self._looked = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        #: Since when a look is asked for that has not ended; None: none is.
        self._asked_at: float | None = None
        self._told = False

    @property
    def seen(self) -> Seen:
        """What the latest look saw; nothing before the first one has ended."""
        return self._seen

    def look(self) -> None:
        """Ask for another look. Returns at once; one under way is enough."""
        if self._asked_at is not None:
            self._tell_if_slow(self._clock.mono() - self._asked_at)
            return
        self._asked_at = self._clock.mono()
        if self._thread is None:
            # A daemon: a driver that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._wanted.set()

    def wait(self, limit_s: float) -> None:
        """Wait until a look has ended, or for so long."""
        self._looked.wait(limit_s)

    def take_faults(self) -> list[Fault]:
        """Return the faults heard of since the last call."""
        return [self._faults.popleft() for _ in range(len(self._faults))]

    def close(self) -> None:
        """End the thread; one that hangs in the driver is left alone."""
        self._over = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _tell_if_slow(self, waited_s: float) -> None:
        if waited_s >= SLOW_S and not self._told:
            self._told = True
            _logger.warning("%s: no answer for %.0f s", self._name, waited_s)

    def _run(self) -> None:
        probe: Probe | None = None
        try:
            while self._wanted.wait() and not self._over:
                self._wanted.clear()
                if probe is None:
                    probe = self._make()
                self._seen = self._look_at(probe)
                self._hear(probe.faults())
                self._asked_at, self._told = None, False
                self._looked.set()
        except Exception:
            # Probes don't raise; if one does, its devices are seen no more, and the night goes on.
            _logger.exception("%s can't be watched any more", self._name)
        finally:
            self._looked.set()  # nothing more will be seen
            if probe is not None:
                probe.close()

    def _look_at(self, probe: Probe) -> Seen:
        devices = probe.devices()
        readings = {device.name: probe.read(device.name) for device in devices}
        return Seen(at=self._clock.mono(), devices=devices, readings=readings)

    def _hear(self, faults: tuple[Fault, ...]) -> None:
        self._faults.extend(faults)
        for fault in faults[:_FAULTS_TOLD]:
            _logger.error("%s: Xid %s", fault.device or self._name, fault.xid)
        if len(faults) > _FAULTS_TOLD:
            _logger.error("%s: %d faults more", self._name, len(faults) - _FAULTS_TOLD)
