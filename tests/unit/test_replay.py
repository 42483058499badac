"""`smallhours replay`: the table's format, how a study is played, what is measured and printed."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smallhours import cli
from smallhours.commands.replay import replay as command
from smallhours.core.rule import Curve
from smallhours.core.spec import Goal, Stopping
from smallhours.errors import SmallhoursError, StudyFileError, UsageError
from smallhours.paths import Home
from smallhours.replay.contenders import NO_STOPPING, PEERS, ByRule, FirstStep, parse
from smallhours.replay.measure import Plan, Result, Score, replay, setting
from smallhours.replay.night import Recorded, one_step_then_top, play
from smallhours.replay.table import read
from smallhours.rules.never import NeverRule

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12


def curves(configs: int = 20, seeds: int = 3, steps: int = STEPS) -> np.ndarray:
    """Curves that rise to the number of their configuration, each seed a little off."""
    rng = np.random.default_rng(7)
    ends = np.arange(configs)[:, None, None] / configs + rng.normal(0, 0.002, (configs, seeds, 1))
    return (ends * np.arange(1, steps + 1) / steps).astype(np.float32)


def table(tmp_path: Path, **changes: Any) -> Path:
    """Write a table; a change to None leaves the key out."""
    keys = {"curves": curves(), "goal": np.array("maximize"), **changes}
    path = tmp_path / "t.npz"
    np.savez(path, **{key: value for key, value in keys.items() if value is not None})
    return path


def recorded(*values: float, config: int = 0, step_s: float = 1.0) -> Recorded:
    return Recorded(config, values, [step_s] * len(values))


class Spy(NeverRule):
    """Keeps what it is told, and stops the trials that it is meant to at a step."""

    def __init__(self, stops: Mapping[int, int] | None = None) -> None:
        self.stops = stops or {}
        self.calls: list[tuple[object, ...]] = []

    def observe(self, trial: int, step: int, curve: Curve) -> None:
        self.calls.append(("observe", trial, step, dict(curve)))

    def decide(self, trial: int, step: int, curve: Curve) -> Any:
        self.calls.append(("decide", trial, step))
        return "a cut" if self.stops.get(trial) == step else None

    def close(self, trial: int, curve: Curve, *, completed: bool) -> None:
        self.calls.append(("close", trial, len(curve), completed))


def test_what_the_rule_is_told_is_what_the_scheduler_would_tell_it():
    spy = Spy({1: 1})
    outcome = play([recorded(0.1, 0.2), recorded(0.3, 0.4), recorded(0.5, math.nan)], spy, 2)
    assert spy.calls == [
        ("observe", 0, 1, {1: 0.1}),
        ("decide", 0, 1),
        ("observe", 1, 1, {1: 0.3}),
        ("decide", 1, 1),
        ("close", 1, 1, False),
        ("observe", 0, 2, {1: 0.1, 2: 0.2}),
        ("close", 0, 2, True),
        ("observe", 2, 1, {1: 0.5}),
        ("decide", 2, 1),
        ("observe", 2, 2, {1: 0.5, 2: pytest.approx(math.nan, nan_ok=True)}),
        ("close", 2, 2, False),
    ]
    assert (outcome.steps, outcome.stopped, outcome.completed) == ((2, 1, 2), (1,), (0,))


def test_a_slow_trial_reports_later_than_a_quick_one():
    spy = Spy()
    play([recorded(1, 2, step_s=5.0), recorded(3, 4, step_s=1.0)], spy, 2)
    order = [call[1:3] for call in spy.calls if call[0] == "observe"]
    assert order == [(1, 1), (1, 2), (0, 1), (0, 2)]


def test_no_more_trials_run_at_once_than_there_are_workers():
    spy = Spy()
    play([recorded(1, 2, 3) for _ in range(5)], spy, 2)
    running: set[object] = set()
    for call in spy.calls:
        running.add(call[1]) if call[0] == "observe" else None
        running.discard(call[1]) if call[0] == "close" else None
        assert len(running) <= 2


def test_one_step_then_top_runs_the_best_whole_and_the_others_one_step():
    trials = [recorded(0.1, 1), recorded(0.9, 1), recorded(0.5, math.nan), recorded(math.nan, 1)]
    outcome = one_step_then_top(trials, 2, 1.0)
    assert (outcome.steps, outcome.stopped, outcome.completed) == ((1, 2, 2, 1), (0,), (1,))
    assert one_step_then_top(trials, 1, -1.0).completed == (0,)


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"goal": None}, "goal", "this key is missing; there is curves"),
        ({"curves": None, "curve": curves()}, "curves", "is it 'curve'?"),
        ({"goal": np.array("maximise")}, "goal", "did you mean 'maximize'?"),
        ({"goal": np.arange(3)}, "goal", 'expected "maximize" or "minimize"'),
        ({"curves": np.zeros((4, 5))}, "curves", "[configs, seeds, steps], got float64 of shape"),
        ({"curves": np.full((4, 2, 5), "x")}, "curves", "expected numbers of shape"),
        ({"curves": np.zeros((1, 2, 5))}, "curves", "2 configs or more, got 1"),
        ({"curves": np.zeros((4, 2, 1))}, "curves", "2 steps or more, got 1"),
        ({"curves": np.array([[["a", None]]], dtype=object)}, "curves", "got Python objects"),
        ({"seconds_per_step": np.zeros(20)}, "seconds_per_step", "finite seconds above 0"),
        ({"seconds_per_step": np.ones(7)}, "seconds_per_step", "[20], [20, 3], [20, 3, 12]"),
        ({"seeds_recorded": np.full(20, 4)}, "seeds_recorded", "numbers from 1 to 3"),
        ({"seeds_recorded": np.ones(20)}, "seeds_recorded", "whole numbers of shape [20]"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_with_file_and_key(
    changes: dict[str, Any], key: str, said: str, tmp_path: Path
):
    path = table(tmp_path, **changes)
    with pytest.raises(StudyFileError) as caught:
        read(path)
    assert (caught.value.file, caught.value.key) == (str(path), key)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"curves: 1, 2, 3"])
def test_a_file_that_is_no_table_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(StudyFileError, match=r"t\.npz"):
        read(path)


def test_a_damaged_table_is_refused_whatever_is_wrong_with_it(tmp_path: Path):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, curves=curves(), goal=np.array("maximize"))
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for place in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read(path)
        except StudyFileError:
            refused += 1
    assert refused > 150


def test_a_missing_file_and_a_single_array_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="there is no such file"):
        read(tmp_path / "none.npz")
    np.save(tmp_path / "t.npy", np.zeros(3))
    with pytest.raises(StudyFileError, match=r"one array \(\.npy\)"):
        read(tmp_path / "t.npy")


def test_seconds_may_be_told_once_or_for_each_step(tmp_path: Path):
    for shape in ((), (20,), (20, 3), (20, 3, STEPS)):
        seconds = np.full(shape, 2.5, np.float32)
        assert (read(table(tmp_path, seconds_per_step=seconds)).seconds == 2.5).all()
    assert (read(table(tmp_path)).seconds == 1.0).all()


def test_a_diverged_trial_counts_as_one_that_has_hardly_been_trained(tmp_path: Path):
    values = curves()
    values[19, 0, 5:] = math.nan
    found = read(table(tmp_path, curves=values))
    first = values[:, :, 0]
    assert found.finals[19, 0] == pytest.approx(np.median(first))
    assert found.scores[19] == pytest.approx((np.median(first) + values[19, 1:, -1].sum()) / 3)


def test_seeds_that_were_not_recorded_count_nowhere(tmp_path: Path):
    values = curves()
    values[:, 1:] = math.nan
    values[4, 1] = values[4, 0] + 0.02
    seeds = np.ones(20, np.int32)
    seeds[4] = 2
    found = read(table(tmp_path, curves=values, seeds_recorded=seeds))
    assert found.scores[3] == pytest.approx(values[3, 0, -1])
    assert found.seed_sd == pytest.approx(0.02 / math.sqrt(2), rel=1e-3)


def test_the_spread_between_seeds_is_that_of_the_best_quarter(tmp_path: Path):
    values = curves(8, 2)
    values[:, 1] = values[:, 0]
    values[:2, 1] += 100.0  # never the best two: they are minimised
    values[2, 1, -1] = values[2, 0, -1] + 0.1
    values[3, 1, -1] = values[3, 0, -1] + 0.1
    found = read(table(tmp_path, curves=values, goal=np.array("minimize")))
    assert found.seed_sd == pytest.approx(0.1 / math.sqrt(2), rel=1e-3)


def test_without_a_second_seed_nobody_can_tell_a_clear_false_stop(tmp_path: Path):
    path = table(tmp_path, curves=curves(seeds=1))
    found = read(path)
    assert found.seed_sd is None
    (results,) = replay(found, [FirstStep(1)], Plan(trials=8, studies=4))
    assert Score.of("x", results).false_stop_share is None
    assert "No configuration has a second seed" in " ".join(printed(path).split())


def test_a_rule_that_stops_the_best_has_its_regret_and_its_false_stop(tmp_path: Path):
    values = curves(2, 2)
    values[0], values[1] = 0.4, 0.5
    values[0, :, 0], values[1, :, 0] = 0.45, 0.1  # the worse one begins better
    found = read(table(tmp_path, curves=values))
    (results,) = replay(found, [FirstStep(1)], Plan(trials=2, workers=2, studies=3))
    score = Score.of("top 1", results)
    assert score.speedup == pytest.approx(2 * STEPS / (STEPS + 1))
    assert score.mean_regret == score.p95_regret == pytest.approx(10.0)
    assert score.false_stop_share == 1.0


def test_compute_is_counted_in_seconds_where_the_table_has_them(tmp_path: Path):
    values = curves(2, 2)
    values[:, :, 0] = [[0.9, 0.9], [0.1, 0.1]]
    path = table(tmp_path, curves=values, seconds_per_step=np.array([1.0, 9.0]))
    (results,) = replay(read(path), [FirstStep(1)], Plan(trials=2, studies=1))
    assert Score.of("", results).speedup == pytest.approx(10 * STEPS / (STEPS + 9))


def test_what_several_studies_came_to_is_summed_up():
    results = [Result(0.25 + 0.5 * (regret % 2), regret, regret > 18) for regret in range(20)]
    score = Score.of("x", results)
    assert (score.speedup, score.mean_regret, score.p95_regret) == (2.0, 9.5, 18)
    assert score.false_stop_share == 0.05


def test_the_asha_of_the_peers_is_the_production_rule_with_ray_tunes_defaults(tmp_path: Path):
    found = read(table(tmp_path))
    plan = Plan(trials=16, studies=5)
    named = parse("asha:eta=4,grace=1,cutoff=quantile", setting(found, plan))
    by_peer, by_name = replay(found, [PEERS[2], named], plan)
    assert by_peer == by_name
    assert Score.of("", by_name).speedup > 1.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("medain", "did you mean 'median'?"),
        ("median:warmpu=5", "Median has no option 'warmpu'; it has warmup, startup"),
        ("median:warmup", "expected KEY=VALUE after the colon, got 'warmup'"),
        ("median:warmup=soon", "warmup: expected a whole number, 0 or more, got 'soon'"),
        ("asha:grace=12", "grace: expected less than the study's 12 steps"),
        ("none:warmup=5", "expected "),
        ("threshold", "missing 1 required positional argument: 'limit'"),
        ("AnyOf(Median(),", "expected a rule such as Median(warmup=5)"),
        ("AnyOf(Median(), Ahsa())", "there is no rule 'Ahsa'; did you mean 'Asha'?"),
        ("AnyOf(Median(), open('x'))", "there is no rule 'open'"),
        ("Median(warmup=__import__('os'))", "there is no rule '__import__'"),
    ],
)
def test_a_rule_that_can_not_be_is_refused(text: str, said: str, tmp_path: Path):
    common = setting(read(table(tmp_path)), Plan())
    with pytest.raises(UsageError) as caught:
        parse(text, common)
    assert said in str(caught.value)


def test_rules_are_read_as_a_study_file_has_them(tmp_path: Path):
    common = setting(read(table(tmp_path)), Plan())
    assert parse("asha:eta=4, grace=1", common).stopping == parse("Asha(4, 1)", common).stopping
    both = parse("AnyOf(Median(warmup=2), Patience(steps=3))", common).stopping
    assert (both.rule, [part.rule for part in both.parts]) == ("any", ["median", "patience"])
    assert both.parts[0].options["warmup"] == 2


def printed(path: Path, *named: str, as_json: bool = False) -> str:
    out = io.StringIO()
    code = command(
        Home(path.parent / "home"), path=path, named=list(named), trials=None, workers=4, studies=5,
        seed=0, as_json=as_json, out=out,
    )  # fmt: skip
    assert code == 0
    return out.getvalue()


def test_the_json_has_every_rule_with_its_figures(tmp_path: Path):
    document = json.loads(printed(table(tmp_path), "median:warmup=2", "none", as_json=True))
    assert [each["rule"] for each in document["rules"]] == [
        *(peer.label for peer in PEERS),
        "median:warmup=2",
    ]
    assert set(document["rules"][0]) == {
        "rule", "speedup", "mean_regret", "p95_regret", "false_stop_share"
    }  # fmt: skip
    assert (document["trials"], document["studies"], document["goal"]) == (20, 5, "maximize")


def test_the_page_has_a_line_for_every_rule(tmp_path: Path):
    page = printed(table(tmp_path))
    for name in ("none", "one step, then the top 3", "Ray Tune's default ASHA", "median", "asha"):
        assert f"\n  {name} " in page
    assert "5 studies of 20 trials, 4 workers" in page


def test_rules_that_want_more_steps_than_there_are_are_not_replayed_unasked(tmp_path: Path):
    path = table(tmp_path, curves=curves(steps=3))
    assert "\n  median " in printed(path)
    assert "\n  asha " not in printed(path)
    with pytest.raises(UsageError, match="less than the study's 3 steps"):
        printed(path, "asha")


def test_the_tables_of_the_project_are_as_large_as_they_are_said_to_be():
    found = [read(path) for path in (ROOT / "benchmarks/curves").glob("*.npz")]
    assert len(found) >= 5
    for each in found:
        assert each.curves.shape == (400, 3, 80)
        assert len(np.unique(each.seconds)) > 5
        assert each.seed_sd is not None
        assert each.seed_sd > 0


def test_the_command_line_reads_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line = ["replay", str(table(tmp_path)), "--rule", "asha", "--rule", "median", "--trials", "10"]
    assert cli.main([*line, "--workers", "2", "--studies", "3", "--seed", "9", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [document[key] for key in ("trials", "workers", "studies", "seed")] == [10, 2, 3, 9]
    assert cli.main(["replay", str(table(tmp_path)), "--trials", "21"]) == 2
    assert "--trials 20 is the most" in capsys.readouterr().err


def test_the_rules_are_made_by_the_factory_that_the_scheduler_uses(tmp_path: Path):
    found = read(table(tmp_path, goal=np.array("minimize")))
    assert found.goal is Goal.MINIMIZE
    common = setting(found, Plan())
    with pytest.raises(KeyError):
        ByRule("x", Stopping(rule="no such rule")).outcome([recorded(1, 2)], common)
    assert NO_STOPPING.outcome([recorded(1, 2)], common).completed == (0,)
    assert issubclass(StudyFileError, SmallhoursError)
