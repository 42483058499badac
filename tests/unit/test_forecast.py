"""What is forecast of a queue, from what is on record of its trials."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import pytest

from fakes.ledgers import Recording
from smallhours.commands.forecast import forecast, tonight_of
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.footprint import Footprint
from smallhours.core.spec import Stopping
from smallhours.errors import UsageError
from smallhours.paths import Home
from smallhours.simulate import tonight

STEPS = 10
#: What a trial's process takes to come up, in the simulation, and before the first of them a slot.
LAUNCH_S = 0.1
SLOT_S = 2.0
NEVER = Stopping(rule="none")


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "none.toml"))
    recording = Recording(tmp_path / "home")
    recording.session()
    yield recording
    recording.close()


def known(
    night: Recording,
    *lengths: int,
    step_s: Sequence[float] = (),
    seconds: Sequence[float] = (),
    setup_s: float = 0.0,
    every: int = 1,
    footprint: Footprint | None = None,
) -> None:
    """Run trials that end after so many steps, stopped where that is early.

    They report `every` so many steps, a second apart, the first time `setup_s` later than that.
    """
    for number, steps in enumerate(lengths):
        night.create(number)
        night.start(number)
        night.clock.now += setup_s
        night.report(number, {step: 1.0 / step for step in range(every, steps + 1, every)})
        cut = r.RuleCut(
            rule="median", version=1, options={}, step=steps, value=1.0, threshold=0.5,
            goal="minimize", compared=3, competitors=(),
        )  # fmt: skip
        whole = r.Completed(steps=STEPS, metrics={"val_loss": 0.1})
        reason = whole if steps == STEPS else cut
        night.end(
            number, reason, last_step=steps, score=0.1,
            seconds=seconds[number] if seconds else float(steps) / every,
            footprint=footprint or Footprint(cores=1.0, wanted_cores=1.0),
        )  # fmt: skip
        if step_s:
            night.add(
                f.LoadLearned(
                    study=1, trial=number, sharing="cores", busy=1.0, log_weight=0.0,
                    weight_sd=0.1, log_step_s=math.log(step_s[number]),
                )
            )  # fmt: skip


def done_s(night: Recording, runs: int = 15, slots: int | None = 1) -> list[float]:
    """Return when the study is done, in each of some runs on so many slots."""
    start = replace(tonight_of(night.home), slots=slots)
    return [tonight.run(start, seed).done_s[1] for seed in range(runs)]


def test_trials_that_nothing_stops_take_all_their_steps(night: Recording) -> None:
    night.study(steps=STEPS, trials=20, confirm=0, stopping=NEVER)
    known(night, *[STEPS] * 6)
    assert median(done_s(night)) == pytest.approx(SLOT_S + 14 * (STEPS + LAUNCH_S), rel=0.02)


def test_what_comes_before_the_first_step_counts_for_each_trial(night: Recording) -> None:
    night.study(steps=STEPS, trials=20, confirm=0, stopping=NEVER)
    known(night, *[STEPS] * 6, setup_s=5.0)
    assert median(done_s(night)) == pytest.approx(SLOT_S + 14 * (STEPS + 5.0), rel=0.03)


def test_steps_that_are_not_reported_count_too(night: Recording) -> None:
    night.study(steps=STEPS, trials=20, confirm=0, stopping=NEVER)
    # A report each second, of five steps: two seconds a trial.
    known(night, *[STEPS] * 6, every=5, step_s=[1.0] * 6)
    assert median(done_s(night)) == pytest.approx(SLOT_S + 14 * (2.0 + LAUNCH_S), rel=0.1)


def test_trials_that_waited_for_cores_are_faster_with_fewer_beside_them(night: Recording) -> None:
    night.study(steps=STEPS, trials=20, confirm=0, stopping=NEVER)
    # Half of each step of two seconds went by waiting for a core.
    measured = Footprint(mean_step_s=2.0, cores=0.5, wanted_cores=1.0)
    known(night, *[STEPS] * 6, footprint=measured)
    assert median(done_s(night)) == pytest.approx(SLOT_S + 14 * (STEPS + LAUNCH_S), rel=0.03)


def test_trials_come_as_far_as_those_that_were_stopped_before(night: Recording) -> None:
    night.study(steps=STEPS, trials=40, confirm=0)
    known(night, *[STEPS] * 4, *[3, 3, STEPS] * 5)
    # Two of three trials are stopped after three steps of ten.
    expected = 21 * ((3 + 3 + STEPS) / 3 + LAUNCH_S)
    assert fmean(done_s(night)) == pytest.approx(expected, rel=0.15)


def test_before_a_rule_has_stopped_anything_it_is_expected_to(night: Recording) -> None:
    night.study(steps=STEPS, trials=20, confirm=0)
    known(night, *[STEPS] * 6)
    assert fmean(done_s(night)) < 0.95 * 14 * (STEPS + LAUNCH_S)


def test_a_trial_that_runs_goes_on_from_where_it_is(night: Recording) -> None:
    night.study(steps=STEPS, trials=21, confirm=0)
    known(night, *[STEPS] * 4, *[3, 3, STEPS] * 5, 3)
    night.create(20)
    night.start(20)
    night.report(20, dict.fromkeys(range(1, 8), 1.0))
    # It is past where most are stopped: what is left are its last three steps.
    assert all(3.0 <= seconds <= 6.0 for seconds in done_s(night))


def test_fast_trials_that_nothing_stops_are_whole_ones(night: Recording) -> None:
    night.study(steps=STEPS, trials=44, confirm=0, stopping=NEVER)
    known(night, *[STEPS] * 4, seconds=(2.0, 40.0) * 2, step_s=(0.2, 4.0) * 2)
    assert fmean(done_s(night)) == pytest.approx(40 * 2.1 * STEPS, rel=0.15)


def test_slow_and_fast_trials_are_drawn_alike(night: Recording) -> None:
    night.study(steps=STEPS, trials=44, confirm=0, stopping=NEVER)
    known(night, *[STEPS] * 4, step_s=(1.0, 5.0, 1.0, 5.0))
    # Their mean is 3 s a step; that of their logarithms would be 2.2.
    assert fmean(done_s(night)) == pytest.approx(40 * (3.0 * STEPS + LAUNCH_S), rel=0.1)


def test_the_document_says_when_and_how_surely(night: Recording) -> None:
    night.study(steps=STEPS, trials=8, confirm=0, stopping=NEVER)
    night.study(2, "beer", trials=3)
    known(night, *[STEPS] * 6)
    out = io.StringIO()
    assert forecast(night.home, as_json=True, out=out) == 0
    document = json.loads(out.getvalue())
    wine, beer = document["studies"]
    assert document["at"] < wine["earliest"] <= wine["done_at"] <= wine["latest"]
    assert not wine["unknown"]
    assert beer["unknown"]
    assert beer["done_at"] is None
    assert {span["trial"] for span in document["spans"]} >= {"1/6", "1/7"}


def test_without_a_ledger_there_is_nothing_to_forecast(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to forecast"):
        forecast(Home(tmp_path), as_json=False, out=io.StringIO())
