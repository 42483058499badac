from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest

from fakes.ledgers import ALL_REASONS
from smallhours.core import reasons as r
from smallhours.core.spec import Goal
from smallhours.explain import GROUPS, WORDS, About, evidence, in_brief, sentences

ABOUT = About(
    name="wine/17",
    study="wine",
    metric="val_loss",
    goal=Goal.MINIMIZE,
    steps=40,
    last_step=7,
    seconds=0.28,
    steps_run=7,
    then="over",
    retries=1,
    source="/home/ada/wine.py",
    from_step=5,
)


def ids(reasons: tuple[r.Reason, ...]) -> list[str]:
    return [r.tag(reason) for reason in reasons]


def blanked(reason: r.Reason) -> r.Reason:
    """Return the reason with every optional thing unknown and every text empty."""
    changes: dict[str, Any] = {}
    for field in msgspec.structs.fields(reason):
        value = getattr(reason, field.name)
        if type(None) in get_args(field.type):
            changes[field.name] = None
        elif field.type is str and field.name not in ("rule", "metric", "type", "goal"):
            changes[field.name] = ""
        elif isinstance(value, tuple | dict):
            changes[field.name] = type(value)()
    return msgspec.structs.replace(reason, **changes)


def test_the_examples_cover_every_reason() -> None:
    assert tuple(ids(ALL_REASONS)) == r.TAGS
    assert set(WORDS) == set(r.TAGS)
    assert sorted(tag for _, tags in GROUPS for tag in tags) == sorted(r.TAGS)


@pytest.mark.parametrize("then", ["over", "retry", "resume"])
@pytest.mark.parametrize("blank", [False, True], ids=["full", "blank"])
@pytest.mark.parametrize("last_step", [0, 7])
@pytest.mark.parametrize("reason", ALL_REASONS, ids=ids(ALL_REASONS))
def test_every_reason_is_a_paragraph_that_reads_well(
    reason: r.Reason, last_step: int, blank: bool, then: Any
) -> None:
    reason = blanked(reason) if blank else reason
    said = sentences(reason, ABOUT._replace(then=then, last_step=last_step))
    assert said.startswith("wine/17 ")
    assert said.endswith(".")
    for wrong in ("None", "{", "}", "  ", " .", "()", "..", "nan"):
        assert wrong not in said, said
    assert not re.search(r"\.[A-Z]", said), said
    assert "None" not in in_brief(reason)
    for item in evidence(reason, "wine"):
        assert "None" not in item.text
        assert "{" not in item.text


def test_an_extrapolated_end_names_the_trial_it_fell_behind() -> None:
    cut = r.RuleCut(
        rule="extrapolate", version=3, options={}, step=7, value=0.2769, threshold=0.14,
        goal="maximize", compared=9, competitors=((3, 0.14),),
    )  # fmt: skip
    expected = "extrapolate at step 7: 0.2769 at the end at best, trial 3 had 0.14"
    assert in_brief(cut) == expected


def test_a_median_cut_says_what_was_compared_and_what_it_saved() -> None:
    assert sentences(ALL_REASONS[2], ABOUT) == (
        "wine/17 was stopped at step 7 of 40 by the median rule. Its best val_loss so far, 0.912,"
        " was worse than 0.455, the median of what 12 completed trials had at step 7. Stopping it"
        " saved 33 steps, about 1.3 s."
    )


def test_a_cut_at_a_rung_says_its_place_there_and_what_was_needed() -> None:
    assert sentences(ALL_REASONS[1], ABOUT) == (
        "wine/17 was stopped at step 9 of 40 by the ASHA rule. Its val_loss there, 0.9, was in"
        " place 7 of the 9 trials that had come to rung 2 by then; to go on it had to be 0.5 or"
        " better. Stopping it saved 31 steps, about 1.2 s."
    )
    assert ("set by", "wine/3 0.4, wine/5 0.5", "") in evidence(ALL_REASONS[1], "wine")


def test_an_exception_names_the_others_that_failed_at_the_same_place() -> None:
    said = sentences(ALL_REASONS[6], ABOUT._replace(alike=("wine/3", "wine/5")))
    assert "ValueError: bad width (in wine.py:12 in train)" in said
    assert "2 others failed at the same place: wine/3 and wine/5." in said
    assert "`smallhours debug /home/ada/wine.py`" in said
    assert "won't be tried again" in said


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (r.Crash(exit_code=3, signal=None, whose="process", stderr="", fault=""), "exit code 3"),
        (r.Crash(exit_code=None, signal=11, whose="process", stderr="", fault=""), "SIGSEGV"),
        (r.Crash(exit_code=None, signal=9, whose="process", stderr="", fault=""), "from outside"),
        (r.Crash(exit_code=None, signal=63, whose="process", stderr="", fault=""), "signal 63"),
        (r.Crash(exit_code=1, signal=None, whose="zygote", stderr="", fault=""), "warm process"),
    ],
)
def test_crashes_are_told_apart(reason: r.Crash, words: str) -> None:
    assert words in sentences(reason, ABOUT)


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("retry", "It will be tried again from its checkpoint of step 5."),
        ("resume", "It goes on from its checkpoint of step 5"),
        ("over", "It won't be tried again: its 1 retry is used up."),
    ],
)
def test_a_crash_says_whether_it_is_tried_again(then: Any, words: str) -> None:
    assert words in sentences(ALL_REASONS[7], ABOUT._replace(then=then))


def test_an_interruption_says_what_is_run_again() -> None:
    said = sentences(ALL_REASONS[14], ABOUT._replace(then="resume"))
    assert "from its checkpoint of step 5, so 2 steps will be run again" in said


def test_divergence_tells_nan_from_a_limit_in_either_direction() -> None:
    limit = r.Diverged(metric="acc", value=0.1, step=3, limit=0.2)
    assert "became NaN" in sentences(ALL_REASONS[3], ABOUT)
    assert "was above" in sentences(limit, ABOUT)
    assert "was below" in sentences(limit, ABOUT._replace(goal=Goal.MAXIMIZE))


def test_memory_names_the_limit_that_was_set() -> None:
    reason = r.HostOom(
        killer="smallhours",
        resident=((0.2, 3 << 30), (1.0, 2 << 30)),
        limit_bytes=2 << 30,
        available_bytes=None,
    )
    said = sentences(reason, ABOUT)
    assert "when it held 3 GiB" in said
    assert "the limit is 2 GiB (`memory_bytes` in the study)" in said


def test_a_multi_line_message_is_told_by_its_first_line() -> None:
    reason = msgspec.structs.replace(ALL_REASONS[6], message="first\nsecond")
    said = sentences(reason, ABOUT)
    assert "ValueError: first (" in said
    assert "second" not in said
