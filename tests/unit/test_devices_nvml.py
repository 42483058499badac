"""NVIDIA's GPUs, the usual and the odd ones, through a fake of the binding."""

from __future__ import annotations

import inspect
import platform
from typing import Any

import pynvml
import pytest

from fakes.clock import ManualClock
from fakes.nvml import FakeNvml
from smallhours.devices.base import WITHOUT_MEMORY, Fault, ProcessUse, Reading, gaps
from smallhours.devices.nvml import RETRY_S, NvmlProbe

GIB, MIB = 2**30, 2**20
BIG = "GPU-8f3e0c52-6a1d-4d0b-9a57-0d5be7a10001"
SMALL = "GPU-21c4a9d7-83b0-4c6e-b1f2-64a9c3e20002"
PARTS = [
    "MIG-0a7f4c11-5555-5d1e-8b64-2f9c00000001",
    "MIG-5b1d8e22-6666-5c2f-9d75-3fad00000002",
]


class Machine:
    """A machine with a probe on it."""

    def __init__(self, name: str = "rtx3090", **environment: str) -> None:
        self.nvml, self.clock = FakeNvml(name), ManualClock()
        self.environment = environment
        self.probe = self.new_probe()

    def new_probe(self) -> NvmlProbe:
        return NvmlProbe(
            self.clock,
            lambda pid: pid == 79,
            environment=self.environment,
            load=lambda: self.nvml,
            name_of=lambda pid: f"p{pid}",
        )

    @property
    def names(self) -> list[str]:
        return [device.name for device in self.probe.devices()]

    def read(self, name: str = BIG) -> Reading:
        reading = self.probe.read(name)
        assert reading is not None
        return reading


def test_the_fake_has_the_functions_of_the_binding_with_their_parameters() -> None:
    faked = [name for name in vars(FakeNvml) if name.startswith("nvml")]
    assert len(faked) > 20
    for name in faked:
        ours = list(inspect.signature(getattr(FakeNvml(), name)).parameters)
        assert ours == list(inspect.signature(getattr(pynvml, name)).parameters), name


@pytest.mark.parametrize(
    ("answer", "mode"),
    [(1, "exclusive"), (2, "prohibited"), (3, "exclusive"), (7, None)],
)
def test_who_may_use_a_card_is_read(answer: int, mode: str | None) -> None:
    machine = Machine()
    machine.nvml.pieces[0].data["compute_mode"] = answer
    (device,) = machine.new_probe().devices()
    assert device.compute_mode == mode
    machine.nvml.pieces[0].errors["nvmlDeviceGetComputeMode"] = "NOT_SUPPORTED"
    (device,) = machine.new_probe().devices()
    assert device.compute_mode is None


def test_a_card_is_described_and_read() -> None:
    machine = Machine()
    (device,) = machine.probe.devices()
    assert (device.name, device.kind, device.index) == (BIG, "gpu", 0)
    assert (device.label, device.total_bytes) == ("NVIDIA GeForce RTX 3090", 24 * GIB)
    assert (device.display, device.capability) == (True, (8, 6))
    assert device.compute_mode == "default"
    machine.clock.now = 12.5
    seen = machine.read()
    assert (seen.at, seen.total_bytes, seen.used_bytes) == (12.5, 24 * GIB, 1210 * MIB)
    assert (seen.reserved_bytes, seen.free_bytes) == (407 * MIB, 24 * GIB - 1617 * MIB)
    assert (seen.utilisation, seen.temperature_c, seen.slowdown_c) == (0.03, 41.0, 95.0)
    assert seen.power_w == pytest.approx(24.31)
    assert seen.sources == {"memory": "nvml", "heat": "nvml, threshold", "processes": "nvml"}
    assert list(gaps(device, seen)) == []


def test_cards_of_unequal_size_are_told_apart_by_uuid_in_the_order_of_the_bus() -> None:
    machine = Machine("unequal")
    assert machine.names == [SMALL, BIG]
    assert [device.index for device in machine.probe.devices()] == [0, 1]
    assert machine.read(SMALL).total_bytes == 12 * GIB
    assert machine.read(BIG).total_bytes == 24 * GIB


@pytest.mark.parametrize(
    ("value", "names"),
    [("1", [BIG]), ("GPU-21", [SMALL]), ("", []), ("NoDevFiles", []), ("1,0", [BIG, SMALL])],
)
def test_only_visible_cards_are_used(value: str, names: list[str]) -> None:
    machine = Machine("unequal", CUDA_VISIBLE_DEVICES=value)
    assert machine.names == names
    assert machine.probe.hidden == 2 - len(names)
    assert machine.probe.ambiguous == value.startswith("1")
    if SMALL not in names:
        assert machine.probe.read(SMALL) is None


# --- processes -----------------------------------------------------------------------------


def with_processes(*processes: tuple[str, int, int | None]) -> Machine:
    machine = Machine()
    machine.nvml.pieces[0].data["processes"] = [
        {"list": kind, "pid": pid, "used": used} for kind, pid, used in processes
    ]
    return machine


def test_processes_are_told_apart_from_our_own() -> None:
    seen = with_processes(("Compute", 79, 5 * GIB), ("Graphics", 2277, 412 * MIB)).read()
    assert seen.processes == (
        ProcessUse(79, "p79", 5 * GIB, ours=True),
        ProcessUse(2277, "p2277", 412 * MIB, ours=False),
    )
    assert [process.pid for process in seen.foreign] == [2277]


def test_a_process_on_several_lists_counts_once() -> None:
    seen = with_processes(
        ("Compute", 9, 300), ("Graphics", 9, 200), ("MPSCompute", 10, 50), ("Compute", 11, None),
        ("MPSCompute", 11, 70),
    ).read()  # fmt: skip
    held = {process.pid: process.used_bytes for process in seen.processes or ()}
    assert held == {9: 300, 10: 50, 11: 70}


def test_memory_that_no_card_has_is_no_figure() -> None:
    seen = with_processes(("Compute", 9, 2**63)).read()
    assert seen.processes == (ProcessUse(9, "p9", None, ours=False),)
    assert seen.sources["processes"] == WITHOUT_MEMORY


def test_an_older_driver_is_asked_the_older_way() -> None:
    machine = Machine()
    machine.nvml.pieces[0].errors |= {
        "nvmlDeviceGetComputeRunningProcesses_v3": "FUNCTION_NOT_FOUND",
        "nvmlDeviceGetTemperature": "UNKNOWN",
    }
    machine.nvml.nvmlDeviceGetComputeRunningProcesses_v2 = lambda handle: []  # type: ignore[attr-defined]
    seen = machine.read()
    assert [process.pid for process in seen.processes or ()] == [1421, 2277]
    assert seen.temperature_c is None


def test_processes_that_cannot_be_listed_are_unknown_not_none_at_all() -> None:
    machine = Machine()
    machine.nvml.pieces[0].errors["nvmlDeviceGetComputeRunningProcesses_v3"] = "NO_PERMISSION"
    assert machine.read().processes is None


def test_under_wsl2_nothing_is_known_of_the_memory_of_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine("wsl2")
    seen = machine.read()
    assert seen.processes == (ProcessUse(79, "p79", None, ours=True),)
    assert seen.sources["processes"] == WITHOUT_MEMORY
    assert seen.sources["memory"] == "nvml, with the driver's own"
    assert (seen.reserved_bytes, seen.slowdown_c) == (None, None)
    assert not machine.probe.hears_faults
    (device,) = machine.probe.devices()
    instead = [gap.what for gap in gaps(device, seen)]
    assert instead == ["the driver's own memory", "memory of processes", "slowdown temperature"]
    # With nothing on the card that could show it, the name of the kernel does.
    machine.nvml.pieces[0].data["processes"] = []
    monkeypatch.setattr(platform, "release", lambda: "5.15.153.1-microsoft-standard-WSL2")
    machine.probe = machine.new_probe()
    assert machine.read().sources["processes"] == WITHOUT_MEMORY


# --- what is not supported -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "figure"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilisation"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
    ],
)
def test_what_a_card_does_not_support_is_none_and_not_asked_again(
    function: str, figure: str
) -> None:
    machine = Machine()
    machine.nvml.pieces[0].errors[function] = "NOT_SUPPORTED"
    assert getattr(machine.read(), figure) is None
    machine.read()
    assert machine.nvml.calls.count(function) == 1
    machine = Machine()
    machine.nvml.pieces[0].errors[function] = "UNKNOWN"
    assert getattr(machine.read(), figure) is None
    machine.nvml.pieces[0].errors.clear()
    assert getattr(machine.read(), figure) is not None, "another time it may answer"


def test_a_card_that_shares_the_hosts_memory_has_none_of_its_own() -> None:
    machine = Machine()
    machine.nvml.pieces[0].errors["nvmlDeviceGetMemoryInfo"] = "NOT_SUPPORTED"
    machine.probe = machine.new_probe()
    (device,) = machine.probe.devices()
    seen = machine.read()
    assert (device.total_bytes, seen.total_bytes, seen.used_bytes) == (None, None, None)
    assert "memory" in {gap.what for gap in gaps(device, seen)}


def test_newer_cards_say_how_far_they_are_from_slowing_down() -> None:
    machine = Machine("margin")
    seen = machine.read()
    assert (seen.temperature_c, seen.slowdown_c) == (60.0, 90.0)
    assert seen.sources["heat"] == "nvml, margin"


def test_names_that_are_no_text_are_no_answer() -> None:
    machine = Machine()

    def garbled(handle: Any) -> str:
        return b"\xff\xfe".decode()

    machine.nvml.nvmlDeviceGetName = garbled  # type: ignore[method-assign]
    machine.probe = machine.new_probe()
    (device,) = machine.probe.devices()
    assert device.label == "GPU"


# --- parts of cards ------------------------------------------------------------------------


def test_the_parts_of_a_card_are_devices_of_their_own() -> None:
    machine = Machine("parts")
    assert machine.names == PARTS
    first, second = machine.probe.devices()
    assert (first.kind, first.card, first.index, first.capability) == ("mig", BIG, 0, (12, 0))
    assert second.total_bytes == 48512 * MIB
    seen = machine.read(PARTS[0])
    assert (seen.used_bytes, seen.utilisation) == (60 * MIB, None)
    assert (seen.temperature_c, seen.power_w) == (50.0, 80.0)
    assert seen.sources["temperature"] == "nvml, of the whole card"
    assert seen.processes == (ProcessUse(4711, "p4711", None, ours=False),)


def test_a_fault_of_a_part_names_the_part_and_one_of_the_card_the_card() -> None:
    machine = Machine("parts")
    machine.nvml.xid(0, 13, instance=2)
    machine.nvml.xid(0, 79)
    machine.nvml.xid(0, 31, instance=5)
    assert [fault.device for fault in machine.probe.faults()] == [PARTS[1], BIG, BIG]


def test_a_part_is_chosen_by_its_name() -> None:
    assert Machine("parts", CUDA_VISIBLE_DEVICES="MIG-5b").names == [PARTS[1]]


# --- faults --------------------------------------------------------------------------------


def test_faults_are_told_once_with_their_card() -> None:
    machine = Machine("unequal")
    assert machine.probe.hears_faults
    assert machine.probe.faults() == ()
    machine.nvml.xid(0, 31)
    machine.nvml.xid(1, 0)
    machine.clock.now = 3.0
    assert machine.probe.faults() == (Fault(BIG, 31, 3.0), Fault(SMALL, None, 3.0))
    assert machine.probe.faults() == ()


def test_a_card_that_reports_without_end_holds_nobody_up() -> None:
    machine = Machine()
    for _ in range(100):
        machine.nvml.xid(0, 48)
    assert len(machine.probe.faults()) == 64
    assert len(machine.probe.faults()) == 36


def test_a_fault_of_a_card_that_is_lost_has_no_card() -> None:
    machine = Machine()
    machine.nvml.xid(0, 79)
    machine.nvml.lose(0)
    assert machine.probe.faults() == (Fault(None, 79, 0.0),)


# --- coming and going ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", ["GPU_IS_LOST", "RESET_REQUIRED", "UNKNOWN", "NO_PERMISSION", "INVALID_ARGUMENT"]
)
def test_a_card_that_disappears_mid_night_is_gone_and_the_other_stays(error: str) -> None:
    machine = Machine("unequal")
    machine.nvml.lose(0, error)
    assert machine.probe.read(BIG) is None
    assert machine.probe.read(BIG) is None
    assert machine.read(SMALL).total_bytes == 12 * GIB
    assert machine.names == [SMALL, BIG], "it is still known, as gone"


def test_a_card_that_comes_back_is_used_again() -> None:
    machine = Machine("unequal")
    machine.nvml.lose(0)
    assert machine.probe.read(BIG) is None
    machine.nvml.pieces[0].errors.clear()
    machine.clock.now = RETRY_S - 1
    assert machine.probe.read(BIG) is None
    machine.clock.now = RETRY_S
    assert machine.read(BIG).used_bytes == 1210 * MIB
    assert machine.nvml.initialised == 1
    machine.nvml.xid(0, 13)
    assert machine.probe.faults()[0].device == BIG


def test_a_card_that_stays_away_is_looked_for_less_and_less_often() -> None:
    machine = Machine("unequal")
    machine.nvml.lose(0)
    tries = []
    for now in range(1000):
        machine.clock.now = float(now)
        before = machine.nvml.calls.count("nvmlInit")
        machine.probe.read(BIG)
        if machine.nvml.calls.count("nvmlInit") > before:
            tries.append(now)
    assert tries == [30, 60, 120, 240, 480, 960]
    assert machine.probe.problems == ("card 0 can't be opened: GPU is lost",)


def test_a_driver_that_is_loaded_anew_is_found_again() -> None:
    machine = Machine()
    machine.nvml.reload()
    assert machine.probe.read(BIG) is None
    machine.clock.now = RETRY_S
    assert machine.read().used_bytes == 1210 * MIB


def test_a_driver_that_is_loaded_anew_is_found_though_faults_are_asked_for_all_the_time() -> None:
    machine = Machine()
    machine.nvml.reload()
    for _ in range(int(RETRY_S) + 2):
        machine.clock.now += 1.0
        machine.probe.read(BIG)
        machine.probe.faults()
    assert machine.read().used_bytes == 1210 * MIB


@pytest.mark.parametrize(
    ("error", "absent", "why", "do"),
    [
        ("LIBRARY_NOT_FOUND", True, "no NVIDIA driver", ""),
        ("DRIVER_NOT_LOADED", False, "not loaded", "modprobe nvidia"),
        ("LIB_RM_VERSION_MISMATCH", False, "was updated", "reboot"),
        ("NO_PERMISSION", False, "may not be used by you", "/dev/nvidia*"),
        ("UNKNOWN", False, "Unknown Error", "nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_answer_says_why_and_what_to_do(
    error: str, absent: bool, why: str, do: str
) -> None:
    nvml, clock = FakeNvml("rtx3090"), ManualClock()
    nvml.init_error = error
    probe = NvmlProbe(clock, lambda pid: False, environment={}, load=lambda: nvml)
    assert probe.devices() == ()
    assert probe.unavailable is not None
    assert probe.unavailable.absent == absent
    assert why in probe.unavailable.why
    assert do in probe.unavailable.do
    nvml.init_error = None
    clock.now = RETRY_S
    assert len(probe.devices()) == (0 if absent else 1), "a driver may be loaded later"
    assert (probe.unavailable is None) != absent


def test_without_the_library_there_are_no_gpus() -> None:
    def load() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    probe = NvmlProbe(ManualClock(), lambda pid: False, environment={}, load=load)
    assert (probe.devices(), probe.read(BIG), probe.faults()) == ((), None, ())
    assert probe.unavailable is not None
    assert probe.unavailable.absent
    probe.close()


def test_a_machine_with_a_driver_and_no_card_is_no_trouble() -> None:
    machine = Machine("")
    assert machine.names == []
    assert machine.probe.unavailable is None
    assert machine.probe.problems == ()


def test_a_card_that_cannot_be_opened_is_named_and_the_other_is_used() -> None:
    machine = Machine("unequal")
    machine.nvml.pieces[1].errors["nvmlDeviceGetHandleByIndex"] = "INSUFFICIENT_POWER"
    machine.probe = machine.new_probe()
    assert machine.names == [BIG]
    assert machine.probe.problems == ("card 1 can't be opened: Insufficient External Power",)


def test_closing_lets_go_of_the_driver_whatever_became_of_it() -> None:
    machine = Machine()
    machine.probe.close()
    assert machine.nvml.initialised == 0
    machine = Machine()
    machine.nvml.reload()
    machine.probe.close()
    assert machine.probe.read(BIG) is None


def test_a_reading_asks_the_driver_few_questions() -> None:
    machine = Machine()
    machine.read()
    before = len(machine.nvml.calls)
    machine.read()
    assert len(machine.nvml.calls) - before <= 8
