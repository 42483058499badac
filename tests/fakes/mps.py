"""The fake ``nvidia-cuda-mps-control`` on PATH, clients of it, and what became of its processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smallhours.devices.host import all_processes
from smallhours.devices.mps_control import PIPE_VARIABLE, PROGRAM
from smallhours.processes import session_of, started_at, variable_of

_SOURCE = Path(__file__).with_name("mps_control.py")
#: What a CUDA program does with MPS when it starts, as the fake has it.
CONNECT = """
import os, socket
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["CUDA_MPS_PIPE_DIRECTORY"] + "/control")
link.sendall(b"CLIENT %d" % os.getpid())
answer = link.recv(64).decode().strip()
"""
_CLIENT = f"""{CONNECT}
import sys
print(answer, flush=True)
sys.stdin.read()
link.sendall(b"BYE")
"""


class Client:
    """A process of its own session that uses a card."""

    def __init__(self, pipe: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-SE", "-c", _CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={PIPE_VARIABLE: str(pipe)},
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        #: ``0``, or the error that CUDA would give.
        self.answer = self.process.stdout.readline().strip()

    @property
    def pid(self) -> int:
        return self.process.pid

    def leave(self) -> None:
        """End as one should."""
        self.process.communicate()

    def kill(self) -> None:
        """End with work in flight."""
        self.process.kill()
        self.process.communicate()


class FakeMps:
    """A machine with MPS; everything of it lies in one short, private directory."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mps-", dir="/tmp"))
        programs = self.directory / "bin"
        programs.mkdir()
        self.program = programs / PROGRAM
        # -S and -E: it starts in 10 ms.
        self.program.write_text(f"#!{sys.executable} -SE\n{_SOURCE.read_text()}")
        self.program.chmod(0o700)
        self.session = self.directory / "s"
        self.environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "SMALLHOURS_SESSION": str(self.session),
            PIPE_VARIABLE: str(self.directory / "theirs"),
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50",
        }
        self._clients: list[Client] = []

    def trouble(self, *words: str) -> None:
        """Have the program behave badly from now on."""
        (self.program.parent / "trouble").write_text(" ".join(words))

    def ask(self, pipe: Path, command: str) -> str:
        """Ask a daemon, as a person would."""
        return subprocess.run(
            [self.program],
            input=command + "\n",
            env={PIPE_VARIABLE: str(pipe)},
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    def server(self, pipe: Path) -> str:
        """Return the pid of a daemon's server."""
        return self.ask(pipe, "get_server_list")

    def status(self, pipe: Path) -> str:
        """Return how a daemon's server is."""
        return self.ask(pipe, f"get_server_status {self.server(pipe)}")

    def clients(self, pipe: Path) -> set[int]:
        """Return the pids of a daemon's clients."""
        return {int(pid) for pid in self.ask(pipe, f"get_client_list {self.server(pipe)}").split()}

    def client(self, pipe: Path) -> Client:
        """Start a process that uses a card; it has connected, or was refused."""
        client = Client(pipe)
        self._clients.append(client)
        return client

    def log(self, pipe: Path) -> str:
        """Return the daemon's log."""
        return (pipe.parent / "log" / "control.log").read_text()

    def ours(self, pid: int) -> bool:
        """Say whether a process is of the session; other tests' machines don't count either."""
        foreign = variable_of(pid, PIPE_VARIABLE).startswith(str(self.directory))
        return not foreign or session_of(pid) == str(self.session)

    def processes(self) -> list[int]:
        """Return the daemons and servers that live."""
        below = str(self.directory)
        return [
            process.pid
            for process in all_processes()
            if variable_of(process.pid, PIPE_VARIABLE).startswith(below)
            and started_at(process.pid) is not None
            and process.pid not in [client.pid for client in self._clients]
        ]

    def close(self) -> None:
        """End everything."""
        for client in self._clients:
            client.kill()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory)


def wait(condition: Callable[[], object]) -> None:
    """Wait for other processes."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Wait for the event loop."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)
