"""The inbox: how everybody else asks the engine for something, while it is up or down.

A request is one JSON file, complete and durable before it has its final name. The engine answers
with a `request_answered` fact in the ledger, then deletes the file.
"""

from __future__ import annotations

import errno
import getpass
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from smallhours.errors import UsageError
from smallhours.paths import Home, read_only

Verb: TypeAlias = Literal[
    "add",
    "stop",
    "cancel",
    "continue",
    "release",
    "pause",
    "move",
    "yield",
    "until",
    "archive",
    "note",
]

#: Characters of a note, at most.
MOST_NOTE: Final = 1000

#: What is said of a request that the next engine will find.
WAITS: Final = "it waits in the inbox (no engine is running; `smallhours start` goes on)"

#: Seconds between two looks at the ledger for an answer; a look takes 0.2 ms.
_POLL_S = 0.02
#: An answer is never older than its request; the clock may have been set back by this in between.
_CLOCK_SLACK_S = 86_400.0
# All of the index `event_by_kind` is named, so that only the latest answers are looked at: of
# thousands of requests in a year of nights, this one's answer takes 0.2 ms instead of 10.
_ANSWER = (
    "SELECT body FROM event WHERE kind = 'request_answered' AND study IS NULL AND trial IS NULL"
    " AND attempt IS NULL AND reason IS NULL AND score IS NULL AND at >= ?"
    " AND json_extract(body, '$.request') = ? LIMIT 1"
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody asked for; docs/internals.md has the body of each verb."""

    id: str
    verb: Verb
    #: Who asked: the owner of the file, whatever the file says.
    uid: int
    pid: int
    body: dict[str, Any]


def who() -> str:
    """Return who asks, and from which terminal."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    try:
        return f"{user}@{os.ttyname(0).removeprefix('/dev/')}"
    except OSError:
        return user


def submit(home: Home, verb: Verb, body: dict[str, Any]) -> str:
    """Leave a request for the engine; it is durable when this returns.

    Args:
        home: The state directory; created where it does not exist.
        verb: What is asked for.
        body: The verb's own keys.

    Returns:
        The id of the request, for `wait_for_answer`.

    Raises:
        UsageError: the request can't be written, or the directory isn't safe.
    """
    identity = f"{time.time_ns()}-{os.urandom(4).hex()}"
    request = Request(id=identity, verb=verb, uid=os.getuid(), pid=os.getpid(), body=body)
    try:
        home.prepare()
        _write(home.inbox / f"{identity}.json", msgspec.json.encode(request))
    except OSError as error:
        raise UsageError(f"the request can't be written to {home.inbox}: {error}") from error
    return identity


def pending(home: Home) -> list[Request]:
    """Return the requests that wait, oldest first.

    A file that is no request is moved to ``inbox/rejected/`` and reported in the log.
    """
    requests = []
    for path in sorted(home.inbox.glob("*.json")):
        try:
            requests.append(_read(path))
        except ValueError as error:
            _reject(path, str(error))
        except OSError as error:
            if error.errno == errno.ELOOP:
                _reject(path, "it is a link")
            elif error.errno != errno.ENOENT:  # that one was taken back since it was listed
                _warn(f"{path.name} can't be read now: {error}")
    return requests


def lying(home: Home) -> list[Request]:
    """Return the requests that wait, oldest first, and leave what is none where it is."""
    requests = []
    for path in sorted(home.inbox.glob("*.json")):
        try:
            requests.append(_read(path))
        except (ValueError, OSError):
            continue  # none, or answered since it was listed: the engine sees to it
    return requests


def asked_at(request: str) -> float:
    """Return the wall time (Unix seconds) at which a request was submitted, by its id."""
    nanoseconds = request.partition("-")[0]
    return int(nanoseconds) / 1e9 if nanoseconds.isdecimal() else 0.0


def discard(home: Home, request: str) -> None:
    """Delete a request that was answered, or that nobody waits for any more."""
    (home.inbox / f"{request}.json").unlink(missing_ok=True)


def wait_for_answer(home: Home, request: str, timeout_s: float) -> tuple[bool, str] | None:
    """Wait for the engine's answer to a request.

    Args:
        home: The state directory; its ledger need not exist yet.
        request: What `submit` returned.
        timeout_s: How long to wait at most.

    Returns:
        Whether it was carried out, and the answer in words; None: no answer came in that time.
    """
    until = time.monotonic() + timeout_s
    while True:
        answer = _answer(home.ledger, request)
        left = until - time.monotonic()
        if answer is not None or left <= 0:
            return answer
        time.sleep(min(_POLL_S, left))


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is seen whole or not at all, and survives a power cut."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> Request:
    """Read a request.

    Raises:
        ValueError: it is none.
        OSError: it can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        uid = os.fstat(descriptor).st_uid
        request = msgspec.json.decode(file.read(), type=Request)
    if request.id != path.stem:
        raise ValueError(f"its id is {request.id!r}")
    return msgspec.structs.replace(request, uid=uid)


def _reject(path: Path, why: str) -> None:
    aside = path.parent / "rejected"
    aside.mkdir(mode=0o700, exist_ok=True)
    path.rename(aside / path.name)
    _warn(f"{path.name} is no request ({why}); moved to {aside}")


def _warn(text: str) -> None:
    import logging  # not above: commands that only ask start in no time

    logging.getLogger(__name__).warning("inbox: %s", text)


def _answer(ledger: Path, request: str) -> tuple[bool, str] | None:
    """Look for the answer in the ledger; None: there is none yet, or no ledger."""
    if not ledger.exists():
        return None
    try:
        connection = sqlite3.connect(read_only(ledger), uri=True, timeout=1)
        try:
            earliest = asked_at(request) - _CLOCK_SLACK_S
            row = connection.execute(_ANSWER, (earliest, request)).fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return None  # just being created, or busy; of a damaged one the engine itself complains
    if row is None:
        return None
    body = msgspec.json.decode(row[0])
    return bool(body["ok"]), str(body["text"])
