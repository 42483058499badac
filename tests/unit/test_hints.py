"""Words that stand in more than one place because processes may not import each other."""

from __future__ import annotations

from smallhours import rules
from smallhours.hints import did_you_mean, expected
from smallhours.study import STOPPING


def test_the_rules_that_a_study_may_name_are_the_rules_there_are() -> None:
    assert set(STOPPING) == rules.RULES


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("min", ("minimize", "maximize")) == "; did you mean 'minimize'?"
    assert did_you_mean("zzz", ("minimize", "maximize")) == ""
    assert expected(3, ("b", "a")) == 'expected "a" or "b", got 3'
