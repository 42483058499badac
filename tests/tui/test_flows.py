"""What a person does with the dashboard, key by key."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from textual import events

from fakes.audience import Shown, watch
from fakes.ledgers import EVENING, Recording, record_small_night
from fakes.sample_night import SampleNight
from smallhours.errors import UsageError
from smallhours.paths import Home


def test_the_night_shows_queue_devices_slots_and_what_happened(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "● engine up" in shown.lines[0]
        assert "▸ 2 running" in shown.lines[1]
        assert "22/40" not in shown.text
        assert "20/40" in shown.line("digits ")
        assert "lower" in shown.line("digits ")
        assert "halted" in shown.line("! gru")
        assert "21/64 GiB" in shown.line(" cpu")
        assert "digits/20" in shown.line("cpu 1")
        assert "digits/21" in shown.line("cpu 2")
        assert "2 free" in shown.text
        assert "was halted: 3 trials" in shown.line("▽") or "was halted" in shown.text

    watch(night, act)


def test_names_are_shown_as_they_are_and_obey_nothing(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "vit-[red]tiny" in shown.text
        await shown.press("enter", "slash", *"17", "enter")
        assert "測定" in shown.text
        assert "[bold]width[/bold]" in shown.text
        await shown.press("enter")
        assert "\x1b" not in shown.text
        assert "boom" in shown.text

    watch(night, act, size=(120, 40))


def test_enter_goes_in_and_escape_comes_back(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter")
        assert "minimise val_loss" in shown.lines[1]
        await shown.press("j", "enter")
        assert "digits/20" in shown.lines[1]
        await shown.press("escape")
        assert "minimise val_loss" in shown.lines[1]
        await shown.press("escape")
        assert "▸ 2 running" in shown.lines[1]
        await shown.press("escape")
        assert "▸ 2 running" in shown.lines[1]

    watch(night, act)


def test_digits_go_to_screens_and_the_study_is_the_one_under_the_cursor(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("j", "2")
        assert "vit-[red]tiny" in shown.lines[1]
        await shown.press("1")
        assert "engine up" in shown.lines[0]
        assert "[1 Night]" in shown.lines[0]

    watch(night, act)


def test_a_filter_is_applied_as_it_is_typed_and_survives_leaving(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "slash", *"state:failed")
        assert "1 of 22 shown" in shown.text
        await shown.press("enter", "enter", "escape")
        assert "1 of 22 shown" in shown.text
        await shown.press("escape")
        assert "1 of 22 shown" not in shown.text

    watch(night, act)


def test_a_filter_that_nothing_passes_says_so(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "slash", *"lr>5")
        assert "no trial passes the filter" in shown.text

    watch(night, act)


def test_the_menu_sorts_and_choosing_again_turns_the_order_around(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "s", "j", "enter")
        assert shown.lines[5].split()[1] == "0"
        await shown.press("s")
        assert "turn around" in shown.text
        await shown.press("enter")
        assert "21" in shown.lines[5]

    watch(night, act)


def test_folding_hides_what_a_rule_stopped(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "f")
        assert "stopped ones folded" in shown.text
        assert "median at step" not in shown.text

    watch(night, act)


def test_a_trial_says_why_with_evidence_curve_parameters_and_log(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "stopped at step 7 of 10" in " ".join(shown.text.split())
        assert "threshold" in shown.text
        assert "cutoff" in shown.text
        assert "best (digits/" in shown.text
        await shown.press("left_square_bracket")
        assert "digits/7 " not in shown.lines[1]

    watch(night, act, size=(100, 60), target="digits/7")


def test_the_end_of_a_log_is_shown_and_all_of_it_on_a_key(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "last words" in shown.text
        assert "epoch 1" not in shown.text
        await shown.press("o")
        assert "digits/20 wrote 3 lines" in shown.lines[1]
        assert "\x1b" not in shown.text
        await shown.press("escape")
        assert "digits/20" in shown.lines[1]

    watch(night, act, size=(100, 60), target="digits/20")


@pytest.mark.parametrize("key", ["question_mark", "f1"])
def test_help_lists_the_keys_that_work_on_the_screen(night: SampleNight, key: str) -> None:
    async def act(shown: Shown) -> None:
        await shown.press(key)
        assert "Fold stopped" not in shown.text
        await shown.press(key, "enter", key)
        assert "Fold stopped" in shown.text
        await shown.press("q")
        assert "minimise" in shown.text

    watch(night, act, size=(100, 60))


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
def test_the_palette_opens_a_trial_by_its_name(night: SampleNight, key: str) -> None:
    async def act(shown: Shown) -> None:
        await shown.press(key, *"digits/12")
        await shown.wait_for("trial digits/12")
        await shown.press("enter")
        assert "digits/12" in shown.lines[1]

    watch(night, act)


def test_leaving_says_what_keeps_running(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("q")
        assert shown.app._exit

    watch(night, act)


def test_below_80_columns_rows_are_cards(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "best 0." in shown.text
        assert "vs baseline" not in shown.text

    watch(night, act, size=(60, 24))


def test_a_terminal_that_is_too_small_is_told_so_and_forgiven(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.resize(30, 8)
        assert "too small" in " ".join(shown.text.split())
        await shown.resize(80, 24)
        assert "digits" in shown.text

    watch(night, act)


def test_from_120_columns_on_curves_and_what_matters_stand_beside_the_table(
    night: SampleNight,
) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter")
        await shown.press("j")
        assert "val_loss" in shown.text
        assert "what matters" in shown.text

    watch(night, act, size=(130, 40))


def test_ascii_means_ascii(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        for keys in ((), ("enter",), ("enter",), ("escape", "question_mark")):
            await shown.press(*keys)
            assert shown.text.isascii(), [c for c in shown.text if not c.isascii()]

    watch(night, act, size=(130, 40), ascii=True)


@pytest.mark.parametrize("theme", ["dark", "light", "contrast", "ansi"])
def test_every_theme_has_every_hue_and_the_marks_stay(night: SampleNight, theme: str) -> None:
    async def act(shown: Shown) -> None:
        hues = [shown.app.style_map[hue] for hue in ("running", "waiting", "stopped", "failed")]
        assert len({style.color for style in hues}) == 4
        assert "▸" in shown.text

    watch(night, act, theme=theme)


def test_an_unknown_theme_is_refused_with_a_hint(night: SampleNight) -> None:
    async def act(shown: Shown) -> None: ...

    with pytest.raises(UsageError, match="did you mean 'light'"):
        watch(night, act, theme="lihgt")


def test_without_a_ledger_one_is_told_how_to_begin_and_it_is_found_later(tmp_path: Path) -> None:
    recordings = []

    async def act(shown: Shown) -> None:
        assert "smallhours add STUDY.py" in shown.text
        recordings.append(record_small_night(tmp_path / "state"))
        await shown.look()
        assert "wine" in shown.text

    watch(Home(tmp_path / "state"), act)
    recordings[0].close()


def test_an_engine_that_is_gone_is_said_with_the_last_event(tmp_path: Path) -> None:
    recording = record_small_night(tmp_path / "state")

    async def act(shown: Shown) -> None:
        assert "engine died 22:00" in shown.lines[0]
        assert "4 Why" in shown.lines[0]
        assert "smallhours start" in shown.lines[2]
        assert "running" not in shown.line("wine")

    async def act_wide(shown: Shown) -> None:
        assert "the engine died, last event" in shown.lines[0]

    watch(recording, act)
    watch(recording, act_wide, size=(160, 50))
    recording.close()


def test_what_is_recorded_meanwhile_is_shown(tmp_path: Path) -> None:
    recording = record_small_night(tmp_path / "state")
    recording.engine_lives(os.getpid())

    async def act(shown: Shown) -> None:
        await shown.press("enter")
        assert "waiting" in shown.line("    5 ")
        recording.start(5)
        recording.report(5, {1: 0.4321})
        await shown.look()
        await shown.press("full_stop")
        assert "0.4321" in shown.text

    watch(recording, act)
    recording.close()


def test_rows_stay_while_one_reads(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "state")
    recording.session()
    recording.study(trials=9)
    recording.complete(0, 0.5)
    recording.complete(1, 0.4)

    async def act(shown: Shown) -> None:
        await shown.press("enter", "j")
        recording.complete(2, 0.1)
        shown.app.feed.poll()
        shown.app.screen.show_anew()
        before = [line for line in shown.lines if "ran to step" in line]
        recording.complete(3, 0.05)
        update = shown.app.feed.poll()
        shown.app.screen.show(shown.app.feed.night, update)
        await shown.press("j")
        after = [line[3:] for line in shown.lines if "ran to step" in line]
        assert after[: len(before)] == [line[3:] for line in before]
        assert "1 new" in shown.text
        await shown.press("full_stop")
        assert "0.05" in shown.lines[5]

    watch(recording, act, size=(100, 30))
    recording.close()


def test_a_time_gone_by_shows_what_was_known_then(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert "as of" in shown.lines[0]
        assert "wine" in shown.text
        assert "digits" not in shown.text

    watch(night, act, at=EVENING + 20)


def test_keys_of_the_users_own_are_taken(night: SampleNight, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('[keys]\n"study.fold" = "z"\n')

    async def act(shown: Shown) -> None:
        await shown.press("enter", "f")
        assert "folded" not in shown.text
        await shown.press("z")
        assert "folded" in shown.text

    watch(night, act)


def test_a_key_for_something_unknown_is_refused(night: SampleNight, tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('[keys]\n"study.flod" = "z"\n')

    async def act(shown: Shown) -> None: ...

    with pytest.raises(UsageError, match=r"did you mean 'study\.fold'"):
        watch(night, act)


def test_a_look_at_the_ledger_that_comes_while_it_closes_is_passed_over(
    night: SampleNight,
) -> None:
    kept = []

    async def act(shown: Shown) -> None:
        kept.append(shown.app)

    watch(night, act)
    (app,) = kept
    assert not app.screen_stack
    app.rhythm.hurry()
    app._poll()


@pytest.mark.parametrize("packed", [True, False])
def test_places_that_are_taken_where_it_pays_are_said_to_be(
    night: SampleNight, packed: bool
) -> None:
    night.plan(packed=packed)

    async def act(shown: Shown) -> None:
        free = "2 if it pays" if packed else "2 free"
        assert free in shown.text

    watch(night, act)


def test_it_rests_while_another_window_has_the_focus_and_catches_up(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        looks = []
        poll, feed = shown.app.feed.poll, shown.app.feed
        feed.poll = lambda: (looks.append(0), poll())[1]  # type: ignore[method-assign]
        shown.app.post_message(events.AppBlur())
        await shown.rest()
        shown.app.rhythm.touched_at = float("-inf")
        shown.app.rhythm.due(time.monotonic() + 60.0, focused=True)  # it has just looked
        looks.clear()
        shown.app._poll()
        assert not looks
        shown.app.post_message(events.AppFocus())
        await shown.rest()
        assert len(looks) == 1

    watch(night, act)
