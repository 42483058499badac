"""``smallhours why A --against B``: two trials side by side, and who was ahead when."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TextIO, TypeAlias

from smallhours import text
from smallhours.core.spec import Goal
from smallhours.errors import UsageError
from smallhours.explain import in_brief
from smallhours.snapshot import Snapshot, StudyView, Target, TrialView
from smallhours.text import Page, Toned, count, number

#: Which of the two is better at a step; None: neither is.
Ahead: TypeAlias = Literal[0, 1] | None

#: Steps that are printed, at most; ``--json`` has all.
_PRINTED = 12


class At(NamedTuple):
    """What both had at a step that both reported."""

    step: int
    values: tuple[float, float]
    ahead: Ahead


class Span(NamedTuple):
    """Steps in a row at which the same one was ahead."""

    first: int
    last: int
    ahead: Ahead


def why(snapshot: Snapshot, one: Target, other: Target, *, as_json: bool, out: TextIO) -> None:
    """Compare two trials.

    Raises:
        UsageError: these are not two trials that have the same metric.
    """
    trials = _trial(snapshot, one), _trial(snapshot, other)
    if one == other:
        raise UsageError(f"{trials[0].name} is one trial: name another after --against")
    studies = snapshot.study(one.study), snapshot.study(other.study)
    for key in ("metric", "goal"):
        a, b = (getattr(study.spec, key) for study in studies)
        if a != b:
            raise UsageError(
                f"{trials[0].name} and {trials[1].name} can't be compared: {key} is"
                f" {text.clean(a, 60)} for the one and {text.clean(b, 60)} for the other"
            )
    goal = studies[0].spec.goal
    steps = common(trials, goal)
    spans = spans_of(steps)
    told = _paragraphs(studies, trials, steps, spans)
    if as_json:
        from smallhours.commands import documents

        documents.write(out, _document(studies[0], trials, steps, spans, told))
        return
    page = Page(out)
    for paragraph in told:
        page.paragraph(paragraph)
    page.line()
    names = [trial.name for trial in trials]
    page.table(("", *names), [*_facts(trials), *_params(trials)], shrink=(1, 2), indent=0)
    if steps:
        page.line()
        page.line(Toned(f"{text.clean(studies[0].spec.metric, 60)} by step", "bold"))
        rows = [
            (
                str(at.step),
                number(at.values[0]),
                number(at.values[1]),
                "level" if at.ahead is None else f"{names[at.ahead]} ahead",
            )
            for at in _thinned(steps)
        ]
        page.table(("step", *names, ""), rows, right="rrr ", shrink=(3,), indent=0)


def common(trials: tuple[TrialView, TrialView], goal: Goal) -> list[At]:
    """Return what two trials had at the steps that both reported, in order."""
    a, b = (trial.curve for trial in trials)
    found = []
    for step in sorted(a.keys() & b.keys()):
        values = a[step], b[step]
        finite = [math.isfinite(value) for value in values]
        ahead: Ahead = None
        if finite[0] != finite[1]:
            ahead = 0 if finite[0] else 1
        elif goal.better(*values):
            ahead = 0
        elif goal.better(values[1], values[0]):
            ahead = 1
        found.append(At(step, values, ahead))
    return found


def spans_of(steps: list[At]) -> list[Span]:
    """Return who was ahead when; spans follow on each other."""
    spans: list[Span] = []
    for at in steps:
        if spans and spans[-1].ahead == at.ahead:
            spans[-1] = spans[-1]._replace(last=at.step)
        else:
            spans.append(Span(at.step, at.step, at.ahead))
    return spans


def _trial(snapshot: Snapshot, target: Target) -> TrialView:
    if target.trial is None:
        name = snapshot.head(target.study).name
        raise UsageError(
            f"--against compares trials, like {name}/0 and {name}/1; {name} is a study"
        )
    return snapshot.trial(target.study, target.trial)


def _paragraphs(
    studies: tuple[StudyView, StudyView],
    trials: tuple[TrialView, TrialView],
    steps: list[At],
    spans: list[Span],
) -> list[str]:
    ends = [f"{trial.name} {_how(trial)}." for trial in trials]
    return [" ".join(ends), f"{_result(studies[0], trials)} {_course(trials, steps, spans)}"]


def _how(trial: TrialView) -> str:
    """Return how a trial ended, or what it does, after its name."""
    if trial.state != "ended" or trial.reason is None:
        return f"is not over ({trial.state.value}, at step {trial.last_step})"
    return f"ended at step {trial.last_step}: {in_brief(trial.reason)}"


def _result(study: StudyView, trials: tuple[TrialView, TrialView]) -> str:
    metric = text.clean(study.spec.metric, 60)
    scores = [trial.score for trial in trials]
    if scores[0] is None or scores[1] is None:
        return "They can't be told apart by their scores: not both have one."
    a, b = trials
    if study.spec.goal.better(scores[1], scores[0]):
        a, b = b, a
    elif not study.spec.goal.better(scores[0], scores[1]):
        return f"Both have a {metric} of {number(scores[0])}."
    said = f"{a.name} has the better {metric}: {number(a.score)} against {number(b.score)}"
    if a.last_step != b.last_step:
        said += f", at steps {a.last_step} and {b.last_step}"
    return f"{said}, each on one seed."


def _course(trials: tuple[TrialView, TrialView], steps: list[At], spans: list[Span]) -> str:
    if not steps:
        return "There is no step that both reported."
    names = [trial.name for trial in trials]
    leads = [sum(at.ahead == which for at in steps) for which in (0, 1)]
    both = f"the {count(len(steps), 'step')} that both reported"
    for which in (0, 1):
        if leads[which] == len(steps):
            return f"{names[which]} was ahead at all of {both}."
    said = f"Of {both}, {names[0]} was ahead at {leads[0]} and {names[1]} at {leads[1]}"
    last = spans[-1]
    if last.ahead is None:
        return f"{said}; at the last one they were level."
    since = f"from step {last.first} on" if last.first != last.last else f"at step {last.last}"
    return f"{said}; {since} it was {names[last.ahead]}."


def _facts(trials: tuple[TrialView, TrialView]) -> list[tuple[str, str, str]]:
    rows = [
        ("score", *(number(trial.score) for trial in trials)),
        ("steps", *(str(trial.last_step) for trial in trials)),
        ("time", *(text.duration(trial.seconds) for trial in trials)),
        ("seed", *(str(trial.seed) for trial in trials)),
    ]
    return [(label, a, b) for label, a, b in rows]


def _params(trials: tuple[TrialView, TrialView]) -> list[tuple[str, str, str]]:
    """Return the parameters that differ; a line that says so where none does."""
    differ = _differing(trials)
    if not differ:
        return [("parameters", "the same", "the same")]
    rows = []
    for name in differ:
        a, b = (text.value(trial.params[name]) if name in trial.params else "–" for trial in trials)
        rows.append((text.clean(name, 40), a, b))
    return rows


def _differing(trials: tuple[TrialView, TrialView]) -> list[str]:
    a, b = (trial.params for trial in trials)
    return [name for name in {**a, **b} if name not in a or name not in b or a[name] != b[name]]


def _thinned(steps: list[At]) -> list[At]:
    """Return some of the steps, evenly, first and last among them."""
    if len(steps) <= _PRINTED:
        return steps
    stride = (len(steps) - 1) / (_PRINTED - 1)
    return [steps[round(i * stride)] for i in range(_PRINTED)]


def _document(
    study: StudyView,
    trials: tuple[TrialView, TrialView],
    steps: list[At],
    spans: list[Span],
    told: list[str],
) -> dict[str, object]:
    from smallhours.commands import documents

    names = [trial.name for trial in trials]

    def named(ahead: Ahead) -> str | None:
        return None if ahead is None else names[ahead]

    return {
        "trials": names,
        "metric": study.spec.metric,
        "goal": study.spec.goal,
        "paragraphs": told,
        "params": [
            {"name": name, "values": [trial.params.get(name) for trial in trials]}
            for name in _differing(trials)
        ],
        "scores": [trial.score for trial in trials],
        "reasons": [documents.reason(trial.reason) for trial in trials],
        "steps": [
            {"step": at.step, "values": list(at.values), "ahead": named(at.ahead)} for at in steps
        ],
        "spans": [
            {"from": span.first, "to": span.last, "ahead": named(span.ahead)} for span in spans
        ],
    }
