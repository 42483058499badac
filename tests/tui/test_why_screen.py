"""Why: every end with its reason, grouped, with its evidence and its rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.audience import Shown, watch
from fakes.gpu_night import CUT, GpuNight
from fakes.ledgers import ALL_REASONS, EVENING, Recording
from fakes.sample_night import SampleNight
from smallhours.core import reasons as r
from smallhours.paths import Home
from smallhours_tui.marks import Signs
from smallhours_tui.ranking import ranking

PLAIN = Signs.of(ascii_only=True)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuNight]:
    recorded = GpuNight(tmp_path_factory.mktemp("night") / "state")
    yield recorded
    recorded.close()


def drawn(cut: r.RungCut | r.RuleCut) -> list[str]:
    """Return a ranking as text."""
    return ["".join(text for text, _ in line) for line in ranking(cut, 19, PLAIN, 60)]


def test_ends_are_newest_first_and_those_done_are_folded(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4")
        assert "✓ 2 done  ▽ 1 stopped  ! 3 failed" in shown.lines[1]
        assert "stopping saved ~30 m" in shown.lines[2]
        rows = [line.split()[2] for line in shown.lines[4:8]]
        assert rows == ["vit/6", "mlp/2", "mlp/1", "mlp/0"]
        assert "~30m" in shown.line("mlp/1")
        assert "vit/1" not in shown.text
        await shown.press("f")
        assert "ran to step 27" in shown.line("vit/1")

    watch(gpus, act)


def test_the_evidence_of_a_cut_has_its_rank_and_competitors_as_bars(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4", "j", "j")
        await shown.rest()
        assert "in place 7 of the 9 trials" in " ".join(shown.text.split())
        assert "█" in shown.line("0.352")
        assert "this" in shown.line("  ▽ 1  ")
        assert "─" in shown.line("cutoff")
        assert "4 others came" in shown.text

    watch(gpus, act, size=(80, 50))


def test_groups_have_failures_apart_by_what_went_wrong(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4", "b")
        await shown.rest()
        assert shown.line("mlp: ValueError: bad width (in mlp.py:12 in train)").split()[-2] == "2"
        assert "stopped at a rung" in shown.text
        assert "ran to the end" in shown.text
        assert "2 ends: mlp/2 and mlp/0." in shown.text
        await shown.press("enter")
        assert [line.split()[2] for line in shown.lines[4:6]] == ["mlp/2", "mlp/0"]
        assert "vit/6" not in shown.text
        await shown.press("escape")
        assert "stopped at a rung" in shown.text
        await shown.press("b")
        assert "vit/6" in shown.text

    watch(gpus, act)


def test_enter_opens_the_trial_and_escape_comes_back(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4", "j", "enter")
        assert "mlp/2" in shown.lines[1]
        await shown.press("escape")
        assert "[4 Why]" in shown.lines[0]
        assert shown.line(">").split()[2] == "mlp/2"

    watch(gpus, act)


def test_a_filter_goes_by_name_and_reason_and_survives_leaving(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4", "slash", *"mlp !rung", "enter")
        assert "mlp/2" in shown.text
        assert "mlp/1" not in shown.text
        await shown.press("1", "4")
        assert "mlp/1" not in shown.text
        await shown.press("slash", *"zzz")
        assert "no end passes the filter" in shown.text
        await shown.press("escape")
        assert "mlp/1" in shown.text

    watch(gpus, act)


def test_a_row_keeps_the_cursor_when_another_end_comes_in(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "state")
    recording.session()
    recording.study(trials=9)
    recording.engine_lives(os.getpid())
    for trial in range(3):
        recording.create(trial)
        recording.start(trial)
        recording.end(trial, CUT, last_step=9)

    async def act(shown: Shown) -> None:
        await shown.press("4", "j")
        assert shown.line(">").split()[2] == "wine/1"
        recording.create(3)
        recording.start(3)
        recording.end(3, CUT, last_step=9)
        await shown.look()
        assert "wine/3" in shown.text
        assert shown.line(">").split()[2] == "wine/1"

    watch(recording, act)
    recording.close()


@pytest.mark.parametrize("reasons", [ALL_REASONS[:6], ALL_REASONS[6:12], ALL_REASONS[12:]])
def test_every_reason_has_a_row_and_evidence(tmp_path: Path, reasons: tuple[r.Reason, ...]) -> None:
    recording = Recording(tmp_path / "state")
    recording.session()
    recording.study(trials=40)
    recording.engine_lives(os.getpid())
    for trial, reason in enumerate(reasons):
        recording.create(trial)
        if not isinstance(reason, r.Refused):
            recording.start(trial)
        recording.end(trial, reason, last_step=3)

    async def act(shown: Shown) -> None:
        await shown.press("4", "f")
        for trial in reversed(range(len(reasons))):
            await shown.rest()
            assert shown.line(">").split()[2] == f"wine/{trial}"
            assert f"wine/{trial} " in "\n".join(shown.lines[25:])
            await shown.press("j")
        await shown.press("b")
        assert len([line for line in shown.lines[4:22] if line.strip()]) == len(reasons)

    watch(recording, act, size=(100, 48))
    recording.close()


def test_below_80_columns_ends_are_cards(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4")
        assert "vit/6  " in shown.line("╳")
        assert "saved ~30m" in shown.text
        await shown.press("b")
        assert "2 ended" in shown.text

    watch(gpus, act, size=(60, 24))


def test_hostile_messages_are_shown_and_obeyed_nowhere(night: SampleNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4", "j")
        await shown.rest()
        assert "[bold]width[/bold] 測定" in shown.text
        assert "\x1b" not in shown.text
        await shown.press("b")
        assert "\x1b" not in shown.text

    watch(night, act, size=(100, 50))


def test_a_time_gone_by_has_the_ends_of_then(gpus: GpuNight) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4")
        assert "mlp/0" in shown.text
        assert "mlp/1" not in shown.text

    watch(gpus, act, at=EVENING + 20 * 60)


def test_where_nothing_but_completed_it_says_how_to_see_them(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "state")
    recording.session()
    recording.study()
    recording.complete(0, 0.5)

    async def act(shown: Shown) -> None:
        await shown.press("4")
        assert "all ran to their end: f shows them" in shown.text
        await shown.press("f")
        assert "wine/0" in shown.text

    watch(recording, act)
    recording.close()


def test_without_a_ledger_nothing_has_ended(tmp_path: Path) -> None:
    async def act(shown: Shown) -> None:
        await shown.press("4")
        assert "nothing has ended yet" in shown.text

    watch(Home(tmp_path), act)


def test_the_cutoff_stands_between_those_kept_and_the_trial() -> None:
    lines = drawn(CUT)
    names = [line.split()[0] for line in lines]
    assert names == ["1", "3", "2", "cutoff", "4", "%", "4"]
    assert lines[5].split()[1] == "19"
    bars = [line.count("#") for line in lines[:3] + lines[4:6]]
    assert bars == sorted(bars)


def test_where_more_is_better_the_best_still_stands_first() -> None:
    cut = r.RuleCut(
        rule="median", version=1, options={}, step=3, value=0.2, threshold=0.5, goal="maximize",
        compared=3, competitors=((1, 0.9), (2, 0.5)),
    )  # fmt: skip
    assert [line.split()[0] for line in drawn(cut)] == ["1", "2", "cutoff", "%"]


def test_values_below_zero_and_all_alike_can_be_drawn() -> None:
    cut = r.RuleCut(
        rule="median", version=1, options={}, step=3, value=-1.0, threshold=-1.0, goal="minimize",
        compared=1, competitors=((1, -1.0),),
    )  # fmt: skip
    assert len(drawn(cut)) == 3
