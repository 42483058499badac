"""What confirmations tell the rule of a study: how much another seed changes."""

from __future__ import annotations

import statistics

import pytest

from fakes.core import Night, make_spec
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core.reasons import RuleCut
from smallhours.core.spec import Stopping
from smallhours.ledger import checks
from smallhours.ledger.store import Ledger, open_to_read

MEDIAN = Stopping(rule="median", options={"warmup": 0.0, "startup": 1.0})
#: Scores of the confirmations: two of the baseline, two of the winner.
FRESH = {3: 0.50, 4: 0.62, 5: 0.30, 6: 0.34}


def confirmed_night(fresh: dict[int, float] = FRESH, confirm: int = 2) -> Night:
    """Three trials, the second the best, then the confirmations; then ten trials are asked for."""
    night = Night()
    night.begin()
    night.add(make_spec(trials=3, confirm=confirm, stopping=MEDIAN))
    scores = {0: 0.5, 1: 0.3, 2: 0.31} | fresh
    while night.machine.state.live or night.machine.asked:
        night.suggest()
        for key in list(night.machine.state.live):
            night.whole_trial(key, [scores[key.trial]] * 10)
    assert night.machine.state.studies[1].ended
    night.add(make_spec(trials=10, confirm=confirm, stopping=MEDIAN), request="more")
    return night


def report_next(night: Night, loss: float) -> RuleCut | None:
    """Let one more trial report once; return the verdict, if it was stopped."""
    night.suggest()
    key = next(iter(night.machine.state.live))
    night.run(key)
    night.report(key, 1, loss)
    cuts = [fact for fact in night.facts if isinstance(fact, f.Intended)]
    return cuts[-1].reason if cuts else None


def test_the_spread_of_confirmations_is_pooled_over_both_configurations():
    expected = statistics.mean(
        [statistics.variance([0.50, 0.62]), statistics.variance([0.3, 0.34])]
    )
    study = confirmed_night().machine.state.studies[1]
    assert study.seed_sd() == pytest.approx(expected**0.5)


def test_one_confirmation_each_tells_nothing():
    night = confirmed_night({3: 0.5, 4: 0.3}, confirm=1)
    assert night.machine.state.studies[1].seed_sd() is None
    assert report_next(night, 0.32) is not None


def test_a_difference_within_what_seeds_change_stops_nothing():
    assert report_next(confirmed_night(), 0.36) is None


def test_a_verdict_says_the_noise_and_verify_derives_it_again(tmp_path):
    night = confirmed_night()
    cut = report_next(night, 0.5)
    assert cut is not None
    assert cut.noise == night.machine.state.studies[1].seed_sd()
    ledger = Ledger(tmp_path / "ledger.db", tmp_path / "engine.lock", reserve=False)
    for number, fact in enumerate(night.facts):
        ledger.append(fact, at=1000.0 + number, mono=float(number))
    ledger.close()
    db = open_to_read(tmp_path / "ledger.db")
    try:
        report = checks.check(db, rules.make, running=True)
    finally:
        db.close()
    assert report.good, report.findings
    assert report.stops == 1


@pytest.mark.parametrize("combined", ["any", "all"])
def test_parts_of_a_combination_hear_of_the_noise(combined):
    parts = (MEDIAN, Stopping(rule="median", options={"warmup": 0.0, "startup": 1.0, "noise": 0.5}))
    rule = rules.make(make_spec(stopping=Stopping(rule=combined, parts=parts)))
    rule.observe(0, 10, {1: 0.3, 10: 0.3})
    rule.close(0, {1: 0.3, 10: 0.3}, completed=True)
    rule.observe(1, 1, {1: 0.5})
    assert rule.decide(1, 1, {1: 0.5}) is not None
    rule.observe_noise(1.0)
    assert rule.decide(1, 1, {1: 0.5}) is None
