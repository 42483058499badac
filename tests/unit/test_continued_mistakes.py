"""Trials that are taken up again beside known mistakes, and after the search's own end."""

from __future__ import annotations

import pytest

from fakes.core import Night, check_invariants, make_spec
from smallhours.core import actions as a
from smallhours.core import enough
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.failures import Mistakes
from smallhours.core.spec import Stopping


@pytest.fixture
def night():
    night = Night(slots=1)
    night.begin()
    yield night
    check_invariants(night)


def add(night, **changes):
    defaults = {"steps": 2, "stopping": Stopping(rule="none"), "baseline": {"x": 0.1}}
    night.add(make_spec(**defaults | changes))
    night.whole_trial(night.key(1, 0), [0.5] * changes.get("steps", 2))
    return night.machine.state.studies[1]


def proposed(night, x):
    (number,) = night.machine.asked[1]
    night.suggest(x=x)
    return number


def cancelled(night, x):
    number = proposed(night, x)
    night.run(night.key(1, number))
    cancel = e.CancelRequested(at=night.now, request=f"c{number}", by="me", study=1, trial=number)
    night.tell(cancel)
    night.exit(night.key(1, number))
    return number


def take_up(night, number):
    request = f"t{number}-{len(night.facts)}"
    deeds = night.tell(
        e.ContinueRequested(at=night.now, request=request, by="me", study=1, trial=number)
    )
    (answer,) = (deed for deed in deeds if isinstance(deed, a.Answer))
    return answer


def wall(night):
    """Trials below 0.5 work and those above diverge, until all but known mistakes is done."""
    study = add(night, trials=26)
    dropped = cancelled(night, 0.45)
    for n in range(12):
        night.whole_trial(night.key(1, proposed(night, 0.11 + n / 100)), [0.5, 0.5])
    for n in range(5):
        key = night.key(1, proposed(night, 0.6 + n / 20))
        night.run(key)
        night.report(key, 1, float("nan"))
        night.exit(key, exit_code=0)
        night.whole_trial(night.key(1, proposed(night, 0.3 + n / 100)), [0.5, 0.5])
    for n in range(study.unproposed):
        proposed(night, 0.7001 + n / 1000)
    assert study.halted.cause == "known_mistakes"
    return study, dropped


class TestKnownMistakes:
    def test_one_that_waits_as_a_known_mistake_is_released_and_not_continued(self, night):
        study, _ = wall(night)
        number = next(iter(study.held))
        answer = take_up(night, number)
        assert not answer.ok
        assert f"`smallhours release wine/{number}`" in answer.text

    def test_a_study_that_waits_for_word_about_them_goes_on_with_the_trial(self, night):
        study, dropped = wall(night)
        held = list(study.held)
        assert take_up(night, dropped).ok
        assert study.living == {dropped}
        assert list(study.held) == held
        night.whole_trial(night.key(1, dropped), [0.5, 0.5])
        assert study.halted.cause == "known_mistakes"
        assert isinstance(study.trials[dropped].reason, r.Completed)

    def test_what_became_of_a_trial_at_last_tells_of_its_place(self):
        mistakes = Mistakes()
        done = r.Completed(steps=2, metrics={"loss": 0.5})
        failed = r.Diverged(metric="loss", value=float("nan"), step=1, limit=None)
        for n in range(20):
            mistakes.add(n, {"x": n / 100}, done)
        for n in range(20, 26):
            mistakes.add(n, {"x": 0.5 + n / 100}, failed)
        mistakes.add(26, {"x": 0.9}, r.Budget(budget="trial_time_s", limit=1.0, used=1.0))
        assert mistakes.region_of({"x": 0.8}) is None
        mistakes.add(26, {"x": 0.9}, failed)
        assert mistakes.region_of({"x": 0.8}) is not None


class TestTheSearchsOwnEnd:
    def noisy(self, night):
        """The best comes early; then all are alike, and their curves jitter."""
        study = add(night, trials=100, steps=8)
        dropped = cancelled(night, 0.9)
        for n in range(60):
            if study.search_ended:
                break
            base = 0.3 if n == 1 else 0.31
            losses = [base + (0.05, -0.05)[step % 2] for step in range(7)] + [base + n / 1e5]
            night.whole_trial(night.key(1, proposed(night, 0.2 + n / 1000)), losses)
        return study, dropped

    def test_a_study_that_had_enough_wants_no_more_trials_after_a_continue(self, night):
        study, dropped = self.noisy(night)
        assert study.ended.outcome == "enough"
        assert take_up(night, dropped).ok
        assert not study.ended
        night.whole_trial(night.key(1, dropped), [0.2] * 8)
        ends = [fact for fact in night.facts if isinstance(fact, f.StudyEnded)]
        assert [(end.outcome, end.winner == dropped) for end in ends] == [
            ("enough", False),
            ("enough", True),
        ]
        assert sum(isinstance(fact, f.SearchEnded) for fact in night.facts) == 1
        assert not night.machine.asked.get(1)

    def test_a_study_that_was_cancelled_never_finds_that_it_has_enough(self, night, monkeypatch):
        study = add(night, trials=100)
        dropped = cancelled(night, 0.9)
        cancel = e.CancelRequested(at=night.now, request="all", by="me", study=1, trial=None)
        night.tell(cancel)
        monkeypatch.setattr(enough, "judge", lambda _study: pytest.fail("nothing is to be judged"))
        assert take_up(night, dropped).ok
        night.whole_trial(night.key(1, dropped), [0.5, 0.5])
        assert study.ended.outcome == "cancelled"
