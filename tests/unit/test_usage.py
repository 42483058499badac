"""What a trial needed: measured in its process, sent, kept and shown."""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from smallhours.backends import evidence, links
from smallhours.core import facts as f
from smallhours.core.footprint import Footprint, GpuPeak
from smallhours.core.reasons import Completed
from smallhours.explain import footprint_words
from smallhours.worker import usage

MIB = 2**20
GIB = 2**30


class TestRested:
    """What a process asks for where it never waits for a core."""

    @pytest.mark.parametrize(
        ("used", "wanted", "cores", "step_s"),
        [
            (0.5, 0.5, 0.5, 1.0),  # never waited
            (0.4, 0.6, 0.5, 0.8),  # computes 0.4 s, waits 0.2, sleeps 0.4 in each
            (0.5, 1.0, 1.0, 0.5),  # one thread of two that share a core
            (1.0, 2.0, 2.0, 0.5),  # two threads on one core
            (4.0, 16.0, 8.0, 0.5),  # more threads than cores: alone they wait as well
        ],
    )
    def test_waits_are_taken_out(
        self, used: float, wanted: float, cores: float, step_s: float
    ) -> None:
        found = Footprint(mean_step_s=1.0, cores=used, wanted_cores=wanted).rested(8.0)
        assert found == (pytest.approx(cores), pytest.approx(step_s))

    def test_nothing_is_said_where_the_kernel_does_not_tell_of_waits(self) -> None:
        assert Footprint(mean_step_s=1.0, cores=0.5).rested(8.0) is None
        assert Footprint(cores=0.5, wanted_cores=0.5).rested(8.0) is None


class FakeCuda:
    """The part of torch.cuda that is asked, as it answers: nothing before it is initialised."""

    def __init__(self, *, initialised: bool, peaks: tuple[tuple[int, int], ...] = ()) -> None:
        self.initialised = initialised
        self.peaks = list(peaks)
        self.queued: list[Any] = []
        self.fractions: dict[int, float] = {}

    def is_initialized(self) -> bool:
        return self.initialised

    def _asked(self) -> None:
        assert self.initialised, "this would initialise CUDA"

    def device_count(self) -> int:
        self._asked()
        return len(self.peaks)

    def max_memory_reserved(self, index: int = 0) -> int:
        self._asked()
        return self.peaks[index][0]

    memory_reserved = max_memory_reserved

    def max_memory_allocated(self, index: int) -> int:
        self._asked()
        return self.peaks[index][1]

    def mem_get_info(self) -> tuple[int, int]:
        self._asked()
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def get_device_properties(self, index: int) -> SimpleNamespace:
        self._asked()
        return SimpleNamespace(total_memory=24 * GIB)

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self._asked()
        self.fractions[index] = fraction

    def _lazy_call(self, call: Any) -> None:
        if self.initialised:
            call()
        else:
            self.queued.append(call)

    def initialise(self) -> None:
        self.initialised = True
        for call in self.queued:
            call()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda(initialised=True, peaks=((3 * GIB, 2 * GIB), (0, 0)))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake))  # type: ignore[arg-type]
    return fake


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(usage.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def meter(clock: Clock) -> usage.Meter:
    assert usage.time.monotonic() == clock.now
    return usage.Meter()


class TestWhen:
    def test_it_measures_at_reports_one_and_three_and_then_ever_more_rarely(
        self, clock: Clock
    ) -> None:
        measured, subject = [], meter(clock)
        for report in range(1, 1000):
            clock.now += 1.0
            if subject.reported(1) is not None:
                measured.append(report)
        assert measured[:3] == [1, 3, 13]
        assert len(measured) < 16
        gaps = [b - a for a, b in itertools.pairwise(measured[2:])]
        assert gaps == sorted(gaps)

    def test_a_trial_of_many_quick_reports_is_left_alone(self, clock: Clock) -> None:
        subject = meter(clock)
        measured = [subject.reported(1) for _ in range(1000)]
        assert sum(message is not None for message in measured) == 2

    def test_a_report_costs_at_most_ten_microseconds(self) -> None:
        subject = usage.Meter()
        for _ in range(3):
            subject.reported(1)
        rounds = []
        for _ in range(20):  # the best of them: what else the machine does is no cost of ours
            began = time.perf_counter()
            for _ in range(200):
                subject.reported(1)
            rounds.append((time.perf_counter() - began) / 200)
        assert min(rounds) < 10e-6


class TestPaces:
    def test_the_step_time_is_the_median_and_counts_steps_not_reports(self, clock: Clock) -> None:
        subject = meter(clock)
        for wait_s in (5.0, 1.0, 1.0, 60.0, 1.0):  # one of them wrote a checkpoint
            clock.now += wait_s
            subject.reported(5)
        assert subject.measure()["step_s"] == pytest.approx(0.2)

    def test_the_mean_counts_all_since_the_first_report(self, clock: Clock) -> None:
        subject = meter(clock)
        for wait_s in (5.0, 1.0, 60.0, 1.0):
            clock.now += wait_s
            subject.reported(5)
        assert subject.measure()["mean_step_s"] == pytest.approx(62.0 / 15)

    def test_one_report_has_no_step_time_and_no_share_of_a_core(self, clock: Clock) -> None:
        message = meter(clock).reported(1)
        assert message is not None
        assert "step_s" not in message
        assert "cores" not in message

    def test_cpu_time_before_the_first_report_does_not_count(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spent = iter([7.0, 9.0, 9.5])
        monkeypatch.setattr(usage, "_cpu_s", lambda tree: next(spent))
        subject = meter(clock)
        clock.now += 3.0
        for _ in range(3):
            clock.now += 1.0
            subject.reported(1)
        clock.now += 2.0
        assert subject.measure()["cores"] == pytest.approx((9.5 - 7.0) / 4.0)


class TestHostMemory:
    def test_what_was_held_once_is_in_the_peak(self) -> None:
        subject = usage.Meter()
        before = subject.measure()["host"]
        with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
            for at in range(0, len(block), mmap.PAGESIZE):
                block[at] = 1
        held = subject.measure()["host"]
        assert held >= before
        assert held >= usage._fields(os.getpid(), "status", (b"VmRSS:",))[b"VmRSS:"]

    def test_shared_pages_are_divided_where_the_trial_runs_long_enough_to_afford_it(
        self, clock: Clock
    ) -> None:
        subject = meter(clock)
        coarse = subject.measure()
        clock.now += 3600.0
        fine = subject.measure()
        assert (coarse["pss"], fine["pss"]) == (False, True)
        assert 0 < fine["host"] <= coarse["host"] + 64 * MIB

    def test_a_coarser_figure_does_not_replace_a_finer_one(
        self, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        subject = meter(clock)
        clock.now += 3600.0
        fine = subject.measure()["host"]
        monkeypatch.setattr(usage, "_memory", lambda tree, exact: usage._Memory(9**9, 9**9, None))
        assert subject.measure() | {"host": fine, "pss": True} == subject.measure()

    @pytest.mark.processes
    def test_the_processes_of_a_trial_count(self) -> None:
        context = multiprocessing.get_context("fork")
        ready, leave = context.Event(), context.Event()
        child = context.Process(target=_hold, args=(ready, leave))
        child.start()
        try:
            assert ready.wait(5)
            tree = usage._tree()
            assert child.pid in tree
            alone = usage._memory([os.getpid()], exact=True)
            both = usage._memory(tree, exact=True)
            assert alone.proportional is not None
            assert both.proportional is not None
            assert both.proportional >= alone.proportional + 30 * MIB
            # What both have from before the fork is divided among them: it counts once.
            assert both.proportional < both.resident
        finally:
            leave.set()
            child.join()

    def test_cpu_time_of_children_that_ended_counts(self) -> None:
        before = usage._cpu_s([os.getpid()])
        pid = os.fork()
        if pid == 0:
            until = time.process_time() + 0.05
            while time.process_time() < until:
                pass
            os._exit(0)
        os.waitpid(pid, 0)
        assert usage._cpu_s([os.getpid()]) - before >= 0.04

    def test_a_process_that_is_gone_has_no_memory(self) -> None:
        assert usage._fields(2**22 + 1, "status", (b"VmRSS:",)) == {}


def _hold(ready: Any, leave: Any) -> None:
    block = bytearray(40 * MIB)
    for at in range(0, len(block), 4096):
        block[at] = 1
    ready.set()
    leave.wait()


class TestGpu:
    def test_torch_s_own_peaks_are_sent_for_gpus_that_were_used(self, cuda: FakeCuda) -> None:
        subject = usage.Meter()
        assert subject.measure()["gpus"] == [[0, 3 * GIB, 2 * GIB]]

    def test_a_peak_survives_that_the_study_resets_torch_s(self, cuda: FakeCuda) -> None:
        subject = usage.Meter()
        subject.measure()
        cuda.peaks[0] = (GIB, GIB)
        assert subject.measure()["gpus"] == [[0, 3 * GIB, 2 * GIB]]

    def test_cuda_is_not_asked_before_it_is_initialised(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        assert "gpus" not in usage.Meter().measure()
        assert "gpu_peak" not in usage.left()

    def test_what_is_left_is_told_as_far_as_a_broken_cuda_says(self, cuda: FakeCuda) -> None:
        found = usage.left()
        assert (found["gpu_held"], found["gpu_peak"]) == (3 * GIB, 3 * GIB)
        assert "gpu_free" not in found
        assert found["shared_total"] >= found["shared_free"]


class TestCap:
    def test_it_takes_effect_when_cuda_is_first_used_and_not_before(self, cuda: FakeCuda) -> None:
        cuda.initialised = False
        usage.cap("cuda:0", 6 * GIB)
        assert cuda.fractions == {}
        cuda.initialise()
        assert cuda.fractions == {0: 0.25}

    def test_it_takes_effect_at_once_where_cuda_is_in_use(self, cuda: FakeCuda) -> None:
        usage.cap("cuda:1", 48 * GIB)
        assert cuda.fractions == {1: 1.0}

    @pytest.mark.parametrize(("device", "size"), [("cpu", GIB), ("cuda:0", None)])
    def test_without_a_gpu_or_a_cap_nothing_is_done(
        self, cuda: FakeCuda, device: str, size: int | None
    ) -> None:
        usage.cap(device, size)
        assert cuda.fractions == {}
        assert cuda.queued == []

    def test_the_real_torch_takes_it_without_initialising_cuda(self) -> None:
        torch = pytest.importorskip("torch")
        before = len(torch.cuda._queued_calls)
        usage.cap("cuda:0", GIB)
        try:
            assert len(torch.cuda._queued_calls) == before + 1
            assert not torch.cuda.is_initialized()
        finally:
            del torch.cuda._queued_calls[before:]


class TestOnItsWay:
    def test_a_message_becomes_a_footprint(self) -> None:
        line = msgspec.json.encode(
            {"t": "usage", "step_s": 0.2134567, "cores": 0.98, "host": 312 * MIB, "pss": True,
             "gpus": [[0, 3 * GIB, 2 * GIB]]}
        )  # fmt: skip
        message = links._decode(line)
        assert isinstance(message, links.Usage)
        assert evidence.footprint_of(message) == Footprint(
            step_s=0.2135, cores=0.98, host_bytes=312 * MIB, host_source="pss",
            gpus=(GpuPeak(0, 3 * GIB, 2 * GIB),),
        )  # fmt: skip

    def test_what_a_meter_sends_is_understood(self, cuda: FakeCuda) -> None:
        subject = usage.Meter()
        for _ in range(3):
            subject.reported(1)
        line = msgspec.json.encode(subject.measure())
        assert isinstance(links._decode(line), links.Usage)

    @pytest.mark.parametrize("wrong", [{"host": -1}, {"cores": -0.1}, {"gpus": [[0, 1]]}])
    def test_nonsense_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            links._decode(msgspec.json.encode({"t": "usage", **wrong}))

    def test_it_costs_the_ledger_less_than_150_bytes_a_trial(self) -> None:
        footprint = Footprint(
            step_s=0.2135, cores=0.9812, host_bytes=312_345_678, host_source="pss",
            gpus=(GpuPeak(0, 3 * GIB, 2 * GIB),),
        )  # fmt: skip
        end = f.AttemptEnded(
            study=1, trial=2, attempt=1, reason=Completed(steps=3, metrics={}), seconds=1.0,
            last_step=3, score=None, then="over",
        )  # fmt: skip
        without = len(msgspec.json.encode(end))
        with_it = msgspec.structs.replace(end, footprint=footprint)
        assert len(msgspec.json.encode(with_it)) - without < 150
        assert msgspec.json.decode(msgspec.json.encode(with_it), type=f.Fact) == with_it

    def test_a_ledger_from_before_has_none(self) -> None:
        old = (
            b'{"kind":"attempt_ended","study":1,"trial":2,"attempt":1,"reason":{"reason":"completed",'
            b'"steps":3,"metrics":{}},"seconds":1.0,"last_step":3,"score":null,"then":"over"}'
        )
        fact = msgspec.json.decode(old, type=f.Fact)
        assert isinstance(fact, f.AttemptEnded)
        assert fact.footprint is None


class TestFootprint:
    def test_a_later_one_renews_paces_and_keeps_peaks(self) -> None:
        first = Footprint(
            step_s=1.0, cores=0.5, host_bytes=500, gpus=(GpuPeak(0, 9, 8), GpuPeak(1, 1, 1))
        )
        later = Footprint(step_s=2.0, host_bytes=400, gpus=(GpuPeak(0, 7, 9),))
        assert later.after(first) == Footprint(
            step_s=2.0, cores=0.5, host_bytes=500, gpus=(GpuPeak(0, 9, 9), GpuPeak(1, 1, 1))
        )
        assert first.after(None) is first

    @pytest.mark.parametrize(
        ("before", "now", "kept"),
        [
            ((500, "rss"), (300, "pss"), (300, "pss")),
            ((300, "pss"), (500, "rss"), (300, "pss")),
            ((300, "pss"), (400, "pss"), (400, "pss")),
            ((None, "rss"), (300, "pss"), (300, "pss")),
            ((300, "pss"), (None, "rss"), (300, "pss")),
        ],
    )
    def test_shared_pages_counted_once_are_the_better_figure(
        self, before: Any, now: Any, kept: Any
    ) -> None:
        joined = Footprint(host_bytes=now[0], host_source=now[1]).after(
            Footprint(host_bytes=before[0], host_source=before[1])
        )
        assert (joined.host_bytes, joined.host_source) == kept

    def test_its_gpu_bytes_are_those_of_the_fullest_gpu(self) -> None:
        assert Footprint(gpus=(GpuPeak(0, 5, 1), GpuPeak(1, 9, 1))).gpu_bytes == 9
        assert Footprint().gpu_bytes is None

    def test_it_reads_well(self) -> None:
        assert (
            footprint_words(
                Footprint(step_s=0.21, cores=0.98, host_bytes=312 * MIB, host_source="pss")
            )
            == "312 MiB of memory, 0.98 of a core, 0.21 s a step"
        )
        said = footprint_words(
            Footprint(
                step_s=0.0123, cores=2.5, host_bytes=GIB, gpus=(GpuPeak(0, 3 * GIB, 2 * GIB),)
            )
        )
        assert said == (
            "1 GiB of memory at most, 3 GiB of GPU memory (2 GiB in tensors),"
            " 2.50 cores, 12.3 ms a step"
        )
        assert footprint_words(None) == footprint_words(Footprint()) == ""


def test_measuring_takes_less_than_a_millisecond_without_the_exact_memory() -> None:
    subject, times = usage.Meter(), []
    for _ in range(20):
        began = time.perf_counter()
        subject.measure()
        times.append(time.perf_counter() - began)
    print(f"{statistics.median(times) * 1e6:.0f} us")
    assert min(times) < 1e-3
