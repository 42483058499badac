"""The engine's end of the sockets over which trial processes speak (docs/internals.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, TypeAlias

import msgspec

from smallhours.core.spec import StoredNumber
from smallhours.core.trial import AttemptKey

_logger = logging.getLogger(__name__)

#: A line longer than this is no message of ours.
_LINE_BYTES = 1 << 20
#: The ledger's integers have 64 bits.
_STEP_MOST = 2**63 - 1


class _Message(msgspec.Struct, frozen=True, tag_field="t"):
    """What all messages share: a tag under the key ``t``."""


class Hello(_Message, frozen=True, tag="hello"):
    """First of all: which attempt speaks, and which process it is."""

    a: str
    pid: int
    born: int


class Restored(_Message, frozen=True, tag="restored"):
    """A checkpoint was loaded (or none was good)."""

    s: int
    path: str | None = None
    rejected: tuple[tuple[str, str], ...] = ()


class Report(_Message, frozen=True, tag="report"):
    """Metrics at a step; `w`: the process waits for the verdict."""

    s: Annotated[int, msgspec.Meta(ge=1, le=_STEP_MOST)]
    m: dict[str, StoredNumber]
    w: int = 0


class Checkpoint(_Message, frozen=True, tag="ckpt"):
    """A checkpoint is complete on disk."""

    s: int
    path: str
    bytes: int


_Amount = Annotated[int, msgspec.Meta(ge=0, le=_STEP_MOST)]
_Pace = Annotated[float, msgspec.Meta(ge=0)]


class Usage(_Message, frozen=True, tag="usage"):
    """What the process tree needed so far; None: not measured."""

    step_s: _Pace | None = None
    mean_step_s: _Pace | None = None
    cores: _Pace | None = None
    #: With the time in which it could have run and had no core.
    wanted: _Pace | None = None
    host: _Amount | None = None
    #: `host` counts shared pages once instead of in full for every process.
    pss: bool = False
    #: Per GPU: its index, and the most that torch reserved and allocated.
    gpus: tuple[tuple[_Amount, _Amount, _Amount], ...] = ()


class Stopping(_Message, frozen=True, tag="stopping"):
    """The order to stop was seen."""


class Done(_Message, frozen=True, tag="done"):
    """The training function returned."""


Message: TypeAlias = Hello | Restored | Report | Checkpoint | Usage | Stopping | Done

_decode = msgspec.json.Decoder(Message).decode
_GO = b'{"t":"go"}\n'


class Link(asyncio.Protocol):
    """One connection: a trial process, once it has said hello."""

    def __init__(
        self, heard: Callable[[Link, Message], None], closed: Callable[[Link], None]
    ) -> None:
        self._heard, self._closed = heard, closed
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._refused = False
        #: The attempt that speaks here; None: no hello yet.
        self.key: AttemptKey | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on every whole line."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _LINE_BYTES:
            self.refuse("a line without end")
            return
        for line in lines:
            if self._refused:
                return
            try:
                message = _decode(line)
                if isinstance(message, Hello):
                    self.key = AttemptKey.parse(message.a)
            except ValueError as error:  # msgspec's errors are ValueErrors, too
                self.refuse(f"{error}: {line[:200]!r}")
                return
            self._heard(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the process will not be heard again."""
        self._transport = None
        self._closed(self)

    def stop(self, how: str, why: str) -> None:
        """Tell the process to end."""
        self._send(msgspec.json.encode({"t": "stop", "how": how, "why": why}) + b"\n")

    def go(self) -> None:
        """Tell a process that waits that it may go on."""
        self._send(_GO)

    def refuse(self, why: str) -> None:
        """End a connection that speaks something else."""
        self._refused = True
        _logger.warning("link of %s refused: %s", self.key, why)
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, line: bytes) -> None:
        if self._transport is not None:
            self._transport.write(line)
