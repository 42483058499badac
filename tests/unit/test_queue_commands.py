"""The commands of the queue: what they ask for, what they print, and what they refuse."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.ledgers import EVENING, Recording, record_small_night
from smallhours import inbox, status
from smallhours.commands import add, asking, listing, queue, stop, yielding
from smallhours.commands import status as status_page
from smallhours.core import facts as f
from smallhours.core.spec import Priority
from smallhours.core.waiting import Why
from smallhours.errors import NotFoundError, StudyFileError, UsageError
from smallhours.ledger.store import Ledger
from smallhours.paths import Home

STUDY = """\
from smallhours import Float, Study

study = Study("wine2", metric="loss", goal="minimize", space={"lr": Float(0.1, 1.0)},
              baseline={"lr": 0.5}, trials=4, steps=3, weight=2.0)

@study.train
def train(trial):
    for step in range(1, 4):
        trial.report(step, loss=0.1)
"""

LIST = """\
study   state      trials  best (baseline)  priority   done
urgent  paused        0/6  – (–)            urgent     –
wine    1 running     4/6  0.25 (0.5)       normal     ~22:32
digits  waiting       0/6  – (–)            normal ×3  ~02:02, late

urgent was paused by ada@pts/1; `resume urgent` goes on
digits waits: not enough memory, for 1 m 30 s
wine: 1 failed by a mistake in the code (`why wine`)

The engine is running (process {pid}, session 2), until 23:32.
"""

STATUS = """\
engine    up for 1 m 8 s (process {pid}, session 2), ready
machine   cpu, 1 of 2 slots busy
deadline  23:32, in 1 h 30 m; digits (about 4 of 6 trials) will not make it

running  step                 pace          for
wine/4   4/10  val_loss 0.55  1 step/s  1 m 7 s

waiting       why
wine/5        device full        for 12 s
digits, next  not enough memory  for 1 m 30 s

  22:01  digits was added
  22:01  urgent was added
  22:01  urgent was paused by ada@pts/1
"""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def record(root: Path) -> Recording:
    """Record a small night with two more studies."""
    recording = record_small_night(root)
    recording.study(2, "digits", weight=3.0)
    recording.study(3, "urgent", priority=Priority.URGENT)
    recording.add(f.StudyPaused(study=3, by="ada@pts/1"))
    recording.home.prepare()
    return recording


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Recording]:
    """The night; no engine runs."""
    recording = record(tmp_path / "state")
    yield recording
    recording.close()


@pytest.fixture
def manned(tmp_path: Path) -> Home:
    """The night; an engine seems to run, which `engine` is."""
    recording = record(tmp_path / "state")
    recording.engine_lives(os.getpid())
    recording.close()
    return recording.home


@pytest.fixture
def running(night: Recording, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """The same with an engine that has said what it plans, a minute after the latest fact."""
    now = night.clock.now + 60.0
    monkeypatch.setattr(time, "time", lambda: now)
    night.engine_lives(os.getpid())
    status.write(night.home, planned(now))
    return night


def planned(now: float, **changes: Any) -> status.Status:
    """What an engine says of its plans."""
    waits = status.Waiting
    keys: dict[str, Any] = {
        "at": now, "pid": os.getpid(), "session": 2, "device": "cpu", "slots": 2, "running": 1,
        "backend": "ready", "yielded_until": None, "yielded_to": None, "deadline": now + 5400,
        "storage_short_bytes": 0,
        "waiting": (
            waits(study=1, trial=5, why=Why.FULL, since=now - 12),
            waits(study=2, trial=None, why=Why.MEMORY, since=now - 90),
        ),
        "forecast": (
            status.Forecast(study=1, done_at=now + 1800, in_time=True, trials_in_time=6),
            status.Forecast(study=2, done_at=now + 14400, in_time=False, trials_in_time=4),
        ),
    }  # fmt: skip
    return status.Status(**{**keys, **changes})


@contextmanager
def engine(
    home: Home, answer: Callable[[inbox.Request], tuple[bool, str]]
) -> Iterator[list[inbox.Request]]:
    """Answer requests as an engine does; yields those that came."""
    came: list[inbox.Request] = []
    over = threading.Event()
    failed: list[BaseException] = []

    def serve() -> None:
        ledger = Ledger(home.ledger, home.lock, reserve=False)
        list(ledger.replay())
        while not over.wait(0.01):
            for request in inbox.pending(home):
                came.append(request)
                ok, text = answer(request)
                fact = f.RequestAnswered(
                    request=request.id, verb=request.verb, uid=request.uid, ok=ok, text=text
                )
                ledger.append(fact, at=time.time(), mono=0.0)
                ledger.commit()
                inbox.discard(home, request.id)
        ledger.close()

    def guarded() -> None:
        try:
            serve()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()
    assert not failed


def asked(home: Home) -> list[tuple[str, dict[str, Any]]]:
    """What lies in the inbox."""
    return [(request.verb, request.body) for request in inbox.pending(home)]


def show(page: Callable[..., int], home: Home, **options: Any) -> str:
    out = io.StringIO()
    assert page(home, as_json=False, out=out, **options) == 0
    return out.getvalue()


def document(page: Callable[..., int], home: Home, **options: Any) -> dict[str, Any]:
    out = io.StringIO()
    assert page(home, as_json=True, out=out, **options) == 0
    read: dict[str, Any] = json.loads(out.getvalue())
    return read


# --- what is asked for ---------------------------------------------------------------------


def test_a_move_says_who_asked_and_leaves_out_what_stays(night: Recording) -> None:
    assert queue.move(night.home, "dig", place="first") == 0
    assert asked(night.home) == [
        ("move", {"study": 2, "to": "first", "before": None, "priority": None, "weight": None,
                  "hours": None, "by": inbox.who()})
    ]  # fmt: skip


def test_a_move_takes_priority_weight_and_hours(night: Recording) -> None:
    queue.move(night.home, "wine", priority="low", weight="2.5", hours=["22:00-07:00"])
    queue.move(night.home, "wine", before="urgent", hours=["always"])
    first, second = [body for _, body in asked(night.home)]
    assert (first["priority"], first["weight"], first["hours"]) == ("low", 2.5, ["22:00-07:00"])
    assert (second["before"], second["hours"]) == (3, [])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("wine", {}, "move it where?"),
        ("wine", {"place": "frist"}, "did you mean 'first'?"),
        ("wine", {"place": "first", "before": "digits"}, "take one"),
        ("wine", {"before": "wine"}, "can't go before itself"),
        ("wine", {"priority": "urgnt"}, "--priority: .*did you mean 'urgent'"),
        ("wine", {"weight": "0"}, "--weight: expected a number above 0"),
        ("wine", {"weight": "nan"}, "--weight: expected"),
        ("wine", {"weight": "much"}, "got 'much'"),
        ("wine", {"hours": ["22-7"]}, "--hours: expected hours like .*`always` lifts them"),
        ("wine/2", {"place": "first"}, "for studies: `smallhours move wine`"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused(
    night: Recording, name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        queue.move(night.home, name, **options)
    assert asked(night.home) == []


def test_near_names_are_offered(night: Recording) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'digits'"):
        queue.move(night.home, "digtis", place="first")
    with pytest.raises(NotFoundError, match="did you mean 'urgent'"):
        queue.pause(night.home, "urgnet")


def test_what_is_over_can_be_neither_moved_nor_paused(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    night.add(f.StudyEnded(study=2, outcome="done", winner=None))
    with pytest.raises(UsageError, match="digits is over: it has no place"):
        queue.move(night.home, "digits", place="first")
    assert queue.pause(night.home, "digits") == 0
    assert "digits is over: there is nothing to pause" in capsys.readouterr().out
    assert asked(night.home) == []


def test_a_study_that_waits_in_the_inbox_is_told_from_one_that_is_not_there(
    night: Recording,
) -> None:
    inbox.submit(night.home, "add", {"spec": {"name": "later"}})
    with pytest.raises(UsageError, match="later waits in the inbox to be added"):
        queue.pause(night.home, "later")
    with pytest.raises(NotFoundError, match="no study `sooner`"):
        queue.pause(night.home, "sooner")


def test_a_pause_waits_for_the_next_engine(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queue.pause(night.home, "wine") == 0
    assert capsys.readouterr().out == (
        "wine will be paused: it waits in the inbox (no engine is running; `smallhours start` goes"
        " on)\n"
    )
    assert queue.pause(night.home, everything=True) == 0
    assert asked(night.home) == [
        ("pause", {"study": 1, "by": inbox.who()}),
        ("pause", {"study": None, "by": inbox.who()}),
    ]


def test_a_pause_of_nothing_in_particular_is_refused(night: Recording) -> None:
    for name, everything in ((None, False), ("wine", True)):
        with pytest.raises(UsageError, match="pause which"):
            queue.pause(night.home, name, everything=everything)


def test_what_is_paused_is_not_paused_again(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queue.pause(night.home, "urgent") == 0
    assert "urgent is paused already" in capsys.readouterr().out
    assert asked(night.home) == []


def test_a_deadline_is_asked_for_and_lifted(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.time()
    assert queue.until(night.home, "3h") == 0
    assert queue.until(night.home, "none") == 0
    (_, first), (_, second) = asked(night.home)
    assert before + 10800 <= first["until"] <= time.time() + 10800
    assert second == {"until": None, "by": inbox.who()}
    assert "the deadline will be lifted" in capsys.readouterr().out
    with pytest.raises(UsageError, match="expected a time like"):
        queue.until(night.home, "soon")


def test_a_yield_without_an_engine_leaves_no_request(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert yielding.yield_(night.home, duration="2h") == 0
    assert yielding.yield_(night.home, end=True) == 0
    assert capsys.readouterr().out.count("no engine is running") == 2
    assert asked(night.home) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"duration": "2h", "end": True}, "take one"),
        ({"duration": "2h", "until": "18:00"}, "take one"),
        ({"duration": "soon"}, "expected a duration"),
        ({"until": "soon"}, "expected a time"),
    ],
)
def test_a_yield_that_makes_no_sense_is_refused(
    night: Recording, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        yielding.yield_(night.home, **options)


def test_a_cancel_waits_for_the_next_engine(
    night: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stop.cancel(night.home, "wine/4") == 0
    assert "wine/4 will be cancelled: it waits in the inbox" in capsys.readouterr().out
    assert asked(night.home) == [("cancel", {"study": 1, "trial": 4, "by": inbox.who()})]


# --- adding --------------------------------------------------------------------------------


def test_a_study_that_is_to_be_removed_is_not_said_to_be_archived(night: Recording) -> None:
    inbox.submit(night.home, "archive", {"study": 1, "by": "ada", "remove": True})
    assert "waits for the engine: rm wine" in show(listing.ls, night.home)


def test_a_study_that_the_ledger_does_not_have_yet_is_left_out(running: Recording) -> None:
    known = planned(time.time())
    late = msgspec.structs.replace(known.waiting[0], study=99)
    status.write(running.home, msgspec.structs.replace(known, waiting=(late, *known.waiting)))
    assert "wine" in show(status_page.status, running.home)


def test_the_name_of_a_study_that_was_removed_means_the_new_one(night: Recording) -> None:
    night.add(f.StudyRemoved(study=1, by="ada"))
    night.study(9, "wine")
    assert [head.id for head in asking.heads(night.home) if head.name == "wine"] == [9]


def test_what_is_added_waits_in_the_inbox_and_the_command_goes_before_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "state")
    path = tmp_path / "wine2.py"
    path.write_text(STUDY)
    assert add.add(home, path, priority="low", weight="4", rename="third") == 0
    ((verb, body),) = asked(home)
    spec = body["spec"]
    assert (verb, spec["name"], spec["priority"], spec["weight"]) == ("add", "third", "low", 4.0)
    assert "third will be added: it waits in the inbox" in capsys.readouterr().out
    assert show(listing.ls, home).splitlines()[0] == "waits for the engine: add third"
    (waiting,) = document(listing.ls, home)["inbox"]
    assert (waiting["verb"], waiting["what"]) == ("add", "add third")


def test_what_the_file_says_of_its_place_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    path = tmp_path / "wine2.py"
    path.write_text(STUDY)
    add.add(home, path)
    ((_, body),) = asked(home)
    assert (body["spec"]["priority"], body["spec"]["weight"]) == ("normal", 2.0)


def test_nothing_is_added_where_an_argument_or_the_file_is_wrong(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    path = tmp_path / "wine2.py"
    path.write_text(STUDY.replace("weight=2.0", "weight=-1"))
    with pytest.raises(StudyFileError, match="weight: expected a number above 0"):
        add.add(home, path)
    with pytest.raises(UsageError, match="did you mean 'normal'"):
        add.add(home, path, priority="noraml")
    with pytest.raises(UsageError, match="--first needs an engine"):
        add.add(home, path, first=True)
    assert asked(home) == []


# --- with an engine ------------------------------------------------------------------------


def test_the_answer_is_printed(manned: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with engine(manned, lambda _: (True, "wine is low priority now")) as came:
        assert queue.move(manned, "wine", priority="low") == 0
    assert capsys.readouterr().out == "wine is low priority now\n"
    assert [request.verb for request in came] == ["move"]


def test_a_refusal_is_an_error(manned: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with engine(manned, lambda _: (False, "not now")):
        assert queue.pause(manned, "wine") == 2
    assert capsys.readouterr() == ("", "not now\n")


def test_a_yield_waits_until_everything_is_off_the_machine(
    manned: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[int] = []
    read = status.read

    def answer(request: inbox.Request) -> tuple[bool, str]:
        until = request.body["until"]
        status.write(manned, planned(time.time(), yielded_until=until, running=2))
        return True, "yielding"

    def go_on(place: Home) -> status.Status | None:
        seen = read(place)
        looks.append(seen.running if seen else -1)
        if seen is not None and len(looks) == 2:
            status.write(
                manned, planned(time.time(), yielded_until=1.0, running=0, backend="closed")
            )
        return seen

    with engine(manned, answer), pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "read", go_on)
        assert yielding.yield_(manned, duration="2h") == 0
    assert looks == [2, 2, 0]
    first, second = capsys.readouterr().out.splitlines()
    assert first == "yielding"
    assert second.startswith("the machine is yours after ")
    assert "goes on by itself at" in second


def test_a_yield_without_a_time_ends_after_an_hour(manned: Home) -> None:

    def answer(request: inbox.Request) -> tuple[bool, str]:
        status.write(
            manned,
            planned(time.time(), yielded_until=1.0, running=0, backend="closed", deadline=None),
        )
        return True, "yielding"

    before = time.time()
    with engine(manned, answer) as came:
        yielding.yield_(manned)
    assert before + 3600 <= came[0].body["until"] <= time.time() + 3600


def test_taking_the_machine_back_waits_for_nothing(
    manned: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine(manned, lambda _: (True, "going on")) as came:
        assert yielding.yield_(manned, end=True) == 0
    assert came[0].body["until"] is None
    assert capsys.readouterr().out == "going on\n"


def test_what_is_added_first_is_moved_once_it_is_there(
    manned: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wine2.py"
    path.write_text(STUDY.replace('"wine2"', '"digits"'))
    with engine(manned, lambda request: (True, f"{request.verb} done")) as came:
        assert add.add(manned, path, first=True) == 0
    assert [request.verb for request in came] == ["add", "move"]
    assert (came[1].body["study"], came[1].body["to"]) == (2, "first")
    assert capsys.readouterr().out == "add done\nmove done\n"


# --- the queue ------------------------------------------------------------------------------


def test_the_queue_is_listed_in_its_order(running: Recording) -> None:
    assert show(listing.ls, running.home) == LIST.format(pid=os.getpid())


def test_a_moved_study_is_listed_where_it_was_moved_to(running: Recording) -> None:
    move: dict[str, Any] = {"weight": 1.0, "hours": (), "by": "ada"}
    running.add(f.StudyMoved(study=2, priority=Priority.NORMAL, place=0.5, **move))
    names = [study["name"] for study in document(listing.ls, running.home)["studies"]]
    assert names == ["urgent", "digits", "wine"]
    running.add(f.StudyMoved(study=3, priority=Priority.LOW, place=0.1, **move))
    found = document(listing.ls, running.home)["studies"]
    assert [study["name"] for study in found] == ["digits", "wine", "urgent"]
    assert (found[2]["priority"], found[2]["place"]) == ("low", 0.1)


def test_what_move_changed_stays_when_the_file_is_added_again(running: Recording) -> None:
    running.add(
        f.StudyMoved(study=1, priority=Priority.LOW, weight=5.0, hours=(), place=7.0, by="ada")
    )
    spec = running.study(9, "wine-copy", trials=50)
    running.add(f.StudyAmended(study=1, spec=spec))
    (found,) = [s for s in document(listing.ls, running.home)["studies"] if s["id"] == 1]
    assert (found["priority"], found["weight"], found["place"]) == ("low", 5.0, 7.0)


def test_the_list_has_stable_keys(running: Recording) -> None:
    answer = document(listing.ls, running.home)
    assert set(answer) == {
        "engine", "current", "deadline", "yielded_until", "studies", "more", "inbox"
    }  # fmt: skip
    digits = next(study for study in answer["studies"] if study["name"] == "digits")
    assert set(digits) == {
        "id", "name", "state", "halted", "paused_by", "why", "since", "running", "searched",
        "trials", "confirmed", "confirmations", "best", "baseline", "metric", "goal", "priority",
        "weight", "hours", "place", "done_at", "in_time", "trials_in_time",
        "code_failures", "unworkable", "known_mistakes",
    }  # fmt: skip
    assert (digits["why"], digits["since"]) == ("not enough memory", time.time() - 90)
    assert (digits["in_time"], digits["trials_in_time"]) == (False, 4)


def test_without_an_engine_nothing_is_said_of_plans_that_are_stale(night: Recording) -> None:
    status.write(night.home, planned(night.clock.now))
    printed = show(listing.ls, night.home)
    assert "No engine is running; `smallhours start` goes on." in printed
    assert "not enough memory" not in printed
    answer = document(listing.ls, night.home)
    assert answer["current"] is False
    assert {study["why"] for study in answer["studies"]} == {None}


def test_requests_that_wait_are_listed(night: Recording) -> None:
    home = night.home
    queue.move(home, "wine", place="first")
    stop.cancel(home, "wine/4")
    inbox.submit(home, "release", {"study": None})
    (home.inbox / "5-x.json").write_text("{no request")
    waits = [line for line in show(listing.ls, home).splitlines() if line.startswith("waits for")]
    assert waits == [
        "waits for the engine: move wine",
        "waits for the engine: cancel wine/4",
        "waits for the engine: resume all",
    ]
    assert (home.inbox / "5-x.json").exists()


def test_what_is_over_comes_last_and_what_was_put_away_only_on_demand(running: Recording) -> None:
    running.add(
        f.StudyEnded(study=2, outcome="done", winner=None),
        f.StudyArchived(study=2, by="ada"),
        f.StudyEnded(study=1, outcome="cancelled", winner=None),
        f.StudyAdded(
            study=4, spec=running.study(5, "gone"), snapshot="a", digest="b", source="", module="",
            cwd="",
        ),
        f.StudyEnded(study=5, outcome="done", winner=None),
        f.StudyRemoved(study=5, by="ada"),
    )  # fmt: skip
    found = {s["name"]: s["state"] for s in document(listing.ls, running.home)["studies"]}
    assert list(found.items()) == [
        ("urgent", "paused"), ("gone", "waiting"), ("wine", "cancelled")
    ]  # fmt: skip
    everything = document(listing.ls, running.home, everything=True)["studies"]
    states = {study["name"]: study["state"] for study in everything}
    assert (states["digits"], states["gone@5"]) == ("archived", "removed")


def test_of_many_that_are_over_only_the_latest_are_listed(running: Recording) -> None:
    for number in range(10, 22):
        running.study(number, f"old{number}")
        running.add(f.StudyEnded(study=number, outcome="done", winner=None))
    answer = document(listing.ls, running.home)
    assert [s["name"] for s in answer["studies"]][3:] == [f"old{n}" for n in range(21, 13, -1)]
    assert answer["more"] == 4
    assert "... and 4 studies more over: `ls --all`" in show(listing.ls, running.home)


def test_no_line_is_wider_than_the_terminal(
    running: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.study(4, "a-study-with-a-name-of-sixty-four-characters-which-is-the-most-ok")
    running.add(f.StudyHalted(study=4, cause="same_failure", sentence="it failed " * 30))
    for columns in (80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        for page in (listing.ls, status_page.status):
            assert max(map(len, show(page, running.home).splitlines())) <= columns


def test_nothing_at_all_is_said_kindly(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    assert "the queue is empty" in show(listing.ls, home)
    assert "nothing has run yet" in show(status_page.status, home)
    assert document(listing.ls, home)["studies"] == []
    assert document(status_page.status, home) == {"engine": None, "current": False, "inbox": []}


# --- the night ------------------------------------------------------------------------------


def test_the_status_fits_on_a_small_page(running: Recording) -> None:
    assert show(status_page.status, running.home) == STATUS.format(pid=os.getpid())


def test_plans_that_are_older_than_the_ledger_contradict_nothing(running: Recording) -> None:
    now = running.clock.now + 60.0
    waiting = (status.Waiting(study=1, trial=4, why=Why.OPENING, since=now),)
    plans = planned(now, device="", slots=0, running=0, backend="opening", waiting=waiting)
    status.write(running.home, plans)
    said = show(status_page.status, running.home)
    assert "no device yet\n" in said
    assert said.count("wine/4") == 1  # it runs


def test_the_status_has_stable_keys(running: Recording) -> None:
    answer = document(status_page.status, running.home)
    assert set(answer) == {
        "engine", "current", "backend", "device", "slots", "packed", "devices", "plans", "running",
        "waiting",
        "deadline", "late", "yielded_until", "yielded_to", "latest", "inbox",
    }  # fmt: skip
    (run,) = answer["running"]
    assert (run["trial"], run["step"], run["steps"], run["rate"]) == ("wine/4", 4, 10, 1.0)
    assert (run["state"], run["value"], run["device"]) == ("running", 0.55, "cpu")
    assert [item["name"] for item in answer["waiting"]] == ["wine/5", "digits, next"]
    (late,) = answer["late"]
    assert (late["name"], late["trials_in_time"], late["trials"]) == ("digits", 4, 6)
    assert answer["latest"][-1]["text"] == "urgent was paused by ada@pts/1"


def test_a_yield_and_quiet_hours_are_told(running: Recording) -> None:
    quiet = status.Waiting(study=1, trial=5, why=Why.QUIET, since=time.time())
    changes: dict[str, Any] = {"yielded_until": time.time() + 60, "yielded_to": "ada"}
    status.write(running.home, planned(time.time(), waiting=(quiet,), **changes))
    printed = show(status_page.status, running.home)
    assert "yielded to ada until 22:03; quiet hours" in printed
    assert "the machine is yielded to ada until 22:03" in show(listing.ls, running.home)


def test_without_an_engine_the_status_says_what_is_left(night: Recording) -> None:
    printed = show(status_page.status, night.home)
    assert printed.startswith("engine  none is running: 2 studies to go on with,")
    assert "waiting" not in printed
    assert document(status_page.status, night.home)["running"] == []


def test_a_trial_that_starts_or_stops_is_told_from_one_that_runs(running: Recording) -> None:
    running.create(6)
    running.add(f.AttemptStarted(study=1, trial=6, attempt=1, device="cpu", resume_step=0))
    runs = document(status_page.status, running.home)["running"]
    assert [(run["trial"], run["state"]) for run in runs] == [
        ("wine/4", "running"), ("wine/6", "starting")
    ]  # fmt: skip
    assert runs[1]["rate"] is None


# --- what it costs --------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["listing", "status", "queue", "yielding", "add", "stop"])
def test_the_commands_start_without_anything_heavy(module: str) -> None:
    code = (
        f"import sys, smallhours.commands.{module};"
        " print(*({'ray', 'optuna', 'torch', 'textual', 'rich', 'asyncio', 'psutil'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_evening_is_where_the_pages_begin() -> None:
    assert time.strftime("%H:%M", time.localtime(EVENING)) == "22:00"
