"""The loader as it is started for real: a process, and its answer on descriptor 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smallhours.core.spec import StudySpec

pytestmark = pytest.mark.processes

STUDY = """
from smallhours import Float, Study
study = Study("{name}", metric="{metric}", goal="minimize", space={{"lr": Float(0, 1)}},
              baseline={{"lr": {lr}}}, trials=3, steps=5)
"""
TRAIN = """
@study.train
def train(trial):
    trial.report(1, val_loss=1.0, acc=0.5)
"""


def _study(name: str = "digits", metric: str = "val_loss", lr: float = 0.5) -> str:
    return STUDY.format(name=name, metric=metric, lr=lr)


def _load(folder: Path, text: str, name: str = "mine.py", **files: str) -> dict[str, Any]:
    for path, content in {name: text, **files}.items():
        target = folder / path.replace("__", "/")
        target = target if target.suffix == ".py" else target.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(content))
    return _answer(folder / name)


def _answer(source: Path) -> dict[str, Any]:
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 3)]
    arguments = [sys.executable, "-P", "-m", "smallhours.worker.loader", str(source)]
    pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def test_a_study_is_read_with_its_own_files(tmp_path: Path) -> None:
    """Own modules named like ours, packages, and imports that happen only in train."""
    answer = _load(
        tmp_path,
        "import scheduler, nets.mlp\nprint('noise')\n" + _study() + TRAIN + "    import late\n",
        scheduler="class CosineLR: ...\n",
        nets__mlp="from . import parts\n",
        nets__parts="",
        late="from deep.er import x\nfrom deep import init\n",
        deep__init="",
        deep__er="x = 1\n",
        unused="",
    )
    assert answer["module"] == "mine"
    assert sorted(answer["files"]) == [
        "deep/er.py", "deep/init.py", "late.py", "mine.py", "nets/mlp.py", "nets/parts.py",
        "scheduler.py",
    ]  # fmt: skip
    (spec,) = answer["studies"]
    assert msgspec.convert(spec, StudySpec, strict=True).name == "digits"
    assert not list(tmp_path.rglob("__pycache__"))


TWICE = (
    _study() + TRAIN + (_study() + TRAIN).replace("study =", "other =").replace("@study", "@other")
)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("x = (1\n", "", "line 1: SyntaxError: '(' was never closed"),
        ("\nimport nothing_here\n", "", "line 2: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", "", "calls exit() while it is imported"),
        ("x = 1 / 0\n", "", "line 1: ZeroDivisionError: division by zero"),
        ("x = 1\n", "", "it defines no study"),
        (_study(lr=2.0) + TRAIN, "digits.baseline.lr", "from 0 to 1, got 2.0"),
        (_study().replace("trials", "trails") + TRAIN, "digits.trails", "did you mean 'trials'?"),
        (_study(), "digits.train", "there is no training function"),
        (_study() + "@study.train\ndef train(): ...\n", "digits.train", "must take one argument"),
        (TWICE,
         "digits.name", "give one another name"),
        (_study(metric="val_los") + TRAIN, "digits.metric",
         "'val_los' is never reported; train reports val_loss, acc; did you mean 'val_loss'?"),
        (_study() + "@study.train\ndef train(trial): print(1)\n", "digits.metric",
         "metric 'val_loss' is never reported: call trial.report(step, val_loss=...)"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_key_and_line(
    tmp_path: Path, text: str, key: str, words: str
) -> None:
    error = _load(tmp_path, text)["error"]
    assert error["key"] == key
    assert words in error["message"]


def test_an_error_below_the_file_shows_the_own_frames(tmp_path: Path) -> None:
    error = _load(tmp_path, "import helper\n", helper="def f():\n    return 1 / 0\nf()\n")["error"]
    assert error["message"] == "helper.py:2: ZeroDivisionError: division by zero"
    assert 'mine.py", line 1' in error["traceback"]
    assert "importlib" not in error["traceback"]


@pytest.mark.parametrize(
    "train",
    [
        "    metrics = {'val_loss': 1.0}\n    trial.report(1, **metrics)\n",
        "    trial.report(1, **{'val_loss': 1.0})\n",
        "    say = trial.report\n    say(1, val_loss=1.0)\n",
        "    import helper\n    helper.fit(trial)\n",
        "    import json\n    json.fit(trial)\n",
    ],
)
def test_a_metric_that_may_be_reported_is_not_refused(tmp_path: Path, train: str) -> None:
    answer = _load(
        tmp_path,
        _study() + "@study.train\ndef train(trial):\n" + train,
        helper="def fit(trial):\n    trial.report(1, val_loss=2.0)\n",
    )
    assert "studies" in answer, answer


def test_names_written_out_in_a_literal_are_checked(tmp_path: Path) -> None:
    train = "@study.train\ndef train(trial):\n    trial.report(1, **{'val/loss': 1.0})\n"
    error = _load(tmp_path, _study() + train)["error"]
    assert "train reports val/loss" in error["message"]


def test_several_studies_and_those_in_lists_are_found_in_order(tmp_path: Path) -> None:
    text = _study("a") + TRAIN + "studies = []\n" + _study("b") + TRAIN + "studies.append(study)\n"
    answer = _load(tmp_path, text.replace("studies = []", "first = study\nstudies = []"))
    assert [spec["name"] for spec in answer["studies"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("random.py", "hides the module random"), ("a-b.py", "can't be a module's name"),
     ("notes.txt", "a study is a Python file")],
)  # fmt: skip
def test_a_file_that_cannot_be_a_module_is_told(tmp_path: Path, name: str, words: str) -> None:
    source = tmp_path / name
    source.write_text(_study() + TRAIN)
    assert words in _answer(source)["error"]["message"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "no such file" in _answer(tmp_path / "none.py")["error"]["message"]


def test_debug_runs_one_trial_here(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        _study(metric="loss")
        + textwrap.dedent("""
        @study.prepare
        def prepare():
            return 40

        @study.train
        def train(trial):
            state = {"n": 0}
            for step in range(trial.restore(state) + 1, trial.steps + 2):
                print(input(), trial.data + 2)
                trial.report(step, loss=trial.params["lr"] / step)
                trial.checkpoint(state)
        """)
    )
    command = [sys.executable, "-m", "smallhours.worker.foreground", str(tmp_path / "mine.py")]
    done = subprocess.run(
        [*command, "--params", '{"lr": 1.0}'], input="typed\n" * 6, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["smallhours: prepare()", 'smallhours: digits/debug  {"lr": 1.0}  seed 0']
    assert lines[2:4] == ["typed 42", "smallhours: step 1/5  loss 1"]
    assert lines[-1] == "smallhours: done  loss 0.2"
    assert "checkpoint" in lines[-4]
    assert (done.returncode, done.stderr) == (0, "")

    wrong = subprocess.run(
        [*command, "--params", '{"lrr": 1.0}'],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert wrong.returncode == 2
    assert "digits.params.lrr: the space has no such parameter; did you mean 'lr'?" in wrong.stderr
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1
    assert "EOFError" in ended.stderr


def test_two_edits_within_a_second_are_both_seen(tmp_path: Path) -> None:
    """Python's bytecode would be taken for current: same size, same second."""
    source = tmp_path / "mine.py"
    for lr in (0.1, 0.2):
        source.write_text(_study(lr=lr) + TRAIN)
        os.utime(source, (1_000_000_000, 1_000_000_000))
        assert _answer(source)["studies"][0]["baseline"] == {"lr": lr}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("trial.report(1, val_loss=math.exp(1.0))",
         "line 7, in train(): the name 'math' is not defined: add `import math` at the top"),
        ("loss = 1.0; trial.report(1, val_loss=los)", "did you mean 'loss'?"),
        ("trial.report(1, val_loss=(lambda: lr2)())", "in <lambda>(): the name 'lr2'"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_defines_is_told_before_a_night_is_lost_to_it(
    tmp_path: Path, body: str, words: str
) -> None:
    answer = _load(tmp_path, _study() + f"@study.train\ndef train(trial):\n    {body}\n")
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        """
        def fill():
            global late
            late = 1.0
        @study.train
        def train(trial):
            fill()
            trial.report(1, val_loss=late)
        """,
        """
        @study.train
        def train(trial):
            try:
                odd()
            except NameError:
                trial.report(1, val_loss=1.0)
        """,
        """
        class Net:
            def loss(self):
                return Net.__name__, __file__, print
        @study.train
        def train(trial):
            trial.report(1, val_loss=1.0)
        """,
        """
        from os.path import *
        @study.train
        def train(trial):
            later: Unknown = join("a")
            trial.report(1, val_loss=1.0)
        """,
    ],
)
def test_names_that_come_into_being_later_are_left_alone(tmp_path: Path, text: str) -> None:
    assert "error" not in _load(tmp_path, _study() + textwrap.dedent(text))


def test_a_file_that_hides_a_module_of_pythons_is_named(tmp_path: Path) -> None:
    answer = _load(tmp_path, "import timeit\n", timeit="raise ValueError('mine')\n")
    assert "timeit.py hides Python's own module timeit: rename it" in answer["error"]["message"]
