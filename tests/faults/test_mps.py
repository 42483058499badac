"""MPS: daemons that are started, swept, hang, refuse and are poisoned; real processes, a fake."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.clock import ManualClock
from fakes.mps import Client, FakeMps, until, wait
from smallhours import sweep
from smallhours.devices.base import Device
from smallhours.devices.inventory import Inventory
from smallhours.devices.mps import Mps
from smallhours.devices.mps_card import CHECK_S, RESTARTS_ALLOWED
from smallhours.devices.mps_control import ControlDaemon, Limits, MpsError
from smallhours.devices.simulated import SimulatedProbe
from smallhours.devices.watch import Watch
from smallhours.processes import session_of, started_at, variable_of
from smallhours.settings import MpsMode
from smallhours.surroundings import Surroundings

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]

GIB = 2**30
USUAL = Limits()
CARD = Device(
    name="GPU-8f3e0c52-6a1d-4d0b-9a57-0d5be7a10001",
    kind="gpu",
    label="NVIDIA GeForce RTX 3090",
    total_bytes=24 * GIB,
    capability=(8, 6),
    compute_mode="default",
    index=0,
)


@pytest.fixture
def fake() -> Iterator[FakeMps]:
    machine = FakeMps()
    yield machine
    machine.close()


def started(fake: FakeMps, limits: Limits = USUAL) -> ControlDaemon:
    made = ControlDaemon(fake.session / "mps" / "0", CARD.name, fake.environment, limits)
    made.start(str(fake.program))
    return made


@pytest.fixture
def daemon(fake: FakeMps) -> ControlDaemon:
    return started(fake)


def hang(fake: FakeMps, daemon: ControlDaemon) -> None:
    """Have a daemon that works answer no more, with short limits from then on."""
    daemon._limits = Limits(ask_s=0.3, quit_s=0.2)
    fake.trouble("silent")


def control_pid(daemon: ControlDaemon) -> int:
    return int((daemon.pipe / "nvidia-cuda-mps-control.pid").read_text())


# --- one daemon ----------------------------------------------------------------------------


def test_a_daemon_has_private_directories_and_sees_one_card(
    fake: FakeMps, daemon: ControlDaemon
) -> None:
    pid = control_pid(daemon)
    assert variable_of(pid, "CUDA_VISIBLE_DEVICES") == CARD.name
    assert variable_of(pid, "CUDA_MPS_PIPE_DIRECTORY") == str(daemon.pipe)
    assert variable_of(pid, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") == ""
    for path in (daemon.pipe, daemon.pipe.parent, daemon.pipe.parent / "log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert daemon.trouble() == ""


def test_a_daemon_that_is_stopped_takes_its_server_along(
    fake: FakeMps, daemon: ControlDaemon
) -> None:
    fake.client(daemon.pipe)
    assert len(fake.processes()) == 2
    daemon.stop()
    assert fake.processes() == []
    assert daemon.trouble() == "its control daemon is gone"
    daemon.stop()


def test_a_daemon_that_does_not_end_is_killed_with_its_server(
    fake: FakeMps,
) -> None:
    daemon = started(fake, Limits(quit_s=0.2))
    fake.client(daemon.pipe)
    fake.trouble("stubborn")
    daemon.stop()
    assert fake.processes() == []


def test_a_daemon_that_will_not_start_says_why(fake: FakeMps) -> None:
    fake.trouble("refuse")
    daemon = ControlDaemon(fake.session, CARD.name, fake.environment)
    with pytest.raises(MpsError, match="be started: Failed to start the MPS control daemon: no p"):
        daemon.start(str(fake.program))


def test_a_directory_that_is_too_long_for_a_socket_is_named(fake: FakeMps) -> None:
    daemon = ControlDaemon(fake.session / ("x" * 90), CARD.name, fake.environment)
    with pytest.raises(MpsError, match="xxx/pipe/control: the path is too long for a socket"):
        daemon.start(str(fake.program))


def test_a_daemon_that_says_nothing_holds_up_nobody(
    fake: FakeMps,
) -> None:
    daemon = started(fake)
    hang(fake, daemon)
    assert daemon.trouble() == "its control daemon does not answer (get_server_list)"
    with pytest.raises(MpsError, match="does not answer"):
        daemon.terminate(os.getpid())


def test_a_daemon_that_was_killed_is_gone(fake: FakeMps, daemon: ControlDaemon) -> None:
    pid = control_pid(daemon)
    os.kill(pid, signal.SIGKILL)
    wait(lambda: started_at(pid) is None)
    assert daemon.trouble() == "its control daemon is gone"


def test_the_sweep_of_a_dead_session_finds_daemon_and_server(
    fake: FakeMps, daemon: ControlDaemon
) -> None:
    fake.client(daemon.pipe)
    assert {session_of(pid) for pid in fake.processes()} == {str(fake.session)}
    assert sweep.kill_session(str(fake.session), 0) == 2
    wait(lambda: not fake.processes())


#: Does as the supervisor does: adopts what goes to the background, and sweeps it.
SUPERVISOR = """
import os, sys
from pathlib import Path
from smallhours import sweep
from smallhours.devices.mps_control import ControlDaemon
from smallhours.worker import limits

limits.adopt_orphans()
daemon = ControlDaemon(Path(sys.argv[1]), "GPU-1", os.environ)
daemon.start(sys.argv[2])
print(daemon.pipe, flush=True)
sys.stdin.readline()
print(sweep.kill_descendants())
"""


def test_the_supervisor_sweeps_daemon_and_server(fake: FakeMps) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(fake.session), str(fake.program)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | fake.environment,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        fake.client(Path(supervisor.stdout.readline().strip()))
        swept, _ = supervisor.communicate("\n")
    assert swept == "2\n"
    assert fake.processes() == []


def test_a_client_killed_with_work_in_flight_poisons_the_server(
    fake: FakeMps, daemon: ControlDaemon
) -> None:
    leaving, killed = fake.client(daemon.pipe), fake.client(daemon.pipe)
    leaving.leave()
    wait(lambda: fake.clients(daemon.pipe) == {killed.pid})
    assert daemon.trouble() == ""
    other = fake.client(daemon.pipe)
    killed.kill()
    wait(lambda: fake.clients(daemon.pipe) == {other.pid})
    assert daemon.trouble() == f"its server (process {fake.server(daemon.pipe)}) is in fault"


def test_a_client_that_was_let_go_can_be_killed(fake: FakeMps, daemon: ControlDaemon) -> None:
    killed, other = fake.client(daemon.pipe), fake.client(daemon.pipe)
    assert daemon.terminate(killed.pid) == 1
    killed.kill()
    wait(lambda: fake.clients(daemon.pipe) == {other.pid})
    assert daemon.trouble() == ""


def test_who_is_no_client_is_not_let_go(fake: FakeMps, daemon: ControlDaemon) -> None:
    assert daemon.terminate(os.getpid()) == 0
    fake.client(daemon.pipe)
    assert daemon.terminate(1) == 0
    assert "terminate_client" not in fake.log(daemon.pipe)


def test_a_refusal_to_let_a_client_go_is_told(fake: FakeMps, daemon: ControlDaemon) -> None:
    client = fake.client(daemon.pipe)
    fake.trouble("stale")  # CUDA_ERROR_INVALID_CONTEXT
    with pytest.raises(MpsError, match=f"client {client.pid} can't be let go: 201"):
        daemon.terminate(client.pid)


def test_a_server_that_crashed_is_known_from_the_log_until_another_is_ready(
    fake: FakeMps, daemon: ControlDaemon
) -> None:
    fake.client(daemon.pipe)
    server = fake.server(daemon.pipe)
    fake.ask(daemon.pipe, "crash")
    assert daemon.trouble() == f"Server {server} exited with status 1"
    assert daemon.trouble() != ""
    fake.client(daemon.pipe)
    assert daemon.trouble() == ""


# --- all cards, from the event loop --------------------------------------------------------


class Engine:
    """What the engine does with it."""

    def __init__(self, fake: FakeMps, limits: Limits = USUAL) -> None:
        self.fake, self.clock = fake, ManualClock(100.0)
        self.mps = Mps(
            fake.session,
            self.clock,
            environment=fake.environment,
            ours=fake.ours,
            limits=limits,
        )

    @property
    def phase(self) -> str:
        return self.mps.state(CARD.name).phase

    @property
    def pipe(self) -> Path:
        return Path(self.mps.environment(CARD.name, None)["CUDA_MPS_PIPE_DIRECTORY"])

    def look(self, *, busy: bool = False, mode: MpsMode = "auto") -> None:
        self.mps.look([CARD], [CARD.name] if busy else [], mode)

    async def open(self) -> None:
        self.look()
        await until(lambda: self.phase == "on")

    async def check(self, *, busy: bool = True) -> None:
        """Have the server looked at once more, and wait for what comes of it."""
        self.clock.now += CHECK_S
        self.look(busy=busy)
        await until(lambda: not self.mps._cards[CARD.name]._working)

    async def poison(self) -> Client:
        """Kill a client with work in flight; another one stays."""
        killed, other = self.fake.client(self.pipe), self.fake.client(self.pipe)
        killed.kill()
        await until(lambda: self.fake.status(self.pipe) == "FAULT")
        return other


Play = Callable[[Engine], Coroutine[None, None, None]]


@pytest.fixture
def engine(fake: FakeMps) -> Engine:
    return Engine(fake)


def play(engine: Engine, scene: Play) -> None:
    async def run() -> None:
        try:
            await scene(engine)
        finally:
            await engine.mps.close()

    asyncio.run(run())


def test_a_card_is_shared_and_given_back(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        engine.look()
        assert not engine.mps.state(CARD.name).ready
        await until(lambda: engine.phase == "on")
        assert engine.mps.state(CARD.name).ready
        environment = engine.mps.environment(CARD.name, 3 * GIB + 5)
        assert (
            environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=3584M"
        )  # what torch does not count has room, too
        assert set(environment) == {
            "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
            "CUDA_MPS_PIPE_DIRECTORY",
        }
        assert engine.fake.client(engine.pipe).answer == "0"
        assert len(engine.fake.processes()) == 2

    play(engine, scene)
    assert engine.fake.processes() == []


def test_two_cards_have_a_daemon_each(engine: Engine) -> None:
    other = replace(CARD, name="GPU-21c4a9d7-83b0-4c6e-b1f2-64a9c3e20002", index=1)

    async def scene(engine: Engine) -> None:
        engine.mps.look([CARD, other], [], "auto")
        await until(lambda: {engine.phase, engine.mps.state(other.name).phase} == {"on"})
        pids = engine.fake.processes()
        cards = {variable_of(pid, "CUDA_VISIBLE_DEVICES") for pid in pids}
        assert cards == {CARD.name, other.name}

    play(engine, scene)


def test_the_cpu_is_never_shared(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        cpu = Device(name="cpu", kind="cpu", label="CPU", total_bytes=None)
        engine.mps.look([cpu], [], "on")
        assert engine.mps.state("cpu").ready
        assert engine.mps.environment("cpu", None) == {}

    play(engine, scene)


def test_what_is_off_keeps_trials_out_of_a_daemon_of_the_users(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        engine.look(mode="off")
        assert engine.mps.state(CARD.name) == ("off", "it is off in the settings")
        assert engine.mps.state(CARD.name).ready
        assert not engine.pipe.exists()
        assert engine.pipe.parent == engine.fake.session / "mps"

    play(engine, scene)
    assert engine.fake.processes() == []


def test_settings_that_change_are_followed_when_the_card_is_free(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        await engine.open()
        engine.look(busy=True, mode="off")
        assert engine.phase == "on"
        engine.look(mode="off")
        await until(lambda: engine.phase == "off")
        assert engine.fake.processes() == []
        engine.look(busy=True, mode="on")
        assert engine.phase == "off"
        engine.look(mode="on")
        await until(lambda: engine.phase == "on")

    play(engine, scene)


def test_a_daemon_that_will_not_start_is_not_tried_again_and_again(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        engine.fake.trouble("refuse")
        engine.look()
        await until(lambda: engine.phase == "failed")
        assert "no permission" in engine.mps.state(CARD.name).why
        assert engine.mps.state(CARD.name).ready
        engine.fake.trouble()
        engine.look()
        assert engine.phase == "failed"

    play(engine, scene)


def test_nothing_is_started_on_a_poisoned_server_and_it_is_replaced_when_it_is_free(
    engine: Engine,
) -> None:
    async def scene(engine: Engine) -> None:
        await engine.open()
        engine.fake.trouble("sticky")
        other = await engine.poison()
        server = engine.fake.server(engine.pipe)
        engine.mps.ended_badly()
        assert engine.phase == "suspect"
        assert not engine.mps.state(CARD.name).ready
        await until(lambda: engine.phase == "poisoned")
        assert engine.mps.state(CARD.name).why == f"its server (process {server}) is in fault"
        assert engine.fake.client(engine.pipe).answer == "807"
        await engine.check()
        assert engine.phase == "poisoned"
        assert not engine.mps.state(CARD.name).ready
        other.leave()
        engine.look()
        assert not engine.mps.state(CARD.name).ready
        await until(lambda: engine.phase == "on")
        assert started_at(int(server)) is None
        assert engine.fake.client(engine.pipe).answer == "0"

    play(engine, scene)


def test_a_server_that_recovers_by_itself_is_used_again(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        await engine.open()
        other = await engine.poison()
        await engine.check()
        assert engine.phase == "poisoned"
        other.leave()
        await until(lambda: engine.fake.status(engine.pipe) == "ACTIVE")
        await engine.check()
        assert engine.phase == "on"

    play(engine, scene)


def test_a_process_that_ended_badly_without_harm_holds_up_little(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        await engine.open()
        engine.mps.ended_badly()
        assert engine.phase == "suspect"
        await until(lambda: engine.phase == "on")

    play(engine, scene)


def test_a_card_whose_server_breaks_again_and_again_goes_on_without(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        await engine.open()
        for _ in range(RESTARTS_ALLOWED + 1):
            assert engine.phase == "on"
            (pid,) = engine.fake.processes()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not engine.fake.processes())
            engine.mps.ended_badly()
            await until(lambda: engine.phase == "poisoned")
            engine.look()
            await until(lambda: engine.phase in ("on", "failed"))
        assert engine.phase == "failed"
        assert engine.mps.state(CARD.name).ready
        assert engine.mps.state(CARD.name).why == "its control daemon is gone, after 3 restarts"
        assert not engine.pipe.exists()

    play(engine, scene)


def test_a_signal_waits_until_the_card_was_taken_away(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        said: list[str] = []
        engine.mps.before_signal(1, lambda: said.append("nothing to wait for"))
        assert said == ["nothing to wait for"]
        await engine.open()
        client = engine.fake.client(engine.pipe)
        engine.mps.before_signal(client.pid, lambda: said.append("now"))
        assert len(said) == 1
        await until(lambda: len(said) == 2)
        assert (
            f"terminate_client {engine.fake.ask(engine.pipe, 'get_server_list')} {client.pid}"
            in (engine.fake.log(engine.pipe))
        )

    play(engine, scene)


def test_a_signal_does_not_wait_for_a_daemon_that_hangs(
    fake: FakeMps,
) -> None:
    engine = Engine(fake, Limits(signal_s=0.1))

    async def scene(engine: Engine) -> None:
        await engine.open()
        hang(fake, engine.mps._cards[CARD.name]._daemon)
        said: list[str] = []
        engine.mps.before_signal(os.getpid(), lambda: said.append("now"))
        await until(lambda: said)
        await engine.check()  # after the refusal, which changes nothing any more
        assert said == ["now"]
        assert engine.phase == "poisoned"

    play(engine, scene)
    assert engine.fake.processes() == []


def test_a_session_that_ends_while_a_daemon_starts_leaves_none(engine: Engine) -> None:
    async def scene(engine: Engine) -> None:
        engine.look()

    play(engine, scene)
    assert engine.fake.processes() == []


def test_a_daemon_that_hangs_does_not_hold_up_the_end(
    fake: FakeMps,
) -> None:
    engine = Engine(fake, Limits(quit_s=20.0, close_s=0.1))

    async def scene(engine: Engine) -> None:
        await engine.open()
        engine.fake.trouble("silent")

    play(engine, scene)
    assert engine.fake.processes() != []  # for the supervisor to sweep


def test_the_engine_shares_the_cards_that_it_sees_as_the_settings_say(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, clock = engine.fake, ManualClock()
    file = fake.directory / "config.toml"
    file.write_text("mps = 'on'")
    monkeypatch.setenv("SMALLHOURS_CONFIG", str(file))
    watch = Watch("the GPUs", lambda: SimulatedProbe(clock, [CARD]), clock)

    async def scene() -> None:
        around = Surroundings(clock, fake.session, fake.environment, Inventory([watch]))

        def ticked(phase: str) -> bool:
            clock.now += 1.0
            around.devices.look()
            seen = around.devices_seen({}, ())
            cards = [device for device in seen.devices if device.name == CARD.name]
            starting = around.mps.state(CARD.name).phase == "starting"
            assert [card.closed for card in cards] in ([], ["sharing" if starting else None])
            return around.mps.state(CARD.name).phase == phase

        await until(lambda: ticked("on"))
        seen = around.devices_seen({}, [])
        assert (seen.devices[0].closed, seen.sharing) == (None, "mps")
        file.write_text("mps = 'off'")
        assert around.settings_changed()
        await until(lambda: ticked("off"))
        file.write_text("mps = 'on'   ")
        assert around.settings_changed()
        await until(lambda: ticked("on"))
        await around.close()

    asyncio.run(scene())
    assert fake.processes() == []


def test_the_users_own_daemon_is_left_alone(engine: Engine, fake: FakeMps) -> None:
    environment = {**fake.environment, "CUDA_MPS_LOG_DIRECTORY": str(fake.directory)}
    del environment["SMALLHOURS_SESSION"]
    (fake.directory / "theirs").mkdir()
    subprocess.run([fake.program, "-d"], env=environment, check=True)
    (theirs,) = fake.processes()

    async def scene(engine: Engine) -> None:
        engine.look()
        await until(lambda: engine.phase == "off")
        why = engine.mps.state(CARD.name).why
        assert why.startswith(f"an MPS daemon that is not ours (process {theirs}) is left alone")
        assert not engine.pipe.exists()
        assert fake.processes() == [theirs]
        engine.look(mode="on")
        await until(lambda: engine.phase == "on")
        assert len(fake.processes()) == 2

    play(engine, scene)
    assert fake.processes() == [theirs]
