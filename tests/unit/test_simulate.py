"""`smallhours simulate`: the format, the physics, the oracle, what is printed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from smallhours.commands.simulate import simulate
from smallhours.errors import StudyFileError
from smallhours.paths import Home
from smallhours.simulate.cards import Run
from smallhours.simulate.interference import Interference, Load, rates
from smallhours.simulate.oracle import Oracle
from smallhours.simulate.policies import AllKnown, Packed, Slots
from smallhours.simulate.workload import Workload, read

SMALL = {"study": "a", "count": 8, "steps": 10, "step_s": 4.0, "device_bytes": "1 GiB",
         "busy_share": 0.3, "compute_share": 0.2}  # fmt: skip


def document(**changes: Any) -> dict[str, Any]:
    found = {
        "devices": [{"bytes": "8 GiB"}],
        "studies": [{"name": "a"}],
        "trials": [SMALL],
        "jitter": 0.0,
    }
    return {**found, **changes}


def load(tmp_path: Path, content: object) -> Workload:
    path = tmp_path / "w.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read(path)


def together(busy: float, compute: float, n: int, how: str, memory_bound: float = 0.0) -> float:
    sharing = Interference("mps") if how == "mps" else Interference()
    return sum(rates([Load(busy, compute, memory_bound)] * n, sharing))


def test_interference_is_as_published():
    assert 1.45 <= together(0.6, 0.4, 4, "time_slicing") <= 1.7
    assert 3.3 <= together(0.6, 0.4, 5, "mps") <= 3.9
    assert 0.92 <= together(0.98, 0.95, 4, "time_slicing") <= 0.96
    assert 1.0 <= together(0.97, 0.9, 2, "mps") <= 1.2
    assert together(1.0, 1.0, 2, "mps", 1.0) == pytest.approx(0.7, abs=0.01)
    assert rates([Load(0.5)], Interference()) == [1.0]


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"devices": []}, "devices", "at least 1"),
        ({"devices": [{"bytes": "much"}]}, "devices[0].bytes", "2 GiB"),
        ({"devices": [{"byte": 5}]}, "devices[0].bytes", "did you mean 'byte'"),
        ({"devices": [{"bytes": 9, "reserve_bytes": 9}]}, "devices[0].bytes", "reserve_bytes"),
        ({"trials": [{**SMALL, "study": "b"}]}, "trials[0].study", "'b'"),
        ({"trials": [{**SMALL, "busy_share": 1.5}]}, "trials[0].busy_share", "up to 1"),
        ({"trials": [{**SMALL, "busyshare": 1}]}, "trials[0].busyshare", "did you mean"),
        ({"trials": [{**SMALL, "steps": 2.5}]}, "trials[0].steps", "whole number"),
        ({"trials": [{**SMALL, "steps": True}]}, "trials[0].steps", "whole number"),
        ({"trials": [{**SMALL, "fails_at": 11}]}, "trials[0].fails_at", "at most"),
        ({"trials": [{**SMALL, "device_bytes": "9 GiB"}]}, "trials", "no device has more"),
        ({"trials": [{**SMALL, "params": [1]}]}, "trials[0].params", "object"),
        ({"trials": [{**SMALL, "name": "x", "count": 1}] * 2}, "trials", "twice"),
        ({"studies": [{"name": "a"}, {"name": "a"}]}, "studies", "twice"),
        ({"interference": {"sharing": "mpss"}}, "interference.sharing", "did you mean 'mps'"),
        ({"launch_s": -1}, "launch_s", "from 0"),
        ({"extra": 1}, "extra", "no such key"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(
    tmp_path: Path, changes: dict[str, Any], key: str, said: str
):
    with pytest.raises(StudyFileError) as caught:
        load(tmp_path, document(**changes))
    assert caught.value.exit_code == 2
    assert caught.value.key == key
    assert "w.json" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"devices": NaN}', "\x00"])
def test_what_is_no_workload_is_refused(tmp_path: Path, text: str):
    with pytest.raises(StudyFileError, match=r"w\.json"):
        load(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(StudyFileError, match="none\\.json"):
        read(tmp_path / "none.json")


def test_one_at_a_time_takes_the_sum_of_all(tmp_path: Path):
    workload = load(tmp_path, document())
    outcome = Run(workload, Slots(workload, 1)).go()
    assert outcome.makespan_s == pytest.approx(8 * (2.0 + 40.0))
    assert outcome.overcommits == 0


def test_light_trials_are_packed(tmp_path: Path):
    workload = load(tmp_path, document(interference={"sharing": "mps"}))
    outcome = Run(workload, Packed(workload)).go()
    assert outcome.makespan_s < 0.5 * 8 * 42.0
    assert outcome.overcommits == 0


def test_saturating_trials_are_left_alone(tmp_path: Path):
    heavy = {**SMALL, "count": 4, "busy_share": 0.99, "compute_share": 1.0, "steps": 40}
    workload = load(tmp_path, document(trials=[heavy]))
    outcome = Run(workload, Packed(workload)).go()
    exclusive = Run(workload, Slots(workload, 1)).go()
    assert outcome.makespan_s <= 1.02 * exclusive.makespan_s


def test_out_of_memory_ends_the_newcomer_which_is_tried_again_alone(tmp_path: Path):
    trials = [{**SMALL, "count": 1, "device_bytes": "5 GiB", "believed_bytes": "2 GiB", "name": n}
              for n in ("one", "two")]  # fmt: skip
    workload = load(tmp_path, document(trials=trials))
    outcome = Run(workload, Slots(workload, None, memory=True)).go()
    endings = [(span.trial, span.ending) for span in outcome.spans]
    assert ("two", "gpu_oom") in endings
    assert ("two", "completed") in endings
    assert ("one", "completed") in endings
    assert outcome.overcommits == 1


def test_a_planned_failure_ends_a_trial_early(tmp_path: Path):
    workload = load(tmp_path, document(trials=[{**SMALL, "count": 1, "fails_at": 3}]))
    outcome = Run(workload, Packed(workload)).go()
    assert [span.ending for span in outcome.spans] == ["failed"]
    assert outcome.makespan_s == pytest.approx(2.0 + 12.0)


def test_the_oracle_plays_by_the_rules_of_the_real_run(tmp_path: Path):
    """One trial after the other is the only schedule where two do not fit."""
    large = {**SMALL, "count": 5, "device_bytes": "5 GiB"}
    workload = load(tmp_path, document(trials=[large]))
    exclusive = Run(workload, Slots(workload, 1)).go()
    best = Oracle(workload).search(50)
    assert best.makespan_s == pytest.approx(exclusive.makespan_s)
    assert best.mean_bytes == pytest.approx(exclusive.mean_bytes)


def test_the_oracle_is_no_worse_than_the_packer_that_knows_everything(tmp_path: Path):
    mixed = [SMALL, {**SMALL, "name": "big", "count": 3, "busy_share": 0.9, "steps": 30}]
    workload = load(tmp_path, document(trials=mixed))
    known = Run(workload, Packed(workload, AllKnown(workload))).go()
    assert Oracle(workload).search(200).makespan_s <= known.makespan_s * 1.001


def test_json_has_what_is_promised(tmp_path: Path):
    path = tmp_path / "w.json"
    path.write_text(json.dumps(document()))
    out = io.StringIO()
    assert simulate(Home(tmp_path), path=path, tries=60, as_json=True, out=out) == 0
    found = json.loads(out.getvalue())
    assert found["makespan_s"] / found["oracle_s"] == pytest.approx(found["ratio"])
    assert found["ratio"] >= 1.0
    assert found["exclusive_s"] == pytest.approx(336.0)
    assert found["overcommits"] == 0
    assert {span["ending"] for span in found["spans"]} <= {"completed", "paused"}


def test_the_chart_keeps_to_80_columns(tmp_path: Path):
    path = tmp_path / "w.json"
    path.write_text(json.dumps(document(devices=[{"bytes": "8 GiB"}, {"bytes": "3 GiB"}])))
    out = io.StringIO()
    assert simulate(Home(tmp_path), path=path, tries=60, as_json=False, out=out) == 0
    lines = out.getvalue().splitlines()
    assert "8 trials done" in lines[0]
    charted = [line for line in lines if "Aaa" in line or "AAA" in line or "aaa" in line]
    assert charted
    assert all(len(line) <= 80 for line in charted)
    assert any(line.startswith("gpu1 (3 GiB)") for line in lines)
