"""What of a real run others could reach or read: sockets, the token, files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from fakes.real import RealNight

pytestmark = [pytest.mark.ray, pytest.mark.processes, pytest.mark.timeout(120)]

STUDY = """
import time
from smallhours import Float, Study

study = Study("toy", metric="loss", goal="minimize", space={"x": Float(0.0, 1.0)},
              baseline={"x": 0.9}, trials=4, steps=400, stopping="none")

@study.train
def train(trial):
    for step in range(1, 401):
        time.sleep(0.1)
        trial.report(step, loss=trial.params["x"] / step)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNight]:
    """A night with Ray in which two trials run."""
    night = RealNight(tmp_path_factory.mktemp("privacy"), launcher="ray")
    try:
        night.begin("run", night.study(STUDY))
        night.wait_for_reports(4)
        yield night
    finally:
        night.close()


def session_directory(night: RealNight) -> Path:
    return Path(json.loads(night.home.owner.read_bytes())["directory"])


def family(night: RealNight) -> dict[int, tuple[str, dict[str, str]]]:
    """Return command line and environment of the engine and of everything below it."""
    engine = psutil.Process(night.engine_pid())
    found = {}
    for process in [engine.parent(), engine, *engine.children(recursive=True)]:
        try:
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            pairs = (os.fsdecode(item).partition("=") for item in environ)
            found[process.pid] = (
                " ".join(process.cmdline()),
                {name: value for name, _, value in pairs},
            )
        except (psutil.NoSuchProcess, OSError):
            continue
    return found


def token_of(night: RealNight) -> str:
    """Return Ray's token, from the one place where it may be: the environment of Ray's own."""
    tokens = {environment.get("RAY_AUTH_TOKEN", "") for _, environment in family(night).values()}
    (token,) = tokens - {""}
    assert len(token) >= 32
    return token


def test_no_process_of_a_session_listens_beyond_this_machine(running: RealNight) -> None:
    listening = 0
    for pid in family(running):
        try:
            connections = psutil.Process(pid).net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN or connection.type == 2:  # or a UDP socket
                listening += 1
                address = ip_address(connection.laddr.ip)
                mapped = getattr(address, "ipv4_mapped", None)
                assert (mapped or address).is_loopback, (pid, connection)
    assert listening, "Ray listens somewhere, or this test looks at nothing"


def test_the_token_is_in_no_file_and_no_command_line(running: RealNight) -> None:
    token = token_of(running)
    for command, _ in family(running).values():
        assert token not in command
    looked_at = 0
    for root in (session_directory(running), running.home.root):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                looked_at += 1
                assert token.encode() not in path.read_bytes(), path
    assert looked_at > 10


def test_trials_and_zygotes_do_not_know_the_token(running: RealNight) -> None:
    pids = {running.trial_pid(0)}
    zygotes = [
        pid
        for pid, (command, _) in family(running).items()
        if "smallhours.worker.zygote" in command
    ]
    assert zygotes
    for pid in pids.union(zygotes):
        environment = family(running)[pid][1]
        assert not [name for name in environment if name.startswith("RAY_")]


def test_nobody_else_can_enter_the_session_and_state_directories(running: RealNight) -> None:
    for path in (session_directory(running), running.home.root):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in running.home.root.rglob("*"):
        assert not path.lstat().st_mode & 0o077 or path.is_symlink(), path
