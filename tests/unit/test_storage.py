"""The disk budget: the worst goes first, what is needed never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakes.core import make_spec
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Goal, ScoreKind
from smallhours.core.state import State
from smallhours.core.storage import Holding, Storage, Worth
from smallhours.core.trial import AttemptKey, Role, TrialState

SIZE = 100
CUT = r.Budget(budget="trial_time_s", limit=1.0, used=2.0)


class Story:
    """A state that is told fact by fact."""

    def __init__(self) -> None:
        self.state = State(rules.make)

    def apply(self, *facts: f.Fact) -> None:
        for fact in facts:
            self.state.apply(fact, 0.0)

    def study(self, study: int, **changes: object) -> None:
        spec = make_spec(f"s{study}", **changes)
        self.apply(
            f.StudyAdded(
                study=study, spec=spec, snapshot="a", digest="d", source="s", module="m", cwd="/"
            )
        )

    def trial(
        self,
        study: int,
        trial: int,
        score: float,
        how: str = "completed",
        *,
        of: int | None = None,
        checkpoints: int = 1,
        size: int = SIZE,
    ) -> None:
        """Run a trial: how is completed, cut, waiting or living."""
        role = Role.CONFIRMATION if of is not None else Role.SEARCH if trial else Role.BASELINE
        ids = {"study": study, "trial": trial, "attempt": 1}
        self.apply(
            f.TrialCreated(study=study, trial=trial, params={}, seed=1, role=role, of=of),
            f.AttemptStarted(**ids, device="cpu", resume_step=0),
            f.AttemptRunning(**ids, pid=1, pid_started=1),
        )
        for step in range(1, checkpoints + 1):
            path = f"{study}/{trial}/{step}-1"
            self.apply(
                f.Reported(**ids, step=step, metrics={"loss": score}),
                f.CheckpointSaved(**ids, step=step, path=path, size_bytes=size),
            )
        ends: dict[str, tuple[r.Reason, str]] = {
            "completed": (r.Completed(steps=1, metrics={}), "over"),
            "cut": (CUT, "over"),
            "waiting": (r.Interrupted(cause="ctrl-c", last_step=1, resume_step=1), "resume"),
        }
        if how in ends:
            reason, then = ends[how]
            self.apply(
                f.AttemptEnded(
                    **ids, reason=reason, seconds=1.0, last_step=checkpoints, score=score,
                    then=then,  # type: ignore[arg-type]
                )
            )  # fmt: skip

    def over(self, study: int) -> None:
        winner = self.state.studies[study].best
        self.apply(f.StudyEnded(study=study, outcome="done", winner=winner))

    def order(self) -> list[str]:
        """Return all paths that may go, in the order in which they go."""
        return [victim.path for victim in Storage(0).over(self.state)]


def test_within_the_budget_nothing_goes() -> None:
    story = Story()
    story.study(1)
    for number in range(4):
        story.trial(1, number, 0.5)
    storage = Storage(4 * SIZE)
    assert storage.used_bytes(story.state) == 4 * SIZE
    assert storage.over(story.state) == []
    assert Storage(None).over(story.state) == []


def test_confirmations_go_first_then_what_was_stopped_then_the_worst() -> None:
    story = Story()
    story.study(1)
    story.trial(1, 0, 0.9)
    story.trial(1, 1, 0.1)  # the best
    story.trial(1, 2, 0.3)
    story.trial(1, 3, 0.4, "cut")
    story.trial(1, 4, 0.8, "cut")
    story.trial(1, 5, 0.6)
    story.trial(1, 6, 0.05, of=1)
    story.over(1)
    assert story.order() == ["1/6/1-1", "1/4/1-1", "1/3/1-1", "1/5/1-1", "1/2/1-1"]


def test_the_higher_score_stays_where_the_metric_is_maximized() -> None:
    story = Story()
    story.study(1, goal=Goal.MAXIMIZE)
    for number, score in enumerate([0.9, 0.1, 0.95, 0.3, float("nan")]):
        story.trial(1, number, score)
    assert story.order() == ["1/4/1-1", "1/1/1-1", "1/3/1-1"]


def test_studies_that_are_over_give_before_open_ones_and_archived_ones_have_nothing() -> None:
    story = Story()
    for study in (1, 2, 3, 4):
        story.study(study)
        story.trial(study, 0, 0.5)
        story.trial(study, 1, 0.4)
        story.trial(study, 2, 0.6)
    for study in (2, 3, 4):
        story.over(study)
    story.apply(f.StudyArchived(study=4, by="ada"))
    assert story.order() == ["2/2/1-1", "3/2/1-1", "1/2/1-1"]
    assert Storage().used_bytes(story.state) == 9 * SIZE


def test_what_a_trial_would_go_on_from_stays() -> None:
    story = Story()
    story.study(1)
    story.trial(1, 0, 0.5)
    story.trial(1, 1, 0.9, "waiting", checkpoints=3)
    story.trial(1, 2, 0.9, "living", checkpoints=3)
    assert sorted(story.order()) == ["1/1/1-1", "1/1/2-1", "1/2/1-1"]
    storage = Storage(0)
    storage.over(story.state)
    assert storage.short_bytes == 4 * SIZE


def test_the_best_of_several_checkpoints_of_a_trial_goes_last() -> None:
    story = Story()
    story.study(1)
    story.trial(1, 0, 0.5)
    story.trial(1, 1, 0.4)
    story.trial(1, 2, 0.6, checkpoints=2)
    assert story.order() == ["1/2/1-1", "1/2/2-1"]
    story.study(2, score=ScoreKind.BEST)
    story.trial(2, 0, 0.5)
    story.trial(2, 1, 0.4)
    story.trial(2, 2, 0.6, checkpoints=2)  # both steps are as good: the first is kept as the best
    assert story.order() == ["1/2/1-1", "1/2/2-1", "2/2/2-1", "2/2/1-1"]


def test_what_studies_that_are_not_loaded_hold_counts_and_goes() -> None:
    story = Story()
    story.study(1)
    story.over(1)
    story.state.studies[1].loaded = False
    story.study(2)
    story.trial(2, 0, 0.5)
    story.trial(2, 1, 0.4)
    storage = Storage(250)
    keys = {"study": 1, "size_bytes": SIZE, "worth": Worth.COMPLETED}
    storage.tell(
        [
            Holding(**keys, trial=0, path="1/0", score=0.5, kept=True),
            Holding(**keys, trial=1, path="1/1", score=0.7, kept=False),
            Holding(**keys, trial=2, path="1/2", score=0.6, kept=False),
        ]
    )
    assert storage.used_bytes(story.state) == 5 * SIZE
    victims = storage.over(story.state)
    assert [victim.path for victim in victims] == ["1/1", "1/2"]
    storage.removed(victims)
    assert storage.used_bytes(story.state) == 3 * SIZE
    assert storage.short_bytes == 50
    assert [victim.path for victim in storage.of_study(story.state, 1)] == ["1/0"]
    story.state.studies[1].archived = True  # with what was told of it
    assert storage.used_bytes(story.state) == 2 * SIZE
    assert storage.of_study(story.state, 1) == []
    story.state.studies[1].archived = False
    story.state.studies[1].loaded = True  # its trials are in the state from now on
    assert storage.used_bytes(story.state) == 2 * SIZE


def test_where_not_enough_may_go_it_is_not_looked_for_again_at_every_checkpoint() -> None:
    story = Story()
    story.study(1)
    for number in range(11):
        story.trial(1, number, 0.5, "living", checkpoints=2)
    storage = Storage(1000)
    assert storage.over(story.state) == []
    assert storage.short_bytes == 1200
    story.trial(1, 11, 0.5, "cut", size=5)
    assert storage.over(story.state) == []
    story.trial(1, 12, 0.5, "cut", size=50)
    assert [victim.trial for victim in storage.over(story.state)] == [11, 12]


_TRIAL = st.tuples(
    st.sampled_from(["completed", "cut", "waiting", "living"]),
    st.sampled_from([0.1, 0.2, 0.3, float("inf")]),
    st.integers(0, 4),
    st.integers(0, 300),
)


@given(
    studies=st.lists(st.tuples(st.lists(_TRIAL, max_size=6), st.integers(0, 2)), max_size=4),
    budget=st.integers(0, 4000),
)
def test_the_budget_is_kept_or_only_what_is_needed_is_left(studies, budget) -> None:
    story = Story()
    for number, (trials, end) in enumerate(studies, start=1):
        story.study(number)
        for trial, (how, score, checkpoints, size) in enumerate(trials):
            ended = "cut" if how == "living" and end else how
            story.trial(number, trial, score, ended, checkpoints=checkpoints, size=size)
        if end:
            story.over(number)
        if end == 2:
            story.apply(f.StudyArchived(study=number, by="ada"))
    state = story.state
    storage = Storage(budget)
    before = storage.used_bytes(state)
    victims = storage.over(state)
    assert len(set(victims)) == len(victims)
    assert bool(victims) <= (before > budget)
    protected = needed(state)
    assert not protected & {victim.path for victim in victims}
    story.apply(*(f.CheckpointRemoved(**victim._asdict(), why="disk budget") for victim in victims))
    after = storage.used_bytes(state)
    left = [
        saved
        for study in state.studies.values()
        for trial in study.trials.values()
        for saved in trial.checkpoints
    ]
    assert after == sum(saved.size_bytes for saved in left)
    assert after <= budget or {saved.path for saved in left} == protected
    assert storage.short_bytes == max(0, after - budget)


def needed(state: State) -> set[str]:
    """Return what may never go, said in another way than the code does."""
    paths = set()
    for study in state.studies.values():
        for trial in study.trials.values():
            steps = sorted(trial.checkpoints, key=lambda saved: -saved.step)
            if trial.number in (0, study.best):
                paths |= {saved.path for saved in steps}
            if AttemptKey(study.id, trial.number, trial.attempts) in state.live:
                paths |= {saved.path for saved in steps[:2]}
            if trial.state is TrialState.QUEUED and study.ended is None:
                paths |= {saved.path for saved in steps[:1]}
    return paths
