"""Devices are watched without anybody waiting, and shown by `status` and `doctor`."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.clock import ManualClock
from fakes.nvml import FakeNvml
from smallhours import rules
from smallhours import status as status_file
from smallhours.commands import doctor
from smallhours.commands.doctor_devices import Look
from smallhours.core.machine import Machine
from smallhours.devices.base import CPU, Device, Fault, Reading
from smallhours.devices.inventory import Inventory
from smallhours.devices.mps_usable import Machine as MpsMachine
from smallhours.devices.nvml import NvmlProbe
from smallhours.devices.simulated import SimulatedProbe
from smallhours.devices.watch import SLOW_S, Watch
from smallhours.explain import devices as words
from smallhours.explain.packing import title
from smallhours.paths import Home
from smallhours.status import DeviceReading
from smallhours.status_writer import StatusWriter
from smallhours.surroundings import Surroundings
from smallhours.text import Page

GIB, MIB = 2**30, 2**20
CPU_DEVICE = Device(name=CPU, kind="cpu", label="CPU", total_bytes=16 * GIB, cores=8.0)
CARD = Device(
    name="GPU-8f3e", kind="gpu", label="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, index=0,
    display=True,
)  # fmt: skip


class SlowProbe(SimulatedProbe):
    """Answers when it is let."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, [CARD])
        self.may_answer, self.is_asked = threading.Event(), threading.Event()
        self.threads: set[str] = set()
        self.closed = threading.Event()

    def read(self, name: str) -> Reading | None:
        self.threads.add(threading.current_thread().name)
        self.is_asked.set()
        self.may_answer.wait()
        return super().read(name)

    def close(self) -> None:
        self.closed.set()


class Watched:
    """A watch whose looks can be waited for."""

    def __init__(self, make: Callable[[ManualClock], SimulatedProbe]) -> None:
        self.clock = ManualClock(1.0)
        self.probe = make(self.clock)
        self.watch = Watch("the cards", lambda: self.probe, self.clock)

    def look(self) -> None:
        """Look, and wait until it is over."""
        self.clock.now += 1.0
        self.watch.look()
        until = time.monotonic() + 8.0
        while self.watch.seen.at != self.clock.now or self.watch._asked_at is not None:
            assert time.monotonic() < until, "the look does not end"
            time.sleep(0.001)


@pytest.fixture
def slow() -> Any:
    watched = Watched(SlowProbe)
    yield watched
    watched.probe.may_answer.set()
    watched.watch.close()


def test_a_driver_that_hangs_holds_up_nobody(
    slow: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(slow.probe, SlowProbe)
    slow.watch.look()
    slow.probe.is_asked.wait()
    for _ in range(3):
        slow.watch.look()
        assert slow.watch.seen.readings == {}
    slow.clock.now += SLOW_S
    with caplog.at_level(logging.WARNING):
        slow.watch.look()
        slow.watch.look()
    assert [record.getMessage() for record in caplog.records] == ["the cards: no answer for 10 s"]
    slow.watch.close()
    assert not slow.probe.closed.is_set(), "it hangs, and is left alone"
    slow.probe.may_answer.set()
    slow.probe.closed.wait()
    assert slow.probe.threads == {"the cards"}


def test_the_latest_reading_is_there_for_the_asking(slow: Watched) -> None:
    assert isinstance(slow.probe, SlowProbe)
    slow.probe.may_answer.set()
    slow.look()
    first = slow.watch.seen.readings[CARD.name]
    assert first is not None
    assert (first.at, first.used_bytes) == (2.0, 0)
    slow.probe.occupy(CARD.name, 7, GIB)
    slow.probe.fail(CARD.name, 31)
    slow.look()
    second = slow.watch.seen.readings[CARD.name]
    assert second is not None
    assert (second.at, second.used_bytes) == (3.0, GIB)
    assert slow.watch.take_faults() == [Fault(CARD.name, 31, 2.0)]
    assert slow.watch.take_faults() == []


def test_a_probe_that_fails_ends_its_watch_only(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> SimulatedProbe:
        raise RuntimeError("a bug")

    clock = ManualClock()
    watch = Watch("the cards", make, clock)
    watch.look()
    assert watch._thread is not None
    watch._thread.join()
    assert "can't be watched any more" in caplog.text
    watch.look()
    assert watch.seen.devices == ()
    watch.close()


def test_heat_is_remembered_from_look_to_look() -> None:
    watched = Watched(lambda clock: SimulatedProbe(clock, [CARD]))
    inventory = Inventory([watched.watch])
    assert inventory.observed() == ()
    hot = []
    for degrees in (85.0, 91.0, 85.0, 79.0):
        watched.probe.set_load(CARD.name, utilisation=1.0, temperature_c=degrees, slowdown_c=95.0)
        watched.look()
        hot += [seen.too_hot for seen in inventory.observed()]
    assert hot == [False, True, True, False]
    watched.probe.lose(CARD.name)
    watched.look()
    ((device, reading, too_hot),) = inventory.observed()
    assert (device, reading, too_hot) == (CARD, None, False)
    inventory.close()


# --- the engine's part ---------------------------------------------------------------------


class CountedWatch(Watch):
    """Counts how often it is asked to look."""

    def __init__(self) -> None:
        super().__init__("none", lambda: SimulatedProbe(ManualClock(), []), ManualClock())
        self.looks = 0

    def look(self) -> None:
        self.looks += 1


def test_devices_are_looked_at_with_every_tick_while_something_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "none.toml"))
    clock, watch = ManualClock(), CountedWatch()
    around = Surroundings(clock, Path("/nowhere"), {}, Inventory([watch]))
    for _ in range(10):
        around.tick({})
        clock.now += 1.0
    assert watch.looks == 2, "seldom while nothing does"
    busy: dict[Any, Any] = {"attempt": "its processes"}
    for _ in range(10):
        around.tick(busy)
        clock.now += 1.0
    assert watch.looks == 12
    asyncio.run(around.close())


def test_a_chosen_card_is_not_missing_before_the_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("SMALLHOURS_DEVICES", CARD.name)
    watched = Watched(lambda clock: SimulatedProbe(clock, [CPU_DEVICE, CARD]))
    around = Surroundings(ManualClock(), Path("/nowhere"), {}, Inventory([watched.watch]))
    around.places()
    assert not caplog.records
    asyncio.run(around.first_look())
    assert [one.device.name for one in around.gpus] == [CARD.name]
    asyncio.run(around.close())


def test_readings_are_in_the_status_file(tmp_path: Path) -> None:
    watched = Watched(lambda clock: SimulatedProbe(clock, [CPU_DEVICE, CARD]))
    watched.probe.occupy(CARD.name, 7, GIB)
    watched.probe.occupy(CARD.name, 8, 2 * GIB, name="game", ours=False)
    watched.look()
    inventory = Inventory([watched.watch])
    home = Home(tmp_path)
    writer = StatusWriter(home, Machine(rules.make), watched.clock, inventory)
    writer.update()
    written = status_file.read(home)
    assert written is not None
    cpu, card = written.devices
    assert (cpu.name, cpu.cores, cpu.processes) == (CPU, 8.0, None)
    assert (card.name, card.used_bytes, card.free_bytes) == (CARD.name, 3 * GIB, 21 * GIB)
    assert card.at == watched.clock.wall()
    assert [(p.pid, p.name, p.used_bytes, p.ours) for p in card.processes or ()] == [
        (7, "", GIB, True), (8, "game", 2 * GIB, False),
    ]  # fmt: skip
    watched.probe.lose(CARD.name)
    watched.look()
    watched.clock.now += 5.0
    writer.update()
    later = status_file.read(home)
    assert later is not None
    assert (later.devices[1].at, later.devices[1].used_bytes) == (None, None)
    inventory.close()


# --- what people see -----------------------------------------------------------------------


def shown(**changes: Any) -> DeviceReading:
    keys: dict[str, Any] = {
        "name": CARD.name, "kind": "gpu", "label": CARD.label, "index": 0, "at": 100.0,
        "total_bytes": 24 * GIB, "used_bytes": 1210 * MIB, "free_bytes": 20 * GIB,
        "reserved_bytes": 400 * MIB, "utilisation": 0.03, "temperature_c": 41.0, "too_hot": False,
        "power_w": 24.3, "display": True, "cores": None, "others_cores": None, "processes": None,
        "sources": {},
    }  # fmt: skip
    return DeviceReading(**{**keys, **changes})


def process(pid: int, name: str, used: int | None, *, ours: bool = False) -> Any:
    return status_file.DeviceProcess(pid=pid, name=name, used_bytes=used, ours=ours)


def test_a_card_is_told_in_a_line() -> None:
    assert words.words(shown(), 101.0) == (
        "RTX 3090: 1.18 GiB of 24 GiB used, 3.0 % busy, 41 °C, 24 W"
    )
    assert "91 °C (too hot)" in words.words(shown(temperature_c=91.0, too_hot=True), 101.0)


def test_what_is_not_known_of_a_card_is_left_out() -> None:
    nothing = shown(used_bytes=None, utilisation=None, temperature_c=None, power_w=None)
    assert words.words(nothing, 101.0) == "RTX 3090: nothing is known of it"
    assert words.words(shown(total_bytes=None, utilisation=None), 101.0) == (
        "RTX 3090: 1.18 GiB used, 41 °C, 24 W"
    )


def test_a_card_that_is_gone_or_does_not_answer_says_so() -> None:
    assert words.words(shown(at=None), 101.0) == (
        "RTX 3090: gone; it is looked for from time to time"
    )
    assert words.words(shown(), 400.0).endswith("24 W (5 m 0 s ago: it does not answer)")


def test_others_on_a_card_are_told_with_what_they_hold() -> None:
    there = (
        process(1, "Xorg", 102 * MIB), process(2, "firefox", 412 * MIB), process(3, "", None),
        process(4, "python", 9 * GIB, ours=True), process(5, "a\x1b[2Jb", 1),
    )  # fmt: skip
    assert words.words(shown(processes=there), 101.0).partition("; ")[2] == (
        "others: firefox 412 MiB, Xorg 102 MiB, a\N{REPLACEMENT CHARACTER}[2Jb 1 B and process 3"
    )


def test_the_cpu_is_told_with_the_work_of_others() -> None:
    cpu = shown(
        kind="cpu", name=CPU, index=None, cores=8.0, others_cores=1.25, power_w=None,
        used_bytes=6 * GIB, total_bytes=16 * GIB, utilisation=0.87,
    )  # fmt: skip
    assert title(cpu.kind, cpu.index, cpu.name) == "cpu"
    assert words.words(cpu, 101.0) == (
        "6 GiB of 16 GiB used, 87 % busy, 41 °C; others use 1.25 of 8 cores"
    )


def test_titles_are_short_and_tell_parts_apart() -> None:
    assert title("gpu", 1, CARD.name) == "GPU 1"
    assert title("mig", 1, "MIG-0a7f4c11-5555-5d1e") == "GPU 1 MIG-0a7f4c1…"


# --- doctor --------------------------------------------------------------------------------


def look(machine: str, init_error: str | None = None, **environment: str) -> Look:
    nvml = FakeNvml(machine)
    nvml.init_error = init_error
    return Look(
        lambda: NvmlProbe(
            ManualClock(), lambda pid: False, environment=environment, load=lambda: nvml,
            name_of=lambda pid: f"p{pid}",
        ),
        lambda: MpsMachine("/usr/bin/x", missing=None, foreign=""),
    )  # fmt: skip


def findings(seen: Look) -> dict[str, tuple[str, str, str]]:
    return {f.what: (f.verdict, f.found, f.do) for f in seen.findings()}


def test_doctor_tells_of_a_card_and_who_is_on_it() -> None:
    told = findings(look("rtx3090"))
    assert list(told) == ["CPU", "memory", "GPU 0", "MPS"]
    verdict, found, do = told["GPU 0"]
    assert verdict == "ok"
    assert found == (
        "NVIDIA GeForce RTX 3090, 1.18 GiB of 24 GiB used, 41 °C, 2 processes on it (p1421 and"
        " p2277), shows a screen, for which 1 GiB are left"
    )
    assert not do


@pytest.mark.parametrize(
    ("settings", "verdict", "found"),
    [
        ("", "ok", "can be used with GPU 0"),
        ("mps = 'off'", "ok", "not used with GPU 0: it is off in the settings"),
        ("mps = 'perhaps'", "ok", "can be used with GPU 0"),
    ],
)
def test_doctor_says_whether_mps_can_be_used(
    settings: str, verdict: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text(settings)
    assert findings(look("rtx3090"))["MPS"] == (verdict, found, "")


def test_doctor_says_why_mps_can_not_be_used_and_that_it_was_wished_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("mps = 'on'")
    verdict, found, _ = findings(look("parts"))["MPS"]
    assert verdict == "note"
    assert found.startswith('wished for (mps = "on"), but not used with GPU 0 MIG-0a7f4c1… and ')
    assert found.endswith(": the card is split into parts (MIG), which keep trials apart")


def test_doctor_says_what_cannot_be_measured_and_what_is_done_instead() -> None:
    told = findings(look("wsl2"))
    assert "memory of processes (torch's own peak and what the whole card gains" in told["GPU 0"][2]
    assert "slowdown temperature (it never counts as too hot" in told["GPU 0"][2]
    assert told["GPU faults"][0] == "note"


@pytest.mark.parametrize(
    ("machine", "error", "environment", "verdict", "found"),
    [
        ("", None, {}, "ok", "none; the CPU is the device"),
        ("", "LIBRARY_NOT_FOUND", {}, "ok", "none; the CPU is the device"),
        ("rtx3090", "DRIVER_NOT_LOADED", {}, "note", "the NVIDIA driver is not loaded; the CPU"),
        ("rtx3090", "LIB_RM_VERSION_MISMATCH", {}, "note", "was updated, and the old one"),
        ("unequal", None, {"CUDA_VISIBLE_DEVICES": "-1"}, "ok", "2 hidden by CUDA_VISIBLE_DEVICES"),
    ],
)
def test_doctor_says_why_no_card_is_used(
    machine: str, error: str | None, environment: dict[str, str], verdict: str, found: str
) -> None:
    seen = findings(look(machine, error, **environment))["GPU"]
    assert seen[0] == verdict
    assert found in seen[1]


def test_doctor_warns_of_numbers_that_cuda_may_read_otherwise() -> None:
    told = findings(look("unequal", CUDA_VISIBLE_DEVICES="0"))
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in told["GPU order"][2]
    assert "GPU order" not in findings(look("unequal"))


def test_doctor_gives_the_devices_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallhours.commands.doctor_devices.Look", lambda: machine)
    machine = look("wsl2")
    out = io.StringIO()
    doctor.doctor(Home(tmp_path), as_json=True, out=out)
    cpu, card = json.loads(out.getvalue())["devices"]
    assert (cpu["device"]["name"], card["device"]["capability"]) == (CPU, [8, 9])
    (process,) = card["reading"]["processes"]
    assert process == {"pid": 79, "name": "p79", "used_bytes": None, "ours": False}
    assert {"what", "instead"} == set(card["gaps"][0])


def test_devices_in_the_status_keep_to_80_columns() -> None:
    there = tuple(process(n, f"a-process-with-a-long-name-{n}", n * GIB) for n in range(1, 7))
    out = io.StringIO()
    page = Page(out, 80)
    part = shown(kind="mig", name="MIG-0a7f4c11-5555-5d1e", label="NVIDIA RTX PRO 6000 " * 4)
    lines = [
        (title(seen.kind, seen.index, seen.name), words.words(seen, 500.0))
        for seen in (shown(processes=there), part)
    ]
    page.pairs(lines, indent=0)
    printed = out.getvalue().splitlines()
    assert len(printed) > 3
    assert max(map(len, printed)) <= 80
