"""The user's settings: one TOML file for everything that is about the machine, not about a study.

docs/settings.md describes the file. It is read when the engine starts and again when it changes.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from smallhours import sizes
from smallhours.core import hours
from smallhours.core import settings as core
from smallhours.core.hours import Window
from smallhours.errors import UsageError
from smallhours.hints import did_you_mean

_logger = logging.getLogger(__name__)

#: What a trial's log may grow to, where the file says nothing.
LOG_BYTES = 10_000_000
#: Devices that a night can run on.
DEVICES = ("cpu", "gpu")
#: ``auto``: where it can be used and none of the user's own runs.
MpsMode: TypeAlias = Literal["auto", "on", "off"]
MPS_MODES: tuple[MpsMode, ...] = get_args(MpsMode)
_MOST_SLOTS = 1024

#: The tables of the file with their keys; the empty name stands for what is in no table.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("slots", "mps", "devices", "quiet", "yield", "storage", "hooks"),
    "quiet": DEVICES,
    "yield": ("to",),
    "storage": ("checkpoints", "log"),
    "hooks": ("on_event",),
}
_EXAMPLE_HOURS = 'expected hours like ["mon-fri 09:00-18:00"]'
_EXAMPLE_COMMAND = 'expected a command like ["/home/me/notify", "--quiet"]'

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user wishes of smallhours on this machine."""

    #: Trials at a time on the CPU; None: as many as pay.
    slots: int | None = None
    #: Whether trials share a GPU through NVIDIA's MPS.
    mps: MpsMode = "auto"
    #: Which devices may be used, as the user calls them; empty: all.
    devices: tuple[str, ...] = ()
    #: When a device shall be quiet, by its name.
    quiet: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    #: Names of processes (globs) to which the machine is given back while one runs.
    yield_to: tuple[str, ...] = ()
    #: Bytes that all checkpoints may take; None: what the disk has.
    checkpoint_bytes: int | None = None
    #: Bytes that the log of a trial may take.
    log_bytes: int = LOG_BYTES
    #: The command that is told of events, with its arguments; empty: none.
    on_event: tuple[str, ...] = ()

    def core(self) -> core.Settings:
        """Return what the core needs of them."""
        return core.Settings(quiet=self.quiet, checkpoint_bytes=self.checkpoint_bytes)


def path() -> Path:
    """Return the settings file that the environment names (it need not exist)."""
    own = os.environ.get("SMALLHOURS_CONFIG")
    if own:
        return Path(own).absolute()
    config = os.environ.get("XDG_CONFIG_HOME")
    base = Path(config) if config and Path(config).is_absolute() else Path.home() / ".config"
    return base / "smallhours" / "config.toml"


def read(file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        file: The file; None: the one that the environment names.

    Returns:
        What it says, with the usual values for what it doesn't say. Where there is no file, all is
        as usual.

    Raises:
        UsageError: a key or a value is wrong, or the file can't be used.
    """
    where = file or path()
    try:
        with where.open("rb") as opened:
            _check_safe(where, os.fstat(opened.fileno()))
            data = tomllib.load(opened)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise UsageError(f"{where}: it can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: it is no UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: it is no TOML: {error}") from error
    return _Reader(where, data).settings()


class Watcher:
    """The settings in force, kept up with the file. A file that is wrong changes nothing."""

    def __init__(self, file: Path | None = None) -> None:
        """Read the file; one that is wrong is logged, and all is as usual until it is mended."""
        self._path = file or path()
        self.settings = Settings()
        self._seen = self._look()
        self._read_again()

    def changed(self) -> Settings | None:
        """Return the new settings where they changed since this was asked last. One stat(2)."""
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        return self.settings if self._read_again() else None

    def _read_again(self) -> bool:
        """Read the file; say whether other settings are in force now."""
        try:
            settings = read(self._path)
        except UsageError as error:
            _logger.error("%s; the settings stay as they were", error)
            return False
        before, self.settings = self.settings, settings
        return settings != before

    def _look(self) -> tuple[int, int, int] | None:
        """Return what changes with the file; None: it can't be seen."""
        try:
            info = self._path.stat()
        except OSError:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns


def _check_safe(where: Path, info: os.stat_result) -> None:
    """Refuse a file that others wrote or could write: it names a command that will be run."""
    if info.st_uid not in {os.getuid(), 0}:
        raise UsageError(f"{where}: it belongs to another user")
    if info.st_mode & stat.S_IWOTH and stat.S_ISREG(info.st_mode):
        raise UsageError(f"{where}: everybody can write to it: chmod o-w {where}")


class _Reader:
    """Checks what the file holds, key by key."""

    def __init__(self, where: Path, data: Mapping[str, Any]) -> None:
        self._where, self._data = where, data

    def settings(self) -> Settings:
        self._check_names("", self._data)
        for table in filter(None, _KEYS):
            self._check_names(table, self._table(table))
        return Settings(
            slots=self._value("slots", _read_slots, None),
            mps=self._value("mps", _read_mps, "auto"),
            devices=self._value("devices", _read_devices, ()),
            quiet={device: self._windows(device) for device in self._table("quiet")},
            yield_to=self._value("yield.to", _read_globs, ()),
            checkpoint_bytes=self._value("storage.checkpoints", sizes.in_bytes, None),
            log_bytes=self._value("storage.log", sizes.in_bytes, LOG_BYTES),
            on_event=self._value("hooks.on_event", _read_command, ()),
        )

    def _check_names(self, table: str, found: Collection[str]) -> None:
        for key in found:
            if key in _KEYS[table]:
                continue
            full, known = f"{table}.{key}".lstrip("."), _KEYS[table]
            hint = _elsewhere(key) or did_you_mean(key, known) or f"; expected {_either(known)}"
            what = "device" if table == "quiet" else "key"
            raise self._error(full, f"there is no such {what}{hint}")

    def _table(self, name: str) -> Mapping[str, Any]:
        table = self._data.get(name, {})
        if not isinstance(table, dict):
            raise self._error(name, f"expected a table, [{name}], got {table!r}")
        return table

    def _value(self, key: str, convert: Callable[[object], _T], usual: _T) -> _T:
        table, _, name = key.rpartition(".")
        values = self._table(table) if table else self._data
        if name not in values:
            return usual
        try:
            return convert(values[name])
        except ValueError as error:
            raise self._error(key, str(error)) from None

    def _windows(self, device: str) -> tuple[Window, ...]:
        return self._value(f"quiet.{device}", _read_windows, ())

    def _error(self, key: str, message: str) -> UsageError:
        return UsageError(f"{self._where}: {key}: {message}")


def _elsewhere(key: str) -> str:
    """Say in which table a key belongs that stands in none, or in the wrong one."""
    homes = [table for table, keys in _KEYS.items() if key in keys]
    if not homes:
        return ""
    table = homes[0]
    return f"; it belongs under [{table}]" if table else "; it belongs above all tables"


def _read_slots(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_SLOTS:
        raise ValueError(f"expected a whole number from 1 to {_MOST_SLOTS}, got {value!r}")
    return value


def _read_mps(value: object) -> MpsMode:
    if value not in MPS_MODES:
        raise ValueError(f"expected {_either(MPS_MODES)}, got {value!r}")
    return value


def _read_devices(value: object) -> tuple[str, ...]:
    return _texts(value, 'expected devices like ["gpu"], ["cpu"] or ["GPU-8f3c"]')


def _read_globs(value: object) -> tuple[str, ...]:
    return _texts(value, 'expected names of processes like ["blender", "steam*"]')


def _read_command(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{_EXAMPLE_COMMAND}, got {value!r}: {error}") from None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{_EXAMPLE_COMMAND}, got {value!r}")
    if not value or not value[0] or any("\0" in word for word in value):
        raise ValueError(f"{_EXAMPLE_COMMAND}, got {value!r}")
    program = os.path.expanduser(value[0])  # noqa: PTH111 - a name on PATH is no path
    if "/" in program and not program.startswith("/"):
        raise ValueError(f"expected a whole path, or a command on PATH, got {value[0]!r}")
    return (program, *value[1:])


def _read_windows(value: object) -> tuple[Window, ...]:
    return tuple(map(hours.parse, _texts(value, _EXAMPLE_HOURS)))


def _texts(value: object, expected: str) -> tuple[str, ...]:
    """Return a text, or a list of them, as texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise ValueError(f"{expected}, got {value!r}")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{expected}, got {text!r}")
    return tuple(texts)


def _either(words: Collection[str]) -> str:
    return " or ".join(f'"{word}"' for word in words)
