"""Studies whose space is a function, with real processes: kills, and functions that misbehave."""

from __future__ import annotations

import pytest

from smallhours.core import facts as f

pytestmark = [pytest.mark.processes, pytest.mark.timeout(90)]

STUDY = """
import time
from smallhours import Study

def space(trial):
    kind = trial.suggest_categorical("kind", ["linear", "deep"])
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    if kind == "deep":
        for layer in range(trial.suggest_int("layers", 1, 3)):
            trial.suggest_int(f"width{layer}", 4, 64, log=True)

study = Study("nets", metric="loss", goal="minimize", space=space, trials=18, steps=3,
              baseline={"kind": "linear", "lr": 0.1}, stopping="none", seed=4)

@study.train
def train(trial):
    for step in range(1, 4):
        time.sleep(0.02)
        trial.report(step, loss=trial.params["lr"] + len(trial.params) / step)
"""


def configurations(facts: list[f.Fact]) -> dict[int, f.TrialCreated]:
    return {fact.trial: fact for fact in facts if isinstance(fact, f.TrialCreated)}


def halts(facts: list[f.Fact]) -> list[f.StudyHalted]:
    return [fact for fact in facts if isinstance(fact, f.StudyHalted)]


def test_a_killed_engine_goes_on_with_a_search_that_knows_what_was_tried(real):
    run = real.begin("run", real.study(STUDY))
    real.wait(lambda facts: len(configurations(facts)) >= 13)  # past TPE's random start
    before = configurations(real.facts())
    real.kill(real.engine_pid())
    assert run.wait(60) == 0, real.log()
    real.wait_until_gone()
    state = real.check()
    after = configurations(real.facts())
    assert {number: after[number] for number in before} == before
    assert state.studies[1].reasons["completed"] == 18
    assert len(after) == 18
    for number, created in after.items():
        asked = {dimension.name for dimension in created.dimensions or ()}
        # The baseline was not asked for: the search only keeps its number.
        assert asked == (set() if number == 0 else set(created.params))
    # What the search learned survived: it draws both kinds, and no configuration twice.
    assert len({str(created.params) for created in after.values()}) == 18


def test_a_space_function_that_raises_halts_its_study_with_its_line(real):
    text = STUDY.replace(
        "    kind =", '    if trial.number == 2: raise ValueError("mine")\n    kind ='
    )
    real.command("run", real.study(text), check=None)
    real.wait_until_gone()
    (halt,) = halts(real.facts())
    assert halt.cause == "search_failed"
    assert "ValueError: mine" in halt.sentence
    assert "in space" in halt.sentence


def test_a_space_function_that_kills_its_process_halts_its_study(real):
    text = STUDY.replace(
        "    kind =", "    if trial.number == 2: import os; os._exit(3)\n    kind ="
    )
    real.command("run", real.study(text), check=None)
    real.wait_until_gone()
    (halt,) = halts(real.facts())
    assert "did not answer" in halt.sentence


def test_nobody_else_waits_for_a_space_function_that_hangs(real):
    hangs = STUDY.replace("    kind =", "    if trial.number: time.sleep(1000)\n    kind =")
    plain = STUDY.replace('"nets"', '"plain"').replace(
        "space=space", "space={'lr': Float(0.01, 1.0)}"
    )
    plain = plain.replace("import Study", "import Float, Study")
    plain = plain.replace('baseline={"kind": "linear", "lr": 0.1}', 'baseline={"lr": 0.1}')
    plain = plain.replace("trials=18", "trials=4")
    real.begin("run", real.study(hangs, "hangs.py"))
    real.wait(lambda facts: any(isinstance(x, f.AttemptEnded) for x in facts))
    real.begin("run", real.study(plain, "plain.py"))
    real.wait(lambda facts: any(isinstance(x, f.StudyEnded) and x.study == 2 for x in facts))
    real.command("stop")
    real.wait_until_gone()


def test_a_halted_space_function_is_asked_again_once_released(real):
    text = STUDY.replace(
        "    kind =",
        "    from pathlib import Path\n"
        "    if trial.number == 2 and not Path('ready').exists(): raise ValueError('mine')\n"
        "    kind =",
    )
    real.command("run", real.study(text), check=None)
    (real.folder / "ready").touch()
    real.command("resume")
    real.wait_until_gone()
    assert real.check().studies[1].reasons["completed"] == 18
