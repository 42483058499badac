"""The commands of the queue at each stage of an engine's life: down, starting, running, ending."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from fakes.real import RealNight
from smallhours import inbox, processes
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Priority

pytestmark = [pytest.mark.processes, pytest.mark.timeout(150)]

#: A study whose trials run until they are stopped, and then take their time to unwind.
LONG = """
import time

from smallhours import Float, Study

study = Study("{name}", metric="loss", goal="minimize", space={{"lr": Float(0.1, 1.0)}},
              baseline={{"lr": 0.5}}, trials=4, steps=100_000, stopping="none",
              checkpoint_every_s=0.0)


@study.train
def train(trial):
    state = {{}}
    try:
        for step in range(trial.restore(state) + 1, 100_001):
            time.sleep(0.02)
            trial.report(step, loss=1.0 / step)
            trial.checkpoint(state)
    finally:
        time.sleep({unwinds_s})
"""


def write(real: RealNight, name: str, unwinds_s: float = 0.0) -> None:
    """Write a study's file."""
    real.study(LONG.format(name=name, unwinds_s=unwinds_s), f"{name}.py")


def add(real: RealNight, *names: str, unwinds_s: float = 0.0) -> None:
    """Add studies to the queue."""
    for name in names:
        write(real, name, unwinds_s)
        real.command("add", f"{name}.py")


def listed(real: RealNight) -> dict[str, Any]:
    """What `ls` says."""
    answer: dict[str, Any] = json.loads(real.command("ls", "--json"))
    return answer


def study(real: RealNight, name: str) -> dict[str, Any]:
    """What `ls` says of a study."""
    found: dict[str, Any] = next(s for s in listed(real)["studies"] if s["name"] == name)
    return found


def until(condition: Callable[[], object], limit_s: float = 30) -> None:
    """Wait for something that is seen from outside."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def of(facts: list[f.Fact], kind: type[f.Fact]) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kind)]


def running_now(facts: list[f.Fact]) -> set[tuple[int, int]]:
    """Study and trial of the attempts that live."""
    alive: set[tuple[int, int]] = set()
    for fact in facts:
        if isinstance(fact, f.AttemptRunning):
            alive.add((fact.study, fact.trial))
        elif isinstance(fact, f.AttemptEnded):
            alive.discard((fact.study, fact.trial))
    return alive


def start(real: RealNight) -> None:
    """Have an engine come up and run something."""
    real.command("start", "--detach")
    real.wait_for_reports(1)


def finish(real: RealNight) -> None:
    """Stop what runs and judge what it left."""
    real.command("stop", "--now")
    real.wait_until_gone()
    real.check()


# --- down -----------------------------------------------------------------------------------


def test_what_is_asked_for_while_no_engine_runs_is_done_by_the_next_one(real: RealNight) -> None:
    add(real, "a", "b")
    assert [request["what"] for request in listed(real)["inbox"]] == ["add a", "add b"]
    start(real)
    finish(real)
    assert "a will be paused: it waits in the inbox" in real.command("pause", "a")
    assert "b will be moved: it waits in the inbox" in real.command("move", "b", "--weight", "3")
    assert "no engine is running" in real.command("until", "23h")
    assert "nothing of smallhours is on the machine" in real.command("yield", "2h")
    assert "nothing is running" in real.command("stop")
    what = [request["what"] for request in listed(real)["inbox"]]
    assert what == ["pause a", "move b", "until"]
    assert "none is running" in real.command("status")

    before = len(real.facts())
    start(real)
    facts = real.wait(lambda facts: {study for study, _ in running_now(facts)} == {2})
    finish(real)
    new = facts[before:]
    assert [fact.study for fact in of(new, f.StudyPaused)] == [1]
    assert [(fact.study, fact.weight) for fact in of(new, f.StudyMoved)] == [(2, 3.0)]
    assert [fact.until is not None for fact in of(new, f.DeadlineSet)] == [True]
    assert of(new, f.Yielded) == []


def test_names_that_are_near_are_offered_while_no_engine_runs(real: RealNight) -> None:
    add(real, "digits")
    assert "digits waits in the inbox" in real.command("move", "digits", "first", check=2)
    start(real)
    finish(real)
    for words in (("pause", "digist"), ("move", "digist", "first"), ("cancel", "digist/0")):
        assert "did you mean 'digits'" in real.command(*words, check=2)
    assert "digits will be paused" in real.command("pause", "dig")


# --- starting -------------------------------------------------------------------------------


def test_what_is_asked_for_while_an_engine_starts_is_answered_by_it(real: RealNight) -> None:
    add(real, "a", "b")
    start(real)
    finish(real)
    before = len(real.facts())
    real.begin("start", "--detach")
    until(lambda: processes.supervisor_lives(real.home))
    assert "paused a" in real.command("pause", "a")
    assert "b is low priority" in real.command("move", "b", "--priority", "low")
    write(real, "c")
    assert "added c" in real.command("add", "c.py")
    assert listed(real)["engine"]["running"]
    facts = real.wait(lambda facts: {study for study, _ in running_now(facts)} in ({2}, {2, 3}))
    finish(real)
    assert [fact.study for fact in of(facts[before:], f.StudyPaused)] == [1]


# --- running --------------------------------------------------------------------------------


def test_a_study_is_paused_listed_and_released(real: RealNight) -> None:
    add(real, "a")
    start(real)
    assert "paused a" in real.command("pause", "a")
    real.wait(lambda facts: not running_now(facts))
    found = study(real, "a")
    assert (found["state"], found["running"]) == ("paused", 0)
    assert found["paused_by"]
    assert "a is paused already" in real.command("pause", "a")
    before = len(real.facts())
    real.begin("resume", "a")
    facts = real.wait(running_now)
    (first, *_) = of(facts[before:], f.AttemptStarted)
    assert first.resume_step > 0
    finish(real)


def test_all_are_paused_at_once(real: RealNight) -> None:
    add(real, "a", "b")
    start(real)
    real.command("pause", "--all")
    real.wait(lambda facts: not running_now(facts))
    assert {s["state"] for s in listed(real)["studies"]} == {"paused"}
    ends = [end.reason for end in real.ends()]
    assert ends
    assert all(isinstance(reason, r.Paused) for reason in ends)
    finish(real)


def test_an_urgent_study_takes_the_places(real: RealNight) -> None:
    add(real, "a")
    start(real)
    write(real, "b")
    real.command("add", "b.py", "--priority", "urgent")
    facts = real.wait(lambda facts: any(study == 2 for study, _ in running_now(facts)))
    (added,) = [fact for fact in of(facts, f.StudyAdded) if fact.study == 2]
    assert added.spec.priority is Priority.URGENT
    assert [s["name"] for s in listed(real)["studies"]] == ["b", "a"]
    finish(real)


def test_a_study_is_moved_before_another(real: RealNight) -> None:
    add(real, "a", "b", "c")
    start(real)
    assert [s["name"] for s in listed(real)["studies"]] == ["a", "b", "c"]
    real.command("move", "c", "--before", "b")
    assert [s["name"] for s in listed(real)["studies"]] == ["a", "c", "b"]
    real.command("move", "b", "first")
    assert [s["name"] for s in listed(real)["studies"]] == ["b", "a", "c"]
    real.command("move", "b", "last")
    assert [s["name"] for s in listed(real)["studies"]] == ["a", "c", "b"]
    finish(real)


def test_what_runs_and_what_waits_is_told_with_its_reason(real: RealNight) -> None:
    config = real.folder / "config.toml"
    config.write_text("slots = 1\n", encoding="utf-8")  # as many as pay would soon be all of them
    real.environment["SMALLHOURS_CONFIG"] = str(config)
    add(real, "a", "b")
    start(real)
    until(lambda: study(real, "b")["why"] == "device full")
    waiting = study(real, "b")
    assert waiting["since"] <= time.time()
    status = json.loads(real.command("status", "--json"))
    assert (status["current"], status["backend"]) == (True, "ready")
    assert status["slots"] >= len(status["running"]) >= 1
    assert {item["study"] for item in status["waiting"]} >= {2}
    assert max(map(len, real.command("status").splitlines())) <= 80
    finish(real)


def test_the_machine_is_given_back_and_taken_again(real: RealNight) -> None:
    add(real, "a")
    start(real)
    answer = real.command("yield", "2h")
    assert "the machine is yours after" in answer
    assert not running_now(real.facts())
    assert listed(real)["yielded_until"] > time.time() + 3600
    assert "yielded" in real.command("status")
    assert "going on" in real.command("yield", "--end")
    real.wait(running_now)
    finish(real)


def test_a_deadline_is_set_shown_and_lifted(real: RealNight) -> None:
    add(real, "a")
    start(real)
    real.command("until", "20h")
    until(lambda: listed(real)["deadline"])
    assert "deadline" in real.command("status")
    real.command("until", "none")
    until(lambda: listed(real)["deadline"] is None)
    finish(real)


def test_what_runs_is_cancelled(real: RealNight) -> None:
    add(real, "a", "b")
    start(real)
    real.wait(lambda facts: (1, 0) in running_now(facts))
    assert "cancelled a/0" in real.command("cancel", "a/0")
    assert "cancelled a" in real.command("cancel", "a")
    facts = real.wait(lambda facts: any(study == 2 for study, _ in running_now(facts)))
    (ended,) = of(facts, f.StudyEnded)
    assert (ended.study, ended.outcome) == (1, "cancelled")
    assert study(real, "a")["state"] == "cancelled"
    assert "a is over" in real.command("pause", "a")
    finish(real)


# --- ending ---------------------------------------------------------------------------------


def test_what_is_asked_for_while_the_engine_ends_is_not_lost(real: RealNight) -> None:
    add(real, "a", unwinds_s=4)
    start(real)
    inbox.submit(real.home, "stop", {"now": False, "cause": "stop"})
    real.wait(lambda facts: of(facts, f.Intended))
    before = [request.id for request in inbox.lying(real.home)]
    write(real, "b")
    added = real.command("add", "b.py")
    paused = real.command("pause", "a")
    assert listed(real)["studies"][0]["name"] == "a"
    assert real.command("status")
    yielded = real.command("yield", "1h", check=None)
    real.wait_until_gone(30)
    lying = [request for request in inbox.lying(real.home) if request.id not in before]
    answers = {fact.verb for fact in of(real.facts(), f.RequestAnswered)}
    # Each was answered by the engine that ended, or waits for the next one; never both, never none.
    for verb, said in (("add", added), ("pause", paused)):
        waits = verb in {request.verb for request in lying}
        assert waits == ("will be" in said), (said, lying)
        assert waits or verb in answers
    assert "yield" not in {request.verb for request in lying}, yielded
    known = {fact.spec.name for fact in of(real.facts(), f.StudyAdded)}
    asked = {request.body["spec"]["name"] for request in lying if request.verb == "add"}
    assert known | asked == {"a", "b"}
    real.check()


def test_stopping_is_told_to_everybody_who_looks(real: RealNight) -> None:
    add(real, "a", unwinds_s=4)
    start(real)
    stopping = real.begin("stop")
    real.wait(lambda facts: of(facts, f.Intended))
    runs = json.loads(real.command("status", "--json"))["running"]
    assert {run["state"] for run in runs} <= {"stopping"}
    assert "nothing is running" in real.command("stop") or not real.home.owner.exists()
    assert stopping.wait(60) == 0
    real.wait_until_gone()
    real.check()
