"""The search thread: every ask is answered once, in order, and failures come as words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from queue import SimpleQueue

import msgspec
import pytest

from fakes.core import Night, make_spec
from smallhours.core import facts as f
from smallhours.core.events import Event, Suggested, SuggestFailed
from smallhours.core.model import Study
from smallhours.core.reasons import Completed, Diverged, Failure, RuleCut
from smallhours.core.spec import Dimension, Goal, Params, Sampler, StudySpec
from smallhours.core.state import State
from smallhours.core.trial import Role
from smallhours.errors import UsageError
from smallhours.rules import make
from smallhours.search import Asking, PastTrial, Search
from smallhours.search_thread import Searches, SearchThread, history_of

SPACE = (Dimension(name="x", kind="float", low=0.0, high=1.0),)
SPEC = StudySpec(
    name="s",
    metric="loss",
    goal=Goal.MINIMIZE,
    space=SPACE,
    baseline={"x": 0.5},
    trials=9,
    steps=4,
)
BY_RUN = StudySpec(
    name="r",
    metric="loss",
    goal=Goal.MINIMIZE,
    space=None,
    baseline={"x": 0.5},
    trials=9,
    steps=4,
)


def model_of(study: int, spec: StudySpec) -> Study:
    """A study without trials."""
    state = State(make)
    added = {"snapshot": "", "digest": "", "source": "", "module": "", "cwd": ""}
    state.apply(f.StudyAdded(study=study, spec=spec, **added), 0.0)
    return state.studies[study]


class FixedClock:
    def mono(self) -> float:
        return 7.5

    def wall(self) -> float:
        return 0.0


class Posted:
    """A search thread and what it posts."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[Event] = SimpleQueue()
        self.thread = SearchThread(self.queue.put, FixedClock())

    def next(self) -> Event:
        return self.queue.get(timeout=5)


@pytest.fixture
def posted() -> Iterator[Posted]:
    posted = Posted()
    yield posted
    posted.thread.shutdown()


def test_asks_are_answered_in_order_with_the_clock_s_time(posted: Posted) -> None:
    posted.thread.open(1, SPEC, [PastTrial(trial=0, params={"x": 0.5})])
    posted.thread.open(2, SPEC)
    for trial in (1, 2):
        posted.thread.ask(1, trial)
        posted.thread.ask(2, trial)
    reference = Search(SPEC, [PastTrial(trial=0, params={"x": 0.5})])
    for trial in (1, 2):
        params = reference.ask(trial)
        for study in (1, 2):
            expected = Suggested(at=7.5, study=study, trial=trial, params=params)
            assert posted.next() == expected


def test_the_baseline_and_tells_reach_the_search(posted: Posted) -> None:
    study = posted.thread
    study.open(1, SPEC)
    study.add(1, PastTrial(trial=0, params={"x": 0.5}))
    study.tell(1, 0, "complete", 0.3, 4)
    study.ask(1, 1)
    assert isinstance(posted.next(), Suggested)


def test_a_space_function_s_answer_carries_its_dimensions(posted: Posted) -> None:
    def define(asking: Asking, trial: int) -> Params:
        x = asking.suggest("float", "x", {"low": 0.0, "high": 1.0})
        return {"x": x, "trial": trial}

    posted.thread.open(1, BY_RUN, define=define)
    posted.thread.ask(1, 3)
    event = posted.next()
    assert isinstance(event, Suggested)
    assert event.dimensions == SPACE
    assert event.params["trial"] == 3


def test_a_failing_space_function_fails_its_own_ask_only(posted: Posted) -> None:
    def define(asking: Asking, trial: int) -> None:
        if trial == 1:
            raise UsageError("space(): no file nets.json")
        if trial == 2:
            raise ZeroDivisionError("division by zero")

    posted.thread.open(1, BY_RUN, define=define)
    for trial in (1, 2, 3):
        posted.thread.ask(1, trial)
    words = "space(): no file nets.json"
    assert posted.next() == SuggestFailed(at=7.5, study=1, trial=1, message=words)
    words = "ZeroDivisionError: division by zero"
    assert posted.next() == SuggestFailed(at=7.5, study=1, trial=2, message=words)
    assert isinstance(posted.next(), Suggested)


def test_a_search_that_missed_a_tell_fails_until_it_is_opened_anew(posted: Posted) -> None:
    posted.thread.open(1, SPEC)
    posted.thread.tell(1, 5, "complete", 0.3, 4)
    posted.thread.ask(1, 6)
    failed = posted.next()
    assert isinstance(failed, SuggestFailed)
    assert "5" in failed.message
    posted.thread.open(1, SPEC)
    posted.thread.ask(1, 6)
    assert isinstance(posted.next(), Suggested)


def test_a_closed_study_and_one_with_a_wrong_sampler_fail_with_words(posted: Posted) -> None:
    posted.thread.open(1, SPEC)
    posted.thread.close(1)
    posted.thread.ask(1, 1)
    failed = posted.next()
    assert isinstance(failed, SuggestFailed)
    assert failed.message == "the study's search is not open"


def test_a_search_that_can_not_be_opened_says_why_whatever_it_is_told_afterwards(
    posted: Posted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'optuna'")

    monkeypatch.setattr("smallhours.search_thread.Search", missing)
    posted.thread.open(1, SPEC)
    posted.thread.add(1, PastTrial(trial=0, params={"x": 0.5}))
    posted.thread.ask(1, 1)
    failed = posted.next()
    assert isinstance(failed, SuggestFailed)
    assert failed.message == "ModuleNotFoundError: No module named 'optuna'"


def test_shutdown_drops_what_waits_and_ends_the_thread() -> None:
    others = set(threading.enumerate())
    posted, entered, leave = Posted(), threading.Event(), threading.Event()

    def define(asking: Asking, trial: int) -> None:
        entered.set()
        leave.wait(5)

    posted.thread.open(1, BY_RUN, define=define)
    posted.thread.ask(1, 1)
    posted.thread.ask(1, 2)
    entered.wait(5)
    posted.thread.shutdown(timeout_s=0.01)
    leave.set()
    posted.thread.shutdown()
    assert posted.queue.empty()
    assert set(threading.enumerate()) <= others


def test_a_slow_sampler_keeps_nobody_else_waiting() -> None:
    queue: SimpleQueue[Event] = SimpleQueue()
    searches, leave = Searches(queue.put, FixedClock()), threading.Event()
    slow = msgspec.structs.replace(SPEC, sampler=Sampler(name="gp"))
    try:
        for study, spec in ((1, slow), (2, SPEC)):
            searches.open(model_of(study, spec), None)
        searches.of(1)._jobs.put(leave.wait)  # a proposal that takes its time
        for study in (1, 2):
            searches.of(study).ask(study, 1)
        answers = [queue.get(timeout=60)]
        leave.set()
        answers.append(queue.get(timeout=60))
    finally:
        leave.set()
        searches.shutdown()
    assert [type(answer) for answer in answers] == [Suggested, Suggested]
    assert [getattr(answer, "study", None) for answer in answers] == [2, 1]


def test_what_a_sampler_notes_reaches_the_machine_and_comes_back(posted: Posted) -> None:
    spec = msgspec.structs.replace(SPEC, sampler=Sampler(name="cmaes"))
    posted.thread.open(1, spec)
    posted.thread.ask(1, 1)
    event = posted.next()
    assert isinstance(event, Suggested)
    assert event.attrs["generation"] == 0
    night = Night()
    night.begin()
    night.add(make_spec())
    night.tell(replace(event, at=1.0))
    past = history_of(night.machine.state.studies[1])[1]
    assert (past.trial, past.params, past.attrs) == (1, event.params, event.attrs)


def test_the_history_of_a_study_leaves_confirmations_out_and_counts_ends() -> None:
    state = State(make)
    added = {"snapshot": "", "digest": "", "source": "", "module": "", "cwd": ""}
    state.apply(f.StudyAdded(study=1, spec=SPEC, **added), 0.0)
    ends = [
        Completed(steps=2, metrics={"loss": 0.5}),
        RuleCut(rule="median", version=1, options={}, step=2, value=0.9, threshold=0.5,
                goal="minimize", compared=1, competitors=()),
        Diverged(metric="loss", value="nan", step=2, limit=None),
        Failure(type="E", message="", fingerprint="", where="", traceback="", phase="train"),
        None,
    ]  # fmt: skip
    for trial, reason in enumerate(ends):
        ids = {"study": 1, "trial": trial, "attempt": 1}
        role = Role.SEARCH if trial else Role.BASELINE
        created = f.TrialCreated(study=1, trial=trial, params={"x": 0.1}, seed=0, role=role)
        state.apply(created, 0.0)
        if reason is None:
            continue
        state.apply(f.AttemptStarted(**ids, device="cpu", resume_step=0), 0.0)
        state.apply(f.AttemptRunning(**ids, pid=1, pid_started=1), 0.0)
        state.apply(f.Reported(**ids, step=2, metrics={"loss": 0.5 + trial}), 1.0)
        state.apply(
            f.AttemptEnded(**ids, reason=reason, seconds=1.0, last_step=2, score=0.5, then="over"),
            2.0,
        )
    state.apply(
        f.TrialCreated(study=1, trial=5, params={"x": 0.1}, seed=1, role=Role.CONFIRMATION, of=0),
        3.0,
    )
    history = history_of(state.studies[1])
    assert [(past.trial, past.outcome, past.value, past.step) for past in history] == [
        (0, "complete", 0.5, 2),
        (1, "pruned", 1.5, 2),
        (2, "worst", None, None),
        (3, "fail", None, None),
        (4, None, None, None),
    ]
