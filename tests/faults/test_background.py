"""The engine in the background: started, watched, left alone, told on, and run as a service."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.real import RealNight
from smallhours import processes
from smallhours.core import facts as f

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

STUDY = """
import time
from smallhours import Float, Study

study = Study("NAME", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.9}, trials=TRIALS, steps=10, stopping="none", checkpoint_every_s=0)

@study.train
def train(trial):
    state = {"sum": 0}
    for step in range(trial.restore(state) + 1, 11):
        time.sleep(0.05)
        trial.report(step, loss=trial.params["x"] / step)
        trial.checkpoint(state)
"""


def study(real: RealNight, name: str, trials: int) -> Path:
    text = STUDY.replace("NAME", name).replace("TRIALS", str(trials))
    return real.study(text, f"{name}.py")


def ended(facts: list[f.Fact]) -> int:
    return sum(isinstance(fact, f.StudyEnded) for fact in facts)


@pytest.fixture
def service(real: RealNight) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a supervisor as the unit of `smallhours service` does."""
    begun: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*processes.supervisor_command(stay=True), "--log"],
            env=real.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


Service = Callable[[], subprocess.Popen[bytes]]


def settings(real: RealNight, text: str) -> Path:
    path = real.folder / "config.toml"
    path.write_text(text)
    real.environment["SMALLHOURS_CONFIG"] = str(path)
    return path


def hook(real: RealNight) -> Path:
    """Have every event appended to a file."""
    told, script = real.folder / "told.jsonl", real.folder / "hook"
    script.write_text(f"#!/bin/sh\ncat >> '{told}'\n")
    script.chmod(0o700)
    settings(real, f"[hooks]\non_event = ['{script}']\n")
    return told


def events(told: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_a_detached_engine_stays_and_takes_what_is_added_later(real: RealNight) -> None:
    output = real.command("start", "--detach")
    assert "it goes on in the background" in output
    real.command("add", study(real, "first", 2))
    real.wait(lambda facts: ended(facts) == 1)
    pid = real.engine_pid()
    real.command("add", study(real, "second", 2))
    real.wait(lambda facts: ended(facts) == 2)
    assert real.engine_pid() == pid
    assert f"the engine runs already (process {pid})\n" in real.command("start", "--detach")
    assert "the queue is empty" in real.command("attach")
    real.command("stop")
    real.wait_until_gone()
    real.check()


def test_what_was_added_while_the_engine_was_down_is_run_by_start(real: RealNight) -> None:
    real.command("add", study(real, "waits", 2))
    output = real.command("start")
    assert "waits/0 ran to step 10" in output or "waits/1 ran to step 10" in output
    real.wait_until_gone()
    assert ended(real.facts()) == 1
    assert "nothing is left to do" in real.command("start")


def test_a_detached_run_goes_on_by_itself_and_leaves_when_done(real: RealNight) -> None:
    output = real.command("run", study(real, "alone", 4), "--detach")
    assert "it goes on in the background" in output
    assert not ended(real.facts())
    real.wait(lambda facts: any(isinstance(fact, f.SessionEnded) for fact in facts))
    real.wait_until_gone()
    assert ended(real.facts()) == 1


def test_attach_watches_and_leaving_ends_nothing(real: RealNight) -> None:
    assert "nothing runs: `smallhours start`" in real.command("attach")
    real.command("run", study(real, "watched", 40), "--detach")
    watcher = real.begin("attach")
    printed = real.folder / "output.txt"
    real.wait(lambda _: "ran to step 10" in printed.read_text())
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(30) == 0
    assert "it goes on without you" in printed.read_text()
    before = len(real.ends())
    real.wait(lambda facts: sum(isinstance(x, f.AttemptEnded) for x in facts) > before)
    real.command("stop", "--now")
    assert "nothing runs; 1 study is not done" in real.command("attach")


def test_it_survives_the_end_of_its_terminal(real: RealNight) -> None:
    path = study(real, "survivor", 8)
    child, master = pty.fork()
    if child == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "smallhours.cli", "run", str(path)],
            {**real.environment, "TERM": "xterm"},
        )
    real.wait_for_reports(5)
    os.close(master)  # the terminal hangs up: SIGHUP to all of its session
    os.waitpid(child, 0)
    real.wait(lambda facts: ended(facts) == 1, limit_s=60)
    real.wait_until_gone()
    state = real.check()
    assert state.studies[1].reasons["completed"] == 8
    assert state.studies[1].reasons["interrupted"] == 0


def test_a_service_goes_on_after_a_crash_of_everything(real: RealNight, service: Service) -> None:
    real.command("run", study(real, "rebooted", 12), "--detach")
    real.wait_for_reports(5)
    for pid in real.processes():
        try:
            real.kill(pid)
        except ProcessLookupError:
            continue
    real.wait_until_gone()
    process = service()
    real.wait(lambda facts: ended(facts) == 1, limit_s=60)
    assert processes.supervisor_lives(real.home)
    assert process.poll() is None
    real.command("stop")
    assert process.wait(30) == 0
    real.wait_until_gone()
    real.check()


def test_a_service_that_systemd_stops_saves_its_trials_first(
    real: RealNight, service: Service
) -> None:
    real.command("add", study(real, "stopped", 40))
    process = service()
    real.wait_for_reports(5)
    process.terminate()
    assert process.wait(60) == 0
    real.wait_until_gone()
    facts = real.facts()
    assert isinstance(facts[-1], f.SessionEnded)
    assert any(isinstance(fact, f.CheckpointSaved) for fact in facts)
    real.check()


def test_the_users_command_is_told_of_the_night(real: RealNight) -> None:
    told = hook(real)
    real.command("run", study(real, "told", 2))
    real.wait_until_gone()
    assert [event["event"] for event in events(told)] == ["study_done", "queue_dry"]
    assert events(told)[0]["study"] == "told"
    assert events(told)[0]["home"] == str(real.home.root)


def test_the_users_command_is_told_that_the_engine_was_given_up(
    real: RealNight, service: Service
) -> None:
    told = hook(real)
    real.command("run", study(real, "told", 2))
    real.wait_until_gone()
    before = len(events(told))
    for path in real.home.root.glob("ledger.db*"):
        path.unlink()
    real.home.ledger.write_bytes(b"no database any more" * 1000)
    process = service()
    assert process.wait(60) == 4
    (event,) = events(told)[before:]
    assert event["event"] == "engine_gave_up"
    assert event["cause"] == "it can't use the ledger"


def test_a_command_of_the_users_that_fails_harms_nothing(real: RealNight) -> None:
    settings(real, "[hooks]\non_event = ['/nowhere/notify']\n")
    real.command("run", study(real, "untold", 2))
    real.wait_until_gone()
    assert ended(real.facts()) == 1
    assert "/nowhere/notify can't be started" in real.log()


def test_wrong_settings_start_nothing(real: RealNight) -> None:
    path = settings(real, "slot = 2\n")
    for words in (["start", "--detach"], ["run", study(real, "never", 2)]):
        output = real.command(*words, check=2)
        assert f"{path}: slot: there is no such key; did you mean 'slots'?" in output
    assert not real.processes()
    assert not list(real.home.inbox.glob("*.json"))


def test_settings_that_become_wrong_change_nothing_while_it_runs(real: RealNight) -> None:
    path = settings(real, "slots = 1\n")
    real.command("start", "--detach")
    path.write_text("slots = 'many'\n")
    real.wait(lambda _: "slots: expected a whole number" in real.log())
    real.command("add", study(real, "goes_on", 2))
    real.wait(lambda facts: ended(facts) == 1)
    assert real.log().count("slots: expected a whole number") == 1
    real.command("stop")
    real.wait_until_gone()


def test_a_deadline_is_set_before_anything_is_started(real: RealNight) -> None:
    path = study(real, "in_time", 2)
    real.command("run", path, "--detach", "--until", "3h")
    (deadline,) = [x for x in real.wait(ended) if isinstance(x, f.DeadlineSet)]
    assert deadline.until is not None
    assert 10_000 < deadline.until - time.time() < 10_800
    real.wait_until_gone()
    output = real.command("start", "--until", "yesterday", check=2)
    assert 'expected a time like "07:30"' in output


def test_what_is_not_done_by_the_deadline_is_paused(real: RealNight) -> None:
    output = real.command("run", study(real, "too_much", 500), "--until", "10s")
    assert "the time is up: what is not done is paused" in output
    real.wait_until_gone()
    facts = real.facts()
    assert isinstance(facts[-1], f.SessionEnded)
    assert facts[-1].cause == "deadline"
    assert not ended(facts)
    real.check()


def test_the_log_is_put_aside_while_the_engine_runs(real: RealNight) -> None:
    real.command("start", "--detach")
    with real.home.log.open("ab") as log:
        log.truncate(processes.LOG_CAP_BYTES + 1)
    aside = real.home.log.with_name("engine.log.1")
    real.wait(lambda _: aside.exists() and real.home.log.stat().st_size < 100_000)
    real.command("add", study(real, "logged", 1))
    real.wait(lambda facts: ended(facts) == 1)
    real.command("stop")
    real.wait_until_gone()
    assert "the engine ended with exit 0" in real.log()
