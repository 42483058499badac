"""A state without its closed studies, which are loaded later, is the state that all facts give."""

from __future__ import annotations

import tempfile
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from property.test_machine_property import NightMachine
from smallhours import rules
from smallhours.core import facts as f
from smallhours.core.state import State
from smallhours.ledger.store import Ledger


class ClosedStudies(NightMachine):
    """Any night; at its end it is written to a ledger and read in both ways."""

    def teardown(self) -> None:
        if hasattr(self, "night"):
            compare(self.night.facts)


def compare(facts: list[f.Fact]) -> None:
    whole = State(rules.make)
    for number, fact in enumerate(facts):
        whole.apply(fact, float(number))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write(path, facts)
        ledger = Ledger(path / "ledger.db", path / "engine.lock", reserve=False)
        try:
            state = State(rules.make)
            ledger.rebuild(state, requests=())
            check_left_out(state, whole)
            for study in reversed(list(state.studies)):
                ledger.load(state, study)
            assert essence(state) == essence(whole)
        finally:
            ledger.close()


def write(folder: Path, facts: list[f.Fact]) -> None:
    ledger = Ledger(folder / "ledger.db", folder / "engine.lock", reserve=False)
    for number, fact in enumerate(facts):
        ledger.append(fact, at=float(number), mono=float(number))
    ledger.close()


def check_left_out(state: State, whole: State) -> None:
    """Check what must be right although it was not all read."""
    for number, study in whole.studies.items():
        closed = bool(study.ended or study.retired or study.removed) and not study.living
        assert state.studies[number].loaded == (not closed)
        own, full = picture(state.studies[number]), picture(study)
        if closed:
            for name in ("id", "spec", "digest", "snapshot", "ended", "halted", "retired", "label"):
                assert own[name] == full[name]
        else:
            assert own == full
    assert state.names == whole.names
    assert list(state.live) == list(whole.live)
    assert state.session == whole.session


def essence(state: State) -> dict[str, Any]:
    """Return all that a state holds; what was answered is only read as far as it is needed."""
    values = {k: v for k, v in vars(state).items() if not k.startswith("_") and k != "answered"}
    return values | {
        "studies": {number: picture(study) for number, study in state.studies.items()},
        "live": list(state.live),
    }


def picture(study: Any) -> dict[str, Any]:
    values = {name: getattr(study, name) for name in study.__dataclass_fields__}
    values["label"] = study.label
    # NaN is not equal to itself.
    return {k: repr(plain(v) if k == "rule" else v) for k, v in values.items()}


def plain(value: Any) -> Any:
    """Return a rule, and what it is made of, as plain data."""
    if isinstance(value, dict):
        return {key: plain(of) for key, of in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(of) for of in value]
    if type(value).__module__.startswith("smallhours.") and not isinstance(value, Enum):
        names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", {})]
        return {name: plain(getattr(value, name)) for name in names}
    return value


TestClosedStudies = pytest.mark.timeout(120)(ClosedStudies.TestCase)
TestClosedStudies.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
