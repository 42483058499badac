"""Trials under MPS are signalled only after the card was taken from them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest

from fakes.core import make_spec
from fakes.mps import CONNECT, FakeMps, until
from smallhours import rules
from smallhours.backends.base import NothingShared, Sharing
from smallhours.backends.local import LocalLauncher
from smallhours.backends.places import Places
from smallhours.backends.process import ProcessBackend
from smallhours.clock import SystemClock
from smallhours.core import events as e
from smallhours.core.actions import Start
from smallhours.core.model import Standing, Study
from smallhours.core.trial import AttemptKey
from smallhours.devices.base import Device
from smallhours.devices.mps import Mps
from smallhours.paths import Home

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

KEY = AttemptKey(1, 0, 1)
CARD = Device(
    name="GPU-8f3e0c52", kind="gpu", label="GPU", total_bytes=None, capability=(8, 6), index=0
)
#: It uses the card and is deaf to everything but SIGKILL.
STUDY = f"""
import os, signal, time
from smallhours import Choice, Study

study = Study("under", metric="loss", goal="minimize", space={{"x": Choice([1])}},
              baseline={{"x": 1}}, trials=1, steps=5)

@study.train
def train(trial):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
{indent(CONNECT, "    ")}
    trial.report(1, loss=float(answer))
    time.sleep(100)
"""


class Night:
    """A backend with one study, beside MPS."""

    def __init__(self, fake: FakeMps) -> None:
        self.fake = fake
        self.home = Home(fake.directory / "state")
        self.home.prepare()
        fake.session.mkdir()
        self.mps = Mps(fake.session, SystemClock(), environment=fake.environment, ours=fake.ours)
        self.events: list[e.Event] = []

    def backend(self, sharing: Sharing) -> ProcessBackend:
        return ProcessBackend(
            self.home,
            self.fake.session,
            LocalLauncher(),
            studies={1: self._study()},
            clock=SystemClock(),
            places=lambda: Places(1, packed=False, gpus=1),
            environment=dict(os.environ),
            sharing=sharing,
        )

    def _study(self) -> Study:
        source, snapshot = self.home.root / "under.py", self.home.snapshots / "1"
        snapshot.mkdir()
        for path in (source, snapshot / source.name):
            path.write_text(STUDY, encoding="utf-8")
        spec = make_spec(name="under", steps=5, space=None, baseline={})
        return Study(
            id=1,
            spec=spec,
            snapshot="1",
            digest="",
            source=str(source),
            module="under",
            cwd=str(self.home.root),
            rule=rules.make(spec),
            standing=Standing.of(spec, 1.0),
        )

    async def open(self) -> Path:
        """Start MPS; return where clients find it."""
        self.mps.look([CARD], [], "auto")
        await until(lambda: self.mps.state(CARD.name).phase == "on")
        return Path(self.mps.environment(CARD.name, None)["CUDA_MPS_PIPE_DIRECTORY"])

    async def kill(self, backend: ProcessBackend) -> None:
        """Run a trial until it uses the card, then signal it until it is gone."""
        await backend.open(self.events.append)
        backend.wake()
        await until(lambda: self.has(e.BackendReady))
        backend.start(
            Start(key=KEY, params={"x": 1}, seed=0, resume=(), best_known=None, device=CARD.name)
        )
        await until(lambda: self.has(e.ReportArrived))
        backend.signal(KEY, "SIGTERM")
        backend.signal(KEY, "SIGKILL")
        await until(lambda: self.has(e.ProcessExited))

    def has(self, kind: type[e.Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def pid(self) -> int:
        (started,) = [event for event in self.events if isinstance(event, e.ProcessStarted)]
        return started.pid


class Unasked(NothingShared):
    """Trials run under MPS, and are signalled at once."""

    def __init__(self, mps: Mps) -> None:
        self.environment = mps.environment  # type: ignore[method-assign]


@pytest.fixture
def night() -> Iterator[Night]:
    fake = FakeMps()
    yield Night(fake)
    fake.close()


@pytest.mark.parametrize("asked", [True, False])
def test_a_trial_that_is_killed_leaves_the_server_unharmed_where_it_is_asked_before(
    night: Night, *, asked: bool
) -> None:
    async def scene() -> None:
        pipe = await night.open()
        backend = night.backend(night.mps if asked else Unasked(night.mps))
        try:
            await night.kill(backend)
            await until(lambda: night.fake.clients(pipe) == set())
            (exited,) = [event for event in night.events if isinstance(event, e.ProcessExited)]
            assert exited.signal == signal.SIGKILL
            words = f"terminate_client {night.fake.server(pipe)} {night.pid()}\n"
            assert (words in night.fake.log(pipe)) == asked
            assert ("is in fault" not in night.fake.log(pipe)) == asked
            await until(lambda: night.mps.state(CARD.name).ready)
        finally:
            await backend.close()
            await night.mps.close()

    asyncio.run(scene())
    assert night.fake.processes() == []
