from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.ledgers import ALL_REASONS, Recording, record_small_night
from smallhours import logs
from smallhours.commands import log as log_page
from smallhours.commands import read
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.errors import UsageError
from smallhours.snapshot import Snapshot

HOSTILE = "\x1b]52;c;aGk=\x07\x9b31m\u202egnp\u2028[/x]"
FORBIDDEN = set("\x1b\x07\x9b\u202e\u2028\r")

OVERVIEW = """\
study  state    trials  best against baseline               time
wine   running     4/6  val_loss 0.25, 50 % lower than 0.5  10 s

The engine is running (process {pid}, session 2).
"""

STUDY = """\
wine  running

  question    How wide must an MLP be on 13 features?
  hypothesis  16 units are enough.
  best        wine/1: val_loss 0.25, 50 % lower than the baseline's 0.5; not
              confirmed yet
  trials      4 of 6 over, 1 running, 1 waiting
  steps       31 run, 3 saved by stopping early (8.8 %, about 1.0 s)
  time        10 s of running, started 2026-03-01 22:00:04
  file        /home/ada/wine.py

  How trials ended
       2  ran to the end
       1  stopped by the rule
       1  raised an exception

  Trials, best first
  rank  trial   val_loss  steps  how it ended                      parameters
     1  wine/1      0.25     10  completed                         lr=0.2
     2  wine/0       0.5     10  completed (baseline)              lr=0.1
     –  wine/2       0.9      7  median at step 7: 0.9 against 0…  lr=0.3
     –  wine/3         –      0  ValueError: bad width (wine.py:…  lr=0.4

  Running and waiting
  trial   state
  wine/4  running  step 4, 0.55, for 4.0 s
  wine/5  waiting  for a free place
"""

TRIAL = """\
wine/4  running

  role   search
  score  val_loss 0.55 (its last value)
  steps  4 of 10
  time   4.9 s, first started 2026-03-01 22:00:47
  seed   104

  Parameters
    lr  0.5

  Attempts
       started   ran for  steps  memory  on   how it ended
    1  22:00:47   0.90 s    0-3  64 MiB  cpu  interrupted: Ctrl-C was pressed
    2  22:00:55    4.0 s    2-4       –  cpu  runs

  val_loss by step
    █▅▂▁
    0.8 at step 1, 0.55 at step 4; best 0.55 at step 4

  Checkpoints
    step 2  2 KiB  {home}/trials/1/4/checkpoints/2-1

`smallhours why wine/4` says more, `log` what it wrote.
"""

WHY_CUT = """\
wine/2 was stopped at step 7 of 10 by the median rule. Its best val_loss so far,
0.9, was worse than 0.675, the median of what 2 completed trials had at step 7.
Stopping it saved 3 steps, about 0.60 s.

Evidence
  rule       median, version 1 warmup=5 startup=2
  step       7
  value      0.9 (minimize)
  threshold  0.675, of 2 values
  around it  wine/1 0.55, wine/0 0.8
"""

BEST = """\
              trial   val_loss  mean ± SD on fresh seeds
the best      wine/1       0.2  0.21 ± 0.01 (n = 3)
the baseline  wine/0       0.5  0.52 ± 0.02 (n = 3)

wine/1 is the best of 2 completed trials. On fresh seeds its val_loss is 60 %
lower than the baseline's on average; the difference is -0.3656 to -0.2544 (95 %
interval). It stands out from the noise.

checkpoint  {checkpoint}
            step 10, 2 KiB
baseline    lr=0.1
parameters  of wine/1, as Python has them:

{{
    'lr': 0.2,
    'act': "re'lu",
    'bias': True,
}}
"""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("COLUMNS", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Recording]:
    recording = record_small_night(tmp_path / "state")
    recording.engine_lives(os.getpid())
    yield recording
    recording.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "state")
    recording.session()
    yield recording
    recording.close()


def printed(
    night: Recording, verb: Callable[..., int], target: str | None, *, as_json: bool = False
) -> str:
    out = io.StringIO()
    verb(night.home, target=target, as_json=as_json, out=out, clock=night.clock)
    return out.getvalue()


def document(night: Recording, verb: Callable[..., int], target: str | None) -> Any:
    return json.loads(printed(night, verb, target, as_json=True), parse_constant=pytest.fail)


def logged(night: Recording, target: str, **options: Any) -> str:
    out = io.StringIO()
    assert read.log(night.home, target=target, out=out, **options) == 0
    return out.getvalue()


def test_a_small_night_looks_like_this(night: Recording) -> None:
    assert printed(night, read.show, None) == OVERVIEW.format(pid=os.getpid())
    assert printed(night, read.show, "wine") == STUDY
    assert printed(night, read.why, "wine/2") == WHY_CUT


def test_a_trial_looks_like_this(night: Recording) -> None:
    shown = printed(night, read.show, "wine/4")
    assert shown == TRIAL.format(home=night.home.root)


def test_pages_keep_to_eighty_columns(night: Recording) -> None:
    night.create(6, {"a_rather_long_name_" * 3: "x" * 50, "lr": 0.1})
    night.start(6)
    night.end(6, r.Completed(steps=10, metrics={}), score=0.01, last_step=10)
    for verb, target in [(read.show, None), (read.show, "wine"), (read.why, "wine"),
                         (read.why, "wine/3"), (read.why, "wine/4")]:  # fmt: skip
        assert max(map(len, printed(night, verb, target).splitlines())) <= 80


def test_a_completed_trial_is_told_its_rank_and_why_it_was_kept(night: Recording) -> None:
    said = " ".join(printed(night, read.why, "wine/1").split())
    assert "wine/1 ran to its last step, 10. Its val_loss, 0.25, is the best of 2" in said
    assert (
        "It was kept: half-way, at step 5, its best val_loss so far, 0.75, was better than" in said
    )


def test_a_trial_that_was_behind_and_kept_is_told_why(empty: Recording) -> None:
    from smallhours.core.spec import Stopping

    empty.study(stopping=Stopping(options={"startup": 5.0}))
    empty.complete(0, 0.2)
    empty.complete(1, 0.4)
    said = " ".join(printed(empty, read.why, "wine/1").split())
    assert "It was kept although half-way" in said
    assert "The rule stops nothing before 5 trials have completed." in said


def test_an_interrupted_trial_that_was_resumed_tells_its_history(night: Recording) -> None:
    said = " ".join(printed(night, read.why, "wine/4").split())
    assert "has been running on the CPU for 4.0 s and is at step 4 of 10" in said
    assert (
        "It ran in 2 attempts: (1) to step 3, interrupted: Ctrl-C was pressed;"
        " (2) from step 2 to step 4, running." in said
    )


def test_a_trial_that_was_cut_off_with_its_engine_says_how_it_goes_on(night: Recording) -> None:
    night.home.owner.unlink()
    said = " ".join(printed(night, read.why, "wine/4").split())
    assert "waits for the engine: `smallhours resume`, to go on from step 2" in said
    assert "cut off at step 4 of 10" in said
    assert "2 steps will be run again" in said


def test_failures_of_the_same_kind_are_told_together(night: Recording) -> None:
    failure = r.Failure(
        type="ValueError", message="bad width", fingerprint="f1", where="wine.py:12 in train",
        traceback="Traceback\n  here", phase="train", seen=2,
    )  # fmt: skip
    night.create(6)
    night.start(6)
    night.end(6, failure)
    assert "1 other failed at the same place: wine/3." in " ".join(
        printed(night, read.why, "wine/6").split()
    )
    assert "ValueError: bad width (in wine.py:12 in train): wine/3 and wine/6" in " ".join(
        printed(night, read.why, "wine").split()
    )


def test_why_a_study_counts_its_reasons_in_groups(night: Recording) -> None:
    said = printed(night, read.why, "wine")
    assert said.startswith("wine is running: 4 of 6 trials are over; 1 running and 1 waiting.\n")
    assert "\n2 finished\n  2  ran to the end  wine/0 and wine/1\n" in said
    assert "\n1 stopped by a rule or a limit\n  1  stopped by the rule  wine/2\n" in said
    assert "\n1 failed by a mistake in the code\n  1  raised an exception  wine/3\n" in said


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (f.StudyEnded(study=1, outcome="done", winner=1), "wine is done (2026-03-01 22:"),
        (f.StudyEnded(study=1, outcome="cancelled", winner=None), "wine was cancelled"),
        (f.StudyHalted(study=1, cause="disk", sentence="No room."), "starts nothing: No room. So"),
        (f.StudyRetired(study=1), "wine@1 was put aside"),
    ],
)
def test_why_a_study_says_how_it_ended(night: Recording, fact: f.Fact, words: str) -> None:
    night.add(fact)
    night.home.owner.unlink()
    assert words in " ".join(printed(night, read.why, "wine@1").split())


@pytest.mark.parametrize("reason", ALL_REASONS, ids=[r.tag(reason) for reason in ALL_REASONS])
@pytest.mark.parametrize("then", ["over", "resume"])
def test_every_reason_is_shown_on_every_page(empty: Recording, reason: r.Reason, then: str) -> None:
    empty.study()
    empty.create(0)
    empty.start(0)
    empty.end(0, reason, last_step=3, then=then)
    for verb, target in [(read.show, "wine"), (read.show, "wine/0"), (read.why, "wine/0"),
                         (read.why, "wine")]:  # fmt: skip
        said = printed(empty, verb, target)
        assert "None" not in said
        assert "{" not in said
        document(empty, verb, target)
    assert document(empty, read.why, "wine/0")["reason"]["reason"] == r.tag(reason)


def hostile_night(night: Recording) -> None:
    night.study(1, f"wi{HOSTILE}", question=HOSTILE, hypothesis=HOSTILE, metric=HOSTILE)
    night.create(0, {HOSTILE: HOSTILE})
    night.start(0)
    night.report(0, {1: 0.5})
    failure = r.Failure(
        type=HOSTILE, message=HOSTILE, fingerprint=HOSTILE, where=HOSTILE,
        traceback=f"{HOSTILE}\n{HOSTILE}", phase=HOSTILE,
    )  # fmt: skip
    night.end(0, failure, last_step=1, score=0.5)
    night.complete(1, 0.25)
    night.create(2)
    night.start(2)
    night.end(2, r.Cancelled(by=HOSTILE, scope="trial", checkpoint=HOSTILE))
    night.create(3)
    night.add(f.StudyHalted(study=1, cause="disk", sentence=HOSTILE))


def test_nothing_hostile_reaches_the_output(empty: Recording) -> None:
    hostile_night(empty)
    for verb, target in [(read.show, None), (read.show, "wi"), (read.why, "wi"), (read.best, "wi"),
                         (read.show, "wi/0"), (read.why, "wi/0"), (read.why, "wi/1"),
                         (read.show, "wi/2"), (read.why, "wi/2"), (read.why, "wi/3")]:  # fmt: skip
        for as_json in (False, True):
            assert not FORBIDDEN & set(printed(empty, verb, target, as_json=as_json)), target
    assert "[/x]" in printed(empty, read.show, "wi")


def test_json_of_all_studies_has_the_documented_keys(night: Recording) -> None:
    shown = document(night, read.show, None)
    assert set(shown) == {"engine", "studies"}
    assert set(shown["engine"]) == {
        "running", "pid", "session", "started_at", "ended", "restarting",
    }  # fmt: skip
    (study,) = shown["studies"]
    assert set(study) == {
        "id", "name", "metric", "goal", "state", "outcome", "trials", "ended", "best", "baseline",
        "seconds",
    }  # fmt: skip
    assert study["best"]["score"] == 0.25


def test_json_of_a_study_holds_every_trial(night: Recording) -> None:
    shown = document(night, read.show, "wine")
    assert set(shown) - set(document(night, read.show, None)["studies"][0]) == {
        "question", "hypothesis", "steps", "source", "halted", "added_at", "started_at",
        "ended_at", "states", "reasons", "confirmed", "confirmations", "steps_run", "steps_saved",
        "seconds_saved", "packing", "notes", "recheck", "rows",
    }  # fmt: skip
    assert shown["reasons"] == {"completed": 2, "rule_cut": 1, "exception": 1}
    assert [row["trial"] for row in shown["rows"]] == [f"wine/{n}" for n in range(6)]
    assert shown["rows"][2] == {
        "trial": "wine/2", "number": 2, "role": "search", "of": None,
        "params": {"lr": pytest.approx(0.3)}, "seed": 102, "reason": "rule_cut", "score": 0.9,
        "last_step": 7, "seconds": 1.4,
    }  # fmt: skip


def test_json_of_a_trial_has_numbers_as_numbers_and_nan_as_null(night: Recording) -> None:
    night.create(6)
    night.start(6)
    night.report(6, {1: 0.5, 2: float("nan")})
    diverged = r.Diverged(metric="val_loss", value="nan", step=2, limit=None)
    night.end(6, diverged, last_step=2, score=float("nan"))
    shown = document(night, read.show, "wine/6")
    assert set(shown) == {
        "trial", "number", "study", "role", "of", "params", "seed", "state", "waiting", "reason",
        "then", "continued", "score", "last_step", "seconds", "curve", "attempts", "checkpoints",
        "notes",
    }  # fmt: skip
    assert shown["curve"] == [[1, 0.5], [2, None]]
    assert shown["score"] is None
    assert shown["reason"]["value"] is None
    assert set(shown["attempts"][0]) == {
        "number", "device", "device_title", "started_at", "ended_at", "resume_step", "pid",
        "intent", "reason", "then", "last_step", "seconds", "peak_bytes", "footprint", "probe",
        "expected_bytes", "promised_bytes", "held_bytes", "cap", "rejected",
    }  # fmt: skip


def test_json_of_why_has_the_documented_keys(night: Recording) -> None:
    trial = document(night, read.why, "wine/4")
    assert set(trial) == {
        "trial", "state", "paragraphs", "reason", "waiting", "continued", "alike", "attempts",
    }  # fmt: skip
    assert trial["reason"]["cause"] == "ctrl-c"
    study = document(night, read.why, "wine")
    assert set(study) == {
        "study", "state", "outcome", "halted", "paragraphs", "groups", "failures",
        "mistakes", "recheck",
    }  # fmt: skip
    assert [group["trials"] for group in study["groups"]] == [2, 1, 1, 0, 0, 0, 0, 0]
    assert study["failures"][0]["trials"] == ["wine/3"]


def confirm(night: Recording) -> Path:
    night.study(trials=2, confirm=3)
    night.complete(0, 0.5)
    night.create(1, {"lr": 0.2, "act": "re'lu", "bias": True})
    night.start(1)
    night.report(1, {9: 0.21, 10: 0.2})
    night.checkpoint(1, 9)
    newest = night.checkpoint(1, 10)
    night.end(1, r.Completed(steps=10, metrics={"val_loss": 0.2}), score=0.2, last_step=10)
    for number, score in enumerate([0.50, 0.52, 0.54]):
        night.complete(2 + number, score, of=0)
    for number, score in enumerate([0.20, 0.21, 0.22]):
        night.complete(5 + number, score, of=1)
    night.add(f.StudyEnded(study=1, outcome="done", winner=1))
    return newest


def test_best_gives_the_answer_with_its_spread_and_checkpoint(empty: Recording) -> None:
    newest = confirm(empty)
    shown = printed(empty, read.best, "wine")
    assert shown == BEST.format(checkpoint=newest)
    python = shown[shown.index("{") : shown.index("}") + 1]
    assert eval(python) == {"lr": 0.2, "act": "re'lu", "bias": True}


def test_json_of_best_has_the_documented_keys(empty: Recording) -> None:
    newest = confirm(empty)
    shown = document(empty, read.best, "wine")
    assert set(shown) == {
        "study", "metric", "goal", "confirmed", "claim", "best", "baseline", "checkpoint",
        "difference",
    }  # fmt: skip
    assert shown["confirmed"] is True
    assert shown["best"]["fresh"] == {
        "n": 3,
        "mean": pytest.approx(0.21),
        "sd": pytest.approx(0.01),
    }
    assert shown["best"]["seeds"]["n"] == 4
    assert shown["checkpoint"] == {"path": str(newest), "step": 10, "size_bytes": 2048}
    assert set(shown["difference"]) == {"gain", "share", "low", "high", "stands_out", "of"}
    assert shown["difference"]["gain"] == pytest.approx(0.31)


def test_best_says_that_a_claim_is_not_confirmed_yet(night: Recording) -> None:
    said = " ".join(printed(night, read.best, "wine").split())
    assert "each on one seed: that may be noise." in said
    assert "Not confirmed yet: none of the confirmations are over." in said
    assert "call trial.checkpoint(state) in the training function" in said
    assert document(night, read.best, "wine")["confirmed"] is False


def test_best_says_where_nothing_was_better_than_the_baseline(empty: Recording) -> None:
    empty.study()
    empty.complete(0, 0.1)
    empty.complete(1, 0.2)
    said = " ".join(printed(empty, read.best, "wine").split())
    assert "Nothing was better than the baseline, wine/0, among 2 completed trials." in said
    assert "the study asks for no confirmations" in said


def test_best_without_a_completed_trial_exits_with_one(empty: Recording) -> None:
    empty.study()
    out = io.StringIO()
    assert read.best(empty.home, target="wine", as_json=False, out=out) == 1
    assert "No trial has completed yet" in out.getvalue()
    assert document(empty, read.best, "wine")["best"] is None


def test_best_of_the_best_step_takes_that_steps_checkpoint(empty: Recording) -> None:
    from smallhours.core.spec import ScoreKind

    empty.study(score=ScoreKind.BEST)
    empty.create(0)
    empty.start(0)
    empty.report(0, {1: 0.5, 2: 0.1, 3: 0.4})
    good = empty.checkpoint(0, 2)
    empty.checkpoint(0, 3)
    empty.end(0, r.Completed(steps=3, metrics={"val_loss": 0.4}), score=0.1, last_step=3)
    assert document(empty, read.best, "wine")["checkpoint"]["path"] == str(good)


def test_verbs_refuse_the_wrong_kind_of_name_and_say_the_right_one(night: Recording) -> None:
    with pytest.raises(UsageError, match="`smallhours best wine`"):
        printed(night, read.best, "wine/1")
    with pytest.raises(UsageError, match="`smallhours log wine/0`"):
        logged(night, "wine")
    with pytest.raises(UsageError, match="has no attempt 7; it has 2"):
        logged(night, "wine/4", attempt=7)


def test_a_log_is_printed_attempt_by_attempt_and_cleaned(night: Recording) -> None:
    night.log(4, b"one\ttab\n10%\r 50%\r100%\r\n\x1b[31mred\xff \xe2\x80\xae\n" + b"x" * 200_000)
    night.log(4, b"two\n", 2)
    shown = logged(night, "wine/4")
    assert not FORBIDDEN & set(shown)
    lines = shown.splitlines()
    assert lines[0] == "--- attempt 1, 2026-03-01 22:00:47, interrupted: Ctrl-C was pressed"
    assert lines[1:4] == ["one\ttab", "100%", "\ufffd[31mred\ufffd \ufffd"]
    assert lines[-2:] == ["--- attempt 2 from step 2, 2026-03-01 22:00:55", "two"]
    assert max(map(len, lines)) <= 4096


def test_only_the_last_lines_of_a_log_or_one_attempt_are_printed(night: Recording) -> None:
    night.log(4, b"1\n2\n3\n")
    night.log(4, b"4\n5", 2)
    shown = logged(night, "wine/4", lines=3).splitlines()
    assert [line for line in shown if "---" not in line] == ["3", "4", "5"]
    assert logged(night, "wine/4", lines=1).splitlines()[1:] == ["5"]
    assert logged(night, "wine/4", attempt=1).splitlines()[1:] == ["1", "2", "3"]


def test_a_trial_without_a_log_is_no_error(night: Recording) -> None:
    assert logged(night, "wine/5") == "wine/5 has not run yet.\n"
    assert logged(night, "wine/0").startswith("--- attempt 1")


def test_a_progress_bar_longer_than_a_chunk_is_read_to_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"".join(b"\rstep %d" % n for n in range(40_000)) + b"\ndone")
    tail = logs.Tail(path)
    assert list(tail.lines(ended=False)) == [b"step 39999"]
    assert list(tail.lines(ended=True)) == [b"done"]


def test_a_followed_log_goes_on_until_the_trial_is_over(night: Recording) -> None:
    path = night.log(4, b"a\nhal", 2)
    out = io.StringIO()
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        match len(waits):
            case 1:
                path.write_bytes(b"a\nhalf\n")
            case 2:
                interrupted = r.Interrupted(cause="stop", last_step=4, resume_step=2)
                night.end(4, interrupted, 2, last_step=4, then="resume")
            case 3:
                night.log(4, b"again\nthe end", 3)
                night.start(4, 3, resume=2)
            case 4:
                completed = r.Completed(steps=10, metrics={"val_loss": 0.3})
                night.end(4, completed, 3, score=0.3, last_step=10)
            case _:
                pytest.fail("it goes on although the trial is over")

    with Snapshot(night.home, night.clock) as snapshot:
        trial = snapshot.trial(1, 4)
        printer = log_page.LogPrinter(snapshot, night.home, out)
        printer.print(trial, lines=None, unfinished=False)
        printer.follow(trial, pause)
    lines = out.getvalue().splitlines()
    assert lines[-6:] == [
        "a",
        "half",
        "--- attempt 3 from step 2, 2026-03-01 22:01:01",
        "again",
        "the end",
        "wine/4 is over: ran to step 10",
    ]
    assert min(waits) >= 0.1


@pytest.mark.processes
def test_the_verbs_that_print_load_nothing_heavy(night: Recording) -> None:
    code = (
        "import sys; from smallhours import paths; from smallhours.commands import read;"
        "options = {'as_json': False, 'out': sys.stdout};"
        "read.show(paths.home(), target=None, **options);"
        "read.show(paths.home(), target='wine', **options);"
        "read.best(paths.home(), target='wine', **options);"
        "read.why(paths.home(), target='wine/2', **options);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SMALLHOURS_HOME": str(night.home.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"ray", "optuna", "torch", "rich", "typer", "textual", "numpy", "json", "subprocess"}
    assert not heavy & set(done.stderr.split())


def test_following_ends_where_the_engine_does_not_run(night: Recording) -> None:
    night.home.owner.unlink()
    shown = logged(night, "wine/4", follow=True)
    assert shown.endswith("The engine is not running; `smallhours resume` goes on.\n")


@pytest.mark.parametrize("verb", [read.best, read.why])
def test_the_only_study_needs_no_name(night: Recording, verb: Callable[..., int]) -> None:
    assert printed(night, verb, None) == printed(night, verb, "wine")
    night.study(2, "walnut")
    with pytest.raises(UsageError, match="which\\? there are wine and walnut"):
        printed(night, verb, None)


def test_a_log_without_a_line_says_so(night: Recording) -> None:
    night.log(0, b"")
    assert "(it printed nothing)" in logged(night, "wine/0")


def test_an_engine_that_is_started_again_is_waited_for(
    empty: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.study()
    empty.create(0)
    empty.start(0)
    assert "waits for the engine: `smallhours resume`" in printed(empty, read.why, "wine/0")
    monkeypatch.setattr("smallhours.snapshot.supervisor_lives", lambda home: True)
    assert "it is being started again" in printed(empty, read.show, None)
    waits = " ".join(printed(empty, read.why, "wine/0").split())
    assert "waits for the engine, which died and is being started again, to begin again." in waits


def test_a_confirmation_is_told_beside_what_it_repeats(empty: Recording) -> None:
    confirm(empty)
    said = " ".join(printed(empty, read.why, "wine/5").split())
    assert "It repeats wine/1 on a fresh seed: val_loss 0.2, where wine/1 had 0.2." in said
