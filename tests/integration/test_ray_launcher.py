"""What the Ray launcher owes to the machine: sockets, secrets, signals, and a raylet that dies."""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from smallhours.backends.base import Placed, SlotReturn
from smallhours.backends.ray_desk import Desk
from smallhours.backends.ray_tune import RayLauncher
from smallhours.core.trial import AttemptKey
from smallhours.errors import EngineError

real_ray = [
    pytest.mark.ray,
    pytest.mark.timeout(90),
    pytest.mark.filterwarnings("ignore"),
]


_ASK_RAY = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None)
"""


def placed(trial: int = 1) -> Placed:
    order = {"attempt": f"3.{trial}.1", "attempt_dir": "/nonexistent"}
    return Placed(key=AttemptKey(3, trial, 1), zygote="unix:/nonexistent", order=order)


def sigterm_action() -> bytes:
    """Return what SIGTERM does to this process: handler and mask, the rest is padding."""
    action = ctypes.create_string_buffer(512)
    ctypes.CDLL(None).sigaction(signal.SIGTERM, None, action)
    return action.raw[:16]


def default_token() -> float | None:
    """Return when Ray's token file of this user (which others can read) was written."""
    file = Path.home() / ".ray" / "auth_token"
    return file.stat().st_mtime if file.exists() else None


class Opened:
    """A Ray launcher with one slot that has served one order, and what it did to this process."""

    def __init__(self, times: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sh-t-", dir="/tmp"))
        self.returned: queue.Queue[SlotReturn] = queue.Queue()
        self.lost: list[str] = []
        self.sigterm_before = sigterm_action()
        self.default_token_before = default_token()
        self.times = times
        self.launcher = RayLauncher()
        self._open()
        for _ in range(times - 1):
            self.launcher.close()
            self._open()
        self.launcher.start(placed())
        self.returned.get(timeout=30)
        self.family = psutil.Process().children(recursive=True)

    def _open(self) -> None:
        ready = threading.Event()
        self.launcher.open(1, str(self.directory), ready.set, self.returned.put, self.lost.append)
        assert ready.wait(60), self.lost

    def named(self, word: str) -> psutil.Process:
        return next(p for p in self.family if word in p.name())


@pytest.fixture(scope="module", params=[1, 3], ids=["first time", "third time"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    one = Opened(request.param)
    yield one
    one.launcher.close()
    gc.collect()  # what Ray left open is its own


class TestOpen:
    pytestmark = real_ray

    def test_every_socket_is_on_loopback(self, opened: Opened) -> None:
        listening = [
            found
            for process in [psutil.Process(), *opened.family]
            for found in process.net_connections("inet")
            if found.status == psutil.CONN_LISTEN
        ]

        assert listening
        for found in listening:
            address: Any = ip_address(found.laddr.ip)
            assert (getattr(address, "ipv4_mapped", None) or address).is_loopback

    def test_the_token_is_in_no_file_and_no_command_line(self, opened: Opened) -> None:
        token = os.environ["RAY_AUTH_TOKEN"].encode()
        files = [p for p in opened.directory.rglob("*") if p.is_file() and not p.is_symlink()]

        assert len(token) == 64
        assert len(files) > 5
        assert [p for p in files if token in p.read_bytes()] == []
        assert [p for p in opened.family if token.decode() in " ".join(p.cmdline())] == []
        assert default_token() == opened.default_token_before

    def test_who_has_no_token_is_turned_away(self, opened: Opened) -> None:
        import ray

        address = ray.get_runtime_context().gcs_address
        asked = [sys.executable, "-c", _ASK_RAY, address]
        environment = {**os.environ, "HOME": "/nonexistent"}
        assert subprocess.run(asked, env=environment, timeout=60).returncode == 0
        environment["RAY_AUTH_TOKEN"] = "0" * 64
        refused = subprocess.run(asked, env=environment, capture_output=True, timeout=60)
        assert b"nauthenticated" in refused.stderr

    def test_others_cannot_enter_the_directory_that_everything_lies_in(
        self, opened: Opened
    ) -> None:
        assert stat.S_IMODE(opened.directory.stat().st_mode) == 0o700
        assert {p.name for p in opened.directory.iterdir()} == {"r", "tune"}

    def test_sigterm_does_what_it_did_before(self, opened: Opened) -> None:
        assert sigterm_action() == opened.sigterm_before

    def test_tune_forgets_trials_that_ended(self, opened: Opened) -> None:
        for trial in range(2, 32):
            opened.launcher.start(placed(trial))
        for _ in range(30):
            opened.returned.get(timeout=10)

        assert len(trial_directories(opened.directory)) < 6

    def test_a_dead_raylet_is_noticed_and_nothing_of_ray_outlives_the_close(
        self, opened: Opened
    ) -> None:
        assert opened.launcher.dead() is None
        family = psutil.Process().children(recursive=True)
        opened.named("raylet").kill()
        if opened.times > 1:  # that ends the same way
            opened.launcher.renew(_nothing)
        deadline = time.monotonic() + 3
        while opened.launcher.dead() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        dead = opened.launcher.dead()
        started = time.monotonic()
        opened.launcher.close()

        assert dead is not None
        assert "raylet" in dead
        assert time.monotonic() - started < 6
        _, alive = psutil.wait_procs(family, timeout=2)
        assert alive == []


def trial_directories(root: Path) -> list[Path]:
    """Return what looks like a Tune trial's directory (eight hex digits)."""
    return [p for p in root.rglob("*") if p.is_dir() and re.fullmatch("[0-9a-f]{8}", p.name)]


def test_a_directory_whose_path_is_too_long_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 40)
    deep.mkdir(mode=0o700)
    with pytest.raises(EngineError, match="at most 41 characters"):
        RayLauncher().open(1, str(deep), _nothing, _nothing, _nothing)


def test_a_directory_that_others_can_enter_is_refused() -> None:
    with tempfile.TemporaryDirectory(prefix="sh-t-", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        with pytest.raises(EngineError, match="0700"):
            RayLauncher().open(1, directory, _nothing, _nothing, _nothing)


class TestDesk:
    @pytest.fixture
    def returned(self) -> list[SlotReturn]:
        return []

    @pytest.fixture
    def lost(self) -> list[str]:
        return []

    @pytest.fixture
    def desk(self, returned: list[SlotReturn], lost: list[str]) -> Desk:
        return Desk(2, _nothing, returned.append, lost.append, lambda: None, at_once=2)

    def test_an_order_whose_slot_died_first_is_tried_again_and_then_given_up(
        self, desk: Desk, returned: list[SlotReturn]
    ) -> None:
        desk.start(placed())
        for number in range(4):
            assert returned == []
            assert desk.take(f"t{number}") is not None
            desk.done(f"t{number}", None)

        assert [(one.key.trial, one.lost_parent) for one in returned] == [(1, "slot")]

    def test_an_order_that_may_have_begun_is_never_tried_again(
        self, desk: Desk, returned: list[SlotReturn]
    ) -> None:
        desk.start(placed())
        desk.take("t")
        desk.began("t")
        desk.done("t", None)

        assert [one.lost_parent for one in returned] == ["slot"]

    def test_the_gate_is_shut_while_all_slots_are_taken(self, desk: Desk) -> None:
        for trial in (1, 2, 3):
            desk.start(placed(trial))
        assert desk.take("a") is not None
        assert desk.take("b") is not None
        assert desk.take("c") is None
        desk.began("a")
        desk.done("a", {"exit_code": 0})

        assert desk.take("c") is not None

    def test_slots_come_up_one_after_another_and_those_that_are_freed_go_first(
        self, returned: list[SlotReturn]
    ) -> None:
        desk = Desk(8, _nothing, returned.append, _nothing, lambda: None, at_once=1)
        for trial in range(1, 6):
            desk.start(placed(trial))
        assert desk.take("a") is not None
        assert desk.take("b") is None
        desk.began("a")
        assert desk.take("b") is not None
        assert desk.take("c") is None
        desk.done("a", {"exit_code": 0})
        # Its slot is free, while that of "b" still comes up.
        assert desk.take("c") is not None
        assert desk.take("d") is None

    def test_an_order_wakes_the_ray_thread_that_has_nothing_to_do(self, desk: Desk) -> None:
        taken: queue.Queue[Placed | None] = queue.Queue()
        thread = threading.Thread(target=lambda: taken.put(desk.take("t")))
        thread.start()
        desk.start(placed())

        assert taken.get(timeout=2) == placed()
        thread.join()

    def test_giving_up_is_said_once_and_nothing_comes_back_after_it(
        self, desk: Desk, returned: list[SlotReturn], lost: list[str]
    ) -> None:
        desk.start(placed())
        desk.fail("broken")
        desk.fail("broken again")
        desk.give_back()

        assert lost == ["broken"]
        assert desk.take("t") is None
        assert returned == []

    def test_closing_gives_back_what_was_never_served(
        self, desk: Desk, returned: list[SlotReturn], lost: list[str]
    ) -> None:
        desk.start(placed())
        desk.close()
        desk.fail("Tune ended")
        desk.give_back()

        assert [one.lost_parent for one in returned] == ["slot"]
        assert lost == []


class TestHooks:
    """What Tune calls; no Ray runs, but it is imported."""

    pytestmark = real_ray

    def test_an_error_in_a_hook_ends_the_night_in_words_and_does_not_reach_tune(self) -> None:
        from ray.tune.search import Searcher

        from smallhours.backends.ray_slot import Orders

        class Broken:
            over = False
            lost: list[str] = []  # noqa: RUF012 - one use

            def take(self, tune_id: str) -> None:
                raise KeyError(tune_id)

            def fail(self, words: str) -> None:
                self.lost.append(words)

        orders = Orders(Broken())  # type: ignore[arg-type]

        assert orders.suggest("abc") == Searcher.FINISHED
        assert "KeyError: 'abc'" in Broken.lost[0]

    def test_another_ray_is_refused_with_its_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ray
        from ray.tune.execution.tune_controller import TuneController

        from smallhours.backends.ray_slot import unexpected_internals

        assert unexpected_internals() == ""
        monkeypatch.delattr(TuneController, "_maybe_reuse_cached_actor")

        assert ray.__version__ in unexpected_internals()
        assert "_maybe_reuse_cached_actor" in unexpected_internals()


def _nothing(*_: Any) -> None:
    """Do nothing."""
