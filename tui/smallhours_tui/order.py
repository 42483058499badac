"""Which trials of a study are shown, and in which order."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from smallhours.core.spec import Goal
from smallhours.core.trial import Role
from smallhours.explain import WORDS, kind
from smallhours.snapshot.lines import TrialLine
from smallhours_tui import marks

Test: TypeAlias = Callable[[TrialLine], bool]

#: Sorted by when nobody has asked for another order: what runs, then by score.
NATURAL: Final = "state"
#: What can be sorted by besides the parameters, with words for the menu.
SORTS: Final = {
    "state": "state, then score",
    "number": "trial",
    "score": "score",
    "step": "step",
    "took": "time taken",
    "why": "why it ended",
}
_COMPARED = re.compile(r"(!?)([^\s<>=!:]+)(<=|>=|!=|<|>|=)(.+)")
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_GROUPS: Final = {"running": 0, "waiting": 1, "done": 2, "stopped": 3, "failed": 4}


class Order(NamedTuple):
    """What somebody wants to see."""

    sort: str = NATURAL
    reverse: bool = False
    filter: str = ""
    #: Leave out what a rule stopped.
    folded: bool = False


def of_param(name: str) -> str:
    """Return what a parameter is sorted by as: none of `SORTS`, whatever its name."""
    return f":{name}"


def arranged(
    lines: Iterable[TrialLine], order: Order, goal: Goal, *, engine_runs: bool
) -> list[int]:
    """Return the numbers of the trials to show, in order.

    Whatever the order is, trials that have nothing to be sorted by come last.
    """
    test = parse(order.filter, engine_runs=engine_runs)
    kept = [line for line in lines if test(line)]
    if order.folded:
        kept = [line for line in kept if not (line.over and _hue(line) == "stopped")]
    kept.sort(key=lambda line: line.number)
    key = _key(order.sort, goal, engine_runs=engine_runs)
    keyed = [(key(line), line.number) for line in kept]
    known = [pair for pair in keyed if pair[0] is not None]
    known.sort(key=operator.itemgetter(0), reverse=order.reverse)
    return [number for _, number in known] + [number for value, number in keyed if value is None]


def _key(sort: str, goal: Goal, *, engine_runs: bool) -> Callable[[TrialLine], Any]:
    """Return what trials are compared by; it is None for those that have no such thing."""
    sign = 1.0 if goal is Goal.MINIMIZE else -1.0

    def score(line: TrialLine) -> float | None:
        if not line.over or line.value is None or math.isnan(line.value):
            return None
        return sign * line.value

    match sort:
        case "state":

            def state(line: TrialLine) -> tuple[int, float, int]:
                mark = marks.of_line(line, engine_runs=engine_runs)
                value = score(line) if mark.hue == "done" else None
                late = -line.number if mark.hue != "waiting" else line.number
                return _GROUPS[mark.hue], math.inf if value is None else value, late

            return state
        case "number":
            return lambda line: line.number
        case "score":
            return score
        case "step":
            return lambda line: line.step or None
        case "took":
            return lambda line: line.seconds or None
        case "why":
            return lambda line: line.reason if line.over else None
        case name:
            return lambda line: _sortable(line.params.get(name.removeprefix(of_param(""))))


def _sortable(value: object) -> tuple[int, float | str] | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return 0, float(value)
    return 1, str(value)


def parse(text: str, *, engine_runs: bool) -> Test:
    """Return what tells whether a trial passes a filter.

    All words must hold: ``lr<0.01``, ``score<0.3``, ``step>=10``, ``state:failed``, ``why:memory``,
    ``!word`` for none of it, any other word for what is in number, role, state, reason or
    parameters.
    """
    tests = [_word(word, engine_runs=engine_runs) for word in text.split()]
    return lambda line: all(test(line) for test in tests)


def _word(word: str, *, engine_runs: bool) -> Test:
    compared = _COMPARED.fullmatch(word)
    if compared:
        negated, name, sign, value = compared.groups()
        test = _comparison(name, _OPERATORS[sign], value)
    else:
        negated, rest = ("!", word[1:]) if word.startswith("!") and len(word) > 1 else ("", word)
        test = _containing(rest.lower(), engine_runs=engine_runs)
    return (lambda line: not test(line)) if negated else test


def _comparison(name: str, compare: Callable[[Any, Any], bool], text: str) -> Test:
    try:
        wanted: float | None = float(text)
    except ValueError:
        wanted = None

    def test(line: TrialLine) -> bool:
        value: object = {
            "score": line.value,
            "value": line.value,
            "step": line.step,
            "trial": line.number,
            "took": line.seconds,
            "seed": line.seed,
        }.get(name, line.params.get(name))
        if value is None:
            return False
        if wanted is not None and isinstance(value, int | float):
            return compare(float(value), wanted)
        return compare(str(value).lower(), text.lower())

    return test


def _containing(word: str, *, engine_runs: bool) -> Test:
    what, _, wanted = word.partition(":")
    if what == "state" and wanted:
        return lambda line: (
            (mark := marks.of_line(line, engine_runs=engine_runs)).word.startswith(wanted)
            or mark.hue.startswith(wanted)
        )
    if what == "why" and wanted:
        return lambda line: wanted in _why(line)

    def test(line: TrialLine) -> bool:
        if word.isdecimal():
            return str(line.number).startswith(word)
        told = f"{marks.of_line(line, engine_runs=engine_runs).word} {_why(line)}"
        role = "" if line.role is Role.SEARCH else line.role.value
        params = " ".join(f"{name}={value}" for name, value in line.params.items())
        return word in f"{told} {role} {params}".lower()

    return test


def _why(line: TrialLine) -> str:
    if line.reason is None:
        return ""
    return f"{line.reason} {WORDS.get(line.reason, '')}".lower()


def _hue(line: TrialLine) -> str:
    return kind(line.reason or "")
