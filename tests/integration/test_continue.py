"""A stopped trial is taken up again, by the whole chain: command, engine, process, checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.real import RealNight
from smallhours.core import facts as f
from smallhours.core import reasons as r

STUDY = """
from smallhours import Choice, Study, Threshold

study = Study(
    "late", metric="loss", goal="minimize", space={"x": Choice([1, 2])}, baseline={"x": 1},
    trials=2, steps=12, stopping=Threshold(0.5, warmup=5), checkpoint_every_s=0.0, sampler="grid",
)


@study.train
def train(trial):
    state = {"steps": []}
    start = trial.restore(state)
    for step in range(start + 1, 13):
        state["steps"].append(step)
        # Behind until the end, and the best there; the baseline is never judged.
        loss = 0.4 if step < 12 else 0.3
        if trial.params["x"] == 2:
            loss = 0.9 if step < 12 else 0.1
        trial.report(step, loss=loss, seen=len(state["steps"]))
        trial.checkpoint(state)
        while step == 11 and start == 0 and trial.params["x"] == 2 and not trial.stopped:
            trial._listen(60.0)  # the order to stop may be on its way yet
"""


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("local", marks=[pytest.mark.processes, pytest.mark.timeout(120)]),
        pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(180)]),
    ],
)
def test_a_stopped_trial_goes_on_and_wins(tmp_path: Path, launcher: str) -> None:
    night = RealNight(tmp_path, launcher)
    study = night.study(STUDY)
    night.command("run", study, limit_s=120)
    (cut,) = (end for end in night.ends() if end.trial == 1)
    assert isinstance(cut.reason, r.RuleCut)
    assert cut.last_step < 12

    assert "late/1 will go on from step" in night.command("continue", "late/1")
    night.command("start", limit_s=120)
    end = night.ends()[-1]
    assert (end.trial, end.attempt, end.score) == (1, 2, 0.1)
    again = [fact for fact in night.facts() if isinstance(fact, f.Restored)][-1]
    assert (again.trial, again.attempt) == (1, 2)
    assert again.step > 0, "it did not begin again"
    assert isinstance(end.reason, r.Completed)
    assert end.reason.metrics["seen"] == 12, "its state came back with it"

    told = " ".join(night.command("why", "late").split())
    assert "before, it was late/0, now it is late/1" in told
    assert json.loads(night.command("verify", "--json"))["good"]
