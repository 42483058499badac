"""The same with Ray under it: engine, raylet and slots killed while a real Tune run is on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fakes.real import RealNight
from smallhours.core import facts as f
from smallhours.core import reasons as r

pytestmark = [pytest.mark.ray, pytest.mark.processes, pytest.mark.timeout(240)]

STUDY = """
import time
from smallhours import Float, Study

study = Study("toy", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.9}, trials=TRIALS, steps=12, stopping="none", checkpoint_every_s=0.1)

@study.train
def train(trial):
    state = {"sum": 0}
    start = trial.restore(state)
    for step in range(start + 1, 13):
        time.sleep(0.1)
        state["sum"] += step
        trial.report(step, loss=trial.params["x"] + 1 / step, sum=state["sum"])
        trial.checkpoint(state)
"""


@pytest.fixture
def night(tmp_path: Path) -> Iterator[RealNight]:
    night = RealNight(tmp_path, launcher="ray")
    yield night
    night.close()


def judge(night: RealNight, trials: int) -> list[r.Reason]:
    """Check the whole story; return why attempts were interrupted."""
    night.wait_until_gone()
    study = night.check().studies[1]
    assert study.ended is not None
    assert study.reasons["completed"] == trials
    assert study.reasons["lost"] == 0
    for trial in study.trials.values():
        assert trial.last_metrics["sum"] == sum(range(1, 13))
    over = [end.trial for end in night.ends() if end.then == "over"]
    assert len(over) == len(set(over))
    return [end.reason for end in night.ends() if isinstance(end.reason, r.Interrupted)]


def below_engine(night: RealNight, words: str) -> list[int]:
    found = []
    for process in psutil.Process(night.engine_pid()).children(recursive=True):
        try:
            if words in " ".join([process.name(), *process.cmdline()]):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_five_kills_of_the_engine_lose_nothing(night):
    night.begin("run", night.study(STUDY.replace("TRIALS", "24")))
    acknowledged: list[f.Fact] = []
    for kill in range(5):
        if kill == 4:
            # The supervisor has given up by now only if it saw five deaths; it has seen four.
            assert night.home.owner.exists()
        count = len([x for x in acknowledged if isinstance(x, f.Reported)])
        facts = night.wait_for_reports(count + 6)
        assert facts[: len(acknowledged)] == acknowledged
        acknowledged = facts
        pid = night.engine_pid()
        night.kill(pid)
        deadline = time.monotonic() + 5
        while night.home.owner.exists() and time.monotonic() < deadline:
            try:
                if night.engine_pid() != pid:
                    break
            except (OSError, ValueError):
                pass
            if kill == 4 and not night.processes():
                break
            time.sleep(0.05)
    night.wait_until_gone()  # five deaths in a row: the supervisor gave up
    night.command("resume", limit_s=120)
    causes = {reason.cause for reason in judge(night, 24)}
    assert causes == {"engine killed"}


def test_a_killed_raylet_is_noticed_and_a_fresh_engine_goes_on(night):
    run = night.begin("run", night.study(STUDY.replace("TRIALS", "8")))
    night.wait_for_reports(6)
    (raylet,) = [
        pid for pid in below_engine(night, "raylet") if psutil.Process(pid).name() == "raylet"
    ]
    first = night.engine_pid()
    night.kill(raylet)
    assert run.wait(90) == 0, night.log()
    sessions = [x for x in night.facts() if isinstance(x, f.SessionStarted)]
    assert len(sessions) == 2
    assert sessions[1].pid != first
    assert {reason.cause for reason in judge(night, 8)} == {"raylet died"}


def test_a_killed_slot_interrupts_its_trial_only(night):
    run = night.begin("run", night.study(STUDY.replace("TRIALS", "8")))
    night.wait_for_reports(6)
    slots = below_engine(night, "Slot")
    assert slots, [psutil.Process(pid).cmdline() for pid in night.processes()]
    night.kill(slots[0])
    assert run.wait(90) == 0, night.log()
    sessions = [x for x in night.facts() if isinstance(x, f.SessionStarted)]
    assert len(sessions) == 1
    reasons = judge(night, 8)
    assert [reason.cause for reason in reasons] == ["slot killed"]


def test_a_stop_while_ray_still_starts_ends_in_good_order(night):
    night.begin("run", night.study(STUDY.replace("TRIALS", "4")))
    night.wait(lambda facts: any(isinstance(x, f.StudyAdded) for x in facts))
    begun = time.monotonic()
    night.kill(night.engine_pid(), 15)
    night.wait_until_gone(30)
    assert time.monotonic() - begun < 20
    assert isinstance(night.facts()[-1], f.SessionEnded), night.log()
    assert not night.ends()
