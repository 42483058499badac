"""A real zygote and real trial processes, with a fake engine and a fake slot around them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(30)]

HEAD = """
import os, signal, sys, time
from pathlib import Path
from smallhours import Choice, Float, Study, TrialStopped
study = Study("s", metric="loss", goal="minimize", space={"x": Float(0, 1)}, baseline={"x": 0.5},
              trials=3, steps=5)
"""


class Line:
    """One end of a socket that speaks JSON lines, with a limit on every wait.

    What a trial was measured to need is kept apart: it comes between the other messages.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.usage: list[dict[str, Any]] = []
        self._rest = b""

    def send(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def next(self, timeout_s: float = 15.0) -> dict[str, Any] | None:
        """Return the next message; None: the other side is gone."""
        while (message := self._next(timeout_s)) is not None and message.get("t") == "usage":
            self.usage.append(message)
        return message

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.socket], [], [], timeout_s)
            assert ready, f"nothing came within {timeout_s} s"
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def until(self, kind: str) -> dict[str, Any]:
        """Skip to the next message of a kind."""
        while True:
            message = self.next()
            assert message is not None, f"the line ended before {kind}"
            if message["t"] == kind:
                return message

    def rest(self) -> list[dict[str, Any]]:
        """Return everything up to the end of the line."""
        return list(iter(self.next, None))  # type: ignore[arg-type]


class Night:
    """A zygote, and what an engine and a slot would do with it."""

    def __init__(self, root: Path, source: str, files: dict[str, str] | None = None) -> None:
        self.root = root
        self.home, self.folder = root / "home", root / "code"
        self.snapshot = self.home / "snapshots" / "one"
        self.folder.mkdir(parents=True)
        self.source = self.folder / "mine.py"
        self.source.write_text(HEAD + textwrap.dedent(source))
        for name, text in (files or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        shutil.copytree(self.folder, self.snapshot)
        self._engine = _listen(root / "engine.sock")
        self._zygote_socket = _listen(root / "z.sock")
        self.process: subprocess.Popen[bytes] | None = None
        self._open: list[socket.socket] = []

    def start(self) -> None:
        """Start the zygote."""
        descriptor = self._zygote_socket.fileno()
        config = {
            "fd": descriptor, "study": "s", "module": "mine", "source": str(self.source),
            "snapshot": str(self.snapshot), "cwd": str(self.folder), "engine_pid": os.getpid(),
        }  # fmt: skip
        with (self.root / "zygote.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "smallhours.worker.zygote", json.dumps(config)],
                pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def order(self, attempt: str = "1.0.1", **changes: Any) -> dict[str, Any]:
        _, trial, number = attempt.split(".")
        trial_dir = self.home / "trials" / "1" / trial
        return {
            "attempt": attempt, "name": f"s/{trial}", "params": {"x": 0.5}, "seed": 7, "steps": 5,
            "metric": "loss", "goal": "minimize", "score": "last", "device": "cpu", "threads": 1,
            "home": str(self.home), "trial_dir": str(trial_dir),
            "attempt_dir": str(trial_dir / f"attempt-{number}"),
            "engine": f"unix:{self.root / 'engine.sock'}", "resume": [],
            "checkpoint_every_s": 30.0, "best_known": None, **changes,
        }  # fmt: skip

    def connect(self) -> Line:
        """Connect to the zygote."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.root / "z.sock"))
        self._open.append(connection)
        return Line(connection)

    def run(self, attempt: str = "1.0.1", **changes: Any) -> tuple[Line, Line]:
        """Order an attempt; returns the slot's line and the trial's, after its hello."""
        if self.process is None:
            self.start()
        slot = self.connect()
        slot.send({"start": self.order(attempt, **changes)})
        answer = slot.next()
        assert answer is not None
        ready, _, _ = select.select([self._engine], [], [], 15)
        assert ready, "the trial never connected"
        connection, _ = self._engine.accept()
        self._open.append(connection)
        trial = Line(connection)
        hello = trial.next()
        assert hello is not None
        assert (hello["t"], hello["a"], hello["pid"]) == ("hello", attempt, answer["pid"])
        assert hello["born"] > 0
        return slot, trial

    def log(self, attempt: str = "1.0.1") -> str:
        return (Path(self.order(attempt)["attempt_dir"]) / "log.txt").read_text()

    def note(self, attempt: str = "1.0.1") -> dict[str, Any]:
        path = Path(self.order(attempt)["attempt_dir"]) / "note.json"
        note = json.loads(path.read_text())
        assert isinstance(note, dict)
        return note

    def fault(self, attempt: str = "1.0.1") -> str:
        return (Path(self.order(attempt)["attempt_dir"]) / "fault.txt").read_text()

    def close(self) -> None:
        for connection in [*self._open, self._engine, self._zygote_socket]:
            connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    return listener


@pytest.fixture
def night() -> Iterator[Callable[..., Night]]:
    """Makes zygotes, and ends them with everything they left."""
    with contextlib.ExitStack() as stack:

        def make(source: str, files: dict[str, str] | None = None) -> Night:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shz-")))
            made = Night(root, source, files)
            stack.callback(made.close)
            return made

        yield make


def _exit(slot: Line) -> dict[str, Any]:
    answer = slot.next()
    assert answer is not None
    assert "exit" in answer, answer
    ended = answer["exit"]
    assert isinstance(ended, dict)
    return ended


def _gone(pid: int, timeout_s: float = 5.0) -> bool:
    """Wait for a process to end; a zombie has ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if stat.rpartition(")")[2].split()[0] in "ZX":
            return True
        time.sleep(0.01)
    return False


REPORTING = """
    @study.train
    def train(trial):
        for step in range(1, trial.steps + 1):
            trial.report(step, loss=1 / step, acc=float("nan"))
"""


def test_a_trial_says_hello_reports_and_is_done(night: Callable[..., Night]) -> None:
    """Also: print goes to the log, the seed and the data are there."""
    zygote = night("""
        @study.prepare
        def prepare():
            return [1, 2]

        @study.train
        def train(trial):
            print("params", trial.params, trial.data, trial.seed, trial.device, trial.name)
            trial.log("a line")
            (trial.dir / "mine.txt").write_text("kept")
            for step in range(1, 6):
                trial.report(step, loss=1 / step, acc=float("nan"))
        """)
    slot, trial = zygote.run()
    messages = trial.rest()
    assert [m["t"] for m in messages] == ["report"] * 5 + ["done"]
    assert messages[1]["s"] == 2
    assert messages[1]["m"] == {"loss": 0.5, "acc": "nan"}
    assert _exit(slot) == {"code": 0, "signal": None}
    assert zygote.log() == "params {'x': 0.5} [1, 2] 7 cpu s/0\na line\n"
    assert (zygote.home / "trials/1/0/mine.txt").read_text() == "kept"
    assert not list(zygote.home.rglob("note.*"))


def test_an_exception_leaves_a_note_and_the_own_frames_in_the_log(
    night: Callable[..., Night],
) -> None:
    zygote = night(
        """
        import helper
        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
            helper.parse("abc")
        """,
        {"helper.py": "import json\ndef parse(text):\n    return json.loads(text)\n"},
    )
    slot, trial = zygote.run()
    assert [m["t"] for m in trial.rest()] == ["report"]
    assert _exit(slot) == {"code": 1, "signal": None}
    note = zygote.note()
    assert note["type"] == "json.decoder.JSONDecodeError"
    assert note["where"] == "helper.py:3 in parse"
    assert note["phase"] == "train"
    assert note["message"].startswith("Expecting value")
    assert (note["errno"], note["path"]) == (None, "")
    assert "raw_decode" in note["traceback"]
    log = zygote.log()
    assert "return json.loads(text)" in log
    assert "JSONDecodeError: Expecting value" in log
    assert "attempt.py" not in log
    assert "in loads" not in log


def test_the_same_bug_has_the_same_fingerprint_wherever_its_line_is(
    night: Callable[..., Night],
) -> None:
    body = """
        @study.train
        def train(trial):
            {gap}
            if trial.params["x"] > {limit}:
                raise ValueError(trial.params)
            raise {other}(trial.params)
        """
    prints = []
    for gap, limit, other in (
        ("", 0, "X"),
        ("pass\n            pass", 0, "X"),
        ("", 1, "KeyError"),
    ):
        zygote = night(body.format(gap=gap, limit=limit, other=other))
        slot, _ = zygote.run()
        assert _exit(slot)["code"] == 1
        prints.append(zygote.note()["fingerprint"])
    assert prints[0] == prints[1] != prints[2]
    assert len(prints[0]) == 16


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ("os._exit(3)", {"code": 3, "signal": None}),
        ("sys.exit(0)", {"code": 0, "signal": None}),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", {"code": None, "signal": 15}),
        ("os.kill(os.getpid(), signal.SIGKILL)", {"code": None, "signal": 9}),
    ],
)
def test_the_exit_is_told_as_it_was(
    night: Callable[..., Night], body: str, ended: dict[str, Any]
) -> None:
    zygote = night(f"""
        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
            {body}
        """)
    slot, trial = zygote.run()
    trial.until("report")
    assert _exit(slot) == ended
    assert [m["t"] for m in trial.rest()] == (["done"] if ended["code"] == 0 else [])
    assert not list(zygote.home.rglob("note.json"))


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("sys.exit('no luck')", "SystemExit", "no luck"),
        ("raise MemoryError", "MemoryError", ""),
        ("raise Mute('x')", "mine.Mute", "(its message can't be had: RuntimeError in __str__)"),
        ("raise Local()", "mine.train.<locals>.Local", ""),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("open('/nowhere/at/all')", "FileNotFoundError", "[Errno 2] No such file or directory:"),
    ],
)
def test_every_exception_is_survived(
    night: Callable[..., Night], body: str, kind: str, message: str
) -> None:
    """A mute one, one that can't be pickled, an exit, an interrupt."""
    zygote = night(f"""
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("never")

        @study.train
        def train(trial):
            class Local(BaseException):
                handle = open(os.devnull)
                def __reduce__(self):
                    raise TypeError("no")
            {body}
        """)
    slot, _ = zygote.run()
    assert _exit(slot) == {"code": 1, "signal": None}
    note = zygote.note()
    assert note["type"] == kind
    assert note["message"].startswith(message)
    assert "in train" in note["where"]
    if kind == "FileNotFoundError":
        assert (note["errno"], note["path"]) == (2, "/nowhere/at/all")


def test_a_training_function_that_never_reports_is_told_so(night: Callable[..., Night]) -> None:
    zygote = night("""
        @study.train
        def train(trial):
            pass
        """)
    slot, trial = zygote.run()
    assert _exit(slot)["code"] == 1
    assert zygote.note()["type"] == "smallhours.worker.trial.ReportError"
    assert "never reported 'loss'" in zygote.note()["message"]
    assert trial.rest() == []


def test_a_fatal_signal_leaves_its_stack(night: Callable[..., Night]) -> None:
    zygote = night("""
        @study.train
        def train(trial):
            import ctypes
            ctypes.string_at(0)
        """)
    slot, _ = zygote.run()
    assert _exit(slot) == {"code": None, "signal": signal.SIGSEGV}
    assert "Segmentation fault" in zygote.fault()
    assert "mine.py" in zygote.fault()


def test_a_hang_that_holds_the_gil_shows_its_stack_on_the_signal(
    night: Callable[..., Night],
) -> None:
    zygote = night("""
        @study.train
        def train(trial):
            import ctypes
            trial.report(1, loss=1.0)
            while True:  # a signal cuts the sleep short
                ctypes.PyDLL("libc.so.6").sleep(60)
        """)
    slot, trial = zygote.run()
    trial.until("report")
    pid = _child_of(zygote)
    fault = Path(zygote.order()["attempt_dir"]) / "fault.txt"
    deadline = time.monotonic() + 10
    while "mine.py" not in fault.read_text() and time.monotonic() < deadline:
        os.kill(pid, signal.SIGRTMIN + 3)
        time.sleep(0.05)
    assert "in train" in fault.read_text()
    os.kill(pid, signal.SIGKILL)
    assert _exit(slot)["signal"] == signal.SIGKILL


def _child_of(zygote: Night) -> int:
    assert zygote.process is not None
    own = zygote.process.pid
    (pid,) = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return int(pid)


STOPPING = """
    @study.train
    def train(trial):
        state = {"step": 0}
        step = 0
        try:
            while True:
                step += 1
                state["step"] = step
                time.sleep(0.01)
                trial.report(step, loss=1.0)
                %s
        except TrialStopped as stopped:
            try:
                trial.report(step + 1, loss=1.0)
            except TrialStopped:
                print("again", stopped)
            raise
        finally:
            print("cleaned up")
"""


def test_a_stop_ends_at_the_next_report_and_unwinds(night: Callable[..., Night]) -> None:
    zygote = night(STOPPING % "pass")
    slot, trial = zygote.run(steps=100_000)
    trial.until("report")
    trial.send({"t": "stop", "how": "now", "why": "behind the median"})
    rest = trial.rest()
    assert [m["t"] for m in rest if m["t"] != "report"] == ["stopping"]
    assert _exit(slot) == {"code": 0, "signal": None}
    assert zygote.log() == "again behind the median\ncleaned up\n"


def test_a_stop_with_checkpoint_saves_first(night: Callable[..., Night]) -> None:
    zygote = night(STOPPING % "trial.checkpoint(state)")
    slot, trial = zygote.run(steps=100_000)
    trial.until("report")
    trial.until("report")
    trial.send({"t": "stop", "how": "checkpoint", "why": "paused"})
    kinds = [m for m in trial.rest() if m["t"] != "report"]
    assert [m["t"] for m in kinds] == ["ckpt", "stopping"]
    assert _exit(slot)["code"] == 0
    path = zygote.home / kinds[0]["path"]
    assert kinds[0]["path"] == f"trials/1/0/checkpoints/{kinds[0]['s']}-1"
    manifest = json.loads((path / "manifest.json").read_text())
    (entry,) = manifest["files"]
    data = (path / entry["file"]).read_bytes()
    assert (entry["size"], entry["crc32"]) == (len(data), zlib.crc32(data))
    assert kinds[0]["bytes"] == sum(file.stat().st_size for file in path.iterdir())
    assert json.loads(data)["objects"] == {"step": kinds[0]["s"]}
    # A later attempt goes on from it.
    slot, trial = zygote.run(
        "1.0.2", resume=[{"step": kinds[0]["s"], "path": kinds[0]["path"]}], steps=100_000
    )
    trial.until("report")
    trial.send({"t": "stop", "how": "now", "why": "enough"})


def test_a_stop_with_checkpoint_does_not_wait_for_one_that_never_comes(
    night: Callable[..., Night],
) -> None:
    zygote = night(STOPPING % "pass")
    slot, trial = zygote.run(steps=100_000)
    trial.until("report")
    trial.send({"t": "stop", "how": "checkpoint", "why": "paused"})
    assert [m["t"] for m in trial.rest() if m["t"] != "report"] == ["stopping"]
    assert _exit(slot)["code"] == 0


def test_sigterm_unwinds_a_long_step_once_a_stop_was_ordered(night: Callable[..., Night]) -> None:
    zygote = night("""
        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
            try:
                (trial.dir / "deep").touch()
                time.sleep(60)
            finally:
                print("cleaned up")
        """)
    slot, trial = zygote.run()
    trial.until("report")
    _appears(zygote.home / "trials/1/0/deep")
    trial.send({"t": "stop", "how": "now", "why": "cancelled"})
    os.kill(_child_of(zygote), signal.SIGTERM)
    assert [m["t"] for m in trial.rest()] == ["stopping"]
    assert _exit(slot) == {"code": 0, "signal": None}
    assert zygote.log() == "cleaned up\n"


def test_a_long_epoch_waits_for_the_verdict(night: Callable[..., Night]) -> None:
    zygote = night("""
        @study.train
        def train(trial):
            for step in range(1, 6):
                time.sleep(0.5)
                trial.report(step, loss=1.0)
                if step == 3:
                    print("went on")
        """)
    slot, trial = zygote.run()
    assert "w" not in trial.until("report")
    assert trial.until("report")["w"] == 1
    trial.send({"t": "go"})
    assert trial.until("report")["w"] == 1
    trial.send({"t": "stop", "how": "now", "why": "no"})
    assert [m["t"] for m in trial.rest()] == ["stopping"]
    assert _exit(slot)["code"] == 0
    assert "went on" not in zygote.log()


def test_reports_beyond_the_last_step_end_the_trial_as_done(night: Callable[..., Night]) -> None:
    zygote = night(STOPPING % "pass")
    slot, trial = zygote.run(steps=3)
    assert [m["t"] for m in trial.rest()] == ["report"] * 3 + ["done"]
    assert _exit(slot)["code"] == 0


GROUP = """
    import subprocess
    @study.train
    def train(trial):
        child = subprocess.Popen(["sleep", "600"])
        far = subprocess.Popen(["sleep", "600"], start_new_session=True)
        trial.report(1, loss=1.0, child=child.pid, far=far.pid)
        %s
"""


def test_the_whole_group_dies_with_its_slot(night: Callable[..., Night]) -> None:
    zygote = night(GROUP % "time.sleep(60)")
    slot, trial = zygote.run()
    pids = trial.until("report")["m"]
    own = _child_of(zygote)
    slot.socket.close()
    assert _gone(own)
    assert _gone(int(pids["child"]))
    assert _gone(int(pids["far"]))  # adopted by the zygote, and no attempt is left to own it


def test_leftovers_of_an_ended_attempt_are_cleared(night: Callable[..., Night]) -> None:
    zygote = night(GROUP % "child.returncode = far.returncode = 0")
    slot, trial = zygote.run()
    pids = trial.until("report")["m"]
    assert _exit(slot) == {"code": 0, "signal": None}
    assert _gone(int(pids["child"]))
    assert _gone(int(pids["far"]))


def test_the_trial_dies_with_its_zygote(night: Callable[..., Night]) -> None:
    zygote = night(GROUP % "time.sleep(60)")
    slot, trial = zygote.run()
    trial.until("report")
    own = _child_of(zygote)
    assert zygote.process is not None
    zygote.process.kill()
    zygote.process.wait()
    assert _gone(own)
    assert slot.next() is None
    for pid in _sleepers(own):
        os.kill(pid, signal.SIGKILL)  # the supervisor's part


def _appears(path: Path, timeout_s: float = 10.0) -> None:
    """Wait for a file that a trial makes."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.01)


def _sleepers(leader: int) -> list[int]:
    """Return what is left of a trial's children: the `sleep`s that nobody adopted but init."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                session = int(stat.rpartition(")")[2].split()[3])
                if "(sleep)" in stat and session in {leader, int(entry.name)}:
                    found.append(int(entry.name))
    return found


def test_a_study_with_a_thread_gets_fresh_processes_and_is_told_the_line(
    night: Callable[..., Night],
) -> None:
    zygote = night("""
        import threading
        threading.Thread(target=time.sleep, args=(600,), daemon=True, name="ticker").start()

        @study.train
        def train(trial):
            print("parent", os.getppid())
            trial.report(1, loss=1.0)
        """)
    slot, trial = zygote.run()
    assert [m["t"] for m in trial.rest()] == ["report", "done"]
    assert _exit(slot) == {"code": 0, "signal": None}
    line = HEAD.count("\n") + 3
    told, printed = zygote.log().splitlines()
    assert f"thread 'ticker' started at {zygote.source}:{line}" in told
    assert zygote.process is not None
    assert printed == f"parent {zygote.process.pid}"


def test_code_that_fails_to_load_fails_every_attempt_with_a_note(
    night: Callable[..., Night],
) -> None:
    zygote = night("""
        import no_such_thing
        """)
    zygote.start()
    for attempt in ("1.0.1", "1.1.1"):
        slot = zygote.connect()
        slot.send({"start": zygote.order(attempt)})
        answer = slot.next()
        assert answer is not None
        assert answer["failed"]["type"] == "ModuleNotFoundError"
        assert answer["failed"]["phase"] == "load"
        assert answer["failed"]["where"].startswith("mine.py:")
        assert "no_such_thing" in zygote.log(attempt)


def test_a_failing_prepare_is_told_as_such(night: Callable[..., Night]) -> None:
    zygote = night("""
        @study.prepare
        def prepare():
            return 1 / 0

        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
        """)
    zygote.start()
    slot = zygote.connect()
    slot.send({"start": zygote.order()})
    answer = slot.next()
    assert answer is not None
    assert (answer["failed"]["type"], answer["failed"]["phase"]) == ("ZeroDivisionError", "prepare")
    assert "in prepare" in answer["failed"]["where"]


def test_edits_and_deletions_after_the_snapshot_change_nothing(
    night: Callable[..., Night],
) -> None:
    """Lazy imports in train included; data files are read where the user has them."""
    zygote = night(
        """
        @study.train
        def train(trial):
            import late, pack.inner
            print(late.VALUE, pack.inner.VALUE, (Path(__file__).parent / "data.txt").read_text())
            trial.report(1, loss=1.0)
            late.fail()
        """,
        {
            "late.py": "VALUE = 'late'\ndef fail():\n    raise ValueError('as it was')\n",
            "pack/inner.py": "VALUE = 'inner'\n",
        },
    )
    zygote.source.write_text("this is no Python")
    (zygote.folder / "late.py").unlink()
    shutil.rmtree(zygote.folder / "pack")
    (zygote.folder / "data.txt").write_text("data")
    slot, _ = zygote.run()
    assert _exit(slot)["code"] == 1
    log = zygote.log()
    assert log.startswith("late inner data\n")
    assert f'File "{zygote.folder / "late.py"}", line 3, in fail' in log
    assert "raise ValueError('as it was')" in log
    assert zygote.note()["where"] == "late.py:3 in fail"
    assert not list(zygote.snapshot.rglob("*.pyc"))


def test_a_space_function_is_served_in_a_process_of_its_own(night: Callable[..., Night]) -> None:
    zygote = night("""
        def space(trial):
            kind = trial.suggest_categorical("kind", ["sgd", "adam"])
            lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
            if kind == "adam":
                trial.suggest_int("depth", 1, lr_less(lr))

        def lr_less(lr):
            return int(4 / (lr - 1)) if lr == 1 else 4

        study = Study("s", metric="loss", goal="minimize", space=space,
                      baseline={"kind": "sgd", "lr": 0.1}, trials=3, steps=5)

        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
        """)
    zygote.start()
    line = zygote.connect()
    line.send({"space": {"trial": 12}})
    asked = line.next()
    assert asked == {
        "suggest": ["choice", "kind", {"low": None, "high": None, "log": False, "step": None,
                                       "choices": ["sgd", "adam"]}]
    }  # fmt: skip
    line.send({"value": "adam"})
    asked = line.next()
    assert asked is not None
    assert asked["suggest"][:2] == ["float", "lr"]
    assert asked["suggest"][2]["log"] is True
    line.send({"value": 0.5})
    asked = line.next()
    assert asked is not None
    assert asked["suggest"][:2] == ["int", "depth"]
    line.send({"value": 3})
    assert line.next() == {"params": {"kind": "adam", "lr": 0.5, "depth": 3}}
    line.send({"space": {"trial": 13}})
    line.next()
    line.send({"value": "adam"})
    line.next()
    line.send({"value": 1})
    failed = line.next()
    assert failed is not None
    assert failed["failed"]["type"] == "ZeroDivisionError"
    assert failed["failed"]["where"].endswith("in lr_less")
    # Attempts go on beside it.
    slot, _ = zygote.run()
    assert _exit(slot)["code"] == 0


def test_a_full_disk_is_told_with_errno_and_path(night: Callable[..., Night]) -> None:
    zygote = night("""
        import resource
        @study.train
        def train(trial):
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
            trial.report(1, loss=1.0)
            trial.checkpoint({"big": "x" * 200_000})
        """)
    slot, trial = zygote.run(checkpoint_every_s=0.0)
    assert [m["t"] for m in trial.rest()] == ["report"]
    assert _exit(slot)["code"] == 1
    note = zygote.note()
    assert note["errno"] == 27
    assert note["path"].endswith("checkpoints/1-1.tmp/state.json")
    assert list((zygote.home / "trials/1/0/checkpoints").iterdir()) == []


TORCH = """
    import hashlib, torch
    from torch import nn

    @study.prepare
    def prepare():
        generator = torch.Generator().manual_seed(0)
        return torch.randn(64, 8, generator=generator)

    @study.train
    def train(trial):
        started = time.monotonic()
        layers = nn.Linear(8, 16), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 1)
        model = nn.Sequential(*layers)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        generator = torch.Generator().manual_seed(trial.seed)
        state = {"model": model, "optimizer": optimizer, "schedule": schedule,
                 "generator": generator, "seen": [], "best": 0.0}
        start = trial.restore(state)
        for step in range(start + 1, trial.steps + 1):
            picked = trial.data[torch.randperm(64, generator=generator)[:32]]
            optimizer.zero_grad()
            loss = ((model(picked) - picked.sum(1, keepdim=True)) ** 2).mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            state["seen"].append(step)
            state["best"] = step / 2
            digest = hashlib.sha256()
            for tensor in model.state_dict().values():
                digest.update(tensor.numpy().tobytes())
            print(step, digest.hexdigest(), state["best"], len(state["seen"]), flush=True)
            trial.report(step, loss=loss.detach(), at=started)
            trial.checkpoint(state)
            if step == trial.params.get("hold"):
                time.sleep(60)
"""


@pytest.mark.timeout(90)
def test_a_killed_trial_goes_on_bit_for_bit_from_its_newest_good_checkpoint(
    night: Callable[..., Night],
) -> None:
    """1. Uninterrupted. 2. Killed at step 6. 3. Resumed. 4. Resumed with the newest one damaged."""
    zygote = night(TORCH)
    slot, trial = zygote.run("1.0.1", steps=10)
    trial.rest()
    assert _exit(slot)["code"] == 0
    whole = zygote.log("1.0.1").splitlines()
    assert len(whole) == 10

    slot, trial = zygote.run("1.1.1", steps=10, params={"hold": 6}, checkpoint_every_s=0.0)
    saved = [trial.until("ckpt") for _ in range(6)]
    os.kill(_child_of(zygote), signal.SIGKILL)
    assert _exit(slot) == {"code": None, "signal": 9}
    assert zygote.log("1.1.1").splitlines() == whole[:6]

    resume = [{"step": c["s"], "path": c["path"]} for c in reversed(saved)]
    slot, trial = zygote.run("1.1.2", steps=10, resume=resume)
    assert trial.until("restored") == {
        "t": "restored", "s": 6, "path": saved[5]["path"], "rejected": []
    }  # fmt: skip
    trial.rest()
    assert _exit(slot)["code"] == 0
    assert zygote.log("1.1.2").splitlines() == whole[6:]

    newest = zygote.home / saved[5]["path"] / "state.pt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    shutil.rmtree(zygote.home / saved[4]["path"])
    slot, trial = zygote.run("1.1.3", steps=10, resume=resume)
    restored = trial.until("restored")
    assert (restored["s"], restored["path"]) == (4, saved[3]["path"])
    (damaged, why), (missing, why_missing) = restored["rejected"]
    assert (damaged, missing) == (saved[5]["path"], saved[4]["path"])
    assert "checksum" in why
    assert "missing" in why_missing
    trial.rest()
    assert _exit(slot)["code"] == 0
    assert zygote.log("1.1.3").splitlines() == whole[4:]


@pytest.mark.timeout(90)
def test_a_torch_study_is_forked_in_well_under_a_second(night: Callable[..., Night]) -> None:
    """The time from the order to the first line of train; it is single-threaded, so it forks."""
    zygote = night(TORCH)
    took = []
    for number in range(6):
        asked = time.monotonic()
        slot, trial = zygote.run(f"1.{number}.1", steps=2)
        took.append(trial.until("report")["m"]["at"] - asked)
        trial.rest()
        assert _exit(slot)["code"] == 0
        assert "fork" not in zygote.log(f"1.{number}.1")
    assert sorted(took[1:])[2] < 0.5  # 0.02 on a quiet machine; a fresh process takes seconds


@pytest.mark.timeout(90)
def test_a_loader_with_workers_runs_in_a_fork_and_leaves_nothing(
    night: Callable[..., Night],
) -> None:
    zygote = night("""
        import torch
        from torch.utils.data import DataLoader

        @study.train
        def train(trial):
            kept = trial.dir / "kept.txt"
            if kept.exists():
                print(kept.read_text())
            for step in range(1, 3):
                total = sum(int(b.sum()) for b in DataLoader(range(8), batch_size=2, num_workers=2))
                trial.report(step, loss=total)
            kept.write_text(f"of attempt {trial.seed}")
        """)
    for attempt in ("1.0.1", "1.0.2"):
        slot, trial = zygote.run(attempt)
        assert [m["m"]["loss"] for m in trial.rest() if m["t"] == "report"] == [28, 28]
        assert _exit(slot)["code"] == 0
    assert zygote.log("1.0.1") == ""
    assert zygote.log("1.0.2") == "of attempt 7\n"
    assert zygote.process is not None
    assert not children_of(zygote.process.pid)


@pytest.mark.timeout(90)
def test_a_study_whose_library_keeps_threads_is_told_the_line(
    night: Callable[..., Night],
) -> None:
    zygote = night("""
        import torch
        torch.set_num_threads(3)

        @study.train
        def train(trial):
            trial.report(1, loss=1.0)
        """)
    slot, trial = zygote.run()
    trial.rest()
    assert _exit(slot)["code"] == 0
    told, line = zygote.log().splitlines()
    assert "can't be forked: it keeps" in told
    assert line == f"smallhours: mine.py:{HEAD.count(chr(10)) + 3} started the library's threads."


def children_of(pid: int) -> list[str]:
    """Return the children of a process, zombies included."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
