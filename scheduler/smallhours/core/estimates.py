"""How long trials take, from those that were seen: pure functions of the state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smallhours.core.model import Study, Trial
from smallhours.core.reasons import RuleCut, RungCut
from smallhours.core.trial import TrialState

#: Of the durations seen, the share that a cautious estimate covers.
CAUTIOUS = 0.9
#: Of the trials that tell how long the next one takes, so many at most, the latest.
_TELLING = 100
#: Where a rule may stop trials, these shares of a whole one count as seen, until those that were
#: outweigh them: the default rule left 0.43 of the work of studies with 48 trials, its start apart.
_STOPPED_SHARES = (0.1, 0.2, 1.0)

#: Saving a checkpoint and leaving takes about this long.
_UNWIND_S = 5.0
#: What a step is taken to last where nothing is known of it.
_UNKNOWN_STEP_S = 60.0


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def stride(study: Study) -> float:
    """Return how many steps a report of a study's trials stands for."""
    trials = reversed(study.trials.values())
    told = next((trial for trial in trials if len(trial.curve) > 1), None)
    return 1.0 if told is None else max(told.curve) / len(told.curve)


def pace_s(study: Study, trial: Trial | None, share: float) -> float | None:
    """Return the seconds that a step takes; None: no trial of the study has shown it yet.

    A trial's own reports count where it has some, else those of the study's trials.
    """
    live = trial.live if trial is not None else None
    if live is not None and live.gaps:
        return quantile(live.gaps, share) if share > 0.5 else sum(live.gaps) / len(live.gaps)
    seen = [*study.paces]
    if not seen:
        others = (study.trials[number].live for number in study.living)
        seen = [gap for other in others if other is not None for gap in other.gaps]
    return quantile(seen, share) if seen else None


def whole_s(study: Study, trial: Trial | None, at: float) -> float | None:
    """Return the seconds that a trial takes to its last step if nothing stops it, cautiously.

    Args:
        study: The study.
        trial: The trial; None: its next one.
        at: The time, for one that runs.
    """
    pace = pace_s(study, trial, CAUTIOUS)
    if pace is None:
        return None
    begun = 0
    if trial is not None:
        points = trial.resume_points()
        begun = trial.last_step if trial.live is not None else (points[0].step if points else 0)
    left = max(0, study.spec.steps - begun) * pace
    if trial is not None and trial.live is not None:
        return max(0.0, left - (at - trial.live.heard_at))
    return left


def mean_pace_s(study: Study, trial: Trial | None) -> float | None:
    """Return the seconds that a step takes on average; None: nothing has shown it yet."""
    live = trial.live if trial is not None else None
    if (live is None or not live.gaps) and study.paces:
        return sum(study.paces) / len(study.paces)
    return pace_s(study, trial, 0.5)


def expected_s(study: Study) -> float | None:
    """Return the seconds that the study's next trial will take on average; None: not known."""
    lengths = lengths_s(study)
    return None if lengths is None else sum(seconds * share for seconds, share in lengths)


def lengths_s(study: Study) -> list[tuple[float, float]] | None:
    """Return how long the study's next trial may take, in seconds, and how likely each is.

    None: not known.
    """
    pace = mean_pace_s(study, None)
    return None if pace is None else _lengths(study, pace * study.spec.steps, _seen_s(study))


def lengths(study: Study) -> list[tuple[float, float]]:
    """Return at which step the study's next trial may end, and how likely each is."""
    ended, running = _telling(study)
    seen = [float(trial.last_step) for trial in ended], [float(t.last_step) for t in running]
    return _lengths(study, float(study.spec.steps), seen)


def _lengths(
    study: Study, whole: float, seen: tuple[list[float], list[float]]
) -> list[tuple[float, float]]:
    """Return how long the next trial may be, and how likely each is.

    What runs yet counts as lasting longer than it has (E. L. Kaplan, P. Meier, "Nonparametric
    estimation from incomplete observations", JASA 1958), so that the short ones, which end first,
    do not pass for all.

    Args:
        study: Its study.
        whole: How long one is that nothing stops.
        seen: How long those were that ended, and how long those are that go on.
    """
    ended, running = seen
    if study.spec.stopping.rule != "none":
        ended = ended + [share * whole for share in _STOPPED_SHARES]
    events = sorted([(one, False) for one in ended] + [(one, True) for one in running])
    found, share = [], 1.0
    for index, (length, lives) in enumerate(events):
        if not lives:
            part = share / (len(events) - index)
            found.append((length, part))
            share -= part
    return [*found, (max([whole, *ended, *running]), share)]


def _telling(study: Study) -> tuple[list[Trial], list[Trial]]:
    """Return the trials that tell how long the next one is: those that ended, those that go on.

    What rules stop early counts from the first trial that was stopped on: those before ran whole
    because there was nothing to compare them with.
    """
    searched = [t for t in study.trials.values() if t.judged]
    stopped = (t.number for t in searched if isinstance(t.reason, RuleCut | RungCut))
    first = next(stopped, None)
    telling = [t for t in searched if first is None or t.number > first][-_TELLING:]
    ended = [t for t in telling if t.state is TrialState.ENDED and t.curve]
    return ended, [t for t in telling if t.live is not None]


def _seen_s(study: Study) -> tuple[list[float], list[float]]:
    """Return how long the trials took that tell of the next, and how long those ran that go on."""
    ended, lives = _telling(study)
    running = [t.seconds + t.live.heard_at - t.live.started_at for t in lives if t.live]
    return [trial.seconds for trial in ended], running


def expected_left_s(study: Study, trial: Trial, at: float) -> float | None:
    """Return the seconds that a living trial will go on for on average; None: not known."""
    live = trial.live
    assert live is not None
    pace = mean_pace_s(study, trial)
    rest = None if pace is None else max(0.0, study.spec.steps - trial.last_step) * pace
    if not trial.judged:  # no rule stops these
        return rest
    used = trial.seconds + at - live.started_at
    longer = [seconds - used for seconds in _seen_s(study)[0] if seconds > used]
    if longer:
        expected = sum(longer) / len(longer)
        return expected if rest is None else min(expected, rest)
    return rest


def notice_s(study: Study, trial: Trial) -> float:
    """Return how long before a fixed time the trial must be told, to be off its place by then.

    It hears at its next report, then saves and unwinds. The longest of its latest steps counts
    one and a half times, and what lies between last step and end.
    """
    live = trial.live
    assert live is not None
    if live.gaps:
        return _notice_s(max(live.gaps))
    return _notice_s(pace_s(study, trial, CAUTIOUS))


def worth_starting_s(study: Study, trial: Trial | None) -> float:
    """Return the seconds before a fixed time up to which it is worth while to start a trial.

    With less, it would have to leave before it has done a step.
    """
    pace = pace_s(study, trial, CAUTIOUS)
    return _notice_s(pace) + (pace or 0.0)


def _notice_s(step_s: float | None) -> float:
    return 1.5 * (_UNKNOWN_STEP_S if step_s is None else step_s) + _UNWIND_S
