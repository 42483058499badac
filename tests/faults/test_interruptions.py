"""Pulling the plug on every process of a night: what is said of it, and that it goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.devices.host import all_processes

pytestmark = [pytest.mark.processes, pytest.mark.timeout(90)]

STUDY = """
import time
from smallhours import Float, Study

study = Study("toy", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.9}, trials=6, steps=12, stopping="none", checkpoint_every_s=0.1)

@study.train
def train(trial):
    state = {"sum": 0}
    start = trial.restore(state)
    for step in range(start + 1, 13):
        time.sleep(0.06)
        state["sum"] += step
        trial.report(step, loss=trial.params["x"] + 1 / step, sum=state["sum"])
        trial.checkpoint(state)
"""


def go_on(real):
    """Resume to the end and judge what is there."""
    real.command("resume", limit_s=60)
    real.wait_until_gone()
    state = real.check()
    (study,) = state.studies.values()
    assert study.ended is not None
    assert study.reasons["completed"] == 6
    assert study.reasons["lost"] == 0
    for trial in study.trials.values():
        # The sum shows that no step was left out or counted twice over all attempts.
        assert trial.last_metrics["sum"] == sum(range(1, 13))
    return study


def interruptions(real):
    return [end.reason for end in real.ends() if isinstance(end.reason, r.Interrupted)]


def child(parent: int, words: str) -> int:
    """Return the pid of a process below `parent` whose command line holds the words."""
    by_pid = {process.pid: process for process in all_processes()}
    for process in by_pid.values():
        try:
            command = (
                Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            )
        except OSError:
            continue
        ancestor = process
        while ancestor is not None and ancestor.pid != parent:
            ancestor = by_pid.get(ancestor.parent)
        if ancestor is not None and words in command:
            return process.pid
    raise AssertionError(f"no {words} below {parent}")


def test_ctrl_c_without_a_terminal_stops_with_checkpoints_and_resume_goes_on(real):
    run = real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 130
    real.wait_until_gone()
    stopped = interruptions(real)
    assert {reason.cause for reason in stopped} == {"ctrl-c"}
    assert all(reason.steps_lost == 0 for reason in stopped)
    go_on(real)


def test_sigterm_to_the_engine_interrupts_and_is_told_as_such(real):
    real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    real.kill(real.engine_pid(), signal.SIGTERM)
    real.wait_until_gone()
    assert {reason.cause for reason in interruptions(real)} == {"sigterm"}
    go_on(real)


def test_stop_says_what_it_interrupted(real):
    real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    assert "toy" in real.command("stop")
    real.wait_until_gone()
    assert {reason.cause for reason in interruptions(real)} == {"stop"}
    go_on(real)


def test_a_killed_engine_is_started_again_by_itself(real):
    run = real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    real.kill(real.engine_pid())
    real.wait(lambda facts: any(isinstance(x, f.StudyEnded) for x in facts))
    assert run.wait(20) == 0
    assert {reason.cause for reason in interruptions(real)} == {"engine killed"}
    real.wait_until_gone()
    state = real.check()
    assert state.studies[1].reasons["completed"] == 6


def test_with_the_supervisor_killed_everything_goes_and_resume_goes_on(real):
    real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    engine = real.engine_pid()
    stat = Path(f"/proc/{engine}/stat").read_text(encoding="ascii")
    supervisor = int(stat.rpartition(")")[2].split()[1])
    real.kill(supervisor)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and engine in real.processes():
        time.sleep(0.05)
    assert engine not in real.processes()
    study = go_on(real)
    assert study.reasons["interrupted"] >= 1


def test_a_killed_zygote_interrupts_its_trials_only(real):
    run = real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    real.kill(child(real.engine_pid(), "smallhours.worker.zygote"))
    assert run.wait(30) == 0
    assert {reason.cause for reason in interruptions(real)} == {"zygote killed"}
    assert real.check().studies[1].reasons["completed"] == 6


def test_a_trial_killed_from_outside_is_a_crash_and_tried_again_from_its_checkpoint(real):
    run = real.begin("run", real.study(STUDY))
    real.wait_for_reports(6, trial=0)
    real.kill(real.trial_pid(0))
    assert run.wait(30) == 0
    first, second = (end for end in real.ends() if end.trial == 0)
    assert (first.reason.signal, first.then) == (9, "retry")
    assert isinstance(second.reason, r.Completed)
    started = [x for x in real.facts() if isinstance(x, f.AttemptStarted) and x.trial == 0]
    assert started[1].resume_step > 0


def test_a_ledger_without_room_stops_the_night_and_loses_nothing(real):
    run = real.begin("run", real.study(STUDY))
    real.wait_for_reports(8)
    engine = real.engine_pid()
    size = real.home.ledger.stat().st_size
    import resource

    wal = real.home.ledger.with_name("ledger.db-wal")
    size = max(size, wal.stat().st_size if wal.exists() else 0)
    limit = (size + 4096, resource.RLIM_INFINITY)
    resource.prlimit(engine, resource.RLIMIT_FSIZE, limit)
    run.wait(40)
    real.wait_until_gone()
    reports = [x for x in real.facts() if isinstance(x, f.Reported)]
    assert len(reports) >= 8
    study = go_on(real)
    assert study.reasons["interrupted"] >= 1


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(real):
    real.begin("run", real.study(STUDY))
    real.wait(
        lambda facts: sum(isinstance(x, f.CheckpointSaved) and x.trial == 0 for x in facts) >= 3
    )
    real.kill(real.engine_pid(), signal.SIGTERM)
    real.wait_until_gone()
    ended = {x.trial for x in real.ends() if x.then == "over"}
    if 0 in ended:
        pytest.fail("trial 0 was too quick for this test")
    saved = [x for x in real.facts() if isinstance(x, f.CheckpointSaved) and x.trial == 0]
    newest = real.home.root / saved[-1].path
    content = next(p for p in newest.iterdir() if p.name != "manifest.json")
    broken = bytearray(content.read_bytes())
    broken[len(broken) // 2] ^= 1
    content.write_bytes(broken)
    go_on(real)
    restored = [x for x in real.facts() if isinstance(x, f.Restored) and x.trial == 0][-1]
    assert [path for path, _ in restored.rejected] == [saved[-1].path]
    assert restored.step == saved[-2].step


def test_kills_at_random_moments_lose_no_report_and_run_no_finished_trial_again(real):
    """Engine, zygote and trials, one kill after the other, until the study is done."""
    rng = random.Random(int(os.environ.get("SMALLHOURS_KILL_SEED", "7")))
    path = real.study(STUDY)
    real.begin("run", path)
    acknowledged: list[f.Fact] = []
    for _ in range(4):  # the supervisor gives up at the fifth death in a row
        seen = len(real.facts())
        facts = real.wait(lambda now, n=seen: len(now) >= n + 6 or _over(now))
        assert facts[: len(acknowledged)] == acknowledged
        acknowledged = facts
        if _over(facts):
            break
        time.sleep(rng.random() * 0.2)
        try:
            engine = real.engine_pid()
            victims = [engine, child(engine, "smallhours.worker.zygote")]
            real.kill(rng.choice(victims))
        except (OSError, AssertionError, ValueError):
            continue
    real.command("resume", limit_s=60)
    real.wait_until_gone()
    study = real.check().studies[1]
    assert study.reasons["completed"] == 6
    over = [(x.trial) for x in real.ends() if x.then == "over"]
    assert len(over) == len(set(over))


def _over(facts: list[f.Fact]) -> bool:
    return any(isinstance(fact, f.StudyEnded) for fact in facts)


def test_an_answered_stop_does_not_lie_in_the_inbox(real):
    study = real.study(STUDY)
    real.command("add", study)
    real.command("start", "--detach")
    real.wait_for_reports(1)
    real.command("cancel", "toy")
    real.wait(lambda facts: any(isinstance(fact, f.StudyEnded) for fact in facts))
    real.command("stop")
    real.wait_until_gone()
    assert list(real.home.inbox.glob("*.json")) == []
