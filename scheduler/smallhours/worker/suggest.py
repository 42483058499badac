"""Runs a study's space function for the engine, which gives the values that it asks for."""

from __future__ import annotations

import socket
from collections import deque
from pathlib import Path

from smallhours.space import Choice, Dimension, Float, ParamValue, SpaceTrial
from smallhours.study import Study
from smallhours.worker import note
from smallhours.worker.link import Lines, Message, encode


class EngineGoneError(Exception):
    """The engine closed the connection."""


class _Line:
    """A blocking connection that gives one message at a time."""

    def __init__(self, connection: socket.socket, lines: Lines) -> None:
        self._socket, self._lines = connection, lines
        self._waiting: deque[Message] = deque()

    def put(self, message: Message) -> None:
        self._socket.sendall(encode(message))

    def get(self) -> Message:
        while not self._waiting:
            data = self._socket.recv(65536)
            if not data:
                raise EngineGoneError
            self._waiting.extend(self._lines.feed(data))
        return self._waiting.popleft()


class _AskingTrial(SpaceTrial):
    """Hands every question of the space function to the engine."""

    def __init__(self, number: int, line: _Line) -> None:
        super().__init__(number)
        self._line = line

    def _answer(self, name: str, dimension: Dimension) -> object:
        data = dimension.as_data(name)
        kind = data.pop("kind")
        del data["name"]
        self._line.put({"suggest": [kind, name, data]})
        value = self._line.get()["value"]
        if isinstance(dimension, Float) and isinstance(value, int) and not isinstance(value, bool):
            return float(value)  # JSON writers may drop the ".0"
        if isinstance(dimension, Choice):
            return _as_chosen(value, dimension)
        return value


def _as_chosen(value: ParamValue, dimension: Choice) -> ParamValue:
    """Return the choice that a value stands for: JSON tells 1 from True, but not always 1.0."""
    exact = [c for c in dimension.choices if type(c) is type(value) and c == value]
    near = [c for c in dimension.choices if not isinstance(c, bool) and c == value]
    return (exact or near or [value])[0]


def serve(
    connection: socket.socket, lines: Lines, first: Message, study: Study, folder: Path
) -> None:
    """Answer one ``space`` request after the other until the engine closes the connection.

    Args:
        connection: The line to the engine.
        lines: What of it was read already.
        first: The request that was read already.
        study: The study whose space is a function.
        folder: The study's folder, for notes on its failures.
    """
    connection.setblocking(True)
    line = _Line(connection, lines)
    message = first
    try:
        while True:
            line.put(_run(study, message["space"]["trial"], line, folder))
            message = line.get()
    except (EngineGoneError, ConnectionError):
        return


def _run(study: Study, number: int, line: _Line, folder: Path) -> Message:
    trial = _AskingTrial(number, line)
    try:
        if study.space_function is None:
            raise TypeError(f"the space of {study.name} is no function")
        study.space_function(trial)
    except (EngineGoneError, ConnectionError):
        raise
    except BaseException as error:  # noqa: BLE001 - the engine is told
        note.print_error(error, folder)
        return {"failed": note.describe(error, folder, "load")}
    return {"params": trial.params}
