"""A new user's evening: a typo first, then the wine study, the engine killed, and the answers."""

from __future__ import annotations

import json
import re

import pytest

from fakes.real import RealNight
from smallhours.core import facts as f
from smallhours.core import reasons as r

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

TRIALS, STEPS = 12, 20

WINE = f"""
import time

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from smallhours import Choice, Float, Median, Study

study = Study(
    "wine", question="How wide must an MLP be on 13 features?", hypothesis="16 units are enough.",
    metric="val_loss", goal="minimize",
    space={{"width": Choice([4, 8, 16]), "lr": Float(1e-4, 1.0, log=True)}},
    baseline={{"width": 16, "lr": 0.05}},
    trials={TRIALS}, steps={STEPS}, stopping=Median(warmup=2, startup=2), confirm=2,
    checkpoint_every_s=0.05,
)


@study.prepare
def prepare():
    x, y = load_wine(return_X_y=True)
    parts = train_test_split(x, y, test_size=0.4, stratify=y, random_state=0)
    scaler = StandardScaler().fit(parts[0])
    xs = [torch.tensor(scaler.transform(part), dtype=torch.float32) for part in parts[:2]]
    return [*xs, *map(torch.tensor, parts[2:])]


@study.train
def train(trial):
    torch.manual_seed(trial.seed)
    x, val_x, y, val_y = trial.data
    width = trial.params["width"]
    net = nn.Sequential(nn.Linear(13, width), nn.ReLU(), nn.Linear(width, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=trial.params["lr"])
    loss_of = nn.CrossEntropyLoss()
    state = {{"net": net, "optimizer": optimizer}}
    start = trial.restore(state)
    for step in range(start + 1, {STEPS} + 1):
        for batch in torch.randperm(len(x)).split(16):
            optimizer.zero_grad()
            loss_of(net(x[batch]), y[batch]).backward()
            optimizer.step()
        time.sleep(0.02)
        with torch.no_grad():
            loss = loss_of(net(val_x), val_y).item()
        trial.report(step, val_loss=loss)
        trial.checkpoint(state)
"""


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("trials=", "trails=", "wine.trails: there is no such key; did you mean 'trials'?"),
        ('"lr": 0.05', '"lr": 5.0', "wine.baseline.lr: expected a number from 0.0001 to 1"),
        ("import torch\n", "", "the name 'torch' is not defined: add `import torch`"),
        ("loss_of(net(val_x), val_y)", "loss_of(net(valx), val_y)", "did you mean 'val_x'?"),
    ],
)
def test_a_typo_is_told_before_anything_starts(
    real: RealNight, right: str, wrong: str, told: str
) -> None:
    assert right in WINE
    said = real.command("run", real.study(WINE.replace(right, wrong, 1), "wine.py"), check=2)
    assert "wine.py: " in said
    assert told in said
    assert "Traceback" not in said
    assert not real.home.root.exists()


def test_the_answer_is_the_users_whatever_befell_the_engine(real: RealNight) -> None:
    run = real.begin("run", real.study(WINE, "wine.py"))
    real.wait(_in_the_middle)
    real.kill(real.engine_pid())
    assert run.wait(timeout=120) == 0, real.log()
    real.wait_until_gone()
    state = real.check()

    show = json.loads(real.command("show", "wine", "--json"))
    assert show["outcome"] == "done"
    assert show["ended"] == TRIALS
    interrupted = {end.trial for end in real.ends() if isinstance(end.reason, r.Interrupted)}
    assert interrupted
    _check_reading(real, interrupted)

    best = real.command("best")
    winner = state.studies[1].ended
    assert winner is not None
    assert winner.winner is not None
    assert f"wine/{winner.winner}" in best
    assert max(map(len, best.splitlines())) <= 80 or str(real.home.root) in best
    assert re.search(r"[0-9] ± [0-9.e-]+ \(n = 2\)", best)
    assert "all is well" in real.command("verify")


def _in_the_middle(facts: list[f.Fact]) -> bool:
    """Say whether some trials are over and another has just begun to report."""
    over = {(fact.trial, fact.attempt) for fact in facts if isinstance(fact, f.AttemptEnded)}
    reached = {
        (fact.trial, fact.attempt): fact.step for fact in facts if isinstance(fact, f.Reported)
    }
    return len(over) >= 3 and any(
        key not in over and step < STEPS // 2 for key, step in reached.items()
    )


def _check_reading(real: RealNight, interrupted: set[int]) -> None:
    """Check that why has answers in a few sentences that fit a terminal."""
    over = [end for end in real.ends() if end.then == "over"]
    told = [end for end in over if end.trial in interrupted] + over[:3] + over[-2:]
    for end in told:
        why = real.command("why", f"wine/{end.trial}")
        assert max(map(len, why.splitlines())) <= 80
        match end.reason:
            case r.Completed():
                assert f"wine/{end.trial} ran to its last step, {STEPS}." in why
            case r.RuleCut():
                assert "by the median rule" in why
                assert "Stopping it saved" in why
            case other:
                raise AssertionError(other)
        if end.trial in interrupted:
            assert "interrupted: the engine was killed" in " ".join(why.split())
    run_output = (real.folder / "output.txt").read_text()
    assert "interrupted: the engine was killed; will go on" in run_output
