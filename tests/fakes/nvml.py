"""NVML as its Python binding shows it, for machines that don't exist.

It has the binding's function names and parameters, and returns the binding's own structures and
errors, so that the real device code runs. What it answers is made up after the documentation
(tests/data/nvml), not recorded. A function that it doesn't have raises AttributeError, as one of a
newer binding would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml

_DATA = Path(__file__).parent.parent / "data" / "nvml"


@dataclass
class Piece:
    """A card or a part of one, as its handle leads to it."""

    data: dict[str, Any]
    #: Errors of functions, by their names (``NOT_SUPPORTED``); ``*``: of all of them.
    errors: dict[str, str] = field(default_factory=dict)
    parts: list[Piece] = field(default_factory=list)
    parent: Piece | None = None


def _error(name: str) -> Exception:
    error: Exception = pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{name}"))
    return error


class FakeNvml:
    """Stands in for the module `pynvml`."""

    def __init__(self, machine: str = "") -> None:
        """Take a machine.

        Args:
            machine: Name of a file in tests/data/nvml; empty: no card at all.
        """
        cards = json.loads((_DATA / f"{machine}.json").read_text())["cards"] if machine else []
        self.pieces = [_piece(card) for card in cards]
        #: Error of `nvmlInit`; None: it works.
        self.init_error: str | None = None
        self.initialised = 0
        #: Every call, in order.
        self.calls: list[str] = []
        self._events: list[Any] = []
        self._listening: list[Piece] = []
        self._generation = 0

    def __getattr__(self, name: str) -> Any:
        """Return the binding's constants, structures and errors; its functions must be faked."""
        if name.startswith("nvml") and callable(getattr(pynvml, name, None)):
            raise AttributeError(name)
        return getattr(pynvml, name)

    # --- what happens to the machine -------------------------------------------------------

    def lose(self, number: int, error: str = "GPU_IS_LOST") -> None:
        """Have a card fall off the bus."""
        self.pieces[number].errors["*"] = error

    def reload(self) -> None:
        """Load the driver anew: all is well, but what was known of it is worthless."""
        self._generation += 1
        self.initialised = 0
        for piece in self.pieces:
            piece.errors.pop("*", None)

    def xid(self, number: int, xid: int, instance: int = 0xFFFFFFFF) -> None:
        """Report a fault."""
        event = pynvml.c_nvmlEventData_t()
        event.eventType, event.eventData = pynvml.nvmlEventTypeXidCriticalError, xid
        event.gpuInstanceId, event.computeInstanceId = instance, 0xFFFFFFFF
        self._events.append(_Event(event, _Handle(self.pieces[number], self._generation)))

    # --- the library -----------------------------------------------------------------------

    def nvmlInit(self) -> None:  # noqa: N802
        self.calls.append("nvmlInit")
        if self.init_error:
            raise _error(self.init_error)
        self.initialised += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._check()
        self.initialised -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check()
        return len(self.pieces)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        self._check()
        handle = _Handle(self.pieces[index], self._generation)
        return self._asked("nvmlDeviceGetHandleByIndex", handle)

    # --- a card ----------------------------------------------------------------------------

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return str(self._of("nvmlDeviceGetUUID", handle)["uuid"])

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return str(self._of("nvmlDeviceGetName", handle)["name"])

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:  # noqa: N802
        info = pynvml.nvmlPciInfo_t()
        info.busId = self._of("nvmlDeviceGetPciInfo", handle)["bus"].encode()
        return info

    def nvmlDeviceGetDisplayActive(self, handle: Any) -> int:  # noqa: N802
        return int(self._value("nvmlDeviceGetDisplayActive", handle, "display"))

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> tuple[int, int]:  # noqa: N802
        major, minor = self._value("nvmlDeviceGetCudaComputeCapability", handle, "capability")
        return major, minor

    def nvmlDeviceGetComputeMode(self, handle: Any) -> int:  # noqa: N802
        return int(self._of("nvmlDeviceGetComputeMode", handle).get("compute_mode", 0))

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: Any = None) -> Any:  # noqa: N802
        data = self._of("nvmlDeviceGetMemoryInfo", handle)
        total, used, reserved = data["total"], data["used"], data["reserved"]
        if version is None:
            memory = pynvml.c_nvmlMemory_t()
            memory.used = used + (reserved or 0)
        elif reserved is None:
            raise _error("FUNCTION_NOT_FOUND")
        else:
            memory = pynvml.c_nvmlMemory_v2_t()
            memory.version, memory.used, memory.reserved = version, used, reserved
        memory.total, memory.free = total, total - used - (reserved or 0)
        return memory

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        rates = pynvml.c_nvmlUtilization_t()
        rates.gpu = self._value("nvmlDeviceGetUtilizationRates", handle, "gpu")
        return rates

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        return int(self._value("nvmlDeviceGetTemperature", handle, "temperature"))

    def nvmlDeviceGetTemperatureThreshold(self, handle: Any, threshold: int) -> int:  # noqa: N802
        assert threshold == pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        return int(self._value("nvmlDeviceGetTemperatureThreshold", handle, "slowdown"))

    def nvmlDeviceGetMarginTemperature(self, handle: Any) -> int:  # noqa: N802
        return int(self._value("nvmlDeviceGetMarginTemperature", handle, "margin"))

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        return int(self._value("nvmlDeviceGetPowerUsage", handle, "power_mw"))

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any) -> list[Any]:  # noqa: N802
        return self._running("Compute", handle)

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: Any) -> list[Any]:  # noqa: N802
        return self._running("Graphics", handle)

    def nvmlDeviceGetMPSComputeRunningProcesses_v3(self, handle: Any) -> list[Any]:  # noqa: N802
        return self._running("MPSCompute", handle)

    # --- parts -----------------------------------------------------------------------------

    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:  # noqa: N802
        self._of("nvmlDeviceGetMigMode", device)
        if "parts" not in device.piece.data:
            raise _error("NOT_SUPPORTED")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:  # noqa: N802
        self._of("nvmlDeviceGetMaxMigDeviceCount", device)
        return 7 if device.piece.parts else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Any, index: int) -> Any:  # noqa: N802
        self._of("nvmlDeviceGetMigDeviceHandleByIndex", device)
        # The parts that were made need not be the first ones.
        made = dict(enumerate(device.piece.parts, start=1))
        if index not in made:
            raise _error("NOT_FOUND")
        return _Handle(made[index], self._generation)

    def nvmlDeviceGetGpuInstanceId(self, device: Any) -> int:  # noqa: N802
        return int(self._value("nvmlDeviceGetGpuInstanceId", device, "instance"))

    # --- events ----------------------------------------------------------------------------

    def nvmlEventSetCreate(self) -> Any:  # noqa: N802
        self._check()
        return pynvml.c_nvmlEventSet_t()

    def nvmlDeviceRegisterEvents(  # noqa: N802
        self, handle: Any, eventTypes: int, eventSet: Any  # noqa: N803
    ) -> None:  # fmt: skip
        self._of("nvmlDeviceRegisterEvents", handle)
        assert eventTypes == pynvml.nvmlEventTypeXidCriticalError
        self._listening.append(handle.piece)

    def nvmlEventSetWait_v2(self, eventSet: Any, timeoutms: int) -> Any:  # noqa: N802, N803
        self._check()
        assert timeoutms == 0
        if not self._events:
            raise _error("TIMEOUT")
        event = self._events.pop(0)
        assert event.device.piece in self._listening
        return event

    # --- what all functions do -------------------------------------------------------------

    def _check(self) -> None:
        if not self.initialised:
            raise _error("UNINITIALIZED")

    def _of(self, function: str, handle: Any) -> dict[str, Any]:
        self._check()
        data: dict[str, Any] = self._asked(function, handle).piece.data
        return data

    def _asked(self, function: str, handle: Any) -> Any:
        self.calls.append(function)
        if handle.generation != self._generation:
            raise _error("INVALID_ARGUMENT")
        errors = handle.piece.errors
        lost = (handle.piece.parent or handle.piece).errors.get("*")
        error = lost or errors.get(function)
        if error:
            raise _error(error)
        return handle

    def _value(self, function: str, handle: Any, key: str) -> Any:
        value = self._of(function, handle).get(key)
        if value is None:
            raise _error("NOT_SUPPORTED")
        return value

    def _running(self, kind: str, handle: Any) -> list[Any]:
        data = self._of(f"nvmlDeviceGet{kind}RunningProcesses_v3", handle)
        found = []
        for process in data["processes"]:
            if process["list"] == kind:
                line = pynvml.c_nvmlProcessInfo_v3_t()
                line.pid, line.usedGpuMemory = process["pid"], process["used"] or 0
                friendly = pynvml.nvmlStructToFriendlyObject(line)
                # The binding itself makes this of NVML_VALUE_NOT_AVAILABLE.
                friendly.usedGpuMemory = process["used"]
                found.append(friendly)
        return found


@dataclass(frozen=True)
class _Handle:
    """Leads to a card or part until the driver is loaded again."""

    piece: Piece
    generation: int


class _Event:
    """The binding's event; its handle is ours."""

    def __init__(self, event: Any, handle: _Handle) -> None:
        self.eventData, self.eventType = event.eventData, event.eventType
        self.gpuInstanceId, self.computeInstanceId = event.gpuInstanceId, event.computeInstanceId
        self.device = handle


def _piece(data: dict[str, Any], parent: Piece | None = None) -> Piece:
    piece = Piece(data, dict(data.get("errors", {})), parent=parent)
    piece.parts = [_piece(part, piece) for part in data.get("parts", [])]
    return piece
