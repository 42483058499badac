"""Runs a study's space function where the study's code lives, and relays what it asks for."""

from __future__ import annotations

import json
import socket
import time
from typing import IO, Any

from smallhours.core.guards import STARTING_LIMIT_S
from smallhours.core.spec import Params
from smallhours.search import Asking

#: A space function that takes longer than this for a configuration is stuck.
_LIMIT_S = 60.0
#: The first word may take as long as the study's imports and its prepare() may.
_FIRST_WORD_S = STARTING_LIMIT_S


class SpaceFunctionError(Exception):
    """The space function failed; the message says how."""


class SpaceRelay:
    """The engine's end of a space process (docs/internals.md). Used from the search's thread."""

    def __init__(self, address: str) -> None:
        self._path = address.removeprefix("unix:")
        self._socket: socket.socket | None = None
        self._file: IO[str] | None = None

    def define(self, asking: Asking, trial: int) -> Params:
        """Run the function for a trial; answer what it asks for with what the search suggests.

        Raises:
            SpaceFunctionError: it raised, or its process died.
        """
        try:
            return self._define(asking, trial)
        except (OSError, ValueError) as error:
            self.close()
            raise SpaceFunctionError(f"its process did not answer: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the space process go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = self._file = None

    def _define(self, asking: Asking, trial: int) -> Params:
        deadline = time.monotonic() + (_FIRST_WORD_S if self._socket is None else _LIMIT_S)
        self._send({"space": {"trial": trial}})
        message = self._receive(deadline)
        deadline = time.monotonic() + _LIMIT_S
        while True:
            if "suggest" in message:
                kind, name, options = message["suggest"]
                self._send({"value": asking.suggest(kind, name, options)})
                message = self._receive(deadline)
            elif "params" in message:
                params: Params = message["params"]
                return params
            else:
                note = message["failed"]
                raise SpaceFunctionError(f"{note['type']}: {note['message']} ({note['where']})")

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_LIMIT_S)
            self._socket.connect(self._path)
            self._file = self._socket.makefile("r", encoding="utf-8")
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _receive(self, deadline: float) -> dict[str, Any]:
        assert self._socket is not None
        assert self._file is not None
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("it asks and asks")
        self._socket.settimeout(left_s)
        line = self._file.readline()
        if not line:
            raise ConnectionError("it died")
        message: dict[str, Any] = json.loads(line)
        return message
