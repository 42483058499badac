"""Words that stand in more than one place because processes may not import each other."""

from __future__ import annotations

import inspect

import msgspec

from smallhours import rules
from smallhours.core.spec import Stopping
from smallhours.hints import did_you_mean, expected
from smallhours.stopping import (
    NAMES,
    After,
    AllOf,
    AnyOf,
    Patience,
    Threshold,
    Wilcoxon,
    as_data,
)
from smallhours.study import Study


def test_the_rules_that_a_study_may_name_are_the_rules_there_are() -> None:
    made = {as_data(name, steps=100)["rule"] for name in NAMES}
    assert made == set(NAMES)
    written = (
        After(9, "asha"), AllOf("asha", "median"), AnyOf("asha", "median"), Patience(),
        Threshold(0.5), Wilcoxon(),
    )  # fmt: skip
    made |= {as_data(rule, steps=100)["rule"] for rule in written}
    assert made == rules.RULES


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert did_you_mean("min", ("minimize", "maximize")) == "; did you mean 'minimize'?"
    assert did_you_mean("zzz", ("minimize", "maximize")) == ""
    assert expected(3, ("b", "a")) == 'expected "a" or "b", got 3'


def test_the_rule_that_a_study_has_by_default_is_the_one_that_its_data_has() -> None:
    assert inspect.signature(Study.__init__).parameters["stopping"].default == Stopping().rule


def test_a_study_on_record_keeps_the_rule_that_it_was_written_with() -> None:
    recorded = msgspec.json.encode(Stopping(rule="median"))
    assert msgspec.json.decode(recorded, type=Stopping).rule == "median"
    assert msgspec.json.decode(msgspec.json.encode(Stopping())) == {
        "rule": "extrapolate", "options": {}, "parts": [],
    }  # fmt: skip
