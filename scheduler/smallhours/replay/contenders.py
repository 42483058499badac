"""What is replayed: the production rules by name, and what they are compared with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from smallhours import rules
from smallhours.core.spec import Goal, Stopping, StudySpec
from smallhours.errors import UsageError
from smallhours.hints import did_you_mean, expected
from smallhours.replay.night import Outcome, Recorded, one_step_then_top, play


@dataclass(frozen=True, slots=True)
class Setting:
    """What all studies of a replay have in common."""

    goal: Goal
    steps: int
    trials: int
    workers: int

    @property
    def sign(self) -> float:
        """Turns a value into its merit: more is better."""
        return 1.0 if self.goal is Goal.MAXIMIZE else -1.0

    def spec(self, stopping: Stopping) -> StudySpec:
        """Return the study as the scheduler would know it."""
        return StudySpec(
            name="replay",
            metric="value",
            goal=self.goal,
            space=(),
            baseline={},
            trials=self.trials,
            steps=self.steps,
            stopping=stopping,
        )


#: What a rule's class is given by the factory, whatever its options are.
_OF_A_STUDY = ("goal", "steps", "args", "kwargs")


class Contender(Protocol):
    """Something that decides which trials of a study go on."""

    @property
    def label(self) -> str:
        """What it is called in the table."""
        ...

    def outcome(self, trials: Sequence[Recorded], setting: Setting) -> Outcome:
        """Play one study."""
        ...


@dataclass(frozen=True, slots=True)
class ByRule:
    """A rule of smallhours, made by the factory that the scheduler uses."""

    label: str
    stopping: Stopping

    def outcome(self, trials: Sequence[Recorded], setting: Setting) -> Outcome:
        """Play one study with a fresh rule."""
        return play(trials, rules.make(setting.spec(self.stopping)), setting.workers)


@dataclass(frozen=True, slots=True)
class FirstStep:
    """One step of every trial, then the best few run whole: what a rule must beat."""

    most: int

    @property
    def label(self) -> str:
        """What it is called in the table."""
        return f"one step, then the top {self.most}"

    def outcome(self, trials: Sequence[Recorded], setting: Setting) -> Outcome:
        """Play one study."""
        return one_step_then_top(trials, self.most, setting.sign)


NO_STOPPING = ByRule("none", Stopping(rule="none"))
#: Every replay has these beside the rules that were asked for.
PEERS: tuple[Contender, ...] = (
    NO_STOPPING,
    FirstStep(3),
    ByRule(
        "Ray Tune's default ASHA",
        Stopping(rule="asha", options={"eta": 4.0, "grace": 1.0, "ranked": 0.0}),
    ),
)


def parse(text: str, setting: Setting) -> ByRule:
    """Read a rule as it is written on the command line: ``asha`` or ``asha:eta=4,grace=1``.

    Raises:
        UsageError: there is no such rule, it has no such option, or the option can't be that.
    """
    name, _, given = text.partition(":")
    if name not in rules.RULES:
        raise UsageError(f"--rule {text}: {expected(name, rules.RULES)}")
    known = _options(name, setting)
    options: dict[str, float] = {}
    for pair in filter(None, given.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UsageError(f"--rule {text}: expected KEY=VALUE after the colon, got {pair!r}")
        if key not in known:
            there = ", ".join(known) or "none"
            hint = did_you_mean(key, known)
            raise UsageError(f"--rule {text}: {name} has no option {key!r}; it has {there}{hint}")
        options[key] = _number(f"--rule {text}: {key}", value)
    return ByRule(text, Stopping(rule=name, options=options))


def _options(name: str, setting: Setting) -> list[str]:
    """Return the options of a rule: what its class takes beyond what every study has."""
    rule = rules.make(setting.spec(Stopping(rule=name)))
    return [each for each in inspect.signature(type(rule)).parameters if each not in _OF_A_STUDY]


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: expected a number, got {text!r}")
    return value
