"""One GPU, or one part of one, asked through NVML: what it is, and what it is doing.

Each answer may be missing: cards, drivers and WSL2 leave out different ones. What a card does not
support it is not asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from smallhours.devices.base import WITHOUT_MEMORY, ComputeMode, Device, ProcessUse, Reading
from smallhours.text import clean

_logger = logging.getLogger(__name__)

#: The module `pynvml`, or what stands in for it in tests.
Binding: TypeAlias = Any

_LABEL_LENGTH: Final = 60
#: Errors after which a handle is of no use: the card is gone, or the driver was taken away.
_LOST: Final = (
    "NVML_ERROR_UNINITIALIZED",
    "NVML_ERROR_DRIVER_NOT_LOADED",
    "NVML_ERROR_GPU_IS_LOST",
    "NVML_ERROR_RESET_REQUIRED",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    "NVML_ERROR_GPU_NOT_FOUND",
)
#: Errors that will be the answer the next time, too.
_NEVER: Final = (
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_FUNCTION_NOT_FOUND",
    "NVML_ERROR_NO_PERMISSION",
    "NVML_ERROR_INVALID_ARGUMENT",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
    "NVML_ERROR_DEPRECATED",
)
#: The three ways to run on a card; a process may be listed under more than one.
_LISTS: Final = ("Compute", "Graphics", "MPSCompute")


class CardLostError(Exception):
    """The card does not answer any more; the message is the driver's."""


class Handle:
    """A card's or a part's handle: asks NVML and turns "no answer" into None."""

    def __init__(self, nvml: Binding, handle: object) -> None:
        """Remember whom to ask."""
        self._nvml, self.raw = nvml, handle
        self._lost = {getattr(nvml, name) for name in _LOST}
        self._never = {getattr(nvml, name) for name in _NEVER}
        self._silent: set[tuple[str, tuple[object, ...]]] = set()

    def ask(self, function: str, *arguments: object) -> Any:
        """Return what a function of the binding says of the card; None: nothing.

        Raises:
            CardLostError: the card is gone.
        """
        question = (function, arguments)
        if question in self._silent:
            return None
        try:
            return getattr(self._nvml, function)(self.raw, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in self._lost:
                raise CardLostError(str(error)) from error
            if error.value in self._never:
                self._silent.add(question)
            return None
        except Exception as error:  # noqa: BLE001 - an older binding has fewer functions, and all
            # of them stumble over names that are no UTF-8: neither is an answer.
            _logger.info("%s gives no answer: %r", function, error)
            self._silent.add(question)
            return None


class Card:
    """A GPU or a part of one."""

    def __init__(
        self,
        nvml: Binding,
        handle: object,
        device: Device,
        *,
        parent: object | None = None,
        ours: Callable[[int], bool],
        name_of: Callable[[int], str],
        process_memory: bool = True,
    ) -> None:
        """Take over a handle.

        Args:
            nvml: The binding.
            handle: NVML's handle of it.
            device: What it is.
            parent: A part's card, which has the sensors; None: it is a card itself.
            ours: Says whether a process belongs to this session.
            name_of: Returns what a process is called.
            process_memory: False: it is known that the driver doesn't say what processes hold.
        """
        self.device = device
        self._nvml = nvml
        self._own = Handle(nvml, handle)
        self._sensors = self._own if parent is None else Handle(nvml, parent)
        self._ours, self._name_of, self._process_memory = ours, name_of, process_memory

    def read(self, at: float) -> Reading:
        """Read everything.

        Raises:
            CardLostError: the card is gone.
        """
        sources: dict[str, str] = {}
        reading = self._memory(Reading(device=self.device.name, at=at), sources)
        if reading.used_bytes is None and self.device.total_bytes is not None:
            # It did say once. Whatever the error is called now, nothing should count on the card.
            raise CardLostError("it does not tell its memory any more")
        temperature = self._temperature()
        power_mw = self._sensors.ask("nvmlDeviceGetPowerUsage")
        if self._sensors is not self._own:
            sources["temperature"] = sources["power"] = "nvml, of the whole card"
        return replace(
            reading,
            utilisation=self._utilisation(),
            temperature_c=temperature,
            slowdown_c=self._slowdown(temperature, sources),
            power_w=None if power_mw is None else power_mw / 1000,
            processes=self._processes(reading.total_bytes, sources),
            sources=sources,
        )

    def instance(self) -> int | None:
        """Return the number of the part of a card that it is in; None: it is a whole card."""
        number = self._own.ask("nvmlDeviceGetGpuInstanceId")
        return None if number is None else int(number)

    def _memory(self, reading: Reading, sources: dict[str, str]) -> Reading:
        info = self._own.ask("nvmlDeviceGetMemoryInfo", self._nvml.nvmlMemory_v2)
        told_apart = info is not None
        if info is None:
            info = self._own.ask("nvmlDeviceGetMemoryInfo")
        if info is None:
            return replace(reading, total_bytes=self.device.total_bytes)
        sources["memory"] = "nvml" if told_apart else "nvml, with the driver's own"
        return replace(
            reading,
            total_bytes=info.total,
            used_bytes=info.used,
            free_bytes=info.free,
            reserved_bytes=info.reserved if told_apart else None,
        )

    def _utilisation(self) -> float | None:
        rates = self._own.ask("nvmlDeviceGetUtilizationRates")
        return None if rates is None else min(1.0, rates.gpu / 100)

    def _temperature(self) -> float | None:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        for function in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            degrees = self._sensors.ask(function, sensor)
            if degrees is not None:
                return float(degrees)
        return None

    def _slowdown(self, temperature_c: float | None, sources: dict[str, str]) -> float | None:
        """Return when the card slows itself down: told as such, or (newer cards) how far it is."""
        threshold = self._nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        degrees = self._sensors.ask("nvmlDeviceGetTemperatureThreshold", threshold)
        if degrees:
            sources["heat"] = "nvml, threshold"
            return float(degrees)
        margin = self._sensors.ask("nvmlDeviceGetMarginTemperature")
        if margin is None or temperature_c is None:
            return None
        sources["heat"] = "nvml, margin"
        return temperature_c + float(margin)

    def _processes(
        self, total_bytes: int | None, sources: dict[str, str]
    ) -> tuple[ProcessUse, ...] | None:
        """Return the processes of all kinds, each once; None: they can't be listed."""
        held: dict[int, int | None] = {}
        for kind in _LISTS:
            listed = self._running(kind)
            if listed is None:
                if kind == "Compute":
                    return None
                continue  # older drivers know no MPS list, and graphics are not always listed
            for process in listed:
                used = process.usedGpuMemory
                if used is not None and total_bytes is not None and used > total_bytes:
                    used = None  # some drivers fill in garbage where they know nothing
                before = held.get(process.pid)
                held[process.pid] = used if before is None else max(before, used or 0)
        silent = not self._process_memory or any(used is None for used in held.values())
        sources["processes"] = WITHOUT_MEMORY if silent else "nvml"
        return tuple(
            ProcessUse(
                pid=pid,
                name=self._name_of(pid),
                used_bytes=used if self._process_memory else None,
                ours=self._ours(pid),
            )
            for pid, used in sorted(held.items())
        )

    def _running(self, kind: str) -> Any:
        for version in ("v3", "v2"):
            listed = self._own.ask(f"nvmlDeviceGet{kind}RunningProcesses_{version}")
            if listed is not None:
                return listed
        return None


def describe(nvml: Binding, handle: object, index: int) -> Device:
    """Return what a card is.

    Args:
        nvml: The binding.
        handle: The card.
        index: Its place among the cards.

    Raises:
        CardLostError: it is gone, or has no UUID.
    """
    card = Handle(nvml, handle)
    uuid = card.ask("nvmlDeviceGetUUID")
    if not uuid:
        raise CardLostError("it has no UUID")
    display = card.ask("nvmlDeviceGetDisplayActive")
    capability = card.ask("nvmlDeviceGetCudaComputeCapability")
    memory = card.ask("nvmlDeviceGetMemoryInfo")
    return Device(
        name=clean(str(uuid), _LABEL_LENGTH),
        kind="gpu",
        label=clean(str(card.ask("nvmlDeviceGetName") or "GPU"), _LABEL_LENGTH),
        total_bytes=None if memory is None else memory.total,
        display=None if display is None else bool(display),
        capability=None if capability is None else (capability[0], capability[1]),
        compute_mode=_compute_mode(nvml, card),
        index=index,
    )


def _compute_mode(nvml: Binding, card: Handle) -> ComputeMode | None:
    modes: dict[int, ComputeMode] = {
        nvml.NVML_COMPUTEMODE_DEFAULT: "default",
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "exclusive",
        nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive",
        nvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
    }
    mode = card.ask("nvmlDeviceGetComputeMode")
    return None if mode is None else modes.get(mode)


def parts(nvml: Binding, handle: object, card: Device) -> list[tuple[object, Device]] | None:
    """Return the parts that a card is split into, with their handles; None: it is whole."""
    whole = Handle(nvml, handle)
    mode = whole.ask("nvmlDeviceGetMigMode")
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    found: list[tuple[object, Device]] = []
    for index in range(whole.ask("nvmlDeviceGetMaxMigDeviceCount") or 0):
        part = Handle(nvml, handle).ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
        if part is None:
            continue  # not made
        described = describe(nvml, part, card.index or 0)
        device = replace(
            described,
            kind="mig",
            card=card.name,
            display=False,
            capability=described.capability or card.capability,
        )
        found.append((part, device))
    return found
