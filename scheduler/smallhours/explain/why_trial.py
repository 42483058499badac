"""Why a trial is where it is, in paragraphs that a person understands."""

from __future__ import annotations

import math
from collections.abc import Mapping

from smallhours import text
from smallhours.core import regions
from smallhours.core.failures import KINDS, Kind
from smallhours.core.reasons import Completed, Paused, tag
from smallhours.core.spec import Goal
from smallhours.core.trial import Role, TrialState
from smallhours.explain import About, in_brief, packing, sentences
from smallhours.explain.waiting import waiting_words
from smallhours.nameplates import Nameplate
from smallhours.snapshot import Rivals, Snapshot, StudyView, TrialView
from smallhours.text import count, duration, number

#: What is said first of a failure.
_FIRST = {
    Kind.CODE: "This looks like a mistake in the code, not in the idea",
    Kind.IDEA: "This looks like a mistake in the idea, not in the code",
}


#: The rule that stops nothing.
_NO_RULE = "none"


def paragraphs(
    snapshot: Snapshot, study: StudyView, trial: TrialView, alike: tuple[str, ...] = ()
) -> list[str]:
    """Return why a trial is where it is, in paragraphs.

    Args:
        snapshot: Where the trial was read from.
        study: Its study.
        trial: The trial.
        alike: Names of trials that failed at the same place.
    """
    plates = snapshot.nameplates()
    if trial.state is TrialState.ENDED and trial.reason is not None:
        said = sentences(trial.reason, about(study, trial, alike, plates))
        if isinstance(trial.reason, Completed):
            said = f"{said} {_kept(snapshot, study, trial)}".rstrip()
        elif KINDS[tag(trial.reason)] in _FIRST:
            said = f"{_first_answer(snapshot, study, trial)} {said}"
        told = [said]
    elif trial.waiting is not None:
        told = [_waits(study, trial, about(study, trial, alike, plates))]
    else:
        told = [_runs(study, trial, plates)]
    stay = packing.stay_words(trial.attempts[-1], plates) if trial.attempts else ""
    return [part for part in (*told, stay, _continued(trial), _history(trial)) if part]


def _first_answer(snapshot: Snapshot, study: StudyView, trial: TrialView) -> str:
    """Return whether the code or the idea failed, and with which configurations it did."""
    assert trial.reason is not None
    said = _FIRST[KINDS[tag(trial.reason)]]
    for mistake in snapshot.mistakes(study.id):
        if trial.number in mistake.trials and len(mistake.trials) > 1:
            return f"{said}: {text.clean(mistake.words)}."
    return f"{said}."


def about(
    study: StudyView,
    trial: TrialView,
    alike: tuple[str, ...] = (),
    plates: Mapping[str, Nameplate] | None = None,
) -> About:
    """Return what sentences about a trial's last ended attempt need to know."""
    ended = [attempt for attempt in trial.attempts if attempt.reason is not None]
    return About(
        name=trial.name,
        study=study.name,
        metric=text.clean(study.spec.metric, 60),
        goal=study.spec.goal,
        steps=study.spec.steps,
        last_step=ended[-1].last_step if ended else trial.last_step,
        seconds=trial.seconds,
        steps_run=trial.steps_run,
        then=trial.then or "over",
        retries=study.spec.retries,
        source=study.source,
        alike=alike,
        from_step=max((saved.step for saved in trial.checkpoints), default=0),
        device=packing.described(ended[-1].device, plates or {}) if ended else "",
        cap=ended[-1].cap if ended else None,
    )


def _waits(study: StudyView, trial: TrialView, known: About) -> str:
    waiting = trial.waiting
    assert waiting is not None
    said = f"{trial.name} waits {waiting_words(waiting)}."
    if waiting.mistake is not None:
        held = waiting.mistake
        names = text.listing([study.trial_name(number) for number in held.like], 3)
        return (
            f"{said} Nothing but failures was seen with {text.clean(regions.where(held.region))}:"
            f" {count(held.region.inside, 'trial')}, {names}; this one has"
            f" {held.region.param}={text.clean(str(trial.params.get(held.region.param)))}."
            f" `smallhours why {study.trial_name(held.like[-1])}` says what went wrong there;"
            f" `smallhours release {trial.name}` runs it, `smallhours cancel {trial.name}` drops"
            " it."
        )
    if waiting.why == "study_halted" and study.halted:
        said += f" {study.name} is halted: {study.halted.rstrip('.')}."
    if trial.attempts and trial.attempts[-1].reason is None:
        lost = trial.last_step - waiting.from_step
        again = f" {count(lost, 'step')} will be run again." if lost > 0 else ""
        return (
            f"{said} It was cut off at step {trial.last_step} of {study.spec.steps} when the engine"
            f" ended without a word.{again}"
        )
    if trial.reason is None:
        return f"{said} It has not run yet."
    return f"{said} {sentences(trial.reason, known)}"


def _runs(study: StudyView, trial: TrialView, plates: Mapping[str, Nameplate]) -> str:
    attempt, metric = trial.attempts[-1], text.clean(study.spec.metric, 60)
    place = f" on {packing.described(attempt.device, plates)}" if attempt.device else ""
    if trial.state is TrialState.STARTING:
        return (
            f"{trial.name} has had a place{place} for {duration(attempt.seconds)}; its process has"
            " not spoken yet."
        )
    said = f"{trial.name} has been running{place} for {duration(attempt.seconds)}"
    if trial.last_step and trial.curve:
        said += (
            f" and is at step {trial.last_step} of {study.spec.steps}; its {metric} is"
            f" {number(trial.curve.get(trial.last_step))}{_standing(study, trial)}."
        )
    else:
        said += " and has reported nothing yet."
    if trial.state is TrialState.STOPPING and attempt.intent is not None:
        said += f" It was told to end ({in_brief(attempt.intent)}) and is about to."
    return said


def _standing(study: StudyView, trial: TrialView) -> str:
    """Return the best value so far, where it is not the latest."""
    values = [v for v in trial.curve.values() if math.isfinite(v)]
    if not values:
        return ""
    best = min(values) if study.spec.goal is Goal.MINIMIZE else max(values)
    return "" if best == trial.curve.get(trial.last_step) else f", its best so far {number(best)}"


def _kept(snapshot: Snapshot, study: StudyView, trial: TrialView) -> str:
    """Return how a completed trial did, and why no rule stopped it.

    Keeping a trial is not recorded: it is derived here, at the step half-way, from what the trials
    that had completed by then had at that step.
    """
    metric = text.clean(study.spec.metric, 60)
    if trial.role is Role.CONFIRMATION and trial.of is not None:
        return _confirmed(snapshot, study, trial, trial.of)
    said = f"Its {metric}, {number(trial.score)}, "
    if trial.number in study.ranking:
        place, of = study.ranking.index(trial.number) + 1, len(study.ranking)
        said += (
            "is the only one of a completed trial so far."
            if of == 1
            else f"is the best of {of} completed trials."
            if place == 1
            else f"is number {place} of {of} completed trials."
        )
    else:
        said += "can't be ranked."
    if trial.continued:
        return said
    if study.spec.stopping.rule == _NO_RULE:
        return f"{said} The study stops no trial early."
    return f"{said} {_half_way(snapshot, study, trial, metric)}".rstrip()


def _confirmed(snapshot: Snapshot, study: StudyView, trial: TrialView, of: int) -> str:
    """Return what a confirmation found."""
    original = snapshot.trial(study.id, of)
    return (
        f"It repeats {original.name} on a fresh seed: {text.clean(study.spec.metric, 60)}"
        f" {number(trial.score)}, where {original.name} had {number(original.score)}. No rule"
        " judges confirmations."
    )


def _half_way(snapshot: Snapshot, study: StudyView, trial: TrialView, metric: str) -> str:
    steps = list(trial.curve)
    if not steps:
        return ""
    step = steps[(len(steps) - 1) // 2]
    rivals: Rivals = snapshot.rivals(study, trial.number, step)
    if not rivals.values:
        return (
            f"It was kept: half-way, at step {step}, no other trial had completed that it could be"
            " compared with."
        )
    minimize = study.spec.goal is Goal.MINIMIZE
    so_far = [trial.curve[s] for s in steps if s <= step and math.isfinite(trial.curve[s])]
    own = (min if minimize else max)(so_far, default=math.nan)
    median = _median(rivals.values)
    behind = own > median if minimize else own < median
    level = "as good as" if own == median else "worse than" if behind else "better than"
    said = (
        f"half-way, at step {step}, its best {metric} so far, {number(own)}, was {level}"
        f" {number(median)}, {_whose(rivals)}."
    )
    startup = study.spec.stopping.options.get("startup", 0.0)
    if behind and rivals.complete and len(rivals.values) < startup:
        waits = f"The rule stops nothing before {number(startup)} trials have completed."
        return f"It was kept although {said} {waits}"
    return f"It was kept{' although' if behind else ':'} {said}"


def _whose(rivals: Rivals) -> str:
    if len(rivals.values) == 1:
        return "which the one trial that had completed by then had there"
    if rivals.complete:
        return f"the median of the {len(rivals.values)} trials that had completed by then"
    return f"the median of the {len(rivals.values)} trials that had completed last"


def _median(values: tuple[float, ...]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _continued(trial: TrialView) -> str:
    """Return how it was taken up again after it had been stopped; empty: it was not."""
    said = []
    for again in trial.continued:
        if again.cause == "recheck":
            how = "It was drawn to be rechecked, and taken up again"
        else:
            how = f"{text.clean(again.by, 60) or 'Somebody'} had it taken up again"
        said.append(f"{how} ({text.moment(again.at)}).")
    if not said:
        return ""
    return " ".join([*said, "From then on no rule judged it, or compared others with it."])


def _history(trial: TrialView) -> str:
    """Return what became of each attempt; empty: there was only one."""
    if len(trial.attempts) < 2:
        return ""
    parts = []
    for attempt in trial.attempts:
        whence = f"from step {attempt.resume_step} " if attempt.resume_step else ""
        if isinstance(attempt.reason, Completed):
            how = "completed"
        elif attempt.reason is not None:
            how = in_brief(attempt.reason)
            if isinstance(attempt.reason, Paused) and attempt.reason.by == "packer":
                how += f" ({text.clean(attempt.reason.why, 120)})"
        else:
            how = "cut off" if trial.state is TrialState.QUEUED else "running"
        parts.append(f"({attempt.number}) {whence}to step {attempt.last_step}, {how}")
    return f"It ran in {len(parts)} attempts: {'; '.join(parts)}."
