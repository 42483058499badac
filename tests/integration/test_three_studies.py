"""A night of three questions on one machine, with Ray under it and a kill -9 in the middle.

Digits and wine are real training on real data; the third fails by itself after some steps.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.real import RealNight
from integration.test_wine import WINE
from smallhours.core import facts as f
from smallhours.core import reasons as r

pytestmark = [pytest.mark.ray, pytest.mark.processes, pytest.mark.timeout(420)]

DIGITS = Path(__file__).parents[2] / "studies" / "digits.py"
DIGITS_TRIALS, DIGITS_EPOCHS, WINE_TRIALS = 5, 6, 6

BROKEN = """
import torch
from smallhours import Float, Study

study = Study("broken", metric="loss", goal="minimize", space={"lr": Float(0.1, 1.0)},
              baseline={"lr": 0.5}, trials=30, steps=10, weight=2.0)

@study.train
def train(trial):
    scale = torch.ones(3)
    for step in range(1, 11):
        trial.report(step, loss=1 / step)
        if step == 4:
            torch.zeros(2) + scale
"""


@pytest.fixture
def night(tmp_path: Path) -> Iterator[RealNight]:
    night = RealNight(tmp_path, launcher="ray")
    yield night
    night.close()


def shortened(text: str, **values: int) -> str:
    """Return a study's text with other whole numbers for some keys or constants."""
    for key, value in values.items():
        text, found = re.subn(rf"\b{key} ?= ?\d+", f"{key}={value}", text, count=1)
        assert found, key
    return text


def all_have_begun(facts: list[f.Fact]) -> bool:
    """Say whether every study has had its turn, and digits and wine are in the middle of it."""
    ended = Counter(fact.study for fact in facts if isinstance(fact, f.AttemptEnded))
    reported = {fact.study for fact in facts if isinstance(fact, f.Reported)}
    return len(reported) == 3 and sum(ended.values()) >= 4


def test_three_questions_get_their_answers_whatever_befalls_the_engine(night: RealNight) -> None:
    digits = shortened(DIGITS.read_text(), trials=DIGITS_TRIALS, EPOCHS=DIGITS_EPOCHS, confirm=1)
    wine = shortened(WINE, trials=WINE_TRIALS)
    for name, text in (("digits", digits), ("wine", wine), ("broken", BROKEN)):
        said = night.command("add", night.study(text, f"{name}.py"))
        assert "waits in the inbox" in said

    start = night.begin("start")
    night.wait(all_have_begun, limit_s=120)
    session = json.loads(night.home.owner.read_bytes())["session"]
    night.kill(night.engine_pid())
    assert start.wait(timeout=240) == 1, f"one study needs attention; {night.log()}"
    night.wait_until_gone()

    state = night.check()
    by_name = {study.spec.name: study for study in state.studies.values()}
    for name, trials in (("digits", DIGITS_TRIALS), ("wine", WINE_TRIALS)):
        study = by_name[name]
        assert study.ended is not None, name
        assert study.ended.outcome == "done"
        assert study.searched == trials
        assert study.best is not None
        assert study.reasons["lost"] == 0
    broken = by_name["broken"]
    assert broken.halted is not None, "it was paused, not the night"
    assert broken.halted.cause == "same_failure"
    assert broken.searched < broken.spec.trials, "it did not burn the night"
    assert {x.session for x in night.facts() if isinstance(x, f.SessionStarted)} >= {
        session,
        session + 1,
    }
    interrupted = [end for end in night.ends() if isinstance(end.reason, r.Interrupted)]
    assert all(end.then == "resume" for end in interrupted)
    over = Counter((end.study, end.trial) for end in night.ends() if end.then == "over")
    assert set(over.values()) == {1}, "no finished trial ran again"

    assert "RuntimeError" in night.command("why", "broken")
    assert re.search(r"broken\.py:\d+ in train", night.command("show", "broken/0"))
    listed = json.loads(night.command("ls", "--json"))
    assert {study["name"]: study["state"] for study in listed["studies"]} == {
        "digits": "done",
        "wine": "done",
        "broken": "halted",
    }
