"""The life of a launcher, where it does not go as it should."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smallhours.backends import ray_tune
from smallhours.backends.base import Placed
from smallhours.backends.life import LauncherLife


class FakeLauncher:
    """Does nothing but what a test has it do; its callbacks can be called at any time."""

    name = "fake"

    def __init__(self) -> None:
        self.called: list[str] = []
        self.death: str | None = None
        self.trouble: Exception | None = None
        self.may_close = threading.Event()
        self.may_close.set()
        self.ready: Callable[[], None] = lambda: None
        self.lost: Callable[[str], None] = lambda words: None

    def open(
        self, slots: int, directory: str, ready: Callable[[], None], returned: Any, lost: Any
    ) -> None:
        self.called.append("open")
        self.ready, self.lost = ready, lost

    def renew(self, ready: Callable[[], None]) -> None:
        self.called.append("renew")
        self.ready = ready

    def start(self, placed: Placed) -> None:
        raise AssertionError("nothing is started here")

    def dead(self) -> str | None:
        return self.death

    def close(self) -> None:
        assert self.may_close.wait(10)
        self.called.append("close")
        if self.trouble is not None:
            raise self.trouble


class Told:
    """A life, and what it told."""

    def __init__(self) -> None:
        self.launcher = FakeLauncher()
        self.words: list[str] = []
        self._news = asyncio.Event()
        self.life = LauncherLife(
            self.launcher,
            "/nowhere",
            ready=lambda: self._say("ready"),
            rested=lambda: self._say("rested"),
            returned=lambda back: None,
            lost=lambda words: self._say(f"lost: {words.splitlines()[-1]}"),
        )

    def _say(self, word: str) -> None:
        self.words.append(word)
        self._news.set()

    async def until(self, count: int) -> None:
        """Wait until so much was told, and for what would come right after it."""
        async with asyncio.timeout(10):
            while len(self.words) < count:
                self._news.clear()
                await self._news.wait()
        for _ in range(10):
            await asyncio.sleep(0)

    async def awake(self) -> None:
        self.life.wake(2)
        self.launcher.ready()
        await self.until(1)


def test_a_launcher_that_cannot_be_let_go_is_lost() -> None:
    async def scene() -> None:
        told = Told()
        await told.awake()
        told.launcher.trouble = OSError("stuck")
        told.life.rest()
        await told.until(2)
        told.life.rest()
        told.life.wake(2)
        await told.until(2)
        assert told.words == ["ready", "lost: OSError: stuck"]
        assert told.life.lost
        told.launcher.trouble = None
        await told.life.close()

    asyncio.run(scene())


def test_a_death_is_told_once_whether_it_is_found_or_said() -> None:
    async def scene() -> None:
        told = Told()
        await told.awake()
        told.life.renew()
        told.launcher.death = "Ray's raylet died"
        told.life.check()
        told.life.check()
        told.launcher.lost("Tune broke")
        told.launcher.ready()
        await told.until(2)
        assert told.words == ["ready", "lost: Ray's raylet died"]

    asyncio.run(scene())


def test_what_dies_while_it_is_let_go_is_no_loss() -> None:
    async def scene() -> None:
        told = Told()
        await told.awake()
        told.launcher.may_close.clear()
        told.life.rest()
        told.launcher.death = "Ray's raylet died"
        told.life.check()
        told.launcher.may_close.set()
        await told.until(2)
        told.life.check()
        assert told.words == ["ready", "rested"]

    asyncio.run(scene())


def test_the_engine_goes_on_while_it_is_let_go_and_a_late_word_is_not_heard() -> None:
    async def scene() -> None:
        told = Told()
        told.life.wake(2)
        told.launcher.may_close.clear()
        told.life.rest()
        told.life.wake(2)
        told.launcher.ready()
        for _ in range(10):
            await asyncio.sleep(0)
        assert told.words == []
        told.launcher.may_close.set()
        await told.until(1)
        assert (told.words, told.launcher.called) == (["rested"], ["open", "close", "open"])

    asyncio.run(scene())


def test_closing_waits_for_what_is_being_let_go_and_nothing_is_told_any_more() -> None:
    async def scene() -> None:
        told = Told()
        await told.awake()
        told.launcher.may_close.clear()
        told.life.rest()
        told.life.wake(2)
        closing = asyncio.create_task(told.life.close())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not closing.done()
        told.launcher.may_close.set()
        await closing
        told.life.wake(2)
        assert told.words == ["ready"]
        assert told.launcher.called == ["open", "close", "close"]

    asyncio.run(scene())


def test_ray_that_does_not_go_is_not_started_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    class Stuck(ray_tune.RayLauncher):
        def _live(self, slots: int) -> None:
            release.wait(10)

    monkeypatch.setattr(ray_tune, "_START_S", 0.01)
    monkeypatch.setattr(ray_tune, "_PATH_CHARS", 1000)
    monkeypatch.setattr(ray_tune, "environment", lambda slots: {})
    tmp_path.chmod(0o700)
    lost: list[str] = []
    launcher = Stuck()
    for _ in range(2):
        launcher.open(1, str(tmp_path), lambda: None, lambda back: None, lost.append)
        launcher.close()
    release.set()
    assert lost == ["Ray was told to go and did not"]
