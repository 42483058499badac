"""What every launcher must do: the same suite over threads and over Ray, against a fake zygote."""

from __future__ import annotations

import contextlib
import gc
import json
import queue
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from smallhours.backends.base import Launcher, Placed, SlotReturn
from smallhours.backends.local import LocalLauncher
from smallhours.backends.ray_tune import RayLauncher
from smallhours.core.trial import AttemptKey

SLOTS = 2


class FakeZygote:
    """Answers orders like a zygote but forks nothing: what happens is said in the parameters."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.began: queue.Queue[str] = queue.Queue()
        self.release = threading.Event()
        self.left: queue.Queue[str] = queue.Queue()
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, link.makefile("rb") as lines:
            order = json.loads(lines.readline())["start"]
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
            self.began.put(order["attempt"])
            last_words = self._act(link, order["params"])
            # It is gone before that is told: a slot that hears of it may order another at once.
            with self._lock:
                self._running -= 1
            if last_words is not None:
                link.sendall(json.dumps(last_words).encode() + b"\n")

    def _act(self, link: socket.socket, params: dict[str, Any]) -> dict[str, Any] | None:
        def say(message: dict[str, Any]) -> None:
            link.sendall(json.dumps(message).encode() + b"\n")

        if params.get("dies") == "before":
            return None
        if "failed" in params:
            return {"failed": params["failed"]}
        with contextlib.suppress(BrokenPipeError):  # the slot is dead already
            say({"pid": 4242})
        if params.get("dies") == "after":
            return None
        if params.get("holds"):
            link.settimeout(0.02)
            while not self.release.is_set():
                try:
                    gone = link.recv(1) == b""
                except TimeoutError:
                    continue
                except ConnectionResetError:  # it died before it read what was sent
                    gone = True
                if gone:
                    self.left.put("gone")
                    return None
        time.sleep(params.get("seconds", 0.0))
        return {"exit": {"code": params.get("code"), "signal": params.get("signal")}}


class Bed:
    """A launcher that is ready, a zygote, and what came back."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sh-t-", dir="/tmp"))
        self.zygote = FakeZygote(self.directory / "z3.sock")
        self.returned: queue.Queue[SlotReturn] = queue.Queue()
        self.lost: list[str] = []
        self._trials = 0
        self.launcher: Launcher = make()
        self.open()

    def open(self) -> None:
        ready = threading.Event()
        self.launcher.open(
            SLOTS, str(self.directory), ready.set, self.returned.put, self.lost.append
        )
        assert ready.wait(60), self.lost

    def renew(self) -> None:
        ready = threading.Event()
        self.launcher.renew(ready.set)
        assert ready.wait(60), self.lost

    def start(self, zygote: str | None = None, **params: Any) -> AttemptKey:
        self._trials += 1
        key = AttemptKey(3, self._trials, 1)
        order = {"attempt": str(key), "params": params, "attempt_dir": str(self.attempt_dir(key))}
        self.launcher.start(Placed(key=key, zygote=zygote or self.zygote.address, order=order))
        return key

    def attempt_dir(self, key: AttemptKey) -> Path:
        return self.directory / f"attempt-{key.trial}"

    def back(self, count: int = 1, timeout_s: float = 30.0) -> dict[AttemptKey, SlotReturn]:
        """Return the next `count` returns; no more than these may have come."""
        got = [self.returned.get(timeout=timeout_s) for _ in range(count)]
        by_key = {one.key: one for one in got}
        assert len(by_key) == count, "an attempt came back twice"
        return by_key

    def close(self) -> None:
        self.launcher.close()
        self.zygote.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def ray_slots() -> list[psutil.Process]:
    """Return the processes of Ray's slots."""
    family = psutil.Process().children(recursive=True)
    return [p for p in family if any("ray::Slot" in word for word in p.cmdline())]


def ray_roots() -> set[int]:
    """Return the pids of Ray's processes that slots are started by."""
    family = psutil.Process().children(recursive=True)
    return {p.pid for p in family if p.name() in ("raylet", "gcs_server")}


def with_ray(value: Any) -> Any:
    marks = [pytest.mark.ray, pytest.mark.timeout(90), pytest.mark.filterwarnings("ignore")]
    return pytest.param(value, marks=marks, id="ray")


EACH = pytest.mark.parametrize(
    "bed", [pytest.param(LocalLauncher, id="local"), with_ray(RayLauncher)], indirect=True
)
LOCAL = pytest.mark.parametrize("bed", [pytest.param(LocalLauncher, id="local")], indirect=True)
RAY = pytest.mark.parametrize("bed", [with_ray(RayLauncher)], indirect=True)


@pytest.fixture(scope="module")
def beds() -> Iterator[dict[Any, Bed]]:
    """All launchers of the module, each opened once and only when asked for."""
    made: dict[Any, Bed] = {}
    yield made
    for one in made.values():
        one.close()
    gc.collect()  # what Ray left open is its own


@pytest.fixture
def bed(request: pytest.FixtureRequest, beds: dict[Any, Bed]) -> Bed:
    """The launcher under test, idle."""
    if request.param not in beds:
        beds[request.param] = Bed(request.param)
    one = beds[request.param]
    one.zygote.release.clear()
    one.zygote.most = 0
    while not one.zygote.began.empty():
        one.zygote.began.get()
    return one


@EACH
def test_every_start_returns_exactly_once_and_never_more_run_than_there_are_slots(bed: Bed) -> None:
    keys = {bed.start(seconds=0.02, code=0) for _ in range(20)}

    assert set(bed.back(20)) == keys
    assert bed.zygote.most == SLOTS
    with pytest.raises(queue.Empty):
        bed.returned.get(timeout=0.3)


@EACH
def test_exit_codes_and_signals_pass_through(bed: Bed) -> None:
    code, signal = bed.start(code=3), bed.start(signal=11)
    back = bed.back(2)

    assert (back[code].exit_code, back[code].signal) == (3, None)
    assert (back[signal].exit_code, back[signal].signal) == (None, 11)
    assert back[code].lost_parent is None
    times = back[code].times
    assert times["ordered"] <= times["forked"] <= times["exited"]


@EACH
def test_what_the_process_left_behind_passes_through(bed: Bed) -> None:
    directory = bed.directory / f"attempt-{bed._trials + 1}"
    directory.mkdir()
    (directory / "log.txt").write_bytes(b"first\n" + "ü".encode() * 4000 + b"\xff last\n")
    (directory / "fault.txt").write_text("x" * 20_000 + "the end")
    (directory / "note.json").write_text(json.dumps({"type": "ValueError", "message": "no"}))
    key = bed.start(code=1)
    back = bed.back()[key]

    assert back.note == {"type": "ValueError", "message": "no"}
    assert back.stderr.startswith("ü")
    assert back.stderr.endswith("\N{REPLACEMENT CHARACTER} last\n")
    assert len(back.stderr.encode()) <= 4100
    assert len(back.fault) == 16 * 1024
    assert back.fault.endswith("the end")


@EACH
def test_a_note_that_is_cut_short_is_told_and_costs_nothing_else(bed: Bed) -> None:
    directory = bed.directory / f"attempt-{bed._trials + 1}"
    directory.mkdir()
    (directory / "note.json").write_text('{"type": "Val')
    key = bed.start(code=1)
    back = bed.back()[key]

    assert back.note is None
    assert back.exit_code == 1
    assert "note.json" in back.detail


@EACH
def test_code_that_cannot_be_loaded_comes_back_as_its_note(bed: Bed) -> None:
    key = bed.start(failed={"type": "ImportError", "phase": "load"})
    back = bed.back()[key]

    assert back.note == {"type": "ImportError", "phase": "load"}
    assert (back.exit_code, back.signal, back.lost_parent) == (None, None, None)


@EACH
def test_a_zygote_that_refuses_is_told_from_one_that_dies_later(bed: Bed) -> None:
    refused = bed.start(zygote=f"unix:{bed.directory}/nobody.sock")
    before = bed.start(dies="before")
    back = bed.back(2)
    after = bed.start(dies="after")
    back |= bed.back()

    assert {back[key].lost_parent for key in (refused, before, after)} == {"zygote"}
    assert back[refused].zygote_died
    assert back[before].zygote_died
    assert not back[after].zygote_died
    assert "nobody.sock" in back[refused].detail or "No such file" in back[refused].detail


@EACH
def test_an_order_that_comes_while_the_other_slot_is_busy_is_served_at_once(bed: Bed) -> None:
    bed.start(code=0), bed.start(code=0)
    bed.back(2)
    held = bed.start(holds=True, code=0)
    assert bed.zygote.began.get(timeout=10)
    time.sleep(0.3)
    gaps = []
    for _ in range(9):
        asked = time.monotonic()
        key = bed.start(code=0)
        times = bed.back()[key].times
        gaps.append(times["ordered"] - asked)
    bed.zygote.release.set()

    assert set(bed.back()) == {held}
    assert sorted(gaps)[4] < 0.06, "the order waited for Tune's next look"


@RAY
def test_a_slot_killed_in_the_middle_is_lost_and_both_slots_work_afterwards(bed: Bed) -> None:
    key = bed.start(holds=True)
    bed.zygote.began.get(timeout=10)
    busy = [p for p in ray_slots() if any("train" in word for word in p.cmdline())]
    for process in busy:
        process.kill()
    back = bed.back()[key]

    assert len(busy) == 1
    assert back.lost_parent == "slot"
    assert bed.zygote.left.get(timeout=5) == "gone"
    assert both_slots_work(bed)


@RAY
def test_a_slot_killed_while_idle_costs_no_attempt(bed: Bed) -> None:
    for process in ray_slots():
        process.kill()
    keys = [bed.start(seconds=0.05, code=0), bed.start(seconds=0.05, code=0)]
    back = bed.back(2)

    assert [back[key].exit_code for key in keys] == [0, 0]
    assert both_slots_work(bed)


@RAY
def test_the_slots_processes_are_the_same_from_attempt_to_attempt(bed: Bed) -> None:
    assert both_slots_work(bed)
    before = {p.pid for p in ray_slots()}
    for _ in range(10):
        bed.start(code=0)
    bed.back(10)

    assert {p.pid for p in ray_slots()} == before
    assert len(before) == SLOTS


@EACH
def test_a_renewed_launcher_serves_as_before_again_and_again(bed: Bed) -> None:
    for _ in range(2):
        bed.start(code=0)
        bed.back()
        bed.renew()

        assert both_slots_work(bed)
    assert not bed.lost


@EACH
def test_one_that_served_nothing_yet_can_be_renewed(bed: Bed) -> None:
    bed.renew()
    bed.renew()

    assert both_slots_work(bed)
    assert not bed.lost


@EACH
def test_an_order_that_comes_while_it_is_renewed_is_served_once_it_is(bed: Bed) -> None:
    ready = threading.Event()
    bed.launcher.renew(ready.set)
    key = bed.start(code=0)

    assert bed.back()[key].exit_code == 0
    assert ready.is_set()


@RAY
def test_renewing_keeps_ray_and_clears_the_ended_run_away(bed: Bed) -> None:
    bed.renew()
    before, sizes = ray_roots(), set()
    for _ in range(3):
        bed.start(code=0)
        bed.back()
        bed.renew()
        sizes.add(len([path for path in bed.directory.rglob("*") if path.is_dir()]))

    assert ray_roots() == before
    assert len(sizes) == 1, "directories pile up"


@EACH
def test_a_closed_launcher_leaves_nothing_and_can_be_opened_again(bed: Bed) -> None:
    for _ in range(2):
        bed.launcher.close()

        assert remains(bed) == []
        bed.open()
        assert both_slots_work(bed)
    assert not bed.lost


@EACH
def test_it_can_be_closed_while_it_starts_or_is_renewed_and_then_opened(bed: Bed) -> None:
    bed.launcher.renew(lambda: None)
    bed.launcher.close()
    bed.launcher.open(SLOTS, str(bed.directory), lambda: None, bed.returned.put, bed.lost.append)
    bed.launcher.close()

    assert remains(bed) == []
    bed.open()
    assert both_slots_work(bed)
    assert not bed.lost


@LOCAL
def test_nothing_of_the_local_launcher_can_die(bed: Bed) -> None:
    assert bed.launcher.dead() is None


# Last: these close the launcher of the module.


@RAY
def test_closing_ray_ends_what_runs_and_leaves_no_process(bed: Bed, beds: dict[Any, Bed]) -> None:
    close_while_attempts_run(bed)

    assert psutil.Process().children(recursive=True) == []
    beds.pop(RayLauncher).close()


@LOCAL
def test_closing_ends_what_runs_and_leaves_no_thread(bed: Bed, beds: dict[Any, Bed]) -> None:
    close_while_attempts_run(bed)

    assert not [t for t in threading.enumerate() if t.name.startswith("slot-")]
    beds.pop(LocalLauncher).close()


def test_a_launcher_that_was_never_opened_can_be_closed() -> None:
    RayLauncher().close()
    LocalLauncher().close()


def remains(bed: Bed) -> list[object]:
    """Return what a closed launcher left: Ray's processes and directories, or threads."""
    if isinstance(bed.launcher, LocalLauncher):
        return [t for t in threading.enumerate() if t.name.startswith("slot-")]
    left: list[object] = list(psutil.Process().children(recursive=True))
    return left + [path for path in bed.directory.iterdir() if path.name in ("r", "tune")]


def close_while_attempts_run(bed: Bed) -> None:
    running = [bed.start(holds=True) for _ in range(SLOTS)]
    for _ in running:
        bed.zygote.began.get(timeout=10)
    started = time.monotonic()
    bed.launcher.close()

    assert time.monotonic() - started < 6
    back = bed.back(SLOTS, timeout_s=1)
    assert {key: one.lost_parent for key, one in back.items()} == dict.fromkeys(running, "slot")
    assert [bed.zygote.left.get(timeout=5) for _ in running] == ["gone"] * SLOTS
    assert not bed.lost


def both_slots_work(bed: Bed) -> bool:
    """Say whether two attempts run beside each other (a new slot takes seconds to start)."""
    bed.zygote.release.clear()
    while not bed.zygote.began.empty():
        bed.zygote.began.get()
    keys = {bed.start(holds=True, code=0) for _ in range(SLOTS)}
    names = {bed.zygote.began.get(timeout=30) for _ in keys}
    bed.zygote.release.set()
    return names == {str(key) for key in bed.back(SLOTS)} == {str(key) for key in keys}
