"""What is said of failures and known mistakes by `why`, `ls` and `release`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fakes.core import Night, make_spec
from smallhours.commands import listing, read, release
from smallhours.core.death import DeathNote
from smallhours.core.spec import Stopping
from smallhours.errors import NotFoundError
from smallhours.inbox import lying, who
from smallhours.ledger.store import Ledger
from smallhours.paths import Home

NOTE = DeathNote(
    type="ValueError", message="no", fingerprint="f1", where="w.py:3 in train",
    traceback="...", phase="train",
)  # fmt: skip


def fate(x: float, failing: Night, number: int) -> None:
    """Below 0.5 a trial works, above it diverges, and at 0.25 the code fails."""
    key = failing.key(1, number)
    if x == 0.25:
        failing.run(key)
        failing.exit(key, exit_code=1, note=NOTE)
    elif x > 0.5:
        failing.run(key)
        failing.report(key, 1, float("nan"))
        failing.exit(key, exit_code=0)
    else:
        failing.whole_trial(key, [0.6, 0.5])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    night = Night(slots=1)
    night.begin()
    stopping = Stopping(rule="none")
    night.add(make_spec(trials=40, steps=2, stopping=stopping, baseline={"x": 0.1}))
    fate(0.1, night, 0)
    values = [0.11 + n / 100 for n in range(13)]
    values += [0.6, 0.31, 0.65, 0.32, 0.7, 0.33, 0.75, 0.34, 0.8, 0.25, 0.7001]
    for x in values:
        (number,) = night.machine.asked[1]
        night.suggest(x=x)
        if number in night.machine.state.studies[1].living:
            fate(x, night, number)
    path: Path = tmp_path_factory.mktemp("home")
    ledger = Ledger(path / "ledger.db", path / "engine.lock", reserve=False)
    for second, fact in enumerate(night.facts):
        ledger.append(fact, at=1.7e9 + second, mono=float(second))
    ledger.close()
    return Home(path)


def why(home: Home, target: str) -> str:
    out = io.StringIO()
    read.why(home, target=target, as_json=False, out=out)
    return " ".join(out.getvalue().split())


def test_why_of_what_diverged_says_first_that_it_is_the_idea_and_where(home: Home) -> None:
    said = why(home, "wine/14")
    assert said.startswith(
        "This looks like a mistake in the idea, not in the code: 5 of 5 trials with x >= 0.6"
        " failed so, 0 of 18 below (p ="
    )


def test_why_of_an_exception_says_first_that_it_is_the_code(home: Home) -> None:
    assert why(home, "wine/23").startswith("This looks like a mistake in the code, not in the idea")


def test_why_of_an_honest_result_says_neither(home: Home) -> None:
    assert "This looks like" not in why(home, "wine/1")


def test_why_of_a_known_mistake_names_the_failures_it_is_like_and_what_to_do(home: Home) -> None:
    said = why(home, "wine/24")
    assert "waits as a known mistake" in said
    assert "x >= 0.6: 5 trials, wine/14, wine/16 and 3 more; this one has x=0.7001" in said
    assert "`smallhours why wine/22`" in said
    assert "`smallhours release wine/24` runs it" in said


def test_the_kinds_are_kept_apart_in_the_study_and_in_the_queue(home: Home) -> None:
    said = why(home, "wine")
    assert "1 failed by a mistake in the code" in said
    assert "5 can't work as they are configured" in said
    out = io.StringIO()
    listing.ls(home, as_json=True, out=out)
    (study,) = json.loads(out.getvalue())["studies"]
    assert (study["code_failures"], study["unworkable"], study["known_mistakes"]) == (1, 5, 1)


def test_release_leaves_a_request_for_the_trial(home: Home) -> None:
    assert release.release(home, "wine/24") == 0
    request = lying(home)[-1]
    assert (request.verb, request.body) == (
        "release",
        {"study": 1, "trial": 24, "only_held": True, "by": who()},
    )


def test_release_of_an_unknown_trial_is_refused(home: Home) -> None:
    with pytest.raises(NotFoundError):
        release.release(home, "wine/99")
