"""What the screens look like: pictures that a person has looked at, drawn again and compared."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from textual.scrollbar import ScrollBar, ScrollBarRender

from fakes.audience import Shown, watch
from fakes.gpu_night import GpuNight
from fakes.ledgers import EVENING, Recording
from fakes.pictures import assert_as_kept
from fakes.sample_night import SampleNight
from smallhours.paths import Home

SMALL, LARGE = (80, 24), (160, 50)


class View(NamedTuple):
    """A picture: which night, how to get there, and how large it is."""

    night: str
    keys: tuple[str, ...] = ()
    size: tuple[int, int] = SMALL
    options: Mapping[str, Any] = MappingProxyType({})


VIEWS = {
    "night-80x24": View("cpu"),
    "night-160x50": View("gpu", size=LARGE),
    "night-cards-60x24": View("cpu", size=(60, 24)),
    "night-empty-80x24": View("none"),
    "night-past-80x24": View("cpu", options={"at": EVENING + 30}),
    "study-80x24": View("cpu", ("enter", "j")),
    "study-160x50": View("cpu", ("enter", "j"), LARGE),
    "trial-80x24": View("cpu", options={"target": "digits/7"}),
    "trial-gpu-160x50": View("gpu", size=LARGE, options={"target": "vit/6"}),
    "lanes-80x24": View("gpu", ("3", "down")),
    "lanes-160x50-light": View("gpu", ("3",), LARGE, {"theme": "light"}),
    "lanes-ascii-80x24": View("gpu", ("3", "0"), options={"ascii": True}),
    "why-80x24": View("gpu", ("4", "j", "j")),
    "why-groups-160x50": View("gpu", ("4", "b"), LARGE),
    "help-80x24": View("gpu", ("3", "question_mark")),
}


@pytest.fixture(scope="module")
def gpu_night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuNight]:
    recorded = GpuNight(tmp_path_factory.mktemp("night") / "state")
    yield recorded
    recorded.close()


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One time zone, one name of the machine, and bars that no test before has made ASCII."""
    monkeypatch.setattr(socket, "gethostname", lambda: "moth")
    monkeypatch.setattr(ScrollBar, "renderer", ScrollBarRender)
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("name", VIEWS)
def test_it_looks_as_it_did_when_somebody_looked(
    name: str, night: SampleNight, gpu_night: GpuNight, tmp_path: Any
) -> None:
    view = VIEWS[name]

    async def act(shown: Shown) -> None:
        for key in view.keys:
            await shown.press(key)
        await shown.rest()
        assert_as_kept(shown, name)

    nights: dict[str, Recording | Home] = {
        "cpu": night,
        "gpu": gpu_night,
        "none": Home(tmp_path / "none"),
    }
    watch(nights[view.night], act, size=view.size, **view.options)
