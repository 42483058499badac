"""Whether MPS can be used on a card, and what is said where it can't."""

from __future__ import annotations

import platform
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smallhours.devices.base import Device
from smallhours.devices.mps_control import PROGRAM
from smallhours.devices.mps_usable import Machine
from smallhours.settings import MpsMode

CARD = Device(
    name="GPU-8f3e0c52-6a1d-4d0b-9a57-0d5be7a10001",
    kind="gpu",
    label="NVIDIA GeForce RTX 3090",
    total_bytes=24 * 2**30,
    capability=(8, 6),
    compute_mode="default",
)
ABLE = Machine("/usr/bin/x", missing=None, foreign="")
SHARED = ABLE._replace(foreign="an MPS daemon that is not ours (process 7)")


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"capability": (7, 0)}, None),
        ({"capability": (6, 1)}, "its compute capability is 6.1, and 7.0 is needed"),
        ({"capability": None}, "its compute capability is not known"),
        ({"compute_mode": "exclusive"}, None),
        ({"compute_mode": None}, None),
        ({"compute_mode": "prohibited"}, "its compute mode forbids CUDA"),
        ({"kind": "mig"}, "the card is split into parts (MIG), which keep trials apart"),
    ],
)
def test_the_card_must_fit(change: dict[str, Any], why: str | None, mode: MpsMode) -> None:
    obstacle = ABLE.obstacle(replace(CARD, **change), mode)
    assert (obstacle.why if obstacle else None) == why


def test_off_is_off() -> None:
    obstacle = ABLE.obstacle(CARD, "off")
    assert obstacle is not None
    assert obstacle.why == "it is off in the settings"


def test_another_daemon_is_left_alone_unless_a_second_one_was_wished_for() -> None:
    obstacle = SHARED.obstacle(CARD, "auto")
    assert obstacle is not None
    assert obstacle.why.startswith("an MPS daemon that is not ours (process 7) is left alone")
    assert 'mps = "on"' in obstacle.do
    assert not obstacle.theirs
    assert SHARED.obstacle(CARD, "on") is None


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_trials_go_through_another_daemon_that_has_the_card_to_itself(mode: MpsMode) -> None:
    obstacle = SHARED.obstacle(replace(CARD, compute_mode="exclusive"), mode)
    assert obstacle is not None
    assert obstacle.theirs


# --- the machine ---------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mps-", dir="/tmp") as text:  # short: sockets
        yield Path(text)


def look(folder: Path) -> Machine:
    environment = {"PATH": str(folder), "CUDA_MPS_PIPE_DIRECTORY": str(folder)}
    return Machine.look(environment, lambda pid: True)


def test_the_program_is_found_on_path(folder: Path) -> None:
    program = folder / PROGRAM
    missing = look(folder).obstacle(CARD, "auto")
    assert missing is not None
    assert (missing.why, "nvidia-compute-utils" in missing.do) == (
        f"{PROGRAM} is not on PATH",
        True,
    )
    program.touch(mode=0o600)
    denied = look(folder).obstacle(CARD, "auto")
    assert denied is not None
    assert denied.why == f"{PROGRAM} may not be run by you"
    program.chmod(0o700)
    assert look(folder) == Machine(str(program), None, "")


@pytest.mark.processes
def test_the_users_program_is_no_daemon_while_it_only_asks_one(folder: Path) -> None:
    program = folder / PROGRAM
    program.write_text("#!/bin/sh\necho begun\nread line\n")
    program.chmod(0o700)
    environment = {"PATH": str(folder), "CUDA_MPS_PIPE_DIRECTORY": str(folder)}
    for options, seen in (([], False), (["-d"], True)):
        pipe = subprocess.PIPE
        with subprocess.Popen([program, *options], stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            foreign = Machine.look(environment, lambda pid: pid != process.pid).foreign
            process.communicate()
        assert foreign == f"an MPS daemon that is not ours (process {process.pid})" * seen


def test_a_daemon_that_listens_but_is_not_seen_counts(folder: Path) -> None:
    (folder / PROGRAM).touch(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/control")
        assert look(folder).foreign == ""  # it is dead
        listener.listen()
        assert look(folder).foreign == f"an MPS daemon that is not ours (in {folder})"


def test_wsl_has_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / PROGRAM).touch(mode=0o700)
    monkeypatch.setattr(platform, "release", lambda: "6.6.87.2-microsoft-standard-WSL2")
    obstacle = look(folder).obstacle(CARD, "on")
    assert obstacle is not None
    assert obstacle.why == "WSL2 has no MPS"
