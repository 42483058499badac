"""Trials without an engine: when they save, what a checkpoint holds, what a report may be."""

from __future__ import annotations

import errno
import json
import os
import random
import time
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smallhours import ReportError, TrialStopped
from smallhours.worker import checkpoint
from smallhours.worker.link import Message
from smallhours.worker.order import Order
from smallhours.worker.pack import CannotSaveError, pack, unpack
from smallhours.worker.trial import Trial

# Whichever test imports torch first waits for it.
pytestmark = pytest.mark.timeout(60)


class Recorder:
    """A link that keeps what was sent and gives what was put in."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.waiting: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def kinds(self) -> list[str]:
        return [message["t"] for message in self.sent]


@pytest.fixture(params=["json", "torch"])
def stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once as a study without torch stores, once as one with it does."""
    form: str = request.param
    if form == "torch":
        pytest.importorskip("torch")
        return form
    monkeypatch.setattr(
        checkpoint, "loaded", lambda name: None if name == "torch" else np if name == "numpy" else 0
    )
    return form


def _trial(tmp_path: Path, **changes: Any) -> tuple[Trial, Recorder]:
    data = {
        "attempt": "1.0.1", "name": "s/0", "params": {}, "seed": 1, "steps": 5, "metric": "loss",
        "goal": "minimize", "score": "last", "device": "cpu", "threads": 1, "home": str(tmp_path),
        "trial_dir": str(tmp_path / "t"), "attempt_dir": str(tmp_path / "t/attempt-1"),
        "engine": "", "resume": [], "checkpoint_every_s": 1e9, "best_known": None, **changes,
    }  # fmt: skip
    link = Recorder()
    (tmp_path / "t").mkdir(exist_ok=True)
    return Trial(Order.parse(data), link), link


def _saved_steps(link: Recorder) -> list[int]:
    return [message["s"] for message in link.sent if message["t"] == "ckpt"]


def _run(trial: Trial, losses: list[float]) -> None:
    for step, loss in enumerate(losses, start=1):
        trial.report(step, loss=loss)
        trial.checkpoint({"step": step})


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    trial, link = _trial(tmp_path, checkpoint_every_s=0.0)
    _run(trial, [1.0, 1.0, 1.0])
    assert _saved_steps(link) == [1, 2, 3]


@pytest.mark.parametrize(
    ("best_known", "steps"), [(None, [5]), (0.5, [5]), (0.1, []), (float("nan"), [])]
)
def test_the_last_step_is_saved_where_it_beats_the_study(
    tmp_path: Path, best_known: float | None, steps: list[int]
) -> None:
    trial, link = _trial(tmp_path, best_known=best_known)
    _run(trial, [0.9, 0.1, 0.8, 0.7, 0.2])
    assert _saved_steps(link) == steps


@pytest.mark.parametrize(("best_known", "steps"), [(None, [1, 2, 4]), (0.3, [4])])
def test_with_score_best_every_new_best_is_saved(
    tmp_path: Path, best_known: float | None, steps: list[int]
) -> None:
    trial, link = _trial(tmp_path, score="best", best_known=best_known)
    _run(trial, [0.9, 0.4, float("nan"), 0.2, 0.3])
    assert _saved_steps(link) == steps


def test_the_best_value_is_remembered_beyond_the_attempt(tmp_path: Path) -> None:
    trial, link = _trial(tmp_path, score="best")
    _run(trial, [0.9, 0.2])
    path = link.sent[-1]["path"]
    trial, link = _trial(
        tmp_path, score="best", attempt="1.0.2", resume=[{"step": 2, "path": path}]
    )
    assert trial.restore({"step": 0}) == 2
    for step, loss in ((3, 0.3), (4, 0.1)):
        trial.report(step, loss=loss)
        trial.checkpoint({"step": step})
    assert _saved_steps(link) == [4]


def test_a_checkpoint_that_is_not_due_costs_microseconds(tmp_path: Path) -> None:
    trial, _ = _trial(tmp_path, steps=10_000)
    trial.report(1, loss=1.0)
    state = {"step": 1}
    began = time.perf_counter()
    for _ in range(1000):
        trial.checkpoint(state)
    assert (time.perf_counter() - began) / 1000 < 100e-6  # 3 µs on a quiet machine


def test_a_pending_stop_saves_once_then_raises(tmp_path: Path) -> None:
    trial, link = _trial(tmp_path)
    trial.restore({})
    link.waiting.append({"t": "stop", "how": "checkpoint", "why": "paused"})
    trial.report(1, loss=1.0)
    with pytest.raises(TrialStopped, match="paused"):
        trial.checkpoint({})
    with pytest.raises(TrialStopped, match="paused"):
        trial.checkpoint({})
    assert link.kinds() == ["restored", "report", "ckpt", "stopping"]


def test_now_overtakes_a_stop_that_waits_for_a_checkpoint(tmp_path: Path) -> None:
    trial, link = _trial(tmp_path)
    trial.restore({})
    link.waiting.append({"t": "stop", "how": "checkpoint", "why": "paused"})
    trial.report(1, loss=1.0)
    link.waiting.append({"t": "stop", "how": "now", "why": "cancelled"})
    with pytest.raises(TrialStopped, match="cancelled"):
        trial.checkpoint({})
    assert "ckpt" not in link.kinds()


def test_state_comes_back_as_it_was(tmp_path: Path, stored: str) -> None:
    state: dict[str, Any] = {
        "plain": 3, "inf": float("-inf"), "none": None, "pair": (1, ("a", 2.5)), "set": {1, 2},
        "bytes": b"\x00\xff", "ints": {1: "a", 2: {"x": 1}}, "count": Counter("aab"),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3), "scalar": np.float32(0.5),
        "history": [1, [2.0]], "options": {"a": 1},
        "python": random.Random(3), "bits": np.random.default_rng(3),
        "old": np.random.RandomState(3),
    }  # fmt: skip
    history, options, array = state["history"], state["options"], state["array"]
    checkpoint.save(state, tmp_path / "c" / "4-1", step=4, attempt=1, best=0.5)
    drawn = [state["python"].random(), state["bits"].random(), state["old"].rand()]
    drawn_global = [random.random(), np.random.rand()]
    before = {**state, "array": array.copy()}
    history.append(9)
    options["b"] = 2
    array[:] = 0
    state.update(plain=0, inf=0, pair=(), set=set(), ints={}, count=Counter(), scalar=0, none=1)
    state["bytes"] = b""

    saved = checkpoint.load(tmp_path / "c" / "4-1", 4)
    saved.fill(state)
    assert (tmp_path / "c/4-1" / ("state.json" if stored == "json" else "state.pt")).exists()
    assert saved.best == 0.5
    assert history == [1, [2.0]]
    assert options == {"a": 1}
    assert (array == before["array"]).all()
    for name in ("plain", "inf", "none", "pair", "set", "bytes", "ints", "count", "scalar"):
        assert state[name] == before[name], name
        assert type(state[name]) is type(before[name]), name
    assert [state["python"].random(), state["bits"].random(), state["old"].rand()] == drawn
    assert [random.random(), np.random.rand()] == drawn_global


def test_modules_keep_the_versions_of_their_parts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.BatchNorm1d(2)
    weights = torch.ones(3, requires_grad=True)
    state = {"model": model, "weights": weights}
    checkpoint.save(state, tmp_path / "1-1", step=1, attempt=1, best=None)
    with torch.no_grad():
        weights.zero_()
    saved = checkpoint.load(tmp_path / "1-1", 1)
    assert saved.objects["model"]._metadata[""]["version"] == 2
    saved.fill(state)
    assert state["weights"] is weights
    assert weights.sum() == 3


def test_other_names_than_were_saved_are_refused(tmp_path: Path, stored: str) -> None:
    checkpoint.save({"a": 1}, tmp_path / "1-1", step=1, attempt=1, best=None)
    with pytest.raises(checkpoint.StateMismatchError, match=r"holds \['a'\].*given \['b'\]"):
        checkpoint.load(tmp_path / "1-1", 1).fill({"b": 1})


def test_what_cannot_be_read_back_is_refused_when_it_is_saved(tmp_path: Path, stored: str) -> None:
    with pytest.raises(CannotSaveError, match=r"state\['x'\]\['y'\]\[0\]: .*builtins.function"):
        checkpoint.save({"x": {"y": [lambda: 0]}}, tmp_path / "1", step=1, attempt=1, best=None)
    with pytest.raises(CannotSaveError, match="array of Python objects"):
        pack(np.array([object()]), "x", tensors=False)
    assert not list(tmp_path.iterdir())


def test_keys_that_look_like_ours_survive() -> None:
    value = {"__smallhours__": "tuple", "items": [1]}
    assert unpack(json.loads(json.dumps(pack(value, "x", tensors=False)))) == value
    assert unpack(pack(value, "x", tensors=True)) == value


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda p, f: f.write_bytes(f.read_bytes()[:-1]), "bytes, not"),
        (lambda p, f: f.write_bytes(b"\0" + f.read_bytes()[1:]), "checksum"),
        (lambda p, f: f.unlink(), "is missing"),
        (lambda p, f: (p / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda p, f: (p / "manifest.json").write_text("{"), "JSONDecodeError"),
        (lambda p, f: (p / "manifest.json").write_text("{}"), "KeyError"),
        (lambda p, f: p.rename(p.parent / "elsewhere"), "is missing"),
    ],
)
def test_damage_is_found_before_anything_is_loaded(
    tmp_path: Path, stored: str, damage: Any, why: str
) -> None:
    path = tmp_path / "4-1"
    checkpoint.save({"a": list(range(50))}, path, step=4, attempt=1, best=None)
    with pytest.raises(checkpoint.BadCheckpointError, match="step 4, not 5"):
        checkpoint.load(path, 5)
    (file,) = path.glob("state.*")
    damage(path, file)
    with pytest.raises(checkpoint.BadCheckpointError, match=why):
        checkpoint.load(path, 4)


def test_a_write_that_fails_leaves_nothing_and_names_the_file(
    tmp_path: Path, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save({"a": 1}, tmp_path / "4-1", step=4, attempt=1, best=None)
    assert caught.value.errno == errno.ENOSPC
    assert "4-1.tmp/state." in str(caught.value.filename)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (np.float32(0.5), 0.5), (np.array(2), 2.0), (Fraction(1, 2), 0.5),
     (Decimal("0.5"), 0.5), (True, 1.0), (float("-inf"), "-inf"), (np.nan, "nan")],
)  # fmt: skip
def test_real_numbers_of_all_kinds_are_metrics(tmp_path: Path, value: Any, number: Any) -> None:
    trial, link = _trial(tmp_path)
    trial.report(1, loss=value)
    assert link.sent[0]["m"] == {"loss": number}


def test_tensors_of_one_number_are_metrics(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trial, link = _trial(tmp_path)
    trial.report(1, loss=torch.tensor(0.5, requires_grad=True))
    assert link.sent[0]["m"] == {"loss": 0.5}
    with pytest.raises(ReportError, match=r"'loss' must be one number, got shape \(2,\)"):
        trial.report(2, loss=torch.zeros(2))
    with pytest.raises(ReportError, match="real number"):
        trial.report(2, loss=torch.tensor(1j))


@pytest.mark.parametrize(
    ("step", "metrics", "words"),
    [
        (1, {"loss": "0.5"}, "must be a real number, got '0.5'"),
        (1, {"loss": None}, "must be a real number, got None"),
        (1, {"loss": 1j}, "must be a real number"),
        (1, {"loss": 10**400}, "must be a real number"),
        (1, {"loss": 1.0, "acc": [1]}, "'acc' must be a real number"),
        (1, {"los": 1.0}, "'loss' is not reported, but los; did you mean 'los'?"),
        (1, {}, "but nothing"),
        (0, {"loss": 1.0}, "count from 1, got 0"),
        (1.0, {"loss": 1.0}, "whole number, got 1.0"),
        (True, {"loss": 1.0}, "whole number, got True"),
    ],
)
def test_a_report_that_cannot_be_used_is_told(
    tmp_path: Path, step: Any, metrics: dict[str, Any], words: str
) -> None:
    trial, link = _trial(tmp_path)
    with pytest.raises(ReportError) as caught:
        trial.report(step, **metrics)
    assert words in str(caught.value)
    assert link.sent == []


def test_steps_must_rise(tmp_path: Path) -> None:
    trial, _ = _trial(tmp_path)
    trial.report(np.int64(2), loss=1.0)  # type: ignore[arg-type]
    with pytest.raises(ReportError, match="must rise; got 2, reported 2"):
        trial.report(2, loss=1.0)


def test_a_step_beyond_the_last_sends_nothing_and_ends_the_trial(tmp_path: Path) -> None:
    trial, link = _trial(tmp_path, steps=2)
    trial.report(step=2, loss=1.0)
    with pytest.raises(TrialStopped, match="last step"):
        trial.report(3, loss=1.0)
    assert trial.finished
    assert link.kinds() == ["report", "usage"]
