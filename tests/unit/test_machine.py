"""The machine's decisions: events in, actions and facts compared."""

from __future__ import annotations

import math

import pytest

from fakes.core import Night, check_invariants, make_spec
from smallhours.core import actions as a
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.death import DeathNote
from smallhours.core.events import ProcessSample
from smallhours.core.trial import MOVES, AttemptKey, TrialState


@pytest.fixture
def night():
    night = Night()
    yield night
    check_invariants(night)


@pytest.fixture
def running(night):
    """A night with the baseline and one search trial running."""
    night.begin()
    night.add(make_spec())
    night.suggest()
    for key in (AttemptKey(1, 0, 1), AttemptKey(1, 1, 1)):
        night.run(key)
    return night


BASE, FIRST = AttemptKey(1, 0, 1), AttemptKey(1, 1, 1)


def note(**changes):
    keys = {
        "type": "ValueError", "message": "no", "fingerprint": "f1", "where": "w.py:3 in train",
        "traceback": "...", "phase": "train",
    }  # fmt: skip
    return DeathNote(**(keys | changes))


def test_every_state_has_its_row_of_moves():
    assert set(MOVES) == set(TrialState)


def test_the_baseline_starts_first_and_a_suggestion_is_asked_for_the_second_slot(night):
    night.begin()
    deeds = night.add(make_spec())
    assert [type(d) for d in deeds] == [a.Answer, a.OpenStudy, a.Introduce, a.Start, a.Ask]
    start = deeds[3]
    assert start.key == BASE
    assert start.params == {"x": 0.5}
    assert deeds[4] == a.Ask(study=1, trial=1)


def test_nothing_starts_before_the_backend_is_ready(night):
    night.tell(
        e.EngineStarted(
            at=0, session=1, pid=1, boot_id="b", version="0", directory="/tmp/x", backend="t"
        )
    )
    night.add(make_spec())
    assert night.started == []
    night.tell(e.BackendReady(at=1, device="cpu", slots=1))
    assert night.started == [BASE]


def test_a_trial_that_returns_is_completed_and_told_to_the_search(running):
    deeds = running.whole_trial(BASE, [0.5] * 10)
    end = running.ends[-1]
    assert end.reason == r.Completed(steps=10, metrics={"loss": 0.5})
    assert (end.then, end.score) == ("over", 0.5)
    assert a.Tell(study=1, trial=0, outcome="complete", value=0.5, step=10) in deeds
    assert a.Ask(study=1, trial=2) in deeds


def test_nan_is_divergence_with_its_first_bad_step(running):
    running.report(FIRST, 1, 0.4)
    deeds = running.report(FIRST, 2, math.nan)
    assert deeds == [a.Stop(key=FIRST, how="now", why="loss is nan at step 2")]
    running.exit(FIRST, exit_code=0)
    assert running.ends[-1].reason == r.Diverged(metric="loss", value="nan", step=2, limit=None)
    told = [d for d in running.actions if isinstance(d, a.Tell)][-1]
    assert told.outcome == "worst"


def test_a_finished_run_with_nan_at_its_end_is_still_diverged(running):
    for step in range(1, 10):
        running.report(FIRST, step, 0.4)
    running.report(FIRST, 10, math.inf)
    running.exit(FIRST, finished=True, exit_code=0)
    assert isinstance(running.ends[-1].reason, r.Diverged)


def test_a_loss_beyond_the_studys_limit_is_divergence(night):
    night.begin()
    night.add(make_spec(diverged_at=5.0))
    night.report(BASE, 1, 5.5)
    night.exit(BASE, exit_code=0)
    assert night.ends[-1].reason == r.Diverged(metric="loss", value=5.5, step=1, limit=5.0)


def test_the_median_rule_stops_a_hopeless_trial_with_its_evidence(night):
    night.begin()
    night.add(make_spec(trials=9))
    for number in range(6):
        night.suggest()
        night.whole_trial(night.key(1, number), [0.1 * (number + 1)] * 10)
    key = night.key(1, 6)
    for step in range(1, 6):
        assert night.report(key, step, 0.9) == []
    (stop,) = night.report(key, 6, 0.9)
    assert stop == a.Stop(key=key, how="now", why="stopped by the median rule at step 6")
    night.exit(key, exit_code=0)
    reason = night.ends[-1].reason
    assert isinstance(reason, r.RuleCut)
    assert (reason.step, reason.value, reason.compared) == (6, 0.9, 6)
    assert reason.threshold == pytest.approx(0.35)
    told = [d for d in night.actions if isinstance(d, a.Tell)][-1]
    assert (told.outcome, told.value, told.step) == ("pruned", 0.9, 6)


def test_a_stop_that_came_too_late_leaves_a_completed_trial(night):
    night.begin()
    night.add(make_spec(trials=9))
    for number in range(6):
        night.suggest()
        night.whole_trial(night.key(1, number), [0.1] * 10)
    key = night.key(1, 6)
    for step in range(1, 11):
        night.report(key, step, 0.9)
    night.exit(key, finished=True, exit_code=0)
    assert isinstance(night.ends[-1].reason, r.Completed)


def test_the_baseline_is_never_stopped_by_the_rule(night):
    night.begin()
    night.add(make_spec(trials=9))
    for number in range(1, 7):
        night.suggest()
        night.whole_trial(night.key(1, number), [0.1] * 10)
    for step in range(1, 10):
        assert night.report(BASE, step, 99.0) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"exit_code": 3}, r.Crash(exit_code=3, signal=None, whose="process", stderr="", fault="")),
        ({"signal": 11}, r.Crash(exit_code=None, signal=11, whose="process", stderr="", fault="")),
        ({"signal": 9}, r.Crash(exit_code=None, signal=9, whose="process", stderr="", fault="")),
    ],
)
def test_a_crash_is_tried_once_again(running, how, reason):
    running.exit(FIRST, **how)
    assert running.ends[-1].reason == reason
    assert running.ends[-1].then == "retry"
    second = running.key(1, 1)
    assert second == AttemptKey(1, 1, 2)
    running.exit(second, **how)
    assert running.ends[-1].then == "over"


def test_a_kill_by_the_kernel_for_memory_is_host_oom_and_tried_again_alone(running):
    running.exit(FIRST, signal=9, kernel_oom_kills=1, resident=((1.0, 5), (0.0, 9)))
    end = running.ends[-1]
    assert isinstance(end.reason, r.HostOom)
    assert (end.reason.killer, end.peak_bytes, end.then) == ("kernel", 9, "retry")
    # Trial 1 waits until nothing else runs, and then nothing else is started beside it.
    running.suggest()
    while AttemptKey(1, 1, 2) not in running.machine.state.live:
        (key, *_) = running.machine.state.live
        running.whole_trial(key, [0.2] * 10)
        running.suggest()
    assert list(running.machine.state.live) == [AttemptKey(1, 1, 2)]
    assert not running.machine.asked


def test_an_exception_is_over_at_once_and_counts_its_like(running):
    running.exit(FIRST, exit_code=1, note=note())
    assert running.ends[-1].reason.fingerprint == "f1"
    assert running.ends[-1].reason.seen == 1
    assert running.ends[-1].then == "over"
    running.exit(BASE, exit_code=1, note=note())
    assert running.ends[-1].reason.seen == 2


def test_three_equal_failures_at_first_halt_the_study(night):
    night.begin()
    night.add(make_spec())
    for number in range(3):
        night.suggest()
        night.exit(night.key(1, number), exit_code=1, note=note())
    assert night.machine.state.studies[1].halted.cause == "same_failure"
    started = len(night.started)
    night.exit(night.key(1, 3), exit_code=1, note=note()) if night.machine.state.live else None
    assert len(night.started) == started
    assert night.machine.over == "dry"


def test_a_full_disk_halts_the_study_and_the_trial_goes_on_later(running):
    full = note(type="OSError", errno=28, path="/x")
    running.exit(FIRST, exit_code=1, note=full, disk_free_bytes=0)
    end = running.ends[-1]
    assert isinstance(end.reason, r.DiskFull)
    assert end.then == "resume"
    assert running.machine.state.studies[1].halted.cause == "disk"
    running.whole_trial(BASE, [0.1] * 10)
    running.tell(e.ReleaseRequested(at=running.now, request="rel", study=None))
    assert AttemptKey(1, 1, 2) in running.started


def test_memory_error_is_host_oom_by_python(running):
    running.exit(FIRST, exit_code=1, note=note(type="MemoryError"))
    assert running.ends[-1].reason.killer == "python"


def test_nothing_found_is_lost_and_tried_again(running):
    running.exit(FIRST)
    assert isinstance(running.ends[-1].reason, r.Lost)
    assert running.ends[-1].then == "retry"


def test_a_silent_trial_is_hung_with_stacks_then_sigterm_then_sigkill(night):
    night.begin()
    night.add(make_spec(hang_s=5.0))
    night.run(BASE)
    night.report(BASE, 1, 0.5)
    sample = {BASE: ProcessSample(resident_bytes=1, cpu_s=2.0, state="R")}
    night.now = 2.0
    night.tell(e.Tick(at=2.0, processes=sample))
    late = {BASE: ProcessSample(resident_bytes=1, cpu_s=6.5, state="S")}
    assert night.tell(e.Tick(at=7.0, processes=late)) == [a.DumpStack(key=BASE)]
    assert night.tell(e.Tick(at=7.5)) == []
    assert night.tell(e.Tick(at=8.0)) == [a.Signal(key=BASE, signal="SIGTERM")]
    assert night.tell(e.Tick(at=13.0)) == [a.Signal(key=BASE, signal="SIGKILL")]
    night.now = 13.5
    night.exit(BASE, signal=9, fault="Thread 0x1")
    reason = night.ends[-1].reason
    assert reason == r.Hung(
        silent_s=6.0,
        threshold_s=5.0,
        last_step=1,
        process_state="S",
        cpu_s=4.5,
        stack="Thread 0x1",
        escalation=((1.0, "SIGTERM"), (6.0, "SIGKILL")),
    )
    assert night.ends[-1].then == "retry"


def test_host_memory_running_out_kills_the_largest_trial_only(running):
    small = ProcessSample(resident_bytes=10, cpu_s=0, state="R")
    large = ProcessSample(resident_bytes=20, cpu_s=0, state="R")
    deeds = running.tell(
        e.Tick(
            at=running.now,
            available_bytes=2**20,
            total_bytes=2**34,
            processes={BASE: small, FIRST: large},
        )
    )
    assert deeds == [a.Signal(key=FIRST, signal="SIGKILL")]
    running.exit(FIRST, signal=9, kernel_oom_kills=0, resident=((0.0, 20),))
    assert running.ends[-1].reason.killer == "smallhours"


def test_a_trial_that_outgrows_its_own_limit_is_killed(night):
    night.begin()
    night.add(make_spec(memory_bytes=100))
    night.run(BASE)
    big = ProcessSample(resident_bytes=101, cpu_s=0, state="R")
    deeds = night.tell(
        e.Tick(at=1.0, available_bytes=2**33, total_bytes=2**34, processes={BASE: big})
    )
    assert deeds == [a.Signal(key=BASE, signal="SIGKILL")]
    assert night.machine.state.live[BASE].live.intent.limit_bytes == 100
    night.exit(BASE, signal=9)


def test_a_trials_time_budget_ends_it_and_keeps_its_evidence(night):
    night.begin()
    night.add(make_spec(trial_time_s=2.0))
    night.report(BASE, 1, 0.5)
    night.report(BASE, 2, 0.5)
    (stop,) = night.report(BASE, 3, 0.5)
    assert isinstance(stop, a.Stop)
    night.exit(BASE, exit_code=0)
    assert night.ends[-1].reason == r.Budget(budget="trial_time_s", limit=2.0, used=3.0)


def test_the_studys_time_budget_ends_what_runs_and_the_study(night):
    night.begin()
    night.add(make_spec(study_time_s=5.0))
    night.suggest()
    night.now = 6.0
    night.tell(e.Tick(at=6.0))
    for key in list(night.machine.state.live):
        night.exit(key, exit_code=0)
    assert {end.reason.budget for end in night.ends} == {"study_time_s"}
    assert night.machine.state.studies[1].ended.outcome == "budget"


def test_ctrl_c_interrupts_with_a_checkpoint_and_a_resume_goes_on_from_it(running):
    running.report(FIRST, 1, 0.5)
    running.report(FIRST, 2, 0.4)
    path = "trials/1/1/checkpoints/2-1"
    running.tell(e.CheckpointWritten(at=running.now, key=FIRST, step=2, path=path, size_bytes=9))
    deeds = running.tell(e.ShutdownRequested(at=running.now, cause="ctrl-c"))
    assert {d.key: d.how for d in deeds if isinstance(d, a.Stop)} == {
        BASE: "checkpoint",
        FIRST: "checkpoint",
    }
    running.exit(BASE, exit_code=0)
    deeds = running.exit(FIRST, exit_code=0)
    assert deeds == [a.Finish(cause="ctrl-c")]
    reason = running.ends[-1].reason
    assert (reason.cause, reason.last_step, reason.resume_step) == ("ctrl-c", 2, 2)
    again = Night(facts=running.facts)
    again.begin()
    start = next(d for d in again.actions if isinstance(d, a.Start) and d.key.trial == 1)
    assert start.key == AttemptKey(1, 1, 2)
    assert start.resume == (a.ResumePoint(step=2, path=path),)
    check_invariants(again)


def test_a_dead_engine_leaves_interrupted_attempts_and_keeps_its_intents(running):
    running.report(FIRST, 1, math.nan)
    facts = list(running.facts)
    again = Night(facts=facts)
    again.begin(before="signal 9")
    reasons = {end.trial: end.reason for end in again.ends}
    assert isinstance(reasons[1], r.Diverged)
    assert reasons[0].cause == "engine killed"
    check_invariants(again)


def test_a_reboot_is_told_from_a_kill(running):
    again = Night(facts=running.facts)
    again.begin(boot_id="boot-2")
    assert {end.reason.cause for end in again.ends} == {"reboot"}


def test_a_trial_whose_last_step_was_recorded_is_not_run_again_after_a_crash(running):
    for step in range(1, 11):
        running.report(FIRST, step, 0.2)
    again = Night(facts=running.facts)
    again.begin(before="signal 9")
    end = next(end for end in again.ends if end.trial == 1)
    assert end.reason == r.Completed(steps=10, metrics={"loss": 0.2}, recovered=True)


def test_a_trial_that_goes_on_from_its_last_step_and_returns_is_completed(running):
    for step in range(1, 11):
        running.report(FIRST, step, 0.2)
    running.tell(e.CheckpointWritten(at=running.now, key=FIRST, step=10, path="c/10", size_bytes=1))
    running.exit(FIRST, signal=11)
    second = running.key(1, 1)
    running.run(second)
    running.tell(e.StateRestored(at=running.now, key=second, step=10, path="c/10"))
    running.exit(second, finished=True, exit_code=0)
    assert running.ends[-1].reason == r.Completed(steps=10, metrics={"loss": 0.2})


def test_however_often_the_engine_dies_its_trials_are_resumed(running):
    facts = running.facts
    for _ in range(5):
        again = Night(facts=facts)
        again.begin(before="signal 9")
        facts = again.facts
    assert {end.then for end in again.ends} == {"resume"}
    check_invariants(again)


def test_a_second_resume_changes_nothing(running):
    again = Night(facts=running.facts)
    again.begin(before="signal 9")
    third = Night(facts=again.facts)
    before = len(third.facts)
    third.begin(before="signal 9")
    ended = [x for x in third.facts[before:] if isinstance(x, f.AttemptEnded)]
    assert {type(x.reason) for x in ended} <= {r.Interrupted}
    over = [x.trial for x in third.ends if x.then == "over"]
    assert len(over) == len(set(over))


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"lost_parent": "slot"}, "slot killed"),
        ({"lost_parent": "zygote", "signal": 9}, "zygote killed"),
        ({"lost_parent": "raylet"}, "raylet died"),
    ],
)
def test_a_lost_parent_is_an_interruption_at_no_cost(running, how, cause):
    running.exit(FIRST, **how)
    end = running.ends[-1]
    assert (end.reason.cause, end.then) == (cause, "resume")
    assert running.machine.state.studies[1].trials[1].retries == 0


def test_a_zygote_that_dies_before_the_trial_runs_is_a_crash(running):
    running.exit(FIRST, lost_parent="zygote", zygote_died=True, signal=11)
    assert running.ends[-1].reason.whose == "zygote"


def test_the_budget_of_trials_is_a_total_and_the_best_is_confirmed_on_fresh_seeds(night):
    night.begin()
    night.add(make_spec(trials=4, confirm=2))
    while night.machine.state.live or night.machine.asked:
        night.suggest()
        for key in list(night.machine.state.live):
            loss = 0.3 if key.trial == 2 else 0.5
            night.whole_trial(key, [loss] * 10)
    study = night.machine.state.studies[1]
    created = [x for x in night.facts if isinstance(x, f.TrialCreated)]
    assert [x.role for x in created] == ["baseline"] + ["search"] * 3 + ["confirmation"] * 4
    assert [x.of for x in created[4:]] == [0, 0, 2, 2]
    assert [x.seed for x in created[4:6]] == [x.seed for x in created[6:]]
    assert len({x.seed for x in created[:6]}) == 6
    assert study.ended == f.StudyEnded(study=1, outcome="done", winner=2)
    assert night.machine.finish_if_dry(night.now)[-1] == a.Finish(cause="dry")


def test_adding_the_same_study_again_changes_nothing(running):
    facts = len(running.facts)
    running.add(make_spec(), request="again")
    new = running.facts[facts:]
    assert [type(x) for x in new] == [f.RequestAnswered]
    assert new[0].ok


def test_more_trials_amend_the_study(running):
    running.add(make_spec(trials=20), request="again")
    assert running.machine.state.studies[1].spec.trials == 20


def test_other_code_is_refused_once_the_study_got_somewhere(running):
    running.whole_trial(BASE, [0.4] * 10)
    running.add(make_spec(), digest="d2", request="again")
    answer = [x for x in running.facts if isinstance(x, f.RequestAnswered)][-1]
    assert not answer.ok
    assert "its code" in answer.text
    assert "--as" in answer.text


def test_other_code_replaces_a_study_that_got_nowhere(night):
    night.begin()
    night.add(make_spec())
    for number in range(3):
        night.suggest()
        night.exit(night.key(1, number), exit_code=1, note=note())
    for key in list(night.machine.state.live):
        night.exit(key, exit_code=1, note=note())
    night.add(make_spec(), digest="d2", request="again")
    assert night.machine.state.names["wine"] == 2
    assert night.machine.state.studies[1].label == "wine@1"


def test_a_cancelled_trial_says_who_and_is_over(running):
    running.tell(e.CancelRequested(at=0, request="c", by="me@pts/1", study=1, trial=1))
    running.exit(FIRST, exit_code=0)
    assert running.ends[-1].reason == r.Cancelled(by="me@pts/1", scope="trial", checkpoint=None)
    assert running.ends[-1].then == "over"


def test_a_cancelled_study_ends(running):
    running.tell(e.CancelRequested(at=0, request="c", by="me", study=1, trial=None))
    for key in (BASE, FIRST):
        running.exit(key, exit_code=0)
    assert running.machine.state.studies[1].ended.outcome == "cancelled"
    assert running.machine.over == "dry"


def test_a_search_that_fails_halts_its_study(night):
    night.begin()
    night.add(make_spec())
    night.tell(e.SuggestFailed(at=0, study=1, trial=1, message="space is empty"))
    assert "space is empty" in night.machine.state.studies[1].halted.sentence
    night.whole_trial(BASE, [0.5] * 10)
    assert night.machine.over == "dry"


def test_old_checkpoints_go_and_two_stay(running):
    for step in (1, 2, 3):
        running.report(FIRST, step, 0.5)
        running.tell(
            e.CheckpointWritten(
                at=running.now, key=FIRST, step=step, path=f"c/{step}", size_bytes=1
            )
        )
    assert [d for d in running.actions if isinstance(d, a.RemoveCheckpoint)] == [
        a.RemoveCheckpoint(path="c/1")
    ]


def test_the_best_steps_checkpoint_stays_where_the_score_is_the_best(night):
    night.begin()
    night.add(make_spec(score="best"))
    night.run(BASE)
    for step, loss in ((1, 0.1), (2, 0.5), (3, 0.6), (4, 0.7)):
        night.report(BASE, step, loss)
        night.tell(
            e.CheckpointWritten(at=night.now, key=BASE, step=step, path=f"c/{step}", size_bytes=1)
        )
    kept = [c.step for c in night.machine.state.studies[1].trials[0].checkpoints]
    assert kept == [1, 3, 4]


def test_late_words_of_an_ended_attempt_are_passed_over(running):
    running.exit(FIRST, exit_code=1, note=note())
    facts = len(running.facts)
    running.report(FIRST, 1, 0.5)
    running.exit(FIRST, exit_code=0)
    assert len(running.facts) == facts


# --- requests, studies that come and go ---------------------------------------------------


def test_a_request_that_cant_be_understood_is_answered_once(night):
    night.begin()
    refused = e.RequestRefused(at=1.0, request="r1", verb="add", text="no such rule", uid=7)
    deeds = night.tell(refused)
    assert deeds == [a.Answer(request="r1", ok=False, text="no such rule")]
    assert "r1" in night.machine.state.answered


def test_a_halted_study_is_let_go_and_opened_anew_when_it_is_released(night):
    night.begin()
    night.add(make_spec())
    (number,) = night.machine.asked[1]
    failed = e.SuggestFailed(at=night.now, study=1, trial=number, message="no")
    assert a.CloseStudy(study=1) not in night.tell(failed), "its baseline runs yet"
    deeds = night.whole_trial(BASE, [0.5] * 10)
    assert deeds[-1] == a.CloseStudy(study=1)
    deeds = night.tell(e.ReleaseRequested(at=night.now, request="r", study=1))
    assert a.OpenStudy(study=1) in deeds


def test_a_cancelled_study_with_nothing_running_is_let_go(night):
    night.begin()
    night.add(make_spec("first"))
    night.add(make_spec("second"))
    cancel = e.CancelRequested(at=night.now, request="c", by="me", study=2, trial=None)
    assert a.CloseStudy(study=2) in night.tell(cancel)


def test_releasing_a_cancelled_study_opens_nothing(night):
    night.begin()
    night.add(make_spec())
    (number,) = night.machine.asked[1]
    night.tell(e.SuggestFailed(at=night.now, study=1, trial=number, message="no"))
    night.tell(e.CancelRequested(at=night.now, request="c", by="me", study=1, trial=None))
    night.exit(BASE, exit_code=0)
    deeds = night.tell(e.ReleaseRequested(at=night.now, request="r", study=1))
    assert a.OpenStudy(study=1) not in deeds


def test_a_replaced_study_is_let_go_only_when_its_trials_have_ended(running):
    deeds = running.add(make_spec(steps=5), replace=True, request="again")
    assert a.CloseStudy(study=1) not in deeds
    assert a.CloseStudy(study=1) not in running.exit(BASE, exit_code=0)
    assert a.CloseStudy(study=1) in running.exit(FIRST, exit_code=0)


def test_cancelling_again_does_not_set_the_clock_back(running):
    cancel = {"by": "me", "study": 1, "trial": 0}
    running.tell(e.CancelRequested(at=running.now, request="c1", **cancel))
    running.now += 9.0
    running.tell(e.CancelRequested(at=running.now, request="c2", **cancel))
    running.now += 2.0
    assert a.Signal(key=BASE, signal="SIGTERM") in running.tell(e.Tick(at=running.now))


# --- budgets, memory, stalls ---------------------------------------------------------------


def test_nothing_starts_once_living_trials_have_used_the_studys_time(night):
    night.begin()
    night.add(make_spec(study_time_s=100.0))
    night.suggest()
    night.run(BASE)
    night.run(FIRST)
    night.now += 60.0
    night.tell(e.Tick(at=night.now))
    night.exit(BASE, exit_code=0)
    assert len(night.started) == 2, "60 s each: 120 s of 100 s"


def test_the_time_of_a_session_that_died_counts(running):
    running.report(BASE, 1, 0.5)
    running.report(BASE, 2, 0.4)
    after = Night(facts=running.facts)
    # What the ledger says of the times is what `apply` is given.
    study = after.machine.state.studies[1]
    live = study.trials[0].live
    live.started_at, live.heard_at = 5.0, 47.0
    after.begin(before="signal 9")
    assert study.trials[0].seconds == 42.0


def samples(**sizes):
    return {
        key: ProcessSample(resident_bytes=size, cpu_s=1.0, state="R")
        for key, size in ((BASE, sizes["base"]), (FIRST, sizes["first"]))
    }


def test_a_cancelled_trial_killed_for_memory_stays_cancelled(running):
    running.tell(e.CancelRequested(at=running.now, request="c", by="me", study=1, trial=0))
    low = {"available_bytes": 1, "total_bytes": 2**34}
    deeds = running.tell(e.Tick(at=running.now, processes=samples(base=2, first=1), **low))
    assert a.Signal(key=BASE, signal="SIGKILL") in deeds
    running.exit(BASE, signal=9)
    end = running.ends[-1]
    assert (r.tag(end.reason), end.then) == ("cancelled", "over")


def test_a_second_trial_is_killed_only_after_the_first_had_time_to_give_its_memory_back(running):
    low = {"available_bytes": 1, "total_bytes": 2**34, "processes": samples(base=2, first=1)}
    kill = a.Signal(key=FIRST, signal="SIGKILL")
    assert kill not in running.tell(e.Tick(at=running.now, **low))
    running.now += 1.0
    assert kill not in running.tell(e.Tick(at=running.now, **low))
    running.now += 10.0
    assert kill in running.tell(e.Tick(at=running.now, **low))


def test_a_trial_to_be_retried_alone_gets_its_turn_while_others_keep_coming(night):
    night.begin()
    night.add(make_spec("first", trials=40))
    night.add(make_spec("second", trials=40))
    night.suggest()
    night.run(BASE)
    night.exit(BASE, signal=9, kernel_oom_kills=1)
    retry = AttemptKey(1, 0, 2)
    for _ in range(20):
        night.suggest()
        live = list(night.machine.state.live)
        if retry in live:
            break
        night.whole_trial(live[0], [0.5] * 10)
    assert list(night.machine.state.live) == [retry]
    assert not night.machine.asked, "nothing is asked for that could not start"
    night.whole_trial(retry, [0.5] * 10)
    assert len(night.machine.state.live) + len(night.machine.asked) > 0


def test_stopping_again_and_again_by_hand_never_ends_a_trial(night):
    night.begin()
    night.add(make_spec(trials=1))
    for round_ in range(6):
        key = night.key(1, 0)
        night.tell(e.ShutdownRequested(at=night.now, cause="ctrl-c"))
        night.exit(key, exit_code=0)
        assert night.ends[-1].then == "resume", round_
        night = Night(facts=night.facts)
        night.begin()


def test_a_prepare_that_hangs_halts_its_study(night):
    night.begin()
    night.add(make_spec(retries=0))
    for _ in range(3):
        night.suggest()
        for key in list(night.machine.state.live):
            night.now += 1000.0
            night.tell(e.Tick(at=night.now))
            night.exit(key, zygote_died=True, signal=9)
            break
    halted = night.machine.state.studies[1].halted
    assert halted is not None
    assert halted.cause == "same_failure"


def test_a_search_that_does_not_answer_keeps_no_place_from_other_studies(night):
    night.begin()
    night.add(make_spec("slow"))
    night.add(make_spec("quick"))
    assert night.machine.asked.keys() == {1}
    night.now += 6.0
    night.tell(e.Tick(at=night.now))
    assert AttemptKey(2, 0, 1) in night.started
    assert list(night.machine.asked[1]) == [1], "and it is not asked for ever more"
    night.tell(e.Suggested(at=night.now, study=1, trial=1, params={"x": 0.1}))
    assert night.machine.state.studies[1].waiting
    night.whole_trial(AttemptKey(2, 0, 1), [0.5] * 10)
    assert AttemptKey(1, 1, 1) in night.started
