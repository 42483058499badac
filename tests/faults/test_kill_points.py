"""SIGKILL at every step of what must be durable: ledger, checkpoints, and whole engines."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile

import pytest

from smallhours import submit
from smallhours.core import facts as f
from smallhours.ledger.store import Ledger
from smallhours.worker import checkpoint

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

_LEDGER = """
import os, signal, sqlite3, sys
from pathlib import Path
from smallhours.core import facts as f
from smallhours.ledger import store

folder, last = Path(sys.argv[1]), int(sys.argv[2])
for when in range(1, last + 1):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        steps = 0
        def step(_statement):
            global steps
            steps += 1
            if steps == when:
                os.kill(os.getpid(), signal.SIGKILL)
        real_connect = sqlite3.connect
        def connect(*args, **keys):
            db = real_connect(*args, **keys)
            db.set_trace_callback(step)
            return db
        sqlite3.connect = connect
        place = folder / str(when)
        place.mkdir()
        ledger = store.Ledger(place / "ledger.db", place / "engine.lock", reserve=False)
        for number in range(12):
            for part in range(3):
                ledger.append(f.Reported(study=1, trial=number, attempt=1, step=part + 1,
                                         metrics={"loss": 0.5}), at=1.0, mono=1.0)
            ledger.append(f.StudyReleased(study=number), at=1.0, mono=1.0)
            ledger.commit()
            os.write(write, b"x")
        os._exit(0)
    os.close(write)
    acknowledged = 0
    while os.read(read, 1):
        acknowledged += 1
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    print(when, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, acknowledged, flush=True)
"""


def test_a_ledger_killed_at_any_statement_keeps_what_it_acknowledged(tmp_path):
    last = 90
    out = subprocess.run(
        [sys.executable, "-c", _LEDGER, str(tmp_path), str(last)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kills = 0
    for line in out.splitlines():
        when, signal_number, acknowledged = map(int, line.split())
        kills += signal_number == 9
        place = tmp_path / str(when)
        # A new engine opens it, whatever state it is in, and finds what was acknowledged, and at
        # most the one commit more that was on its way.
        ledger = Ledger(place / "ledger.db", place / "engine.lock", reserve=False)
        facts = [entry.fact for entry in ledger.replay()]
        ledger.close()
        committed = [fact.study for fact in facts if isinstance(fact, f.StudyReleased)]
        assert committed == list(range(len(committed)))
        assert acknowledged <= len(committed) <= acknowledged + 1, line
        assert len(facts) == 4 * len(committed), "a decision without its reports"
    assert kills >= 70


_CHECKPOINT = """
import os, signal, sys
from pathlib import Path
from smallhours.worker import checkpoint

folder, last = Path(sys.argv[1]), int(sys.argv[2])
for when in range(1, last + 1):
    pid = os.fork()
    if pid == 0:
        steps = 0
        def step(*_):
            global steps
            steps += 1
            if steps == when:
                os.kill(os.getpid(), signal.SIGKILL)
        real_fsync = os.fsync
        def fsync(fd):
            step()
            real_fsync(fd)
            step()
        os.fsync = fsync
        place = folder / str(when) / "checkpoints"
        place.mkdir(parents=True)
        watched = ("open", "os.rename", "os.mkdir")
        sys.addaudithook(lambda event, _: step() if event in watched else None)
        checkpoint.save({"n": 1}, place / "1-1", step=1, attempt=1, best=None)
        os.write(1, f"{when}\\n".encode())
        checkpoint.save({"n": 2}, place / "2-1", step=2, attempt=1, best=None)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_a_checkpoint_killed_at_any_step_is_whole_or_not_there(tmp_path):
    last = 60
    out = subprocess.run(
        [sys.executable, "-c", _CHECKPOINT, str(tmp_path), str(last)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    acknowledged = {int(line) for line in out.split()}
    assert 1 not in acknowledged
    assert last in acknowledged
    torn = 0
    for when in range(1, last + 1):
        place = tmp_path / str(when) / "checkpoints"
        torn += any(entry.name.endswith(".tmp") for entry in place.iterdir())
        if when in acknowledged:
            assert checkpoint.load(place / "1-1", 1).objects == {"n": 1}
        for step in (1, 2):
            if (place / f"{step}-1").exists():
                assert checkpoint.load(place / f"{step}-1", step).objects == {"n": step}
    assert torn >= 5, "the kills did not hit a checkpoint in the making"


_ENGINE = """
import os, signal, sys
from smallhours import engine

limit, count = int(sys.argv[1]), 0
def hook(event, _):
    global count
    if event.partition(".")[0] in ("open", "os", "socket", "subprocess", "fcntl", "sqlite3"):
        count += 1
        if count == limit:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
raise SystemExit(engine.main([]))
"""

_STUDY = """
from smallhours import Float, Study

study = Study("toy", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)}, seed=1,
              baseline={"x": 0.9}, trials=200, steps=6, stopping="median", checkpoint_every_s=0.0,
              enough=False)

@study.train
def train(trial):
    state = {"sum": 0}
    start = trial.restore(state)
    for step in range(start + 1, 7):
        state["sum"] += step
        trial.report(step, loss=trial.params["x"] + 1 / step, sum=state["sum"])
        trial.checkpoint(state)
"""


def test_engines_killed_again_and_again_lose_nothing_and_repeat_nothing(real):
    """Kills at seeded places among the system calls of 40 engines, one after the other."""
    submit.add(real.home, real.study(_STUDY))
    rng = random.Random(5)
    kills, acknowledged = 0, []
    while kills < 40:
        with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as session:
            done = subprocess.run(
                [sys.executable, "-c", _ENGINE, str(rng.randint(40, 500))],
                env={**real.environment, "SMALLHOURS_SESSION": session},
                capture_output=True,
            )
        facts = real.facts()
        assert facts[: len(acknowledged)] == acknowledged
        acknowledged = facts
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr.decode()
        kills += 1
    over = [end.trial for end in real.ends() if end.then == "over"]
    assert len(over) == len(set(over)), "a finished trial was run again"
    assert kills >= 20
    real.wait_until_gone()
    real.command("resume", limit_s=120)
    study = real.check().studies[1]
    assert study.ended is not None
    assert len(study.trials) == 200
    for trial in study.trials.values():
        last = trial.last_step
        assert trial.last_metrics["sum"] == sum(range(1, last + 1))
