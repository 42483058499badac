"""`smallhours export curves`: the user's own history as a table that `replay` reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.ledgers import Recording
from smallhours import cli
from smallhours.core import reasons as r
from smallhours.replay.table import Table, read

CUT = r.RuleCut(
    rule="median", version=1, options={}, step=7, value=0.9, threshold=0.6, goal="minimize",
    compared=2, competitors=(),
)  # fmt: skip


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    recording = Recording(tmp_path / "home")
    monkeypatch.setenv("SMALLHOURS_HOME", str(recording.home.root))
    recording.session()
    yield recording
    recording.close()


def run(
    night: Recording,
    trial: int,
    lr: float,
    values: dict[int, float],
    reason: r.Reason | None = None,
    **of: int,
) -> None:
    """Create a trial, let it report, end it; a second and a half for each step."""
    last = max(values, default=0)
    night.create(trial, {"lr": lr}, **of)
    night.start(trial)
    night.report(trial, values)
    night.end(
        trial,
        reason or r.Completed(steps=last, metrics={"val_loss": 0.5}),
        last_step=last,
        seconds=1.5 * last,
    )


def exported(tmp_path: Path, *names: str) -> Table:
    path = tmp_path / "mine.npz"
    assert cli.main(["export", "curves", *names, "-o", str(path)]) == 0
    return read(path)


def falling(to: float) -> dict[int, float]:
    return {step: to + (10 - step) / 10 for step in range(1, 11)}


def test_completed_trials_become_a_table_that_replay_reads(night: Recording, tmp_path: Path):
    night.study(confirm=1)
    run(night, 0, 0.1, falling(0.5))
    run(night, 1, 0.2, falling(0.25))
    run(night, 2, 0.2, falling(0.5), of=1)
    found = exported(tmp_path, "wine")
    assert (found.configs, found.steps, found.goal) == (2, 10, "minimize")
    assert found.recorded == (1, 2)
    assert found.curves[1, 1].tolist() == pytest.approx(list(falling(0.5).values()))
    assert found.scores == pytest.approx((0.5, 0.375))
    assert found.seed_sd == pytest.approx(0.25 / math.sqrt(2))
    assert found.seconds == pytest.approx(np.full((2, 2, 10), 1.5))


def test_gaps_are_filled_and_divergence_is_kept(night: Recording, tmp_path: Path):
    night.study()
    run(night, 0, 0.1, {3: 0.9, 6: 0.6})
    diverged = r.Diverged(metric="val_loss", value=50.0, step=4, limit=10.0)
    run(night, 1, 0.2, {1: 2.0, 2: 2.0, 3: 3.0, 4: 50.0}, diverged)
    found = exported(tmp_path)
    expected = [0.9] * 5 + [0.6] * 5
    assert found.curves[0, 0].tolist() == pytest.approx(expected)
    assert np.isfinite(found.curves[1, 0]).tolist() == [True] * 3 + [False] * 7


def test_what_has_no_whole_curve_is_left_out_and_counted(
    night: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    night.study()
    run(night, 0, 0.1, falling(0.5))
    run(night, 1, 0.2, falling(0.25))
    run(night, 2, 0.3, dict.fromkeys(range(1, 8), 0.9), CUT)
    night.create(3)
    night.start(3)
    assert exported(tmp_path).configs == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "2 curves of 2 configurations, 10 steps; none has a second seed" in said
    assert "left out: 1 rule_cut" in said
    assert 'A study with stopping="none" gives a fair one.' in said


def test_the_same_parameters_in_two_studies_are_two_configurations(
    night: Recording, tmp_path: Path
):
    for study, name in ((1, "wine"), (2, "beer")):
        night.study(study, name)
        night.complete(0, 0.5, study=study)
    assert exported(tmp_path).configs == 2
    assert exported(tmp_path, "wine", "beer", "wine").configs == 2


def test_studies_that_differ_in_their_curves_are_refused(
    night: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    night.study(1, "wine")
    night.study(2, "beer", steps=20)
    assert cli.main(["export", "curves", "-o", str(tmp_path / "x.npz")]) == 2
    assert "steps is 20 here and 10 there" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            ["curves", "wine", "-o", "x.npz"],
            "of 1 configuration there is a whole curve, a table needs 2",
        ),
        (["curves", "wine/0", "-o", "x.npz"], "expected a study, got the trial 'wine/0'"),
        (["curves", "wnie", "-o", "x.npz"], "did you mean 'wine'?"),
        (["curve", "-o", "x.npz"], "did you mean 'curves'?"),
        (["curves"], "-o/--output"),
    ],
)
def test_what_can_not_be_exported_is_refused(
    line: list[str], said: str, night: Recording, capsys: pytest.CaptureFixture[str]
):
    night.study()
    night.complete(0, 0.5)
    assert cli.main(["export", *line]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_told_without_a_traceback(
    night: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    night.study()
    night.complete(0, 0.5)
    night.complete(1, 0.4)
    assert cli.main(["export", "curves", "-o", str(tmp_path / "none" / "x.npz")]) == 2
    assert "can't be written: No such file or directory" in capsys.readouterr().err


def test_with_json_the_sentences_are_wrapped(
    night: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    night.study()
    night.complete(0, 0.5)
    night.complete(1, 0.4)
    assert cli.main(["export", "curves", "-o", str(tmp_path / "x.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
