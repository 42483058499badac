"""Lanes: what ran where and when, read whole and followed, and how it is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.audience import Shown, watch
from fakes.gpu_night import FIRST, SECOND, GpuNight
from fakes.ledgers import EVENING, Recording, record_small_night
from smallhours.core import reasons as r
from smallhours.paths import Home
from smallhours.snapshot.following import Following
from smallhours.snapshot.timeline import Timeline
from smallhours_tui.screens.lanes import LanesScreen


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuNight]:
    recorded = GpuNight(tmp_path_factory.mktemp("night") / "state")
    yield recorded
    recorded.close()


def slots(timeline: Timeline, device: str) -> list[list[tuple[int, int]]]:
    """Return study and trial by slot."""
    return [[(stay.study, stay.trial) for stay in slot] for slot in timeline.slots[device]]


def test_attempts_take_the_lowest_slot_that_is_free(gpus: GpuNight) -> None:
    with Following(gpus.home, gpus.clock) as ledger:
        found = ledger.timeline()
        assert slots(found, FIRST) == [[(1, 0), (1, 1), (1, 7)], [(2, 0), (2, 1), (2, 2)]]
        assert slots(found, SECOND) == [[(1, 5)], [(1, 6)]]
        assert [stay.trial for stay in found.ends] == [0, 0, 1, 2, 1, 6]


def test_what_began_before_the_time_asked_for_is_there_with_its_device(gpus: GpuNight) -> None:
    with Following(gpus.home, gpus.clock) as ledger:
        found = ledger.timeline(EVENING + 35 * 60)
        assert {stay.key[:2] for slot in found.slots[SECOND] for stay in slot} == {(1, 5), (1, 6)}
        assert slots(found, FIRST) == [[(1, 1), (1, 7)]]
        assert found.slots[SECOND][0][0].since == EVENING + 5 * 60


def test_what_is_followed_equals_what_is_read_anew(tmp_path: Path) -> None:
    growing = record_small_night(tmp_path / "state")
    growing.engine_lives(os.getpid())
    with Following(growing.home, growing.clock) as ledger:
        followed = ledger.timeline()
        growing.start(5)
        growing.report(5, {1: 0.4})
        growing.create(6)
        growing.start(6)
        growing.end(4, r.Paused(by="operator", why="", checkpoint=None, steps_repeated=0), 2)
        growing.start(4, 3)
        growing.end(5, r.Cancelled(by="ada", scope="trial", checkpoint=None))
        growing.create(7)
        growing.end(7, r.Refused(why="memory"))
        ledger.follow()
        anew = Timeline.read(ledger._source, followed.since, ledger.runs())
        assert followed.slots == anew.slots
        assert followed.ends == anew.ends
        assert followed.ends[-1].device == ""
    growing.close()


def test_a_stop_saves_what_was_left_at_the_trials_own_pace(gpus: GpuNight) -> None:
    with Following(gpus.home, gpus.clock) as ledger:
        saved = {stay.key[:2]: stay.saved_s(27) for stay in ledger.timeline().ends}
        assert saved[2, 1] == pytest.approx(18 * 15 * 60 / 9)
        assert sum(saved.values()) == saved[2, 1]


def test_lanes_show_each_device_with_its_slots_and_what_ran(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "[3 Lanes]" in shown.lines[0]
        assert "17.4/24 GiB" in shown.line("GPU 0  mem")
        assert re.search(r"vit/0 ━+✓vit/1 ━+✓vit/7 ━+▸ 5.4 GiB", shown.line("vit/0"))
        assert re.search(r"━+!mlp/1 ━+▽━+!", shown.line("mlp/1"))
        assert "╳" in shown.line("vit/6")
        assert "probe" in shown.text

    watch(gpus, act)


def test_what_is_chosen_is_told_with_its_memory_and_enter_opens_it(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3", "left")
        assert "GPU 0 slot 1" in shown.line(" ✓ vit/1")
        assert "28 m 0 s" in shown.line(" ✓ vit/1")
        assert "5.1 GiB measured; 5 GiB expected, 5.4 GiB promised" in shown.text
        await shown.press("down", "down", "down")
        assert "out of GPU memory" in shown.text
        assert "12.9 GiB measured" in shown.text
        assert "and it took more" in shown.text
        await shown.press("enter")
        assert "vit/6" in shown.lines[1]
        await shown.press("escape")
        assert "[3 Lanes]" in shown.lines[0]

    watch(gpus, act)


def test_what_waits_is_told_with_why(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "the next trial of mlp: not enough memory, for 8m" in shown.text

    watch(gpus, act)


def test_zoom_changes_the_time_that_is_seen_and_zero_shows_all(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3", "plus", "plus", "plus", "plus")
        assert "vit/0" not in shown.text
        await shown.press("g")
        assert "vit/0" in shown.text
        await shown.look()
        assert "time gone by" in shown.lines[1]
        await shown.press("0")
        assert "vit/0" in shown.text
        assert "vit/7" in shown.text

    watch(gpus, act)


def test_a_night_gone_by_is_shown_as_it_was(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "as of" in shown.lines[0]
        assert "vit/7" not in shown.text
        assert "mlp/2" not in shown.text
        assert "▸" in shown.line("vit/6 ━")

    watch(gpus, act, at=EVENING + 25 * 60)


def test_since_leaves_out_what_had_ended_by_then(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3", "0")
        assert "vit/1" in shown.text
        assert "vit/0" not in shown.text

    watch(gpus, act, since=EVENING + 35 * 60)


def test_what_starts_meanwhile_appears(tmp_path: Path) -> None:
    recording = record_small_night(tmp_path / "state")
    recording.engine_lives(os.getpid())

    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "wine/5" not in shown.text
        recording.start(5)
        await shown.look()
        screen = shown.app.screen
        assert isinstance(screen, LanesScreen)
        assert "2 slots" in shown.lines[1]
        recording.end(4, r.Completed(steps=10, metrics={}), 2, score=0.5, last_step=10)
        await shown.look()
        assert "✓" in shown.text

    watch(recording, act)
    recording.close()


def test_without_an_engine_time_stands_still_and_what_ran_is_cut_off(tmp_path: Path) -> None:
    recording = record_small_night(tmp_path / "state")
    recording.clock.now += 7200

    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "smallhours start" in shown.lines[2]
        assert "cut off when the engine ended" in shown.text
        assert "━" in shown.text

    watch(recording, act)
    recording.close()


def test_without_a_ledger_nothing_has_run(tmp_path: Path) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3")
        assert "nothing has run yet" in shown.text

    watch(Home(tmp_path), act)


@pytest.mark.parametrize("size", [(60, 14), (80, 24), (200, 60)])
def test_any_size_and_ascii_will_do(gpus: GpuNight, size: tuple[int, int]) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("3", "down", "down")
        assert "vit/" in shown.text
        assert shown.text.isascii()

    watch(gpus, act, size=size, ascii=True)


def test_a_ledger_that_grows_keeps_its_spans(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "state")
    recording.session()
    recording.study()
    recording.complete(0, 0.5)
    recording.engine_lives(os.getpid())

    async def act(shown: Shown) -> None:
        await shown.press("3")
        for trial in range(1, 4):
            recording.complete(trial, 0.5)
            await shown.look()
        await shown.press("0")
        screen = shown.app.screen
        assert isinstance(screen, LanesScreen)
        assert [len(spans) for spans in screen._spans.values()] == [4]
        assert shown.line(" 1 ·").count("✓") == 4

    watch(recording, act)
    recording.close()
