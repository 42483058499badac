"""Every way for a trial to end, with real processes, and the reason that it is given."""

from __future__ import annotations

import errno
import signal

import pytest

from smallhours.core import facts as f
from smallhours.core import reasons as r

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

_CAUSES = """
import ctypes, itertools, math, os, signal, subprocess, sys, threading, time
from smallhours import Choice, Study

def make(how, **keys):
    study = Study(how, metric="loss", goal="minimize", space={"x": Choice([1])}, baseline={"x": 1},
                  trials=1, steps=3, retries=0, **keys)
    study.train(globals()["train_" + how])
    globals()["study_" + how] = study

class Awkward(Exception):
    def __init__(self):
        super().__init__("can't be pickled")
        self.lock = threading.Lock()
    def __reduce__(self):
        raise TypeError("no")

def train_completes(trial):
    for step in range(1, 4):
        trial.report(step, loss=1.0 / step)

def train_nan(trial):
    trial.report(1, loss=0.5)
    trial.report(2, loss=math.nan)
    time.sleep(0.5)
    trial.report(3, loss=0.1)

def train_raises(trial):
    trial.report(1, loss=0.5)
    raise ValueError("a bug of mine")

def train_awkward(trial):
    trial.report(1, loss=0.5)
    raise Awkward

def train_exits(trial):
    trial.report(1, loss=0.5)
    os._exit(3)

def train_segfaults(trial):
    trial.report(1, loss=0.5)
    ctypes.string_at(0)

def train_killed(trial):
    trial.report(1, loss=0.5)
    os.kill(os.getpid(), signal.SIGKILL)

def train_terminated(trial):
    trial.report(1, loss=0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)

def train_hangs(trial):
    trial.report(1, loss=0.5)
    sum(itertools.repeat(1))  # holds the GIL and never looks at signals

def train_grows(trial):
    trial.report(1, loss=0.5)
    block = bytearray(400 * 2**20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    time.sleep(20)

def train_memory_error(trial):
    trial.report(1, loss=0.5)
    bytearray(2**62)

def train_disk_full(trial):
    trial.report(1, loss=0.5)
    with open("/dev/full", "w") as file:
        file.write("x" * 100000)

def train_slow(trial):
    for step in range(1, 4):
        time.sleep(0.4)
        trial.report(step, loss=0.5)

def train_silent(trial):
    trial.log("nothing to say")
    if trial.seed < 0:
        trial.report(1, loss=1)

make("completes")
make("nan")
make("raises")
make("awkward")
make("exits")
make("segfaults")
make("killed")
make("terminated")
make("hangs", hang_s=1.0)
make("grows", memory_bytes="200 MiB")
make("memory_error")
make("disk_full")
make("slow", trial_time_s=0.5)
make("silent")
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Run one study per cause and return the end of each by the study's name."""
    from fakes.real import RealNight

    night = RealNight(tmp_path_factory.mktemp("causes"))
    try:
        path = night.study(_CAUSES)
        print(night.command("run", path, check=None))
        night.wait_until_gone()
        state = night.check()
        ends: dict[str, list[f.AttemptEnded]] = {}
        for end in night.ends():
            ends.setdefault(state.studies[end.study].spec.name, []).append(end)
        yield ends
    finally:
        night.close()


def only(ended, name):
    (end,) = ended[name]
    return end.reason


def test_a_trial_that_returns_is_completed(ended):
    assert only(ended, "completes") == r.Completed(steps=3, metrics={"loss": 1.0 / 3})


def test_nan_is_diverged(ended):
    assert only(ended, "nan") == r.Diverged(metric="loss", value="nan", step=2, limit=None)


def test_an_exception_carries_its_line(ended):
    reason = only(ended, "raises")
    assert (reason.type, reason.message, reason.phase) == ("ValueError", "a bug of mine", "train")
    assert reason.where.endswith("in train_raises")
    assert 'raise ValueError("a bug of mine")' in reason.traceback


def test_an_exception_that_cant_be_pickled_is_told_all_the_same(ended):
    reason = only(ended, "awkward")
    assert reason.message == "can't be pickled"
    assert "Awkward" in reason.type


def test_an_exit_code_is_a_crash(ended):
    reason = only(ended, "exits")
    assert (reason.exit_code, reason.signal, reason.whose) == (3, None, "process")


def test_a_segmentation_fault_is_a_crash_with_the_line(ended):
    reason = only(ended, "segfaults")
    assert reason.signal == signal.SIGSEGV
    assert "Segmentation fault" in reason.fault
    assert "train_segfaults" in reason.fault


@pytest.mark.parametrize(("name", "number"), [("killed", 9), ("terminated", 15)])
def test_a_signal_from_outside_is_a_crash_by_that_signal(ended, name, number):
    assert only(ended, name).signal == number


def test_a_hang_that_holds_the_gil_is_hung_with_its_stack(ended):
    reason = only(ended, "hangs")
    assert isinstance(reason, r.Hung)
    assert reason.silent_s >= reason.threshold_s == 1.0
    assert "train_hangs" in reason.stack
    assert [deed for _, deed in reason.escalation] == ["SIGTERM", "SIGKILL"]
    assert reason.process_state == "R"
    assert reason.cpu_s > 0


def test_a_trial_beyond_its_memory_is_host_oom_by_us(ended):
    reason = only(ended, "grows")
    assert (reason.killer, reason.limit_bytes) == ("smallhours", 200 * 2**20)
    assert max(size for _, size in reason.resident) > 200 * 2**20


def test_a_memory_error_is_host_oom_by_python(ended):
    assert only(ended, "memory_error").killer == "python"


def test_a_full_disk_is_told_as_such(ended):
    reason = only(ended, "disk_full")
    assert isinstance(reason, r.DiskFull)
    assert reason.errno == errno.ENOSPC


def test_a_time_budget_is_told_as_such(ended):
    reason = only(ended, "slow")
    assert isinstance(reason, r.Budget)
    assert reason.used > reason.limit == 0.5


def test_a_trial_that_never_reports_is_told_so(ended):
    reason = only(ended, "silent")
    assert isinstance(reason, r.Failure)
    assert "loss" in reason.message
