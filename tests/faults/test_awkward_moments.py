"""Commands that come at awkward moments, and study code that is awkward, with real processes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.trial import AttemptKey

pytestmark = [pytest.mark.processes, pytest.mark.timeout(90)]

QUICK = """
from smallhours import Float, Study

study = Study("NAME", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.5}, trials=3, steps=2, stopping="none")

@study.train
def train(trial):
    for step in (1, 2):
        trial.report(step, loss=trial.params["x"] / step)
"""

SLOW_TO_PREPARE = """
import time
from smallhours import Float, Study

study = Study("slow", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.5}, trials=3, steps=2, stopping="none")

@study.prepare
def prepare():
    time.sleep(1000)

@study.train
def train(trial):
    trial.report(1, loss=1.0)
"""

AWKWARD = """
import os, subprocess, time
from smallhours import Choice, Study

def make(how, trials=1, **keys):
    study = Study(how, metric="loss", goal="minimize", space={"x": Choice([1])}, baseline={"x": 1},
                  trials=trials, steps=3, retries=0, **keys)
    study.train(globals()["train_" + how])
    globals()["study_" + how] = study

def train_surrogate(trial):
    trial.report(1, loss=0.5)
    raise ValueError("caf\\udce9 " + "x" * 100_000)

def train_forks(trial):
    for step in range(1, 4):
        trial.report(step, loss=1.0)
        if os.fork() == 0:
            os.setsid()
            time.sleep(100)
            os._exit(0)

def train_closes(trial):
    trial.report(1, loss=0.5)
    os.closerange(3, 100)
    trial.report(2, loss=0.5)

def train_huge(trial):
    for step in range(1, 4):
        trial.report(step, loss=1.7e308, **{"m" * 100: -1e308})

def train_wordy(trial):
    trial.report(1, loss=0.5, **{"m" * 5000: 1.0})

def train_noisy(trial):
    trial.report(1, loss=1.0)
    print("x" * 10_000_000, flush=True)
    os.write(2, b"\\xff\\xfe" * 100_000)
    os._exit(9)

def train_cut_short(trial):
    trial.report(1, loss=1.0)
    (trial.dir / "attempt-1" / "note.json").write_text('{"type": ["\\\\ud800"], "errno": "x"')
    os._exit(9)

for how in ("surrogate", "forks", "closes", "huge", "wordy", "noisy", "cut_short"):
    make(how)
"""


def ended(facts: list[f.Fact]) -> int:
    return sum(isinstance(fact, f.StudyEnded) for fact in facts)


def test_two_runs_at_once_share_one_engine(real):
    first = real.begin("run", real.study(QUICK.replace("NAME", "one"), "one.py"))
    second = real.begin("run", real.study(QUICK.replace("NAME", "two"), "two.py"))
    codes = (first.wait(60), second.wait(60))
    output = (real.folder / "output.txt").read_text()
    assert codes == (0, 0), output + real.log()
    real.wait_until_gone(30)
    assert {study.reasons["completed"] for study in real.check().studies.values()} == {3}
    assert real.log().count("holds") == 0, "two engines fought over the ledger"


def test_a_stop_while_prepare_takes_for_ever_ends_in_time(real):
    real.begin("run", real.study(SLOW_TO_PREPARE))
    real.wait(lambda facts: any(isinstance(x, f.AttemptStarted) for x in facts))
    begun = time.monotonic()
    real.command("stop")
    real.wait_until_gone(30)
    assert time.monotonic() - begun < 15
    assert {end.then for end in real.ends()} == {"resume"}


def test_a_second_sigterm_changes_nothing(real):
    text = SLOW_TO_PREPARE.replace("time.sleep(1000)", "pass").replace(
        "trial.report(1, loss=1.0)",
        "trial.report(1, loss=1.0); time.sleep(1); trial.report(2, loss=1)",
    )
    real.begin("run", real.study(text))
    real.wait_for_reports(1)
    engine = real.engine_pid()
    real.kill(engine, signal.SIGTERM)
    real.kill(engine, signal.SIGTERM)
    real.wait_until_gone()
    assert {type(end.reason) for end in real.ends()} <= {r.Interrupted, r.Completed}
    intents = [f.key_of(x) for x in real.facts() if isinstance(x, f.Intended)]
    assert len(intents) == len(set(intents))
    real.check()


def test_awkward_study_code_is_told_of_and_nothing_else_suffers(real):
    real.command("run", real.study(AWKWARD), check=None)
    real.wait_until_gone()
    state = real.check()
    reasons = {state.studies[end.study].spec.name: end.reason for end in real.ends()}
    assert reasons["surrogate"].message.startswith("caf\\udce9")
    assert len(reasons["surrogate"].message) <= 4_000
    assert isinstance(reasons["forks"], r.Completed)
    assert isinstance(reasons["huge"], r.Completed)
    assert "over 100 characters" in reasons["wordy"].message
    assert isinstance(reasons["closes"], r.Crash)
    assert reasons["noisy"].exit_code == 9
    assert len(reasons["noisy"].stderr) <= 4_096
    assert reasons["cut_short"].exit_code == 9
    sessions = [x for x in real.facts() if isinstance(x, f.SessionStarted)]
    assert len(sessions) == 1, "no engine died of it"


def test_no_descriptor_stays_open_from_trial_to_trial(real):
    text = QUICK.replace("NAME", "many").replace("trials=3", "trials=120")
    text = text.replace("stopping=", 'sampler="random", stopping=')
    real.begin("run", real.study(text))

    def descriptors(count: int) -> int:
        real.wait(lambda facts: sum(isinstance(x, f.AttemptEnded) for x in facts) >= count)
        return sum(1 for _ in Path(f"/proc/{real.engine_pid()}/fd").iterdir())

    assert abs(descriptors(20) - descriptors(80)) <= 8
    real.wait_until_gone(30)
    keys = [f.key_of(x) for x in real.facts() if isinstance(x, f.AttemptStarted)]
    assert AttemptKey(1, 119, 1) in keys
