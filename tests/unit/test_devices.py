"""What follows from readings of devices, and what all probes have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes.clock import ManualClock
from fakes.nvml import FakeNvml
from smallhours.devices.base import (
    CPU,
    WITHOUT_MEMORY,
    Device,
    Fault,
    Probe,
    ProcessUse,
    Reading,
    Taken,
    display_reserve_bytes,
    gaps,
    taken,
    too_hot,
)
from smallhours.devices.cpu import CpuProbe
from smallhours.devices.nvml import NvmlProbe
from smallhours.devices.simulated import SimulatedProbe

GIB = 2**30
CARD = Device(name="GPU-1", kind="gpu", label="RTX", total_bytes=24 * GIB, display=False, index=0)
EMPTY = Reading(device="GPU-1", at=0.0)


def simulated() -> SimulatedProbe:
    cpu = Device(name=CPU, kind="cpu", label="CPU", total_bytes=8 * GIB, cores=2.0)
    return SimulatedProbe(ManualClock(), [cpu, CARD])


PROBES: list[Callable[[], Probe]] = [
    simulated,
    lambda: CpuProbe(ManualClock()),
    lambda: NvmlProbe(ManualClock(), lambda pid: False, environment={},
                      load=lambda: FakeNvml("unequal")),
    lambda: NvmlProbe(ManualClock(), lambda pid: False, environment={},
                      load=lambda: FakeNvml("wsl2")),
    lambda: NvmlProbe(ManualClock(), lambda pid: False, environment={},
                      load=lambda: FakeNvml("parts")),
]  # fmt: skip


@pytest.mark.parametrize("make", PROBES)
def test_every_probe_keeps_what_the_protocol_promises(make: Callable[[], Probe]) -> None:
    probe = make()
    devices = probe.devices()
    assert devices
    assert len({device.name for device in devices}) == len(devices)
    assert probe.devices() == devices
    for device in devices:
        reading = probe.read(device.name)
        assert reading is not None
        assert reading.device == device.name
        if reading.total_bytes is not None:
            assert 0 <= (reading.used_bytes or 0) <= reading.total_bytes
            assert 0 <= (reading.free_bytes or 0) <= reading.total_bytes
        assert reading.utilisation is None or 0 <= reading.utilisation <= 1
        assert (device.cores is not None) == (device.kind == "cpu")
        assert all(gap.what and gap.instead for gap in gaps(device, reading))
    assert probe.read("GPU-nobody") is None
    assert probe.faults() == ()
    probe.close()


# --- heat ----------------------------------------------------------------------------------


def test_a_card_gets_too_hot_near_its_limit_and_cools_well_below_it() -> None:
    hot, seen = False, []
    for degrees in (80, 89, 90, 93, 85, 80, 79, 85, 90):
        reading = replace(EMPTY, temperature_c=float(degrees), slowdown_c=95.0)
        hot = too_hot(reading, before=hot)
        seen.append(hot)
    assert seen == [False, False, True, True, True, True, False, False, True]


@pytest.mark.parametrize(("temperature", "slowdown"), [(None, 95.0), (99.0, None), (None, None)])
def test_a_card_that_does_not_say_is_never_too_hot(
    temperature: float | None, slowdown: float | None
) -> None:
    reading = replace(EMPTY, temperature_c=temperature, slowdown_c=slowdown)
    assert not too_hot(reading, before=True)
    assert any("never counts as too hot" in gap.instead for gap in gaps(CARD, reading))


# --- the screen ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("display", "total_gib", "reserve_mib"),
    [(True, 8, 512), (True, 16, 819), (True, 24, 1024), (True, 80, 1024), (True, None, 512),
     (None, 8, 512), (False, 24, 0)],
)  # fmt: skip
def test_memory_is_left_for_a_screen(
    display: bool | None, total_gib: int | None, reserve_mib: int
) -> None:
    total = None if total_gib is None else total_gib * GIB
    device = replace(CARD, display=display, total_bytes=total)
    assert display_reserve_bytes(device) // 2**20 == reserve_mib


def test_nothing_is_left_for_a_screen_on_what_can_show_none() -> None:
    assert display_reserve_bytes(replace(CARD, kind="cpu", display=None)) == 0
    assert display_reserve_bytes(replace(CARD, kind="mig", display=None)) == 0


# --- what processes take -------------------------------------------------------------------


def reading(used: int | None, **held: int | None) -> Reading:
    processes = tuple(ProcessUse(int(pid[1:]), "", bytes_, True) for pid, bytes_ in held.items())
    return replace(EMPTY, used_bytes=used, processes=processes)


def test_what_processes_take_is_their_sum_where_it_is_told() -> None:
    now = reading(900, p1=100, p2=200, p3=400)
    assert taken(reading(0), now, [1, 2, 99]) == Taken(300, "processes")


def test_what_processes_take_is_what_the_card_gained_where_it_is_not() -> None:
    before, now = reading(250), reading(900, p1=None, p2=200)
    assert taken(before, now, [1, 2]) == Taken(650, "card delta")
    assert taken(before, reading(900), [1]) == Taken(650, "card delta")
    assert taken(reading(1000), reading(900), [1]) == Taken(0, "card delta")


def test_what_processes_take_is_not_known_without_any_figure() -> None:
    assert taken(reading(None), reading(900), [1]) is None
    assert taken(reading(0), reading(None), [1]) is None


def test_what_a_card_does_not_tell_is_named_with_what_is_done_instead() -> None:
    told = replace(
        EMPTY, used_bytes=1, reserved_bytes=1, utilisation=0.0, temperature_c=40.0, slowdown_c=95.0,
        processes=(), sources={"processes": "nvml"},
    )  # fmt: skip
    assert list(gaps(CARD, told)) == []
    silent = replace(told, sources={"processes": WITHOUT_MEMORY}, reserved_bytes=None)
    assert [gap.what for gap in gaps(CARD, silent)] == [
        "the driver's own memory", "memory of processes",
    ]  # fmt: skip
    assert [gap.what for gap in gaps(replace(CARD, display=None), EMPTY)] == [
        "memory", "processes", "utilisation", "temperature", "display",
    ]  # fmt: skip


# --- devices that exist only as numbers ----------------------------------------------------


def test_a_simulated_device_does_what_it_is_told() -> None:
    probe = simulated()
    probe.occupy("GPU-1", 7, 2 * GIB)
    probe.occupy("GPU-1", 8, GIB, name="game", ours=False)
    probe.set_load("GPU-1", utilisation=0.5, temperature_c=70.0, slowdown_c=95.0)
    seen = probe.read("GPU-1")
    assert seen is not None
    assert (seen.used_bytes, seen.free_bytes, seen.utilisation) == (3 * GIB, 21 * GIB, 0.5)
    assert [process.name for process in seen.foreign] == ["game"]
    probe.release("GPU-1", 7)
    after = probe.read("GPU-1")
    assert after is not None
    assert after.used_bytes == GIB
    probe.fail("GPU-1", 79)
    probe.lose("GPU-1")
    assert probe.read("GPU-1") is None
    assert CARD in probe.devices()
    assert probe.faults() == (Fault("GPU-1", 79, 0.0),)
    assert probe.faults() == ()
    probe.bring_back("GPU-1")
    back = probe.read("GPU-1")
    assert back is not None
    assert back.used_bytes == 0
