"""The CPU as a device: what control groups allow, how busy it is, and with whose work."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.clock import ManualClock
from smallhours.devices import cgroup, host
from smallhours.devices.base import CPU
from smallhours.devices.cpu import CpuProbe

GIB, MIB = 2**30, 2**20
TICKS = 100


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores of four, 16 GiB, 10 of them free."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 2})
    monkeypatch.setattr(host, "memory", lambda: (10 * GIB, 16 * GIB))
    monkeypatch.setattr("smallhours.devices.cpu._TICKS_PER_S", TICKS)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Box:
    """A machine's /proc and /sys in a directory, with a probe on it."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        self.clock = ManualClock()
        put(self.proc / "cpuinfo", "processor : 0\nmodel name\t: AMD Ryzen  9 5900X\n")
        self.stat([(0, 0)] * 4)

    def stat(self, cores: list[tuple[int, int]]) -> None:
        """Say how long each core has been busy and idle, in seconds since the box was made."""
        cores = [(busy, idle + 1) for busy, idle in cores]
        rows = [("cpu", sum(b for b, _ in cores), sum(i for _, i in cores))]
        rows += [(f"cpu{n}", busy, idle) for n, (busy, idle) in enumerate(cores)]
        text = "".join(
            # user nice system idle iowait irq softirq steal guest guest_nice
            f"{name} {busy * 50} {busy * 10} {busy * 30} {idle * 60} {idle * 40}"
            f" {busy * 5} {busy * 3} {busy * 2} {busy * 20} 0\n"
            for name, busy, idle in rows
        )
        put(self.proc / "stat", text + "intr 12345\n")

    def probe(self, *roots: int) -> CpuProbe:
        return CpuProbe(self.clock, roots, proc=self.proc, sys=self.sys)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


# --- what there is -------------------------------------------------------------------------


def test_the_cpu_has_the_cores_and_memory_that_may_be_used(box: Box) -> None:
    (device,) = box.probe().devices()
    assert (device.name, device.kind, device.label) == (CPU, "cpu", "AMD Ryzen 9 5900X")
    assert (device.cores, device.total_bytes, device.display) == (2.0, 16 * GIB, False)
    reading = box.probe().read(CPU)
    assert reading is not None
    assert (reading.used_bytes, reading.free_bytes) == (6 * GIB, 10 * GIB)
    assert (reading.temperature_c, reading.others_cores, reading.processes) == (None, None, None)
    assert box.probe().read("GPU-1") is None


def test_a_control_group_makes_it_smaller(box: Box) -> None:
    group = box.sys / "fs/cgroup/user.slice/app"
    put(box.proc / "self/cgroup", "0::/user.slice/app\n")
    put(group / "cpu.max", "150000 100000\n")
    put(group / "memory.max", f"{4 * GIB}\n")
    put(group / "memory.current", f"{3 * GIB}\n")
    put(group / "memory.stat", f"anon {2 * GIB}\ninactive_file {GIB}\n")
    (device,) = box.probe().devices()
    assert (device.cores, device.total_bytes) == (1.5, 4 * GIB)
    reading = box.probe().read(CPU)
    assert reading is not None
    assert (reading.total_bytes, reading.used_bytes) == (4 * GIB, 2 * GIB)
    assert reading.sources["memory"] == "control group"


def test_a_generous_control_group_gives_no_more_than_there_is(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = box.sys / "fs/cgroup"
    put(box.proc / "self/cgroup", "0::/\n")
    put(group / "cpu.max", "900000 100000\n")
    put(group / "memory.max", f"{12 * GIB}\n")
    put(group / "memory.current", "0\n")
    monkeypatch.setattr(host, "memory", lambda: (2 * GIB, 16 * GIB))
    probe = box.probe()
    assert probe.devices()[0].cores == 2.0
    reading = probe.read(CPU)
    assert reading is not None
    assert (reading.free_bytes, reading.total_bytes) == (2 * GIB, 12 * GIB)


@pytest.mark.parametrize("text", ["max 100000", "", "rubbish", "-1 100000", "100000 0"])
def test_no_quota_is_no_limit(tmp_path: Path, text: str) -> None:
    put(tmp_path / "own", "0::/a\n")
    put(tmp_path / "fs/a/cpu.max", text)
    assert cgroup.allowed(tmp_path / "own", tmp_path / "fs") == cgroup.Allowed()


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    put(tmp_path / "own", "0::/a/b\n")
    put(tmp_path / "fs/a/cpu.max", "50000 100000")
    put(tmp_path / "fs/a/b/cpu.max", "400000 100000")
    put(tmp_path / "fs/a/memory.max", "1000")
    put(tmp_path / "fs/a/memory.current", "900")
    put(tmp_path / "fs/a/b/memory.max", "500")
    put(tmp_path / "fs/a/b/memory.current", "100")
    found = cgroup.allowed(tmp_path / "own", tmp_path / "fs")
    assert found == cgroup.Allowed(0.5, 1000, 900), "100 bytes are left in the outer one"


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_control_groups_of_version_1_count_too(tmp_path: Path, mount: str) -> None:
    put(tmp_path / "own", "4:memory:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/x\n0::/x\n")
    put(tmp_path / f"fs/{mount}/x/cpu.cfs_quota_us", "250000")
    put(tmp_path / f"fs/{mount}/x/cpu.cfs_period_us", "100000")
    put(tmp_path / "fs/memory/x/memory.limit_in_bytes", "4000")
    put(tmp_path / "fs/memory/x/memory.usage_in_bytes", "1500")
    put(tmp_path / "fs/memory/x/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n")
    put(tmp_path / "fs/memory/memory.limit_in_bytes", str(2**63 - 4096))
    put(tmp_path / "fs/memory/memory.usage_in_bytes", "1")
    found = cgroup.allowed(tmp_path / "own", tmp_path / "fs")
    assert found == cgroup.Allowed(2.5, 4000, 1000)


def test_where_there_are_no_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup.allowed(tmp_path / "nothing", tmp_path) == cgroup.Allowed()


# --- how busy it is ------------------------------------------------------------------------


def test_utilisation_is_that_of_our_cores_since_the_last_reading(box: Box) -> None:
    probe = box.probe()

    def utilisation() -> float | None:
        reading = probe.read(CPU)
        assert reading is not None
        return reading.utilisation

    assert utilisation() is None, "there is nothing to compare with"
    assert utilisation() is None, "no time has passed"
    box.stat([(3, 1), (4, 0), (1, 3), (4, 0)])  # ours are the first and the third
    assert utilisation() == 0.5
    box.stat([(3, 5), (8, 0), (1, 7), (8, 0)])
    assert utilisation() == 0.0
    (box.proc / "stat").unlink()
    assert utilisation() is None


def line(pid: int, parent: int, cpu_s: float, ended_s: float = 0.0) -> host.ProcessLine:
    return host.ProcessLine(
        pid=pid, parent=parent, session=pid, state="S", cpu_s=cpu_s, resident_bytes=0, started=0,
        ended_children_cpu_s=ended_s,
    )  # fmt: skip


def test_the_work_of_others_is_what_this_session_did_not_do(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line(1, 0, 500.0), line(100, 1, 1.0), line(101, 100, 2.0), line(200, 1, 70.0)]
    monkeypatch.setattr(host, "all_processes", lambda: lines)
    probe = box.probe(100)

    def others() -> float | None:
        reading = probe.read(CPU)
        assert reading is not None
        return reading.others_cores

    assert others() is None
    # In 10 s, 25 s of work: 15 of ours (4 of them by a child that has ended since), 10 of others.
    box.clock.now = 10.0
    box.stat([(10, 0), (10, 0), (5, 5), (0, 10)])
    lines[1:3] = [line(100, 1, 3.0, ended_s=4.0 + 2.0), line(102, 100, 9.0)]
    assert others() == 1.0
    box.clock.now = 12.0
    box.stat([(99, 0), (99, 0), (99, 0), (99, 0)])
    assert others() == 1.0, "all processes are not looked at with every reading"


def test_the_work_of_others_is_never_less_than_nothing(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line(100, 1, 0.0)]
    monkeypatch.setattr(host, "all_processes", lambda: lines)
    probe = box.probe(100)
    probe.read(CPU)
    box.clock.now = 10.0
    lines[0] = line(100, 1, 50.0)
    reading = probe.read(CPU)
    assert reading is not None
    assert reading.others_cores == 0.0


# --- how warm it is ------------------------------------------------------------------------


def test_the_temperature_is_the_chips_own(box: Box) -> None:
    put(box.sys / "class/hwmon/hwmon0/name", "nvme\n")
    put(box.sys / "class/hwmon/hwmon0/temp1_input", "33000\n")
    put(box.sys / "class/hwmon/hwmon1/name", "k10temp\n")
    put(box.sys / "class/hwmon/hwmon1/temp1_input", "61375\n")
    probe = box.probe()
    reading = probe.read(CPU)
    assert reading is not None
    assert reading.temperature_c == 61.375
    assert reading.slowdown_c is None, "a CPU looks after itself, and runs hot by design"
    put(box.sys / "class/hwmon/hwmon1/temp1_input", "rubbish\n")
    later = probe.read(CPU)
    assert later is not None
    assert later.temperature_c is None


def test_a_thermal_zone_of_the_chip_serves_too(box: Box) -> None:
    put(box.sys / "class/thermal/thermal_zone0/type", "acpitz\n")
    put(box.sys / "class/thermal/thermal_zone0/temp", "20000\n")
    put(box.sys / "class/thermal/thermal_zone1/type", "x86_pkg_temp\n")
    put(box.sys / "class/thermal/thermal_zone1/temp", "55000\n")
    reading = box.probe().read(CPU)
    assert reading is not None
    assert reading.temperature_c == 55.0


def test_this_machine_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    probe = CpuProbe(ManualClock(), [1])
    (device,) = probe.devices()
    assert device.cores is not None
    assert device.cores > 0
    reading = probe.read(CPU)
    assert reading is not None
    assert reading.used_bytes is not None
    assert host.read_process(1) is not None
