"""The queue: who goes first, what makes room, what waits and why."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.core import Night, check_invariants, make_spec
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core.hours import parse
from smallhours.core.reasons import Paused
from smallhours.core.settings import Settings
from smallhours.core.spec import Priority
from smallhours.core.trial import AttemptKey
from smallhours.core.waiting import Why
from smallhours.explain import news

#: Monday, 20:00.
EVENING = 20 * 60.0
UNIX = 1_800_000_000.0


@pytest.fixture
def night() -> Night:
    return Night()


def tick(night: Night, passed: float = 1.0, *, foreign: tuple[str, ...] = ()) -> list[a.Action]:
    """Let time pass on both clocks."""
    night.now += passed
    wall = e.WallTime(unix=UNIX + night.now, week_minute=EVENING + night.now / 60.0)
    return night.tell(e.Tick(at=night.now, wall=wall, foreign=foreign))


def ask(night: Night, kind: type, **body: Any) -> str:
    """Ask for something; return the answer."""
    request = f"{kind.__name__}-{night.now}-{len(night.facts)}"
    night.tell(kind(at=night.now, request=request, by="me", **body))
    answers = [x for x in night.facts if isinstance(x, f.RequestAnswered) and x.request == request]
    return answers[-1].text


def busy(night: Night, name: str = "wine", **changes: Any) -> int:
    """Fill the machine with a study's trials; return its id."""
    night.add(make_spec(name, trials=100, **changes))
    for _ in range(night.slots):
        night.suggest()
    for key in night.machine.state.live:
        night.run(key)
        night.report(key, 1, 0.5)
        night.report(key, 2, 0.5)
    return max(night.machine.state.studies)


def save(night: Night, key: AttemptKey, step: int = 2) -> None:
    """Let an attempt save a checkpoint."""
    path = f"trials/{key.study}/{key.trial}/checkpoints/{step}-{key.attempt}"
    night.tell(e.CheckpointWritten(at=night.now, key=key, step=step, path=path, size_bytes=1))


def stops(deeds: list[a.Action]) -> list[AttemptKey]:
    return [deed.key for deed in deeds if isinstance(deed, a.Stop)]


def live_studies(night: Night) -> list[int]:
    return [key.study for key in night.machine.state.live]


# --- who goes first ------------------------------------------------------------------------


def test_a_study_of_low_priority_runs_only_where_nothing_else_wants_the_place(night: Night) -> None:
    night.begin()
    night.add(make_spec("low", priority=Priority.LOW, trials=100))
    night.suggest()
    night.add(make_spec("normal", trials=1))
    assert sorted(live_studies(night)) == [1, 1], "the low one was there alone"
    first = next(iter(night.machine.state.live))
    night.whole_trial(first, [0.5] * 10)
    assert 2 in live_studies(night), "then the normal one goes first"


def test_a_round_gives_each_study_its_weight(night: Night) -> None:
    night.begin()
    night.add(make_spec("one", trials=1000))
    night.add(make_spec("three", trials=1000, weight=3.0))
    for _ in range(400):
        night.suggest()
        night.whole_trial(next(iter(night.machine.state.live)), [0.5] * 10)
    one, three = night.machine.state.studies.values()
    assert three.seconds / one.seconds == pytest.approx(3.0, rel=0.1)


def test_a_moved_study_takes_its_turn_first(night: Night) -> None:
    night.begin()
    for name in ("a", "b", "c"):
        night.add(make_spec(name, trials=100, priority=Priority.LOW))
    assert ask(night, e.MoveRequested, study=3, priority=Priority.NORMAL) == (
        "c is normal priority, weight 1 now"
    )
    order = [study.spec.name for study in _order(night)]
    assert order == ["c", "a", "b"]
    ask(night, e.MoveRequested, study=2, before=1)
    assert [study.spec.name for study in _order(night)] == ["c", "b", "a"]
    ask(night, e.MoveRequested, study=2, to="last")
    assert [study.spec.name for study in _order(night)] == ["c", "a", "b"]
    assert night.machine.state.studies[2].standing.priority is Priority.LOW


def _order(night: Night) -> list[Any]:
    from smallhours.core.queue import in_order

    return in_order(night.machine.night)


def test_a_place_in_the_queue_survives_a_restart_and_an_amendment(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine"))
    ask(night, e.MoveRequested, study=1, weight=4.0, hours=("22:00-07:00",), to="first")
    night.add(make_spec("wine", trials=9), request="more")
    again = Night(facts=night.facts)
    standing = again.machine.state.studies[1].standing
    assert (standing.weight, standing.hours, standing.place) == (4.0, ("22:00-07:00",), 0.0)
    again.begin()
    again.add(make_spec("wine", trials=9, weight=2.0), request="changed")
    assert again.machine.state.studies[1].standing.weight == 2.0, "the file was changed after it"


# --- urgent --------------------------------------------------------------------------------


def test_an_urgent_study_takes_the_places_it_can_use(night: Night) -> None:
    night.begin()
    busy(night)
    deeds = night.add(make_spec("now", priority=Priority.URGENT, trials=1))
    victims = stops(deeds)
    assert len(victims) == 1, "one trial wants one place"
    night.exit(victims[0], exit_code=0)
    end = night.ends[-1]
    assert isinstance(end.reason, Paused)
    assert (end.reason.by, end.then) == ("study", "resume")
    assert sorted(live_studies(night)) == [1, 2]
    check_invariants(night)


def test_the_trial_that_loses_least_makes_room(night: Night) -> None:
    night.begin()
    first = busy(night, "saves")
    for key in night.machine.state.live:
        save(night, key)
    (spared,) = list(night.machine.state.live)[:1]
    night.exit(spared, finished=True, exit_code=0)
    ask(night, e.PauseRequested, study=first)
    night.add(make_spec("loses", trials=100))
    night.add(make_spec("now", priority=Priority.URGENT, trials=1))
    leaving = [t for t in night.machine.state.live.values() if t.live and t.live.intent]
    assert {trial.study for trial in leaving} == {first}


def test_a_trial_without_checkpoints_that_ran_for_long_is_not_taken_off(night: Night) -> None:
    night.begin()
    busy(night)
    tick(night, 700.0)
    for key in night.machine.state.live:
        night.report(key, 3, 0.4)
    deeds = night.add(make_spec("now", priority=Priority.URGENT, trials=1))
    assert stops(deeds) == []
    assert tick(night) is not None
    assert night.machine.waits[2, None][0] is Why.FULL


def test_a_trial_that_does_not_hear_makes_room_all_the_same(night: Night) -> None:
    night.begin()
    busy(night)
    (victim,) = stops(night.add(make_spec("now", priority=Priority.URGENT, trials=1)))
    sent = [deed for _ in range(5) for deed in tick(night) if isinstance(deed, a.Signal)]
    assert [(deed.key, deed.signal) for deed in sent[:2]] == [
        (victim, "SIGTERM"),
        (victim, "SIGKILL"),
    ]
    night.exit(victim, signal=9)
    assert isinstance(night.ends[-1].reason, Paused), "it is our doing, not a crash"
    assert night.machine.state.studies[1].trials[victim.trial].retries == 0


# --- pause ---------------------------------------------------------------------------------


def test_a_paused_study_is_taken_off_and_goes_on_when_it_is_released(night: Night) -> None:
    night.begin()
    study = busy(night)
    keys = list(night.machine.state.live)
    for key in keys:
        save(night, key)
    assert ask(night, e.PauseRequested, study=study) == "paused wine"
    for key in keys:
        night.exit(key, exit_code=0)
    reason = night.ends[-1].reason
    assert isinstance(reason, Paused)
    assert (reason.by, reason.why, reason.steps_repeated) == (
        "operator", "wine was paused by me", 0,
    )  # fmt: skip
    assert reason.checkpoint is not None
    assert not night.machine.state.live
    assert any(isinstance(deed, a.CloseStudy) for deed in night.actions), "its memory is free"
    tick(night)
    assert {why for why, _ in night.machine.waits.values()} == {Why.PAUSED}
    assert night.machine.over is None, "it is not done"
    night.tell(e.ReleaseRequested(at=night.now, request="r", study=study))
    assert [key.attempt for key in night.machine.state.live] == [2, 2]
    starts = [deed for deed in night.actions if isinstance(deed, a.Start)][-2:]
    assert [start.resume[0].step for start in starts] == [2, 2]


def test_pausing_twice_or_what_is_over_says_so(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine"))
    ask(night, e.PauseRequested, study=1)
    assert ask(night, e.PauseRequested, study=1) == "wine is paused already"
    night.tell(e.CancelRequested(at=night.now, request="c", by="me", study=1, trial=None))
    assert ask(night, e.PauseRequested, study=1) == "wine is cancelled"
    assert ask(night, e.PauseRequested, study=7) == "there is no such study"
    assert ask(night, e.PauseRequested, study=None) == "nothing to pause"


def test_adding_a_paused_study_again_lets_it_go_on(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine"))
    ask(night, e.PauseRequested, study=1)
    night.add(make_spec("wine"), request="again")
    assert not night.machine.state.studies[1].paused


def test_who_raised_a_budget_and_let_a_study_go_on_is_on_record(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine", trials=10))
    ask(night, e.PauseRequested, study=1)
    ask(night, e.ReleaseRequested, study=1)
    night.add(make_spec("wine", trials=20), request="again", by="me")
    kinds = (f.StudyReleased, f.StudyAmended)
    recorded = [fact for fact in night.facts if isinstance(fact, kinds)]
    assert [type(fact) for fact in recorded] == [*kinds]
    assert {fact.by for fact in recorded} == {"me"}
    names = {1: "wine"}
    told = [news.sentence(fact, names, UNIX) for fact in recorded]
    assert told == ["wine was resumed by me", "wine was changed by me"]


def test_a_trial_gets_the_lowest_slot_that_is_free(night: Night) -> None:
    night.begin()
    busy(night)
    slots = [trial.live.slot for trial in night.machine.state.live.values()]
    assert slots == [*range(night.slots)]
    first, *_ = night.machine.state.live
    night.whole_trial(first, [])
    night.suggest()
    started = [fact for fact in night.facts if isinstance(fact, f.AttemptStarted)]
    assert started[-1].slot == 0


# --- yield ---------------------------------------------------------------------------------


def test_yielding_gives_everything_back_within_seconds_and_takes_it_again(night: Night) -> None:
    night.begin()
    tick(night)
    busy(night)
    keys = list(night.machine.state.live)
    assert ask(night, e.YieldRequested, until=UNIX + night.now + 3600) == (
        "yielding; 2 running trials to pause"
    )
    night.exit(keys[0], exit_code=0)
    begun, signals = night.now, []
    while not any(signal == "SIGKILL" for signal, _ in signals):
        signals += [(d.signal, night.now) for d in tick(night) if isinstance(d, a.Signal)]
    assert night.now - begun <= 10.0
    deeds = night.exit(keys[1], signal=9)
    assert any(isinstance(deed, a.CloseBackend) for deed in deeds), "Ray's memory, too"
    assert any(isinstance(deed, a.CloseStudy) for deed in night.actions)
    night.tell(e.BackendClosed(at=night.now))
    tick(night)
    assert {why for why, _ in night.machine.waits.values()} == {Why.YIELDED}
    assert any(isinstance(deed, a.OpenBackend) for deed in tick(night, 3601.0))
    night.tell(e.BackendReady(at=night.now, device="cpu", slots=2))
    assert sorted(night.machine.state.live) == [(*key[:2], 2) for key in sorted(keys)]


def test_a_yield_outlives_the_engine(night: Night) -> None:
    night.begin()
    tick(night)
    night.add(make_spec("wine"))
    ask(night, e.YieldRequested, until=UNIX + night.now + 3600)
    again = Night(facts=night.facts)
    again.begin(before="exit 70")
    tick(again)
    assert again.machine.state.yielded is not None
    assert not again.machine.state.live
    again.tell(e.BackendClosed(at=again.now))
    assert ask(again, e.YieldRequested, until=None) == "going on"
    again.tell(e.BackendReady(at=again.now, device="cpu", slots=2))
    assert again.machine.state.live


def test_a_process_that_goes_first_has_the_machine_until_it_is_gone_for_a_while(
    night: Night,
) -> None:
    night.begin()
    busy(night)
    tick(night, foreign=("blender",))
    for key in list(night.machine.state.live):
        night.exit(key, exit_code=0)
    assert isinstance(night.ends[-1].reason, Paused)
    assert "blender" in night.ends[-1].reason.why
    night.tell(e.BackendClosed(at=night.now))
    tick(night, 20.0)
    tick(night, foreign=("blender",))
    tick(night, 20.0)
    assert night.machine.state.yielded is not None, "it came back in between"
    tick(night, 11.0)
    assert night.machine.state.yielded is None


# --- deadline and hours --------------------------------------------------------------------


def test_before_the_deadline_nothing_is_started_that_would_not_end(night: Night) -> None:
    night.begin()
    tick(night)
    busy(night)  # a step takes 1 s, a trial 10
    ask(night, e.DeadlineRequested, until=UNIX + night.now + 100)
    keys = list(night.machine.state.live)
    tick(night, 85.0)
    for key in keys:
        night.report(key, 10, 0.4)
        night.exit(key, finished=True, exit_code=0)
    tick(night)
    night.suggest()
    assert not night.machine.state.live
    assert night.machine.waits[1, None][0] is Why.TOO_LATE


def test_what_runs_at_the_deadline_is_paused_in_time(night: Night) -> None:
    night.begin()
    tick(night)
    busy(night)
    key = next(iter(night.machine.state.live))
    until = night.now + 30
    ask(night, e.DeadlineRequested, until=UNIX + until)
    told = None
    while told is None:
        deeds = tick(night)
        told = night.now if key in stops(deeds) else None
    assert until - 10 <= told < until
    killed = None
    while killed is None:
        deeds = [d for d in tick(night) if isinstance(d, a.Signal) and d.signal == "SIGKILL"]
        killed = night.now if deeds else None
    assert killed <= until
    for key in list(night.machine.state.live):
        night.exit(key, signal=9)
        assert isinstance(night.ends[-1].reason, Paused)
        assert night.ends[-1].reason.by == "clock"
    tick(night, 5.0)
    assert night.machine.over == "deadline"
    assert night.machine.finish_if_dry(night.now)


def test_a_deadline_that_is_over_does_not_bind_who_starts_anew(night: Night) -> None:
    night.begin()
    tick(night)
    night.add(make_spec("wine"))
    ask(night, e.DeadlineRequested, until=UNIX + night.now + 5)
    for stay, before, bound in ((False, "", False), (True, "", True), (False, "exit 70", True)):
        again = Night(facts=list(night.facts))
        wall = e.WallTime(unix=UNIX + 3600, week_minute=EVENING + 60)
        again.tell(
            e.EngineStarted(
                at=0.0, session=2, pid=1, boot_id="boot-1", version="0", directory="", backend="t",
                before=before, wall=wall, stay=stay,
            )
        )  # fmt: skip
        assert (again.machine.state.deadline is not None) is bound


def test_a_study_runs_within_its_hours_only(night: Night) -> None:
    night.begin()
    tick(night)
    night.add(make_spec("wine", hours=("20:30-21:00",), hang_s=1e6))
    assert not night.machine.state.live
    tick(night)
    assert night.machine.waits[1, None][0] is Why.HOURS
    tick(night, 1800.0)
    assert night.machine.state.live
    (key, *_) = night.machine.state.live
    night.run(key)
    tick(night, 1800.0)
    assert key in [fact for fact in night.machine.state.live if _intent(night, fact)]


def _intent(night: Night, key: AttemptKey) -> bool:
    live = night.machine.state.live[key].live
    return live is not None and isinstance(live.intent, Paused)


def test_quiet_hours_pause_what_runs_on_the_device(night: Night) -> None:
    quiet = Settings(quiet={"cpu": (parse("mon-fri 20:10-20:40"),)})
    night.begin()
    night.tell(e.SettingsRead(at=0.0, settings=quiet))
    tick(night)
    busy(night, hang_s=1e6)
    tick(night, 60.0)
    assert not any(_intent(night, key) for key in night.machine.state.live)
    tick(night, 541.0)
    assert all(_intent(night, key) for key in night.machine.state.live)
    for key in list(night.machine.state.live):
        night.exit(key, signal=9)
    tick(night)
    assert {why for why, _ in night.machine.waits.values()} == {Why.QUIET}
    tick(night, 1800.0)
    assert night.machine.state.live


# --- what runs the trials --------------------------------------------------------------------


def test_what_runs_the_trials_is_renewed_when_it_is_worn(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smallhours.core.standby.RENEW_AFTER", 3)
    night.begin()
    night.add(make_spec("wine", trials=100))
    renewed = False
    while not renewed:
        night.suggest()
        keys = list(night.machine.state.live)
        assert keys, "something runs until it is renewed"
        for key in keys:
            deeds = night.whole_trial(key, [0.5] * 10)
            renewed = renewed or any(isinstance(deed, a.RenewBackend) for deed in deeds)
    assert len(night.ends) in {3, 4}, "the third made it due; a fourth may have been running"
    assert not night.machine.state.live
    night.tell(e.BackendReady(at=night.now, device="cpu", slots=2))
    night.suggest()
    assert night.machine.state.live


def test_with_nothing_to_run_for_long_it_is_let_go_until_something_is(night: Night) -> None:
    night.begin()
    tick(night)
    night.add(make_spec("wine", hours=("22:00-23:00",)))
    night.tell(e.BackendReady(at=night.now, device="cpu", slots=2))
    assert not any(isinstance(deed, a.CloseBackend) for deed in tick(night, 200.0))
    assert any(isinstance(deed, a.CloseBackend) for deed in tick(night, 101.0))
    night.tell(e.BackendClosed(at=night.now))
    assert tick(night) == []
    assert any(isinstance(deed, a.OpenBackend) for deed in tick(night, 7200.0))


# --- archive -------------------------------------------------------------------------------


def test_only_what_is_over_can_be_put_away(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine"))
    assert ask(night, e.ArchiveRequested, study=1).startswith("wine is not over")
    for key in list(night.machine.state.live):
        night.exit(key, exit_code=0)
    night.tell(e.CancelRequested(at=night.now, request="c", by="me", study=1, trial=None))
    for key in list(night.machine.state.live):
        night.exit(key, exit_code=0)
    assert ask(night, e.ArchiveRequested, study=1) == "archived wine"
    assert ask(night, e.ArchiveRequested, study=1, remove=True) == "removed wine"
    assert night.machine.state.names == {}
    night.add(make_spec("wine"), request="new")
    assert night.machine.state.names == {"wine": 2}
    again = Night(facts=night.facts)
    assert again.machine.state.names == {"wine": 2}
    assert again.machine.state.studies[1].label == "wine@1"


def test_nothing_is_decided_before_the_session_has_begun(night: Night) -> None:
    night.begin()
    night.add(make_spec("wine", trials=1))
    night.whole_trial(night.key(1, 0), [0.5] * 10)
    assert isinstance(night.facts.pop(), f.StudyEnded), "the engine died just before"
    again = Night(facts=list(night.facts))
    before = len(again.facts)
    again.tell(e.SettingsRead(at=0.0, settings=Settings()))
    again.begin(before="exit 70")
    kinds = [type(fact) for fact in again.facts[before:]]
    assert kinds == [f.SessionStarted, f.StudyEnded]
