"""NVIDIA's GPUs through NVML, the library that comes with their driver (nvidia-smi uses it, too).

Nothing here makes a CUDA context, so nothing is taken of a card's memory. `docs/devices.md` says
which answers may be missing and what is done then.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from smallhours.clock import Clock
from smallhours.devices import host, visible
from smallhours.devices.base import Device, Fault, Reading
from smallhours.devices.nvml_card import Binding, Card, CardLostError, describe, parts
from smallhours.text import clean

_logger = logging.getLogger(__name__)

#: Seconds until a card or driver that went away is looked for again; each time in vain, twice as
#: long. (It takes all cards' handles with it, and where the driver sleeps in between, seconds.)
RETRY_S: Final = 30.0
_LONGEST_RETRY_S: Final = 1800.0
#: More faults are not taken at a time: a card that fails for good reports without end.
_MOST_FAULTS: Final = 64
#: What stands for "no part of it" in an event.
_NO_PART: Final = 0xFFFFFFFF
_NAME_LENGTH: Final = 40
_REBOOT: Final = "reboot this machine (or unload the old driver and load the new one)"


class Unavailable(NamedTuple):
    """Why there are no GPUs to be had."""

    #: There is no NVIDIA driver at all: most likely no card either.
    absent: bool
    why: str
    #: What the user can do about it; empty: nothing.
    do: str


_ABSENT: Final = Unavailable(True, "there is no NVIDIA driver", "")


class NvmlProbe:
    """Reads the GPUs of this machine that `CUDA_VISIBLE_DEVICES` leaves visible.

    A card that goes away is reported as gone, and looked for again from time to time, as is a
    driver that does not answer or was loaded anew.
    """

    def __init__(
        self,
        clock: Clock,
        ours: Callable[[int], bool],
        *,
        environment: Mapping[str, str] = os.environ,
        load: Callable[[], Binding] | None = None,
        name_of: Callable[[int], str] | None = None,
    ) -> None:
        """Find the cards. Takes seconds where the driver sleeps.

        Args:
            clock: For the time of readings.
            ours: Says whether a process belongs to this session.
            environment: Where `CUDA_VISIBLE_DEVICES` is looked for.
            load: Returns the binding, or raises OSError where there is no library.
            name_of: Returns what a process is called; empty: not known.
        """
        self._clock, self._ours, self._environment = clock, ours, environment
        self._load, self._name_of = load or _load, name_of or _name_of
        self._nvml: Binding = None
        self._cards: dict[str, Card] = {}
        self._known: dict[str, Device] = {}
        self._events: object | None = None
        #: When everything is looked for again; infinite: not at all.
        self._retry_at = math.inf
        self._retry_s = RETRY_S
        #: Why no GPU can be had; None: NVML answers.
        self.unavailable: Unavailable | None = None
        #: Cards that NVML counts but can't open, in words.
        self.problems: tuple[str, ...] = ()
        #: Whether the driver tells of faults (Xids).
        self.hears_faults = False
        #: How many cards and parts `CUDA_VISIBLE_DEVICES` hides.
        self.hidden = 0
        #: Whether numbers in `CUDA_VISIBLE_DEVICES` may mean other cards to CUDA.
        self.ambiguous = False
        self._open()

    def devices(self) -> tuple[Device, ...]:
        """Return the cards found so far, those that are gone included."""
        self._retry()
        return tuple(self._known.values())

    def read(self, name: str) -> Reading | None:
        """Read a card; None: it is gone. Never raises; a few calls of the driver."""
        self._retry()
        card = self._cards.get(name)
        if card is None:
            return None
        try:
            return card.read(self._clock.mono())
        except CardLostError as error:
            _logger.error("%s (%s) is gone: %s", card.device.label, name, error)
            del self._cards[name]
            self._look_again_later()
            return None

    def faults(self) -> tuple[Fault, ...]:
        """Return the Xids since the last call."""
        if self._events is None:
            return ()
        found: list[Fault] = []
        try:
            while len(found) < _MOST_FAULTS:
                found.append(self._fault(self._nvml.nvmlEventSetWait_v2(self._events, 0)))
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_TIMEOUT:
                self._look_again_later()
        return tuple(found)

    def close(self) -> None:
        """Let go of the driver."""
        nvml, self._nvml, self._events, self._cards = self._nvml, None, None, {}
        if nvml is not None:
            with suppress(nvml.NVMLError):  # it may be gone already
                nvml.nvmlShutdown()

    # --- coming and going ------------------------------------------------------------------

    def _look_again_later(self) -> None:
        """Look for everything again after a while: what handles there are may be worthless."""
        self._retry_at = min(self._retry_at, self._clock.mono() + self._retry_s)

    def _retry(self) -> None:
        if self._clock.mono() >= self._retry_at:
            self.close()
            self._open()
            well = self._retry_at == math.inf
            self._retry_s = RETRY_S if well else min(2 * self._retry_s, _LONGEST_RETRY_S)

    def _open(self) -> None:
        self._retry_at, self.hears_faults, self.problems = math.inf, False, ()
        try:
            nvml = self._load()
        except (OSError, ImportError):
            self.unavailable = _ABSENT
            return
        try:
            nvml.nvmlInit()
            self._nvml, self.unavailable = nvml, None
            self._find(nvml)
        except nvml.NVMLError as error:
            self.unavailable = _why(nvml, error)
            if not self.unavailable.absent:
                self._look_again_later()

    def _find(self, nvml: Binding) -> None:
        self._events = self._make_events(nvml)
        found = list(self._all(nvml))
        seen = [card.device for card in found]
        value = self._environment.get("CUDA_VISIBLE_DEVICES")
        wanted = visible.visible(seen, value)
        self.ambiguous = visible.ambiguous(seen, self._environment)
        self.hidden = len(seen) - len(wanted)
        cards = {card.device.name: card for card in found}
        self._cards = {device.name: cards[device.name] for device in wanted}
        self._known |= {device.name: device for device in wanted}

    def _all(self, nvml: Binding) -> Iterator[Card]:
        """Yield all cards and parts in the order of the PCI bus."""
        handles: list[tuple[str, object]] = []
        problems: list[str] = []
        for number in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(number)
                handles.append((_bus(nvml, handle), handle))
            except nvml.NVMLError as error:
                problems.append(f"card {number} can't be opened: {clean(str(error))}")
        for index, (_, handle) in enumerate(sorted(handles, key=lambda pair: pair[0])):
            try:
                yield from self._card(nvml, handle, index)
            except CardLostError as error:
                problems.append(f"card {index} can't be used: {clean(str(error))}")
        self.problems = tuple(problems)
        if problems:
            self._look_again_later()

    def _card(self, nvml: Binding, handle: object, index: int) -> Iterator[Card]:
        device = describe(nvml, handle, index)
        self._listen(nvml, handle)
        split = parts(nvml, handle, device)
        pieces = [(handle, device)] if split is None else split
        for piece, described in pieces:
            yield Card(
                nvml,
                piece,
                described,
                parent=None if split is None else handle,
                ours=self._ours,
                name_of=self._name_of,
                process_memory=not host.in_wsl(),
            )

    # --- faults ----------------------------------------------------------------------------

    def _make_events(self, nvml: Binding) -> object | None:
        try:
            made: object = nvml.nvmlEventSetCreate()
        except nvml.NVMLError:
            return None  # WSL2 has none
        return made

    def _listen(self, nvml: Binding, handle: object) -> None:
        if self._events is None:
            return
        try:
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
        except nvml.NVMLError:
            return  # not every card tells
        self.hears_faults = True

    def _fault(self, event: Binding) -> Fault:
        nvml = self._nvml
        try:
            uuid = str(nvml.nvmlDeviceGetUUID(event.device))
            if event.gpuInstanceId != _NO_PART:
                uuid = self._part(uuid, event.gpuInstanceId)
        except nvml.NVMLError:
            uuid = ""
        return Fault(uuid or None, int(event.eventData) or None, self._clock.mono())

    def _part(self, uuid: str, instance: int) -> str:
        """Return the part of a card that has a number; the card itself where none has."""
        cards = self._cards.items()
        found = [n for n, c in cards if c.device.card == uuid and c.instance() == instance]
        return found[0] if len(found) == 1 else uuid


def _load() -> Binding:
    """Return the binding where there is a library that it could bind."""
    # The binding is large: without a driver it needn't be read.
    ctypes.CDLL("libnvidia-ml.so.1")
    import pynvml

    return pynvml


def _why(nvml: Binding, error: Exception) -> Unavailable:
    """Say why NVML does not answer, and what can be done."""
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return _ABSENT
    if code == nvml.NVML_ERROR_DRIVER_NOT_LOADED:
        do = "load it: `sudo modprobe nvidia`; after an update of the kernel, reboot"
        return Unavailable(False, "the NVIDIA driver is not loaded", do)
    if code == nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        why = "the NVIDIA driver was updated, and the old one is still loaded"
        return Unavailable(False, why, _REBOOT)
    if code == nvml.NVML_ERROR_NO_PERMISSION:
        do = (
            "look at the rights of /dev/nvidia*; often it helps to join the groups video and render"
        )
        return Unavailable(False, "the NVIDIA driver may not be used by you", do)
    return Unavailable(False, f"NVML fails: {clean(str(error), 120)}", "nvidia-smi may say more")


def _bus(nvml: Binding, handle: object) -> str:
    """Return a card's place on the PCI bus, such that places sort as the bus counts."""
    try:
        bus = nvml.nvmlDeviceGetPciInfo(handle).busId
    except nvml.NVMLError:
        return "~"  # after all that are known, in NVML's own order
    text = bus.decode("ascii", "replace") if isinstance(bus, bytes) else str(bus)
    return text.upper()


def _name_of(pid: int) -> str:
    """Return what a process is called; empty where it can't be seen (gone, or outside)."""
    return clean(host.process_name(pid) or "", _NAME_LENGTH)
