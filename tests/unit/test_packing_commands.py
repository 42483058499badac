"""What commands say of packed trials, on the record of nights on simulated cards."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakes.clock import ManualClock
from fakes.gpu_nights import CPU, GIB, GPU, PLATES, GpuNight, script, spec
from fakes.ledgers import EVENING, Recording
from smallhours import cli, nameplates, processes, settings, status
from smallhours.commands import choosing, doctor_packing, read
from smallhours.commands import status as status_page
from smallhours.core import facts as f
from smallhours.core import hours
from smallhours.core import reasons as r
from smallhours.devices.base import Device, Reading
from smallhours.devices.inventory import Inventory, Observed
from smallhours.errors import UsageError
from smallhours.explain import packing as words
from smallhours.paths import Home
from smallhours.simulate.interference import Interference, Load
from smallhours.snapshot import PackingView, Snapshot
from smallhours.status_writer import StatusWriter
from smallhours.surroundings import DEVICES_VARIABLE

DEVICES = (
    Device(name="cpu", kind="cpu", label="CPU", total_bytes=64 * GIB, cores=4.0),
    Device(name=GPU, kind="gpu", label="NVIDIA GeForce RTX 3090", total_bytes=24 * GIB, index=0,
           display=True),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def said(command: Callable[..., int], home: Home, **arguments: Any) -> str:
    out = io.StringIO()
    command(home, **arguments, as_json=False, out=out)
    lines = out.getvalue()
    assert all(len(line) <= 80 for line in lines.splitlines() if "checkpoints/" not in line)
    return " ".join(lines.split())


def document(command: Callable[..., int], home: Home, **arguments: Any) -> Any:
    out = io.StringIO()
    command(home, **arguments, as_json=True, out=out)
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A night on one card, over."""
    return GpuNight().run(spec()).record(tmp_path_factory.mktemp("done"))


class _Seen(Inventory):
    """The devices as they are said to be."""

    def __init__(self, hot: Sequence[str]) -> None:
        super().__init__(())
        self._hot = hot

    def observed(self) -> tuple[Observed, ...]:
        return tuple(
            Observed(device, Reading(device=device.name, at=0.0), device.name in self._hot)
            for device in DEVICES
        )


def under_way(
    night: GpuNight, root: Path, monkeypatch: pytest.MonkeyPatch, hot: Sequence[str] = ()
) -> Home:
    """Record a night that is under way, with what its engine plans."""
    home = night.record(root)
    now = EVENING + night.timeline.mono()
    monkeypatch.setattr(time, "time", lambda: now)
    owner = {"pid": os.getpid(), "pid_started": processes.started_at(os.getpid()), "session": 1,
             "boot_id": processes.boot_id()}  # fmt: skip
    home.owner.write_text(json.dumps(owner), encoding="utf-8")
    StatusWriter(home, night.machine, ManualClock(now), _Seen(hot)).update()
    return home


# --- what is on record ---------------------------------------------------------------------


def test_a_study_shows_how_good_its_predictions_were_and_what_that_means(done: Home) -> None:
    shown = said(read.show, done, target="nets")
    assert "devices GPU 0 (RTX 3090)" in shown
    assert "first nets/0, watched for the first steps" in shown
    assert "12 attempts measured, at most 4.5 GiB; 11 of them predicted" in shown
    assert "none took more Predictions hold: each trial stayed within what was kept" in shown
    assert "of a GPU (busy with it 30 % of its time), a step alone takes " in shown


def test_the_packing_of_a_study_is_data_too(done: Home) -> None:
    packing = document(read.show, done, target="nets")["packing"]
    assert (packing["kind"], packing["probes"], packing["sharing"]) == ("gpu", [0], "time_slicing")
    assert (packing["measured"], packing["predicted"], packing["missed"]) == (12, 11, 0)
    assert packing["compute"] == pytest.approx(packing["busy"] * packing["weight"])
    assert packing["devices"] == [
        {"name": GPU, "title": "GPU 0", "label": "NVIDIA GeForce RTX 3090", "index": 0}
    ]


def test_a_trial_shows_what_was_predicted_beside_what_it_took(done: Home) -> None:
    probe = said(read.show, done, target="nets/0")
    assert "GPU 0 (RTX 3090): watched alone for its first steps, to learn what" in probe
    assert probe.count("it took 1.5 GiB") == 1
    (attempt,) = document(read.show, done, target="nets/5")["attempts"]
    assert attempt["device"] == GPU
    assert attempt["device_title"] == "GPU 0"
    assert attempt["expected_bytes"] < attempt["promised_bytes"]
    assert attempt["held_bytes"] == pytest.approx(4.5 * GIB, rel=0.01)
    later = said(read.why, done, target="nets/5")
    assert "GPU 0 (RTX 3090): 4.44 GiB of memory expected, 5.65 GiB kept for it" in later


def test_a_device_that_nobody_remembers_is_called_by_its_uuid(done: Home) -> None:
    names = done.devices.read_bytes()
    done.devices.unlink()
    try:
        assert "GPU-8f932f93" in said(read.show, done, target="nets/1")
    finally:
        done.devices.write_bytes(names)


def test_trials_in_fixed_places_have_nothing_to_show_of_packing(tmp_path: Path) -> None:
    home = GpuNight(CPU).run(spec(trials=2)).record(tmp_path)
    assert document(read.show, home, target="nets")["packing"] is None
    assert "What its trials need" not in said(read.show, home, target="nets")


def test_what_is_kept_for_a_probe_on_the_cpu_is_no_prediction(tmp_path: Path) -> None:
    home = GpuNight(CPU, packed=True).run(spec(trials=3)).record(tmp_path)
    packing = document(read.show, home, target="nets")["packing"]
    assert (packing["kind"], packing["measured"], packing["predicted"]) == ("cpu", 3, 2)
    assert "watched alone for its first steps" in said(read.show, home, target="nets/0")


def test_refused_configurations_say_what_they_need_and_are_not_counted(tmp_path: Path) -> None:
    night = GpuNight(
        model=lambda order: script(
            order, device_bytes=int(4.0 * float(order.params["width"] or 0) * GIB)
        )
    )
    home = night.run(spec(trials=16, baseline={"width": 1, "lr": 0.1})).record(tmp_path)
    with Snapshot(home) as snapshot:
        view = snapshot.study(1)
    assert view.ended == 16
    refused = view.reasons["refused"][0]
    told = said(read.why, home, target=f"nets/{refused}")
    assert "it would need at least " in told
    assert " GiB, and no device has more than 24.00 GiB for it" in told
    assert "It does not count as a trial" in told


def test_the_harm_that_had_a_trial_paused_is_told(tmp_path: Path) -> None:
    night = GpuNight(
        model=lambda order: script(order, load=Load(0.5), step_s=5.0),
        interference=Interference(switch=5.0),
    )
    home = night.run(spec(trials=8)).record(tmp_path)
    with Snapshot(home) as snapshot:
        trials = [snapshot.trial(1, row.number) for row in snapshot.rows(1)]
    paused = [a for t in trials for a in t.attempts if isinstance(a.reason, r.Paused)]
    assert paused
    assert any("gets on better without it" in a.reason.why for a in paused if a.reason)


def test_who_gave_way_to_a_study_that_was_owed_a_turn_is_told(tmp_path: Path) -> None:
    night = GpuNight(model=lambda order: script(order, step_s=60.0))
    night.run(spec(trials=40), until=900)
    home = night.run(spec("late", trials=6)).record(tmp_path)
    with Snapshot(home) as snapshot:
        trials = [snapshot.trial(1, row.number) for row in snapshot.rows(1)]
        late = [snapshot.trial(2, row.number) for row in snapshot.rows(2)]
    gave_way = [
        trial for trial in trials for a in trial.attempts
        if isinstance(a.reason, r.Paused) and "is owed a turn" in a.reason.why
    ]  # fmt: skip
    assert gave_way
    assert all(isinstance(trial.attempts[-1].reason, r.Completed) for trial in trials + late)
    told = said(read.why, home, target=f"nets/{gave_way[0].number}")
    assert "another study, which was served less, is owed a turn" in " ".join(told.split())


# --- what goes on --------------------------------------------------------------------------


def test_the_status_says_which_trials_are_on_a_card_and_what_is_kept_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = under_way(GpuNight().run(spec(trials=40), until=60), tmp_path, monkeypatch)
    told = said(status_page.status, home)
    assert "of 24 GiB kept for nets/0, nets/1, nets/2, nets/3, nets/4 and nets/5" in told
    assert "running step pace on for nets/0" in told
    answer = document(status_page.status, home)
    (plan,) = answer["plans"]
    assert plan["name"] == GPU
    assert plan["trials"] == [[1, number] for number in range(6)]
    assert 0 < plan["promised_bytes"] <= plan["room_bytes"] == 24 * GIB
    assert {run["device_title"] for run in answer["running"]} == {"GPU 0"}


def test_the_status_says_why_nothing_starts_on_a_hot_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight().run(spec(trials=40), until=60)
    night.devices.close(GPU, "hot")
    night.simulation.run(until=65)
    home = under_way(night, tmp_path, monkeypatch, hot=[GPU])
    told = said(status_page.status, home)
    assert "too hot: nothing starts until it has cooled" in told
    assert "device too hot" in told


def test_the_status_says_that_a_card_is_gone_and_that_a_probe_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight().run(spec(trials=40), until=4)
    home = under_way(night, tmp_path, monkeypatch)
    assert document(status_page.status, home)["plans"][0]["shut"] == "probe"
    assert "nothing starts beside a study's first trial" in said(status_page.status, home)
    night.devices.close(GPU, "gone")
    night.simulation.run(until=8)
    home = under_way(night, tmp_path / "later", monkeypatch)
    assert document(status_page.status, home)["plans"][0]["shut"] == "gone"


def test_a_trial_that_waits_says_what_the_engine_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight(
        model=lambda order: script(order, load=Load(0.5), step_s=5.0),
        interference=Interference(switch=5.0),
    )
    home = under_way(night.run(spec(trials=8), until=700), tmp_path, monkeypatch)
    told = said(read.why, home, target="nets/3")
    assert "on GPU 0 (RTX 3090)" in told


def test_a_packed_cpu_has_as_many_trials_as_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight(
        CPU, packed=True, model=lambda order: script(order, load=Load(1.0, compute=0.25), cores=1.0)
    )
    home = under_way(night.run(spec(trials=20), until=60), tmp_path, monkeypatch)
    told = said(status_page.status, home)
    assert "machine 4 trials at a time; as many as pay" in told
    assert "slots" not in told


def test_quiet_hours_are_told_of_the_device_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight().run(spec(trials=40), until=20)
    monday = hours.parse("mon 00:00-09:00")
    night.machine.night.settings = settings.Settings(quiet={"gpu": (monday,)}).core()
    home = under_way(night, tmp_path, monkeypatch)
    assert document(status_page.status, home)["plans"][0]["shut"] == "quiet"


def test_names_of_devices_are_kept_and_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = GpuNight().run(spec(trials=2), until=10)
    home = night.record(tmp_path)
    gone = nameplates.Nameplate(kind="gpu", label="Old", index=1)
    nameplates.write(home, {"GPU-old": gone})
    StatusWriter(home, night.machine, ManualClock(0.0), _Seen(())).update()
    kept = nameplates.read(home)
    assert kept == {"GPU-old": gone, GPU: PLATES[GPU], "cpu": kept["cpu"]}


def test_a_status_of_an_engine_before_packing_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    old = {"at": 1.0, "pid": 1, "session": 1, "device": "cpu", "slots": 2, "running": 0,
           "backend": "ready", "yielded_until": None, "yielded_to": None, "deadline": None,
           "storage_short_bytes": 0, "waiting": [], "forecast": []}  # fmt: skip
    home.status.write_text(json.dumps(old), encoding="utf-8")
    known = status.read(home)
    assert known is not None
    assert (known.packed, known.plans) == (False, ())


# --- words ---------------------------------------------------------------------------------


def view(**changes: Any) -> PackingView:
    known: dict[str, Any] = {
        "kind": "gpu", "devices": (GPU,), "probes": (0,), "measured": 20, "largest_bytes": GIB,
        "predicted": 19, "missed": 0, "bias": 1.0, "tightness": 0.8, "sharing": "time_slicing",
        "busy": 0.5, "weight": 1.0, "step_s": 0.05,
    }  # fmt: skip
    return PackingView(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "meaning"),
    [
        ({}, "Predictions hold"),
        ({"tightness": 0.4}, "safe but wide"),
        ({"bias": 1.4}, "Trials take more than is expected"),
        ({"bias": 0.7}, "Trials take less than is expected"),
        ({"missed": 3}, "3 of 19 predictions were too low; each such miss widens the margins."),
        ({"missed": 1}, "1 of 19 predictions was too low; that is rare."),
        ({"predicted": 0, "bias": None, "tightness": None}, "Nothing was predicted yet"),
        ({"measured": 0, "predicted": 0}, "with the first trial that ends"),
    ],
)
def test_a_sentence_says_what_the_calibration_means(changes: dict[str, Any], meaning: str) -> None:
    assert meaning in words.meaning(view(**changes))


def test_out_of_memory_says_whose_fault_it_was(tmp_path: Path) -> None:
    recording = Recording(tmp_path)
    recording.session()
    recording.study()
    nameplates.write(recording.home, PLATES)
    oom = {
        "requested_bytes": 2 * GIB, "free_bytes": GIB, "own_peak_bytes": 5 * GIB,
        "neighbours": (("wine/9", 3 * GIB),),
    }  # fmt: skip
    cases: list[tuple[int, r.GpuOom]] = [
        (0, r.GpuOom(**oom, predicted_bytes=6 * GIB, fault="own")),
        (1, r.GpuOom(**oom, predicted_bytes=8 * GIB, fault="neighbour")),
        (2, r.GpuOom(**{**oom, "neighbours": ()}, predicted_bytes=None, fault="own")),
    ]
    for trial, reason in cases:
        recording.create(trial)
        recording.add(f.AttemptStarted(study=1, trial=trial, attempt=1, device=GPU, resume_step=0))
        recording.end(trial, reason)
    recording.create(3)
    recording.add(f.AttemptStarted(study=1, trial=3, attempt=1, device=GPU, resume_step=0))
    recording.end(3, r.GpuFault(xid=79, device=GPU, processes=(12,)))
    recording.close()
    own, neighbour, large, fault = (
        said(read.why, recording.home, target=f"wine/{trial}") for trial in range(4)
    )
    assert "The fault was its own: 6 GiB were kept for it, and it wanted 7 GiB in all." in own
    assert "Beside it ran wine/9 with 3 GiB." in own
    assert "a neighbour's, which had taken more than was foreseen; it had stayed" in neighbour
    assert "it wanted 7 GiB in all, which is too large for the card" in large
    assert "a fault of GPU 0 (RTX 3090) (Xid 79)" in fault


# --- choosing devices ----------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A state directory on a machine with one card."""
    monkeypatch.setattr(choosing, "there", lambda: DEVICES)
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(tmp_path / "config.toml"))
    home = Home(tmp_path / "state")
    home.prepare()
    return home


@pytest.mark.parametrize("typed", ["gpu", "cpu", "0", "GPU-8f9", "cpu, 0"])
def test_devices_that_are_there_are_handed_to_the_engine(here: Home, typed: str) -> None:
    assert choosing.environment(here, typed) == {DEVICES_VARIABLE: typed.replace(" ", "")}


def test_without_the_option_nothing_is_handed_over(here: Home) -> None:
    assert choosing.environment(here, None) == {}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("1", "there is no device '1'"),
        ("GPU-ff", "there is no device 'GPU-ff'"),
        ("cpu,", "expected devices like cpu, gpu, 0 or GPU-8f3c"),
        ("", "expected devices like cpu, gpu, 0 or GPU-8f3c"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    here: Home,
    typed: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SMALLHOURS_HOME", str(here.root))
    for verb in (["start"], ["resume"], ["run", "nothing.py"]):
        assert cli.main([*verb, "--devices", typed]) == 2
        assert message in capsys.readouterr().err


def test_a_gpu_where_there_is_none_is_refused(here: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "there", lambda: DEVICES[:1])
    with pytest.raises(UsageError, match="there is no GPU that may be used"):
        choosing.environment(here, "gpu")


def test_an_engine_that_runs_keeps_its_devices(
    here: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = {"pid": os.getpid(), "pid_started": processes.started_at(os.getpid()), "session": 1,
             "boot_id": processes.boot_id()}  # fmt: skip
    here.owner.write_text(json.dumps(owner), encoding="utf-8")
    assert choosing.environment(here, "gpu") == {}
    told = " ".join(capsys.readouterr().out.split())
    assert "keeps its devices: `smallhours stop`, then `smallhours resume --devices gpu`" in told


def test_devices_of_the_settings_that_are_not_there_are_named_with_the_file(here: Home) -> None:
    choosing.check(settings.Settings(devices=("0",)))
    with pytest.raises(UsageError, match=r"config\.toml: devices: there is no device '7'"):
        choosing.check(settings.Settings(devices=("7",)))


def test_the_doctor_says_how_trials_would_be_packed(here: Home) -> None:
    packing, slots = doctor_packing.examine(DEVICES)
    assert "trials share GPU 0" in packing.found
    assert "1 GiB of GPU 0 kept free for a screen" in packing.found
    assert slots.found.startswith('studies with device="cpu": as many at a time as pay')
    settings.path().write_text('slots = 3\ndevices = ["cpu"]\n', encoding="utf-8")
    (only,) = doctor_packing.examine(DEVICES)
    assert only.found.startswith("all trials: 3 trials at a time (`slots` in the settings)")
    settings.path().write_text('devices = ["7"]\n', encoding="utf-8")
    (wrong,) = doctor_packing.examine(DEVICES)
    assert (wrong.verdict, "there is no device '7'" in wrong.found) == ("wrong", True)
