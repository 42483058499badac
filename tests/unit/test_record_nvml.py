"""What is recorded of NVML makes a fake that answers as the recorded one did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvml
import pytest

from fakes.nvml import FakeNvml
from fakes.record_nvml import Recorder, made_up, main, write

#: What the device code asks of a card, with its arguments.
QUESTIONS: dict[str, tuple[Any, ...]] = {
    "nvmlDeviceGetName": (),
    "nvmlDeviceGetDisplayActive": (),
    "nvmlDeviceGetCudaComputeCapability": (),
    "nvmlDeviceGetComputeMode": (),
    "nvmlDeviceGetMemoryInfo": (),
    "nvmlDeviceGetUtilizationRates": (),
    "nvmlDeviceGetTemperature": (pynvml.NVML_TEMPERATURE_GPU,),
    "nvmlDeviceGetTemperatureThreshold": (pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,),
    "nvmlDeviceGetMarginTemperature": (),
    "nvmlDeviceGetPowerUsage": (),
    "nvmlDeviceGetComputeRunningProcesses_v3": (),
    "nvmlDeviceGetGraphicsRunningProcesses_v3": (),
    "nvmlDeviceGetMPSComputeRunningProcesses_v3": (),
    "nvmlDeviceGetMigMode": (),
    "nvmlDeviceGetGpuInstanceId": (),
}


def answer(nvml: FakeNvml, function: str, *arguments: Any) -> Any:
    try:
        found = getattr(nvml, function)(*arguments)
    except pynvml.NVMLError as error:
        return f"error {error.value}"
    if hasattr(found, "_fields_"):
        return [(name, getattr(found, name)) for name, *_ in found._fields_]
    return [vars(one) for one in found] if isinstance(found, list) and found[:1] != [1] else found


def answers(nvml: FakeNvml) -> list[dict[str, Any]]:
    """All that a machine says, card after card, each followed by its parts."""
    nvml.nvmlInit()
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        handles = [card]
        for part in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
            try:
                handles.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, part))
            except pynvml.NVMLError:
                continue
        for handle in handles:
            said = {name: answer(nvml, name, handle, *more) for name, more in QUESTIONS.items()}
            said["in two"] = answer(nvml, "nvmlDeviceGetMemoryInfo", handle, nvml.nvmlMemory_v2)
            said["faults"] = answer(
                nvml, "nvmlDeviceRegisterEvents", handle, nvml.nvmlEventTypeXidCriticalError, None
            )
            if handle is card:
                said["bus"] = answer(nvml, "nvmlDeviceGetPciInfo", handle)
            found.append(said)
    return found


def recorded(nvml: FakeNvml, out: Path) -> FakeNvml:
    recorder = Recorder(nvml)
    write("machine", out, {"idle": recorder.moment()}, "2026-01-02")
    recorder.close()
    assert nvml.initialised == 0
    return FakeNvml(str(out / "machine"))


@pytest.mark.parametrize("machine", ["rtx3090", "wsl2", "unequal", "margin", "parts"])
def test_a_fake_of_what_was_recorded_gives_the_same_answers(machine: str, tmp_path: Path) -> None:
    before, after = answers(FakeNvml(machine)), answers(recorded(FakeNvml(machine), tmp_path))
    assert len(before) == {"unequal": 2, "parts": 3}.get(machine, 1)
    assert after == before


def test_what_is_not_supported_stands_under_the_name_of_its_function(tmp_path: Path) -> None:
    (piece,) = recorded(FakeNvml("wsl2"), tmp_path).pieces
    assert piece.errors["nvmlDeviceRegisterEvents"] == "NOT_SUPPORTED"
    assert piece.errors["nvmlDeviceGetTemperatureThreshold"] == "NOT_SUPPORTED"
    # It has no memory apart from the driver's own, but it does tell its memory.
    assert "nvmlDeviceGetMemoryInfo" not in piece.errors
    assert piece.data["reserved"] is None


def test_a_card_that_can_not_be_opened_is_recorded_as_such(tmp_path: Path) -> None:
    nvml = FakeNvml("unequal")
    nvml.pieces[0].errors["nvmlDeviceGetHandleByIndex"] = "GPU_IS_LOST"
    first, second = recorded(nvml, tmp_path).pieces
    assert first.errors == {"nvmlDeviceGetHandleByIndex": "GPU_IS_LOST"}
    assert second.data["name"] == "NVIDIA GeForce RTX 3060"


def test_a_card_that_tells_no_memory_is_recorded_as_such(tmp_path: Path) -> None:
    nvml = FakeNvml("rtx3090")
    nvml.pieces[0].errors["nvmlDeviceGetMemoryInfo"] = "NOT_SUPPORTED"
    (piece,) = recorded(nvml, tmp_path).pieces
    assert piece.errors["nvmlDeviceGetMemoryInfo"] == "NOT_SUPPORTED"
    assert piece.data["total"] is piece.data["used"] is None


def test_uuids_are_made_up_but_stay_told_apart() -> None:
    real = "GPU-8f3e0c52-6a1d-4d0b-9a57-0d5be7a10001"
    assert made_up(real) == made_up(real.encode()) != made_up(real[:-1] + "2")
    assert [len(group) for group in made_up(real).split("-")] == [3, 8, 4, 4, 4, 12]
    assert made_up("MIG-1").startswith("MIG-")


@contextmanager
def holding(nvml: FakeNvml, obstacle: str = "") -> Iterator[str]:
    processes = nvml.pieces[0].data["processes"]
    processes.append({"list": "Compute", "pid": 4321, "used": 2**30})
    yield obstacle
    processes.pop()


def test_the_program_keeps_two_moments_and_nothing_private(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml = FakeNvml("rtx3090")
    nvml.nvmlDeviceGetSerial = lambda handle: "1234567890123"  # type: ignore[attr-defined]
    nvml.nvmlSystemGetDriverVersion = lambda: "580.1"  # type: ignore[attr-defined]
    assert main(["card", "--out", str(tmp_path)], nvml, lambda: holding(nvml)) == 0
    names = {"card.json", "card-held.json", "card.raw.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert capsys.readouterr().out.count("card") == 3
    texts = {name: (tmp_path / name).read_text() for name in names}
    assert not any("8f3e0c52" in text or "1234567890123" in text for text in texts.values())
    note = json.loads(texts["card-held.json"])["note"]
    assert note.startswith("recorded on ")
    assert note.endswith(", driver 580.1, NVIDIA GeForce RTX 3090, held")
    (card,) = FakeNvml(str(tmp_path / "card-held")).pieces
    assert [process["pid"] for process in card.data["processes"]] == [4321, 1421, 2277]
    said = json.loads(texts["card.raw.json"])["moments"]["held"]["cards"][0]
    assert said["nvmlDeviceGetSerial"] == "answered, and left out"
    assert said["nvmlDeviceGetMarginTemperature"] == "error: NOT_SUPPORTED"
    assert said["nvmlDeviceGetBrand"] == "error: FUNCTION_NOT_FOUND"


def test_where_nothing_can_hold_memory_the_idle_card_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml = FakeNvml("rtx3090")
    held = lambda: holding(nvml, "no torch")  # noqa: E731 - a context manager of one argument
    assert main(["card", "--out", str(tmp_path)], nvml, held) == 0
    assert not (tmp_path / "card-held.json").exists()
    assert "no torch" in capsys.readouterr().err


def test_without_a_driver_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvml = FakeNvml("rtx3090")
    nvml.init_error = "LIBRARY_NOT_FOUND"
    assert main(["card", "--out", str(tmp_path)], nvml) == 2
    assert "nothing to record" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
