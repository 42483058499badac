"""The line from a trial's process to the engine: JSON objects, one a line, over a Unix socket."""

from __future__ import annotations

import json
import math
import select
import socket
from typing import Any, Protocol

Message = dict[str, Any]


class LinkLostError(ConnectionError):
    """The engine closed the line."""


class Link(Protocol):
    """What a trial needs of its line to whoever listens."""

    def send(self, message: Message) -> None:
        """Hand a message over."""
        ...

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        """Return what arrived; waits for something to arrive, at most so long."""
        ...


class EngineLink:
    """A trial's line to the engine."""

    def __init__(self, address: str) -> None:
        kind, _, path = address.partition(":")
        if kind != "unix":
            raise ValueError(f"an engine's address begins with unix:, got {address!r}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._lines = Lines()

    def send(self, message: Message) -> None:
        """Send a message; blocks while the engine is so far behind that the buffer is full.

        Raises:
            LinkLostError: nobody listens any more.
        """
        try:
            self._socket.sendall(encode(message))
        except OSError as error:
            raise LinkLostError("the engine is gone") from error

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        """Return what arrived; waits for something to arrive, at most so long.

        Raises:
            LinkLostError: the engine closed the line.
        """
        if timeout_s > 0:
            select.select([self._socket], [], [], timeout_s)
        try:
            data = self._socket.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise LinkLostError("the engine is gone") from error
        if not data:
            raise LinkLostError("the engine is gone")
        return self._lines.feed(data)

    def close(self) -> None:
        """Close the line; what was sent before still arrives."""
        self._socket.close()


class Lines:
    """Cuts a stream of bytes into JSON objects, one a line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return the objects that they complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]


def encode(message: Message) -> bytes:
    """Return a message as the line that is sent."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def stored(value: float) -> float | str:
    """Return a metric in the form that JSON can hold."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
