"""What is replayed: the production rules by name, and what they are compared with."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Protocol

import msgspec

from smallhours import rules, stopping
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

    def spec(self, rule: Stopping) -> StudySpec:
        """Return the study as the scheduler would know it."""
        return StudySpec(
            name="replay",
            metric="value",
            goal=self.goal,
            space=(),
            baseline={},
            trials=self.trials,
            steps=self.steps,
            stopping=rule,
        )


#: The rules that a study file can name, by their classes' names.
_CLASSES: dict[str, type[Any]] = {
    name: each
    for name, each in vars(stopping).items()
    if isinstance(each, type)
    and each.__module__ == stopping.__name__
    and not issubclass(each, Exception)
}


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
    """Read a rule as it is written on the command line.

    Either a name with options, ``asha`` or ``asha:eta=4,grace=1``, or what a study file says:
    ``AnyOf(Asha(eta=4), Patience(steps=8))``.

    Raises:
        UsageError: there is no such rule, it has no such option, or the option can't be that.
    """
    try:
        value = _called(ast.parse(text, mode="eval").body) if "(" in text else _named(text)
        data = stopping.as_data(value, setting.steps)
    except SyntaxError:
        raise UsageError(f"--rule {text}: expected a rule such as Median(warmup=5)") from None
    except stopping.StoppingError as error:
        key = error.key.removeprefix("stopping").lstrip(".")
        raise UsageError(f"--rule {text}: {key and key + ': '}{error.message}") from None
    except ValueError as error:
        raise UsageError(f"--rule {text}: {error}") from None
    return ByRule(text, msgspec.convert(data, Stopping))


def _named(text: str) -> object:
    """Return the rule that a name with options means, as a study file would have it."""
    name, _, given = text.partition(":")
    if not given and name in stopping.NAMES:
        return name
    known = {each.lower(): each for each in _CLASSES if is_dataclass(_CLASSES[each])}
    if name not in known:
        raise ValueError(expected(name, {*known, *stopping.NAMES}))
    options = {}
    for pair in filter(None, given.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ValueError(f"expected KEY=VALUE after the colon, got {pair!r}")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return _make(known[name], [], options)


def _called(node: ast.expr) -> object:
    """Return what an expression of a study file means: calls of rules and plain values."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    name = ast.unparse(node.func)
    if name not in _CLASSES:
        raise ValueError(f"there is no rule {name!r}{did_you_mean(name, _CLASSES)}")
    options = {str(each.arg): _called(each.value) for each in node.keywords}
    return _make(name, [_called(each) for each in node.args], options)


def _make(name: str, parts: Sequence[object], options: Mapping[str, object]) -> object:
    made = _CLASSES[name]
    known = list(inspect.signature(made).parameters)
    for key in options:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ValueError(f"{name} has no option {key!r}; it has {', '.join(known)}{hint}")
    try:
        return made(*parts, **options)
    except TypeError as error:
        raise ValueError(str(error).removeprefix(f"{name}.__init__() ")) from None
