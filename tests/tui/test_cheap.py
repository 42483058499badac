"""What keeps the dashboard cheap, and must not make it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.audience import Shown, watch
from fakes.ledgers import Recording, record_small_night
from fakes.sample_night import SampleNight
from smallhours import snapshot
from smallhours.core import facts as f
from smallhours_tui.feed import Feed


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recorded = record_small_night(tmp_path / "state")
    yield recorded
    recorded.close()


def test_sentences_of_what_happened_are_made_once_and_follow_a_study_that_loses_its_name(
    recording: Recording,
) -> None:
    feed = Feed(recording.home, clock=recording.clock)
    before = feed.night.happened
    recording.complete(5, 0.2)
    feed.poll()
    assert feed.night.happened[1] is before[0]
    assert "wine/5" in feed.night.happened[0].text
    recording.add(f.StudyRetired(study=1))
    feed.poll()
    assert "wine@1/5" in feed.night.happened[1].text
    feed.close()


def test_all_processes_are_looked_at_now_and_then_where_the_engine_died(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(snapshot, "supervisor_lives", lambda home: bool(looks.append(home)))
    feed = Feed(recording.home, clock=recording.clock)
    for _ in range(5):
        feed.poll()
    assert len(looks) == 1
    feed.close()


def test_keys_that_come_faster_than_frames_leave_the_cursor_in_sight(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter")
        table = shown.app.screen.focused
        for _ in range(15):  # no frame in between
            table.action_step(1)
            assert table._sees(table._cursor)
        await shown.press()
        assert any(line.startswith(">") for line in shown.lines)

    watch(night, act, size=(90, 16))


def test_only_the_table_that_keys_go_to_shows_its_cursor(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        assert [line[:3] for line in shown.lines if line.startswith(">")] == [">▸ "]
        await shown.press("tab")
        assert [line[:6] for line in shown.lines if line.startswith(">")] == [">cpu 1"]

    watch(night, act)


def test_what_follows_the_cursor_catches_up_once_it_rests(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("enter", "j", "j", "j")
        number = shown.app.screen.subject.trial
        await shown.wait_for(f" {number} ")
        note = next(line for line in shown.lines if "seed=" in line)
        line = shown.app.feed.ledger.trials(2)[number]
        while f"width={line.params['width']}" not in note:
            await shown.press()
            note = next(line for line in shown.lines if "seed=" in line)

    watch(night, act)
