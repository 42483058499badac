"""The board follows the ledger as it grows; the display shows it within the terminal's width."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from smallhours.commands import live
from smallhours.commands.board import Board
from smallhours.core import facts as f
from smallhours.core.reasons import Completed, Failure, Interrupted, Reason, RuleCut
from smallhours.core.spec import Goal, StudySpec
from smallhours.core.trial import Role
from smallhours.ledger.store import Ledger
from smallhours.paths import Home


def spec(name: str = "wine", **keys: object) -> StudySpec:
    given: dict[str, object] = {
        "name": name,
        "question": "How wide must it be?",
        "metric": "val_loss",
        "goal": Goal.MINIMIZE,
        "space": None,
        "baseline": {"lr": 0.1},
        "trials": 10,
        "steps": 20,
        "confirm": 1,
    }
    return StudySpec(**{**given, **keys})  # type: ignore[arg-type]


class Story:
    """Writes a ledger, a second passing with every fact."""

    def __init__(self, home: Home) -> None:
        home.prepare()
        self.home = home
        self.ledger = Ledger(home.ledger, home.lock, reserve=False)
        self.now = 1000.0
        session = {"session": 1, "pid": 1, "boot_id": "b", "version": "0", "backend": "local"}
        self.add(f.SessionStarted(**session, directory="/tmp/sh-0-x"))  # type: ignore[arg-type]

    def add(self, *facts: f.Fact) -> None:
        for fact in facts:
            self.now += 1.0
            self.ledger.append(fact, at=self.now, mono=self.now)
        self.ledger.commit()

    def study(self, number: int = 1, **keys: object) -> None:
        self.add(
            f.StudyAdded(
                study=number,
                spec=spec(**keys),  # type: ignore[arg-type]
                snapshot="s",
                digest="d",
                source="/wine.py",
                module="wine",
                cwd="/",
            )
        )

    def start(self, trial: int, role: Role = Role.SEARCH, study: int = 1) -> None:
        self.add(
            f.TrialCreated(study=study, trial=trial, params={"lr": 0.1}, seed=1, role=role),
            f.AttemptStarted(study=study, trial=trial, attempt=1, device="cpu", resume_step=0),
            f.AttemptRunning(study=study, trial=trial, attempt=1, pid=2, pid_started=3),
        )

    def report(self, trial: int, step: int, value: float, study: int = 1) -> None:
        metrics: dict[str, object] = {"val_loss": value}
        ids = {"study": study, "trial": trial, "attempt": 1}
        self.add(f.Reported(**ids, step=step, metrics=metrics))  # type: ignore[arg-type]

    def end(
        self, trial: int, reason: Reason, score: float | None, then: str = "over", study: int = 1
    ) -> None:
        ids = {"study": study, "trial": trial, "attempt": 1}
        what = {"reason": reason, "seconds": 8.0, "last_step": 20, "score": score, "then": then}
        self.add(f.AttemptEnded(**ids, **what))  # type: ignore[arg-type]

    def run(self, trial: int, score: float, role: Role = Role.SEARCH, study: int = 1) -> None:
        self.start(trial, role, study)
        self.end(trial, Completed(steps=20, metrics={"val_loss": score}), score, study=study)


CUT = RuleCut(
    rule="median", version=1, options={}, step=7, value=0.912, threshold=0.455, goal="minimize",
    compared=5, competitors=(),
)  # fmt: skip


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(Home(tmp_path / "state"))
    yield story
    story.ledger.close()


@pytest.fixture
def board(story: Story) -> Iterator[Board]:
    board = Board(story.home)
    yield board
    board.close()


def screen(board: Board, now: float, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=False)
    with console.capture() as captured:
        console.print(live.render(board, now, width, height))
    return captured.get().splitlines()


def test_a_board_without_a_ledger_is_empty(tmp_path: Path) -> None:
    board = Board(Home(tmp_path))
    board.refresh()
    assert board.studies == {}


def test_the_best_is_a_completed_trial_and_no_confirmation(story: Story, board: Board) -> None:
    story.study()
    story.run(0, 0.5, Role.BASELINE)
    story.run(1, 0.3)
    story.start(2)
    story.end(2, CUT, 0.1)
    story.run(3, 0.2, Role.CONFIRMATION)
    board.refresh()
    study = board.studies[1]
    assert (study.baseline, study.best) == (0.5, (1, 0.3))
    assert (study.searched, study.confirmed) == (3, 1)
    assert study.reasons == {"completed": 3, "rule_cut": 1}


def test_news_are_only_what_ended_since_the_last_look(story: Story, board: Board) -> None:
    story.study()
    story.run(0, 0.5, Role.BASELINE)
    board.refresh()
    assert [end.trial for _, end in board.news] == [0]
    story.run(1, 0.4)
    board.refresh()
    assert [end.trial for _, end in board.news] == [1]
    board.refresh()
    assert board.news == []


def test_a_board_made_late_shows_what_a_board_made_early_shows(story: Story) -> None:
    early = Board(story.home)
    early.refresh()
    story.study()
    story.run(0, 0.5, Role.BASELINE)
    early.refresh()
    story.start(1)
    story.report(1, 1, 0.9)
    early.refresh()
    story.report(1, 2, 0.8)
    early.refresh()
    late = Board(story.home)
    late.refresh()
    assert early.studies == late.studies
    assert late.studies[1].running[1].step == 2
    assert late.studies[1].running[1].value == 0.8
    early.close()
    late.close()


def test_studies_that_are_not_followed_are_not_shown(story: Story) -> None:
    story.study(1)
    story.study(2, name="digits")
    story.run(0, 0.5, Role.BASELINE, study=2)
    board = Board(story.home, only=[1])
    board.refresh()
    assert list(board.studies) == [1]
    assert board.news == []
    board.close()


def test_an_interrupted_trial_is_neither_running_nor_over(story: Story, board: Board) -> None:
    story.study()
    story.start(0, Role.BASELINE)
    reason = Interrupted(cause="stop", last_step=3, resume_step=2)
    story.end(0, reason, 0.9, then="resume")
    board.refresh()
    study = board.studies[1]
    assert (study.running, study.over, study.open) == ({}, set(), True)


def test_the_time_left_counts_slots_and_steps_done(story: Story, board: Board) -> None:
    story.study(confirm=0)
    story.run(0, 0.5, Role.BASELINE)
    story.start(1)
    story.start(2)
    story.report(2, 10, 0.4)
    board.refresh()
    # 9 trials are left, one of them half done, each takes 8 s, two run at a time.
    assert board.studies[1].left_s() == pytest.approx(8.5 * 8.0 / 2)


def test_before_anything_ended_nobody_guesses_the_time_left(story: Story, board: Board) -> None:
    story.study()
    story.start(0, Role.BASELINE)
    board.refresh()
    assert board.studies[1].left_s() is None


@pytest.mark.parametrize(
    ("fact", "is_open"),
    [
        (f.StudyEnded(study=1, outcome="done", winner=0), False),
        (f.StudyHalted(study=1, cause="disk", sentence="no room"), False),
        (f.StudyRetired(study=1), False),
        (f.StudyReleased(study=1), True),
    ],
)
def test_a_study_is_open_until_it_ends_or_is_halted(
    story: Story, board: Board, fact: f.Fact, is_open: bool
) -> None:
    story.study()
    story.add(fact)
    board.refresh()
    assert board.studies[1].open is is_open


def test_an_amended_study_is_open_again(story: Story, board: Board) -> None:
    story.study()
    story.add(f.StudyEnded(study=1, outcome="done", winner=None))
    story.add(f.StudyAmended(study=1, spec=spec(trials=99)))
    board.refresh()
    (study,) = board.studies.values()
    assert study.open
    assert study.spec.trials == 99


def test_the_session_that_ended_is_known_until_another_starts(story: Story, board: Board) -> None:
    story.add(f.SessionEnded(session=1, cause="stop"))
    board.refresh()
    assert board.session_ended == "stop"
    session = {"session": 2, "pid": 1, "boot_id": "b", "version": "0", "backend": "local"}
    story.add(f.SessionStarted(**session, directory="/tmp/sh-0-y"))  # type: ignore[arg-type]
    board.refresh()
    assert board.session_ended is None


def test_a_stopped_trial_is_told_with_value_and_threshold(story: Story, board: Board) -> None:
    story.study()
    story.start(4)
    story.end(4, CUT, 0.912)
    board.refresh()
    (news,) = board.news
    assert live.sentence(*news) == "wine/4 stopped at step 7: val_loss 0.912, median was 0.455"


def test_what_becomes_of_an_interrupted_trial_is_told(story: Story, board: Board) -> None:
    story.study()
    story.start(4)
    story.end(4, Interrupted(cause="stop", last_step=3, resume_step=2), 0.9, then="resume")
    board.refresh()
    assert live.sentence(*board.news[0]).endswith("; will go on")


def test_the_display_says_how_far_it_is_what_runs_and_what_ended(
    story: Story, board: Board
) -> None:
    story.study()
    story.run(0, 0.5, Role.BASELINE)
    story.start(1)
    story.end(1, CUT, 0.912)
    story.start(2)
    story.report(2, 10, 0.4)
    board.refresh()
    lines = screen(board, story.now + 5)
    text = "\n".join(lines)
    assert "wine  How wide must it be?" in lines[0]
    assert "2 of 10 trials, about" in lines[1]
    assert "val_loss (lower is better): best 0.5 (wine/0), baseline 0.5" in text
    assert "wine/2  step 10/20  val_loss 0.4" in text
    assert "wine/1 stopped at step 7: val_loss 0.912, median was 0.455" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60)])
def test_the_display_keeps_to_the_terminal(
    story: Story, board: Board, width: int, height: int
) -> None:
    story.study(question="Is this question rather too long for the terminal? " * 5)
    for trial in range(30):
        story.run(trial, 0.5)
    failure = Failure(
        type="ValueError", message="m" * 300, fingerprint="f", where="w" * 90, traceback="",
        phase="train",
    )  # fmt: skip
    story.start(30)
    story.end(30, failure, None)
    story.start(31)
    story.start(32)
    board.refresh()
    lines = screen(board, story.now, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= height


def test_escape_sequences_in_a_study_never_reach_the_terminal(story: Story, board: Board) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x1b\\ [red]x[/red] \x9b31m"
    story.study(question=evil, metric="val_loss")
    story.start(1)
    failure = Failure(
        type=evil, message=evil, fingerprint="f", where=evil, traceback=evil, phase="train"
    )
    story.end(1, failure, None)
    story.add(f.StudyHalted(study=1, cause="same_failure", sentence=evil))
    board.refresh()
    text = "\n".join(screen(board, story.now, 200)) + live.sentence(*board.news[0])
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "[red]" in text


def test_an_engine_that_died_is_said_to_come_back(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Supervised:
        def gave_up(self) -> bool:
            return False

    story.study()
    follower = live.Follower(story.home, [1], Supervised())
    follower.board.refresh()
    times = iter([10.0, 10.1, 11.0, 50.0])
    monkeypatch.setattr(live.time, "monotonic", lambda: next(times))
    assert [follower._engine_is_gone() for _ in range(2)] == [None, None]
    assert not follower._away  # it may only be slow to say who it is
    assert follower._engine_is_gone() is None
    assert follower._away
    assert follower._engine_is_gone() is live.Outcome.DIED
    follower.board.close()
