"""What is simulated, as data: cards, studies, trials; read from the JSON that docs/simulate.md has.

Truth that a scheduler has to find out by itself is marked: it must not look there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from smallhours.errors import StudyFileError
from smallhours.hints import did_you_mean
from smallhours.packing.cards import Card
from smallhours.simulate.interference import Interference, Load
from smallhours.sizes import in_bytes

#: A parameter's value.
Value: TypeAlias = bool | int | float | str

_GIB = 2**30
#: Steps, trials and cards beyond these are taken for typing errors.
_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """Trials of one kind, with their share of the night."""

    name: str
    weight: float = 1.0
    #: Trials can be paused to a checkpoint at any report.
    saves: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One trial."""

    name: str
    study: str
    arrival_s: float = 0.0
    steps: int
    #: Truth: seconds a step on a card of speed 1 with nothing beside it.
    step_s: float
    #: Truth: device memory from its first step on.
    device_bytes: int
    #: What is believed of it before anything was measured; None: nothing.
    believed_bytes: int | None = None
    #: Truth.
    load: Load = field(default_factory=lambda: Load(1.0))
    params: Mapping[str, Value] = field(default_factory=dict)
    #: Truth: its code fails instead of reporting this step; None: it does not.
    fails_at: int | None = None

    @property
    def alone_s(self) -> float:
        """Seconds it takes alone on a card of speed 1, its launch apart."""
        steps = self.steps if self.fails_at is None else min(self.steps, self.fails_at)
        return steps * self.step_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is to be done, on what."""

    cards: tuple[Card, ...]
    studies: tuple[StudySpec, ...]
    trials: tuple[TrialSpec, ...]
    interference: Interference = field(default_factory=Interference)
    #: From the order to start a trial to its first step; it holds its memory meanwhile.
    launch_s: float = 2.0
    #: How far reported steps are apart from the mean, relative (log-normal sigma).
    jitter: float = 0.05
    seed: int = 0


def read(path: Path) -> Workload:
    """Read a workload from a JSON file.

    Raises:
        StudyFileError: it can't be read, or a value in it is wrong; which, and what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyFileError(str(path), "", f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StudyFileError(str(path), "", "expected JSON in UTF-8") from None
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StudyFileError(str(path), "", f"expected JSON: {error}") from None
    return _workload(_Table(str(path), "", document))


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _workload(table: _Table) -> Workload:
    cards = tuple(_card(t, i) for i, t in enumerate(table.tables("devices", least=1)))
    studies = tuple(_study(t) for t in table.tables("studies", least=1))
    _unique(table, "devices", [card.name for card in cards])
    _unique(table, "studies", [study.name for study in studies])
    trials: list[TrialSpec] = []
    for index, entry in enumerate(table.tables("trials", least=1)):
        trials += _trials(entry, index, {study.name for study in studies})
    _unique(table, "trials", [trial.name for trial in trials])
    how = table.table("interference")
    found = Workload(
        cards=cards,
        studies=studies,
        trials=tuple(trials),
        interference=_interference(how) if how is not None else Interference(),
        launch_s=table.number("launch_s", 2.0),
        jitter=table.number("jitter", 0.05, most=1.0),
        seed=int(table.number("seed", 0, whole=True)),
    )
    table.done()
    _must_fit(table, found)
    return found


def _card(table: _Table, index: int) -> Card:
    found = Card(
        name=table.text("name", f"gpu{index}"),
        total_bytes=table.size("bytes"),
        reserve_bytes=table.size("reserve_bytes", 0),
        foreign_bytes=table.size("foreign_bytes", 0),
        speed=table.number("speed", 1.0, above=0.0),
    )
    table.done()
    if not found.room_bytes:
        table.fail("bytes", "expected more than reserve_bytes and foreign_bytes together")
    return found


def _study(table: _Table) -> StudySpec:
    found = StudySpec(
        name=table.text("name"),
        weight=table.number("weight", 1.0, above=0.0),
        saves=table.flag("saves", default=True),
    )
    table.done()
    return found


def _trials(table: _Table, index: int, studies: set[str]) -> list[TrialSpec]:
    study = table.text("study")
    if study not in studies:
        near = did_you_mean(study, studies)
        table.fail("study", f"expected a name from `studies`, got {study!r}{near}")
    count = int(table.number("count", 1, whole=True, above=0))
    name = table.text("name", f"{study}/{index}")
    true_bytes = table.size("device_bytes")
    steps = int(table.number("steps", None, whole=True, above=0))
    fails = table.number("fails_at", 0, whole=True)
    entry = TrialSpec(
        name=name,
        study=study,
        arrival_s=table.number("arrival_s", 0.0),
        steps=steps,
        step_s=table.number("step_s", None, above=0.0),
        device_bytes=true_bytes,
        believed_bytes=table.size("believed_bytes", 0) or None,
        load=Load(
            busy=table.number("busy_share", 1.0, above=0.0, most=1.0),
            compute=table.number("compute_share", 1.0, above=0.0, most=1.0),
            memory_bound=table.number("memory_bound", 0.0, most=1.0),
        ),
        params=table.params("params"),
        fails_at=int(fails) or None,
    )
    table.done()
    if entry.fails_at is not None and entry.fails_at > steps:
        table.fail("fails_at", f"expected at most `steps` ({steps}), got {entry.fails_at}")
    if count == 1:
        return [entry]
    return [_renamed(entry, f"{name}.{number}") for number in range(count)]


def _renamed(trial: TrialSpec, name: str) -> TrialSpec:
    from dataclasses import replace

    return replace(trial, name=name)


def _interference(table: _Table) -> Interference:
    usual = Interference()
    sharing = table.text("sharing", usual.sharing)
    if sharing not in ("time_slicing", "mps"):
        near = did_you_mean(sharing, ("time_slicing", "mps"))
        table.fail("sharing", f'expected "time_slicing" or "mps", got {sharing!r}{near}')
    kind: Literal["time_slicing", "mps"] = "mps" if sharing == "mps" else "time_slicing"
    found = Interference(
        sharing=kind,
        switch=table.number("switch", usual.switch, most=1.0),
        contention=table.number("contention", usual.contention, most=10.0),
    )
    table.done()
    return found


def _unique(table: _Table, key: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            table.fail(key, f"expected different names, got {name!r} twice")
        seen.add(name)


def _must_fit(table: _Table, workload: Workload) -> None:
    room = max(card.room_bytes for card in workload.cards)
    for trial in workload.trials:
        if trial.device_bytes > room:
            table.fail(
                "trials",
                f"{trial.name!r} needs {trial.device_bytes} bytes, no device has more than {room}",
            )


class _Table:
    """A JSON object, read key by key; what nobody asked for is a mistake."""

    def __init__(self, file: str, where: str, value: object) -> None:
        self._file, self._where = file, where
        if not isinstance(value, dict):
            raise StudyFileError(file, where, f"expected an object, got {_short(value)}")
        self._values: dict[str, Any] = value
        self._known: list[str] = []

    def fail(self, key: str, message: str) -> None:
        """Refuse a key's value.

        Raises:
            StudyFileError: always.
        """
        raise StudyFileError(self._file, f"{self._where}.{key}" if self._where else key, message)

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._values:
            if key not in self._known:
                self.fail(key, f"there is no such key{did_you_mean(key, self._known)}")

    def _get(self, key: str, usual: object) -> Any:
        self._known.append(key)
        if key not in self._values and usual is None:
            near = did_you_mean(key, [k for k in self._values if k not in self._known])
            self.fail(key, f"is missing{near}")
        return self._values.get(key, usual)

    def text(self, key: str, usual: str | None = None) -> str:
        """Return a text."""
        value = self._get(key, usual)
        if not isinstance(value, str) or not 1 <= len(value) <= 200:
            self.fail(key, f"expected a text of 1 to 200 characters, got {_short(value)}")
        return str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"expected true or false, got {_short(value)}")
        return bool(value)

    def number(
        self,
        key: str,
        usual: float | None,
        *,
        above: float | None = None,
        most: float = math.inf,
        whole: bool = False,
    ) -> float:
        """Return a number from 0, or above a bound."""
        value = self._get(key, usual)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good = good and math.isfinite(value) and value <= most
        good = good and (value >= 0 if above is None else value > above)
        good = good and (not whole or (value == int(value) and value <= _MOST))
        if not good:
            kind = "a whole number" if whole else "a number"
            low = "from 0" if above is None else f"above {above:g}"
            high = f" up to {most:g}" if math.isfinite(most) else ""
            self.fail(key, f"expected {kind} {low}{high}, got {_short(value)}")
        return float(value)

    def size(self, key: str, usual: int | None = None) -> int:
        """Return bytes, given as a number or as text with a unit."""
        value = self._get(key, usual)
        if value == 0 and usual == 0 and not isinstance(value, bool):
            return 0
        try:
            return in_bytes(value)
        except ValueError as error:
            self.fail(key, str(error))
            raise

    def params(self, key: str) -> dict[str, Value]:
        """Return a configuration."""
        value = self._get(key, {})
        if not isinstance(value, dict):
            self.fail(key, f"expected an object, got {_short(value)}")
        for name, one in value.items():
            if not isinstance(one, str | int | float):
                self.fail(f"{key}.{name}", f"expected a number, text or bool, got {_short(one)}")
        return dict(value)

    def table(self, key: str) -> _Table | None:
        """Return an object; None: there is none."""
        value = self._get(key, False)
        return None if value is False else _Table(self._file, self._at(key), value)

    def tables(self, key: str, *, least: int) -> list[_Table]:
        """Return a list of objects."""
        value = self._get(key, None)
        if not isinstance(value, list) or len(value) < least:
            self.fail(key, f"expected a list of at least {least} objects, got {_short(value)}")
        return [_Table(self._file, f"{self._at(key)}[{i}]", one) for i, one in enumerate(value)]

    def _at(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:39] + "…"
