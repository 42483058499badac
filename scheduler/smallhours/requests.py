"""Translates the requests of the inbox into events of the core."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from smallhours import rules
from smallhours.core import events as e
from smallhours.core import hours
from smallhours.core.spec import Priority, StudySpec
from smallhours.inbox import MOST_NOTE, Request
from smallhours.text import clean


class _Add(msgspec.Struct, frozen=True, kw_only=True):
    spec: StudySpec
    snapshot: str
    digest: str
    source: str
    module: str
    cwd: str
    replace: bool = False
    by: str = ""


class _Stop(msgspec.Struct, frozen=True, kw_only=True):
    now: bool = False
    cause: Literal["stop", "ctrl-c"] = "stop"


class _Cancel(msgspec.Struct, frozen=True, kw_only=True):
    study: int
    trial: int | None = None
    by: str


class _Continue(msgspec.Struct, frozen=True, kw_only=True):
    study: int
    trial: int
    by: str


class _Pause(msgspec.Struct, frozen=True, kw_only=True):
    study: int | None = None
    by: str


class _Move(msgspec.Struct, frozen=True, kw_only=True):
    study: int
    by: str
    priority: Priority | None = None
    weight: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    hours: tuple[str, ...] | None = None
    to: Literal["first", "last"] | None = None
    before: int | None = None


class _Until(msgspec.Struct, frozen=True, kw_only=True):
    until: float | None
    by: str


class _Archive(msgspec.Struct, frozen=True, kw_only=True):
    study: int
    by: str
    remove: bool = False


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    study: int
    trial: int | None = None
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_NOTE)]
    by: str


class _Release(msgspec.Struct, frozen=True, kw_only=True):
    study: int | None = None
    trial: int | None = None
    only_held: bool = False
    by: str = ""


#: What a request can become.
RequestEvent: TypeAlias = (
    e.StudySubmitted | e.ShutdownRequested | e.CancelRequested | e.ContinueRequested
    | e.ReleaseRequested | e.PauseRequested | e.MoveRequested | e.YieldRequested
    | e.DeadlineRequested | e.ArchiveRequested | e.NoteRequested
)  # fmt: skip


def _check_rule(spec: StudySpec) -> None:
    """Refuse a stopping rule of another version of smallhours: no engine could ever make it.

    Raises:
        ValueError: there is no such rule, or it takes no such options.
    """
    try:
        rules.make(spec)
    except (KeyError, TypeError) as error:
        raise ValueError(f"stopping rule {spec.stopping.rule!r}: {error}") from error


def _check_hours(texts: tuple[str, ...]) -> None:
    """Refuse hours that are none.

    Raises:
        ValueError: says which, and what was expected.
    """
    for text in texts:
        hours.parse(text)


def event_of(request: Request, at: float) -> RequestEvent:
    """Return what a request means.

    Raises:
        ValueError: its body is not what its verb takes.
    """
    ids: dict[str, Any] = {"at": at, "request": request.id, "uid": request.uid}
    match request.verb:
        case "add":
            add = msgspec.convert(request.body, _Add)
            _check_rule(add.spec)
            _check_hours(add.spec.hours)
            return e.StudySubmitted(**ids, **{k: getattr(add, k) for k in _Add.__struct_fields__})
        case "stop":
            stop = msgspec.convert(request.body, _Stop)
            return e.ShutdownRequested(**ids, cause=stop.cause, now=stop.now)
        case "cancel":
            cancel = msgspec.convert(request.body, _Cancel)
            return e.CancelRequested(**ids, by=cancel.by, study=cancel.study, trial=cancel.trial)
        case "continue":
            again = msgspec.convert(request.body, _Continue)
            return e.ContinueRequested(**ids, **msgspec.structs.asdict(again))
        case "pause":
            pause = msgspec.convert(request.body, _Pause)
            return e.PauseRequested(**ids, by=pause.by, study=pause.study)
        case "move":
            move = msgspec.convert(request.body, _Move)
            _check_hours(move.hours or ())
            return e.MoveRequested(**ids, **msgspec.structs.asdict(move))
        case "yield":
            wish = msgspec.convert(request.body, _Until)
            return e.YieldRequested(**ids, by=wish.by, until=wish.until)
        case "until":
            wish = msgspec.convert(request.body, _Until)
            return e.DeadlineRequested(**ids, by=wish.by, until=wish.until)
        case "archive":
            archive = msgspec.convert(request.body, _Archive)
            return e.ArchiveRequested(**ids, **msgspec.structs.asdict(archive))
        case "note":
            note = msgspec.convert(request.body, _Note)
            return e.NoteRequested(
                **ids, study=note.study, trial=note.trial, text=clean(note.text), by=note.by
            )
        case "release":
            release = msgspec.convert(request.body, _Release)
            return e.ReleaseRequested(**ids, **msgspec.structs.asdict(release))
