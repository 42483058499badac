"""Asks the NVML of this machine, and keeps its answers as `fakes.nvml` reads them.

    python tests/fakes/record_nvml.py NAME [--out DIR]

NAME.json is what the cards say as they are, NAME-held.json what they say while a process holds
memory of the first one, and NAME.raw.json every question with its answer or error, of both
moments. Nothing private is kept: serials are left out, and UUIDs are made up from the real ones.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pynvml

_DATA = Path(__file__).parent.parent / "data" / "nvml"
_LISTS = ("Compute", "Graphics", "MPSCompute")
#: What is private, and so only asked whether it is answered.
_PRIVATE = ("nvmlDeviceGetSerial", "nvmlDeviceGetBoardPartNumber")
#: Asked for the raw answers only: the fake has none of them.
_MORE: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("nvmlDeviceGetBrand", ()),
    ("nvmlDeviceGetArchitecture", ()),
    ("nvmlDeviceGetTemperatureV", (pynvml.NVML_TEMPERATURE_GPU,)),
    ("nvmlDeviceGetPersistenceMode", ()),
    ("nvmlDeviceGetPerformanceState", ()),
    ("nvmlDeviceGetPowerManagementLimit", ()),
    ("nvmlDeviceGetEnforcedPowerLimit", ()),
    ("nvmlDeviceGetTotalEnergyConsumption", ()),
    ("nvmlDeviceGetFanSpeed", ()),
    ("nvmlDeviceGetClockInfo", (pynvml.NVML_CLOCK_SM,)),
    ("nvmlDeviceGetMaxClockInfo", (pynvml.NVML_CLOCK_SM,)),
    ("nvmlDeviceGetBAR1MemoryInfo", ()),
    ("nvmlDeviceGetDisplayMode", ()),
    ("nvmlDeviceGetVirtualizationMode", ()),
    ("nvmlDeviceGetCurrentClocksEventReasons", ()),
    ("nvmlDeviceGetSupportedEventTypes", ()),
    ("nvmlDeviceGetComputeRunningProcesses_v2", ()),
    *((name, ()) for name in _PRIVATE),
)
#: Takes a GiB of the first card and says so; ends when its input does.
_HOLDER = """
import sys, torch
held = torch.zeros(2**30, dtype=torch.uint8, device="cuda:0")
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.read()
"""
_HOLDER_LIMIT_S = 60.0


@dataclass
class Moment:
    """What all cards said at one time."""

    #: As the fake reads them.
    cards: list[dict[str, Any]]
    #: Question -> answer, or ``error: NAME``; of the machine, and of each card and part.
    raw: dict[str, Any]


class Recorder:
    """Asks a binding of NVML, or what stands in for it."""

    def __init__(self, nvml: Any) -> None:
        """Open the library.

        Args:
            nvml: The module `pynvml`.

        Raises:
            pynvml.NVMLError: there is no driver that answers.
        """
        self._nvml = nvml
        nvml.nvmlInit()

    def close(self) -> None:
        """Let go of the library."""
        self._nvml.nvmlShutdown()

    def moment(self) -> Moment:
        """Ask everything once."""
        machine = _Asked(self._nvml, None)
        machine.ask("nvmlSystemGetDriverVersion")
        machine.ask("nvmlSystemGetNVMLVersion")
        machine.ask("nvmlSystemGetCudaDriverVersion_v2")
        cards, raw = [], []
        for index in range(machine.ask("nvmlDeviceGetCount") or 0):
            handle = machine.ask("nvmlDeviceGetHandleByIndex", index)
            if handle is None:
                cards.append({"errors": {"nvmlDeviceGetHandleByIndex": machine.error}})
                continue
            card, said = self._card(handle)
            cards.append(card)
            raw.append(said)
        return Moment(cards, {"machine": machine.raw, "cards": raw})

    def _card(self, handle: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        asked = _Asked(self._nvml, handle)
        data = self._piece(asked)
        self._register_events(asked)
        mode = asked.ask("nvmlDeviceGetMigMode")
        for function, arguments in _MORE:
            asked.ask(function, *arguments)
        said: dict[str, Any] = asked.raw
        data["errors"] = asked.errors
        if mode is not None and mode[0] == self._nvml.NVML_DEVICE_MIG_ENABLE:
            parts = list(self._parts(asked))
            data["parts"] = [part for part, _ in parts]
            said["parts"] = [raw for _, raw in parts]
        return data, said

    def _parts(self, card: _Asked) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for index in range(card.ask("nvmlDeviceGetMaxMigDeviceCount") or 0):
            handle = card.ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
            if handle is None:
                card.errors.pop("nvmlDeviceGetMigDeviceHandleByIndex", None)  # it was not made
                continue
            asked = _Asked(self._nvml, handle)
            yield self._piece(asked) | {"errors": asked.errors}, asked.raw

    def _piece(self, asked: _Asked) -> dict[str, Any]:
        """Return a card or a part, without its errors and parts."""
        nvml = self._nvml
        pci = asked.ask("nvmlDeviceGetPciInfo")
        rates = asked.ask("nvmlDeviceGetUtilizationRates")
        capability = asked.ask("nvmlDeviceGetCudaComputeCapability")
        return {
            "uuid": made_up(asked.ask("nvmlDeviceGetUUID") or ""),
            "name": _plain(asked.ask("nvmlDeviceGetName")) or "",
            "bus": "" if pci is None else _plain(pci.busId),
            "capability": None if capability is None else list(capability),
            "display": asked.ask("nvmlDeviceGetDisplayActive"),
            "compute_mode": asked.ask("nvmlDeviceGetComputeMode") or 0,
            "instance": asked.ask("nvmlDeviceGetGpuInstanceId"),
            **self._memory(asked),
            "gpu": None if rates is None else rates.gpu,
            "temperature": asked.ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            "slowdown": asked.ask(
                "nvmlDeviceGetTemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
            ),
            "margin": asked.ask("nvmlDeviceGetMarginTemperature"),
            "power_mw": asked.ask("nvmlDeviceGetPowerUsage"),
            "processes": [
                {"list": kind, "pid": process.pid, "used": process.usedGpuMemory}
                for kind in _LISTS
                for process in asked.ask(f"nvmlDeviceGet{kind}RunningProcesses_v3") or ()
            ],
        }

    def _memory(self, asked: _Asked) -> dict[str, Any]:
        """Return what is held; `reserved` is None where the driver does not tell it apart."""
        apart = asked.ask("nvmlDeviceGetMemoryInfo", self._nvml.nvmlMemory_v2)
        together = asked.ask("nvmlDeviceGetMemoryInfo")
        if together is not None:
            # The errors of both questions go by one name, and one of them was answered.
            asked.errors.pop("nvmlDeviceGetMemoryInfo", None)
        info = apart or together
        return {
            "total": None if info is None else info.total,
            "reserved": None if apart is None else apart.reserved,
            "used": None if info is None else info.used,
        }

    def _register_events(self, asked: _Asked) -> None:
        machine = _Asked(self._nvml, None)
        events = machine.ask("nvmlEventSetCreate")
        asked.raw |= machine.raw
        if events is not None:
            xid = self._nvml.nvmlEventTypeXidCriticalError
            asked.ask("nvmlDeviceRegisterEvents", xid, events)


class _Asked:
    """What was asked of a handle so far."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self.raw: dict[str, Any] = {}
        #: Function -> the error's name, as the fake has it.
        self.errors: dict[str, str] = {}
        #: The latest error's name.
        self.error = ""

    def ask(self, function: str, *arguments: object) -> Any:
        """Return an answer; None: there was an error, which is kept."""
        question = f"{function}({', '.join(map(_word, arguments))})" if arguments else function
        handle = () if self._handle is None else (self._handle,)
        try:
            answer = getattr(self._nvml, function)(*handle, *arguments)
        except Exception as error:  # besides NVML's own, what the binding stumbles over
            self.error = self.errors[function] = _name_of(error)
            self.raw[question] = f"error: {error if self.error == _UNKNOWN else self.error}"
            return None
        self.raw[question] = _shown(function, answer)
        return answer


_UNKNOWN = "UNKNOWN"
_ERRORS = {
    getattr(pynvml, name): name.removeprefix("NVML_ERROR_")
    for name in dir(pynvml)
    if name.startswith("NVML_ERROR_")
}


def _name_of(error: Exception) -> str:
    """Return what the fake calls an error."""
    if isinstance(error, AttributeError):
        return "FUNCTION_NOT_FOUND"  # an older binding, or library
    return _ERRORS.get(getattr(error, "value", None), _UNKNOWN)


def made_up(uuid: str | bytes) -> str:
    """Return a UUID that always stands for the same real one and does not give it away."""
    text = uuid.decode("ascii", "replace") if isinstance(uuid, bytes) else uuid
    kind = text.partition("-")[0] if "-" in text else "GPU"
    digits = hashlib.sha256(text.encode()).hexdigest()
    lengths = (8, 4, 4, 4, 12)
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    groups = (digits[end - size : end] for end, size in zip(ends, lengths, strict=True))
    return f"{kind}-{'-'.join(groups)}"


def _shown(function: str, answer: Any) -> Any:
    if function in _PRIVATE:
        return "answered, and left out"
    return made_up(answer) if function == "nvmlDeviceGetUUID" else _plain(answer)


def _plain(value: Any) -> Any:
    """Return an answer as JSON has it."""
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, ctypes.Structure):
        return {field[0]: _plain(getattr(value, field[0])) for field in value._fields_}
    if isinstance(value, list | tuple | ctypes.Array):
        return [_plain(item) for item in value]
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return {key: _plain(item) for key, item in vars(value).items()}
    return type(value).__name__  # a handle


def _word(argument: object) -> str:
    return str(_plain(argument))


@contextmanager
def holding() -> Iterator[str]:
    """Have a process hold memory of the first card; gives why there is none, or nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    limit = threading.Timer(_HOLDER_LIMIT_S, process.kill)
    limit.start()
    try:
        held = process.stdout.readline().strip() == "held"
        yield "" if held else (process.stderr.read().strip().splitlines() or ["it ended"])[-1]
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def write(name: str, out: Path, moments: dict[str, Moment], today: str) -> list[Path]:
    """Write what was recorded; returns the files.

    Args:
        name: What they are called.
        out: Where they go.
        moments: By what they are called: the first one is the machine as it is.
        today: The date.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (word, moment) in enumerate(moments.items()):
        note = f"recorded on {today}, {_of(moment)}, {word}"
        path = out / f"{name if number == 0 else f'{name}-{word}'}.json"
        path.write_text(json.dumps({"note": note, "cards": moment.cards}, indent=1) + "\n")
        written.append(path)
    first = next(iter(moments.values()))
    raw = {word: moment.raw for word, moment in moments.items()}
    path = out / f"{name}.raw.json"
    kept = {"note": f"recorded on {today}, {_of(first)}", "moments": raw}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return [*written, path]


def _of(moment: Moment) -> str:
    driver = moment.raw["machine"].get("nvmlSystemGetDriverVersion")
    names = ", ".join(card.get("name", "a card that can't be opened") for card in moment.cards)
    return f"driver {driver}, {names or 'no card'}"


def main(
    arguments: list[str] | None = None,
    nvml: Any = pynvml,
    hold: Callable[[], AbstractContextManager[str]] = holding,
) -> int:
    """Record and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="what the files are called")
    parser.add_argument("--out", type=Path, default=_DATA, help="where they go (tests/data/nvml)")
    given = parser.parse_args(arguments)
    try:
        recorder = Recorder(nvml)
    except pynvml.NVMLError as error:
        print(f"there is nothing to record: {error}", file=sys.stderr)
        return 2
    moments = {"idle": recorder.moment()}
    with hold() as obstacle:
        if obstacle:
            print(f"no process could hold memory: {obstacle}", file=sys.stderr)
        else:
            moments["held"] = recorder.moment()
    recorder.close()
    today = datetime.now(UTC).date().isoformat()
    for path in write(given.name, given.out, moments, today):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
