"""What can be asked of the engine from the dashboard, and what cannot."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fakes.audience import Shown, watch
from fakes.ledgers import EVENING, Recording
from fakes.sample_night import SampleNight
from smallhours import inbox, requests
from smallhours.core import events as e
from smallhours.core import facts as f
from smallhours.explain.continuing import nothing_to_continue
from smallhours.snapshot import Snapshot
from smallhours_tui.commands import Commands
from smallhours_tui.screens.steered import CHANGING


@pytest.fixture
def night(tmp_path: Path) -> Iterator[SampleNight]:
    recorded = SampleNight(tmp_path / "state")
    yield recorded
    recorded.close()


def asked(night: Recording) -> list[tuple[str, dict[str, Any]]]:
    """Return what lies in the inbox, each checked as the engine would."""
    lying = inbox.pending(night.home)
    for request in lying:
        requests.event_of(request, 0.0)
    return [(request.verb, request.body) for request in lying]


def answer(night: Recording, *, ok: bool, text: str) -> None:
    """Answer what was asked, as the engine does: later than it was asked."""
    night.clock.now = time.time()
    for request in inbox.pending(night.home):
        night.add(f.RequestAnswered(request=request.id, verb=request.verb, uid=0, ok=ok, text=text))
        inbox.discard(night.home, request.id)


async def confirm(shown: Shown) -> None:
    """Go from the safe button to the other one, and press it."""
    await shown.press("tab", "enter")


def test_a_study_is_paused_after_a_question_that_enter_alone_answers_with_no(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("P", "enter")
        assert asked(night) == []
        await shown.press("P")
        assert "Pause digits?" in shown.text
        await confirm(shown)
        assert asked(night) == [("pause", {"study": 2, "by": inbox.who()})]
        answer(night, ok=True, text="paused digits")
        await shown.wait_for("paused digits")

    watch(night, act)


def test_a_halted_study_goes_on_with_the_same_key(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("j", "j", "P")
        assert "Let gru go on?" in shown.text
        assert "failed in the same way" in " ".join(shown.text.split())
        await confirm(shown)
        assert asked(night) == [("release", {"study": 4, "by": inbox.who()})]

    watch(night, act)


def test_what_the_engine_refuses_is_said_in_its_words(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("P")
        await confirm(shown)
        answer(night, ok=False, text="there is no such study")
        await shown.wait_for("refused: there is no such study")

    watch(night, act)


def test_without_an_engine_a_wish_waits_in_the_inbox(night: SampleNight) -> None:
    night.home.owner.unlink()

    async def act(shown: Shown) -> None:
        await shown.press("P")
        await confirm(shown)
        assert "it waits in the inbox" in " ".join(shown.text.split())
        assert len(asked(night)) == 1
        await shown.look()
        assert "asked: pause digits" in shown.text
        answer(night, ok=True, text="paused digits")
        await shown.look()
        await shown.wait_for("paused digits")

    watch(night, act, size=(140, 40))


@pytest.mark.parametrize("close", ["X", "q", "escape"])
def test_cancelling_names_what_is_lost_and_is_closed_by_its_own_key(
    night: SampleNight, close: str
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("X")
        assert "Cancel digits/20?" in shown.text
        assert "step 4, no checkpoint" in shown.text
        await shown.press(close)
        assert "Cancel digits/20?" not in shown.text
        assert "digits/20" in shown.lines[1]
        assert asked(night) == []
        await shown.press("X")
        await confirm(shown)
        assert asked(night) == [("cancel", {"study": 2, "trial": 20, "by": inbox.who()})]

    watch(night, act, target="digits/20")


def test_marked_trials_are_cancelled_together_but_for_those_that_are_over(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "asterisk", "X")
        assert "Cancel 2 trials?" in shown.text
        await confirm(shown)
        assert sorted(body["trial"] for _, body in asked(night)) == [20, 21]

    watch(night, act)


def test_what_is_over_has_nothing_to_cancel(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("X")
        assert "digits/3 is over: there is nothing to cancel" in shown.text
        assert asked(night) == []

    watch(night, act, target="digits/3")


def test_a_budget_is_raised_by_adding_the_study_as_it_is_with_more_trials(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("B")
        assert "Budget of digits" in shown.text
        await shown.press("enter", "enter")  # nothing was changed: nothing is asked
        assert asked(night) == []
        await shown.press("B", *["backspace"] * 2, *"64", "enter", *["backspace"] * 4, *"2h")
        await shown.press("enter")
        ((verb, body),) = asked(night)
        assert verb == "add"
        spec = body["spec"]
        assert (spec["name"], spec["trials"], spec["study_time_s"]) == ("digits", 64, 7200)
        assert (body["digest"], body["snapshot"], body["replace"]) == ("cd", "ab", False)

    watch(night, act)


def test_a_budget_that_is_none_is_refused_in_the_form(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("B", *["backspace"] * 2, "enter", "enter")
        assert "trials: expected a number above 0" in " ".join(shown.text.split())
        await shown.press("q")
        assert "Budget of" not in shown.text
        assert asked(night) == []

    watch(night, act)


def test_the_menu_of_places_begins_with_leaving_it(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("j", "R", "enter")
        assert asked(night) == []
        await shown.press("R", "j", "enter")
        ((verb, body),) = asked(night)
        assert (verb, body["study"], body["to"], body["before"]) == ("move", 3, "first", None)

    watch(night, act)


def test_a_study_is_put_before_another_and_given_another_weight(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("j", "R")
        assert "before digits" in shown.text
        await shown.press("j", "j", "enter")
        await shown.press("R", "end", "enter")
        assert "Weight of vit-[red]tiny" in shown.text
        await shown.press("backspace", *"2.5", "enter")
        (_, first), (_, second) = asked(night)
        assert (first["before"], first["weight"]) == (2, None)
        assert (second["before"], second["weight"]) == (None, 2.5)

    watch(night, act)


def test_the_machine_is_yielded_for_a_time_that_has_to_be_typed(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("V", "enter")
        assert asked(night) == []
        await shown.press(*"2h", "enter")
        ((verb, body),) = asked(night)
        assert verb == "yield"
        assert body["until"] > EVENING

    watch(night, act)


def test_a_machine_that_was_yielded_is_taken_back_with_the_same_key(night: SampleNight) -> None:
    night.plan(yielded_until=night.clock.now + 600, yielded_to="ada")

    async def act(shown: Shown) -> None:
        await shown.press("V")
        assert "Take the machine back now?" in shown.text
        await confirm(shown)
        assert asked(night) == [("yield", {"until": None, "by": inbox.who()})]

    watch(night, act)


def test_a_deadline_is_set_and_lifted(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("U", *"soon", "enter")
        assert "soon" in shown.text
        assert asked(night) == []
        await shown.press(*["backspace"] * 4, *"none", "enter")
        assert asked(night) == [("until", {"until": None, "by": inbox.who()})]

    watch(night, act)


def test_a_note_takes_every_letter_and_those_there_are_shown(night: SampleNight) -> None:
    night.add(f.StudyNoted(study=2, trial=20, text="[b]too\x1b[2J slow", by="ada"))

    async def act(shown: Shown) -> None:
        await shown.press("n")
        assert "ada: [b]too" in shown.text
        await shown.press(*"nq!", "enter")
        ((verb, body),) = asked(night)
        assert (verb, body["study"], body["trial"], body["text"]) == ("note", 2, 20, "nq!")

    watch(night, act, target="digits/20")


def test_copies_go_to_the_terminal_and_to_a_file_of_the_users_own(
    night: SampleNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    file = tmp_path / f"smallhours-copy-{os.getuid()}.txt"

    async def act(shown: Shown) -> None:
        await shown.press("y", "j", "enter")
        assert shown.app.clipboard == "smallhours why digits/20"
        assert file.read_text(encoding="utf-8") == "smallhours why digits/20\n"
        assert file.stat().st_mode & 0o777 == 0o600
        assert "OSC 52" in shown.text
        assert asked(night) == []

    watch(night, act, target="digits/20", readonly=True)


@pytest.mark.parametrize("options", [{"readonly": True}, {"at": EVENING + 400.0}])
def test_where_one_only_looks_the_keys_are_not_there(
    night: SampleNight, options: dict[str, Any]
) -> None:
    async def act(shown: Shown) -> None:
        for _ in range(3):  # the night, the study, the trial
            await shown.press(*"PXBRVUn")
            assert asked(night) == []
            assert not shown.app.screen.is_modal
            actions = {a.binding.action for a in shown.app.screen.active_bindings.values()}
            assert not actions & CHANGING
            await shown.press("question_mark")
            assert "Pause" not in shown.text
            assert "Cancel" not in shown.text
            await shown.press("escape", "enter")

    watch(night, act, size=(100, 60), **options)


def test_every_key_that_changes_the_machine_is_upper_case_and_said_in_the_help(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        keys = {
            key: active.binding.action
            for key, active in shown.app.screen.active_bindings.items()
            if active.binding.action in CHANGING
        }
        assert all(key.isupper() or action == "note" for key, action in keys.items())
        await shown.press("question_mark")
        for word in ("Pause", "Cancel", "Budget", "Place in the queue", "Yield", "Deadline"):
            assert word in shown.text

    watch(night, act, size=(100, 60))


def test_a_budget_in_the_inbox_is_one_that_the_engine_takes(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("B", "backspace", *"9", "enter", "enter")
        (request,) = inbox.pending(night.home)
        event = requests.event_of(request, 0.0)
        assert isinstance(event, e.StudySubmitted)
        same = msgspec.structs.replace(event.spec, trials=40)
        assert same == night._specs[2]

    watch(night, act)


def test_the_forms_fit_80_columns_and_ascii_is_kept_in_every_pop_up(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter")
        for key in "PXBRVUnycms":
            await shown.press(key)
            assert shown.app.screen.is_modal, key
            assert shown.text.isascii(), [c for c in shown.text if not c.isascii()]
            if key == "B":
                assert "Change it" in shown.text
                assert "time that they may run" in shown.text
            await shown.press("escape")

    watch(night, act, ascii=True)


def test_order_filter_and_columns_are_found_again_at_the_next_start(night: SampleNight) -> None:
    async def arrange(shown: Shown) -> None:
        await shown.press("enter", "slash", "3", "enter", "f")
        await shown.press("c", "end", "space", "c")
        assert "width" in shown.lines[4]
        assert " act" not in shown.lines[4]

    async def again(shown: Shown) -> None:
        await shown.press("enter")
        assert "stopped ones folded" in shown.text
        assert shown.line("folded").split()[0] == "1"
        assert " act" not in shown.lines[4]

    watch(night, arrange, size=(110, 30))
    watch(night, again, size=(110, 30))


def stopped_of(night: SampleNight) -> int:
    """Return a trial of digits that was stopped."""
    with Snapshot(night.home) as snapshot:
        rows = snapshot.rows(2)
        return next(
            row.number for row in rows if not nothing_to_continue(snapshot.trial(2, row.number))
        )


def test_a_stopped_trial_is_continued_after_a_question(night: SampleNight) -> None:
    number = stopped_of(night)

    async def act(shown: Shown) -> None:
        shown.app.open_trial(2, number)
        await shown.press("C", "enter")
        assert asked(night) == []
        await shown.press("C")
        assert f"Continue digits/{number}?" in shown.text
        await confirm(shown)
        body = {"study": 2, "trial": number, "by": inbox.who()}
        assert asked(night) == [("continue", body)]

    watch(night, act)


def test_known_mistakes_of_a_study_are_released_after_a_question(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("A")
        assert "Release digits?" in shown.text
        await confirm(shown)
        body = {"study": 2, "trial": None, "only_held": True, "by": inbox.who()}
        assert asked(night) == [("release", body)]

    watch(night, act)


@pytest.mark.parametrize("readonly", [False, True])
def test_the_palette_has_what_the_keys_of_the_screen_may_do(
    night: SampleNight, readonly: bool
) -> None:
    async def act(shown: Shown) -> None:
        names = [name for name, _, _ in Commands(shown.app.screen)._actions()]
        assert ("pause" in names) is not readonly
        assert "copy" in names
        if not readonly:
            await shown.press("colon", *"pause")
            await shown.wait_for("the same as P")
            await shown.press("enter")
            await shown.wait_for("Pause digits?")

    watch(night, act, readonly=readonly)
