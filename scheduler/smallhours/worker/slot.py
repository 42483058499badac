"""A slot's whole work: have a zygote run one attempt, wait for its end, collect what it left.

Standard library only. It runs in Ray's actors and in threads of the engine alike.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

#: How much of an attempt's log and of its stack dumps is kept with the attempt's end.
LOG_BYTES = 4 * 1024
FAULT_BYTES = 16 * 1024
#: A death note larger than this is not one of ours.
NOTE_BYTES = 256 * 1024


def run_attempt(
    zygote: str, order: dict[str, Any], opened: Callable[[socket.socket], None] | None = None
) -> dict[str, Any]:
    """Run one attempt to its end and say how it ended.

    Blocks as long as the zygote neither answers nor goes away. While it blocks, shutting the
    connection down makes the zygote kill the attempt.

    Args:
        zygote: Where the study's zygote listens: ``unix:/path``.
        order: The order, see docs/internals.md.
        opened: Called with the connection once it stands.

    Returns:
        The fields of `SlotReturn` but its key, JSON-able. `times` holds monotonic seconds:
        ``ordered``, ``forked`` (the pid came), ``exited``.
    """
    result: dict[str, Any] = {
        "exit_code": None, "signal": None, "lost_parent": None, "zygote_died": False, "note": None,
        "stderr": "", "fault": "", "detail": "", "times": {},
    }  # fmt: skip
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(zygote.removeprefix("unix:"))
            if opened is not None:
                opened(link)
            _converse(link, order, result)
    except (OSError, ValueError, LookupError, TypeError) as error:  # gone, or talks nonsense
        result["lost_parent"] = "zygote"
        result["zygote_died"] = "forked" not in result["times"]
        result["detail"] = f"{type(error).__name__}: {error}"
    _collect(Path(order["attempt_dir"]), result)
    return result


def _converse(link: socket.socket, order: dict[str, Any], result: dict[str, Any]) -> None:
    """Send the order and follow what the zygote says until the attempt's process is gone."""
    times: dict[str, float] = result["times"]
    link.sendall(json.dumps({"start": order}).encode() + b"\n")
    times["ordered"] = time.monotonic()
    with link.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            if "pid" in message:
                times["forked"] = time.monotonic()
            elif "exit" in message:
                times["exited"] = time.monotonic()
                result["exit_code"] = message["exit"]["code"]
                result["signal"] = message["exit"]["signal"]
                return
            elif "failed" in message:
                result["note"] = message["failed"]
                return
    raise ConnectionError("the zygote went away")


def _collect(directory: Path, result: dict[str, Any]) -> None:
    """Add what the attempt's process left in its directory."""
    result["stderr"] = _tail(directory / "log.txt", LOG_BYTES)
    result["fault"] = _tail(directory / "fault.txt", FAULT_BYTES)
    if result["note"] is not None:
        return
    try:
        text = _tail(directory / "note.json", NOTE_BYTES)
        note = json.loads(text) if text else None
    except ValueError as error:
        note = None
        result["detail"] += f"\nnote.json is unreadable: {error}"
    result["note"] = note if isinstance(note, dict) else None
    result["detail"] = result["detail"].strip()


def _tail(path: Path, size_bytes: int) -> str:
    """Return the end of a file as text; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            return _last(file, size_bytes)
    except OSError:
        return ""


def _last(file: BinaryIO, size_bytes: int) -> str:
    """Return up to `size_bytes` from the end of an open file, cut between characters."""
    length = file.seek(0, 2)
    file.seek(max(0, length - size_bytes))
    data = file.read(size_bytes)
    if length > size_bytes:
        data = data.lstrip(bytes(range(0x80, 0xC0)))  # the rest of a character that was cut
    return data.decode("utf-8", "replace")
