"""What the screens say, as pure functions of what is known: texts with names of styles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from smallhours.core.spec import Goal
from smallhours.core.trial import TrialState
from smallhours.explain import kind
from smallhours.explain.words import CAUSES
from smallhours.snapshot import RunView, StudyView
from smallhours.snapshot.compare import difference, side_words
from smallhours.status import DeviceReading
from smallhours.text import Kind, clock, count, duration, moment, number, percent, size
from smallhours_tui import marks
from smallhours_tui.feed import Night
from smallhours_tui.marks import Signs
from smallhours_tui.widgets.cells import Cell

#: A status older than this is not of now: the engine writes one every two seconds.
SILENT_S: Final = 12.0
_OUTCOMES: Final = {
    "done": "done",
    "cancelled": "cancelled",
    "budget": "out of time",
    "exhausted": "exhausted",
    "enough": "found enough",
}
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def age(seconds: float) -> str:
    """Return how long something has been, in two digits: ``40s``, ``18m``, ``5h``, ``3d``."""
    seconds = max(0.0, seconds)
    if seconds < _MINUTE_S:
        return f"{int(seconds) // 10 * 10}s"
    if seconds < 100 * _MINUTE_S:
        return f"{int(seconds // _MINUTE_S)}m"
    if seconds < 100 * _HOUR_S:
        return f"{int(seconds // _HOUR_S)}h"
    return f"{int(seconds // _DAY_S)}d"


def took(seconds: float) -> str:
    """Return how long something that is over took: ``4.2s``, ``42s``, else as `age`."""
    if seconds >= _MINUTE_S:
        return age(seconds)
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"


def engine(night: Night, *, brief: bool = False) -> tuple[str, str]:
    """Return how the engine is, in a few words where it is to be brief, and the style of that."""
    if night.trouble:
        return "the ledger can't be read", "failed"
    if night.past:
        return f"as of {moment(night.now)}", "stopped"
    if night.engine is None:
        return "nothing has run yet", "waiting"
    if night.engine.restarting:
        return (
            "engine restarts" if brief else "the engine died and is being started again",
            "failed",
        )
    if not night.engine.running:
        return _stopped(night, brief=brief), "stopped"
    if night.plans is None:
        return "the engine begins", "running"
    silent = night.now - night.plans.at
    if silent > SILENT_S:
        told = "engine silent" if brief else "the engine has been silent for"
        return f"{told} {age(silent)}", "failed"
    return "engine up", "running"


def _stopped(night: Night, *, brief: bool) -> str:
    last = "" if night.last_at is None else f" {clock(night.last_at, night.now)}"
    known = night.engine
    if known is None or known.session is None:
        return "no engine runs"
    if known.ended is None:
        return f"engine died{last}" if brief else f"the engine died, last event{last}"
    return f"engine stopped{last}"


def stale(night: Night) -> str:
    """Return that what is shown is not of now, and what to do; empty: it is of now."""
    if night.trouble:
        return night.trouble
    if night.engine is None or night.past or night.running:
        return ""
    if night.engine.restarting:
        return "The engine died; it is being started again and goes on by itself."
    how = night.engine.ended
    why = "" if how is None else f": {CAUSES.get(how, 'nothing was left to do')}"
    last = "" if night.last_at is None else f", last event {moment(night.last_at)}"
    left = sum(1 for view in night.studies if view.outcome is None)
    goes_on = f" `smallhours start` goes on with {count(left, 'study', 'studies')}." if left else ""
    said = "The engine stopped" if how is not None else "The engine died"
    return f"{said}{why}{last}.{goes_on}"


def tally(night: Night) -> dict[Kind, int]:
    """Return how many trials of the studies shown are in which hue."""
    counts = dict.fromkeys(marks.HUES, 0)
    for view in night.studies:
        of = study_tally(view)
        if view.outcome is not None and night.plans is not None and not view.running_since:
            of["waiting"] = 0
        for hue, trials in of.items():
            counts[hue] += trials
    return counts


def study_tally(view: StudyView) -> dict[Kind, int]:
    """Return how many trials of a study are in which hue; those to come count as waiting."""
    counts = dict.fromkeys(marks.HUES, 0)
    counts["running"] = len(view.running_since)
    if view.outcome is None:
        open_ = len(view.open) - len(view.running_since)
        created = sum(view.states.values()) - view.confirmations
        counts["waiting"] = max(0, open_) + max(0, view.spec.trials - created)
    for reason, numbers in view.reasons.items():
        counts[kind(reason)] += len(numbers)
    return counts


def tally_line(counts: dict[Kind, int], signs: Signs) -> list[Cell]:
    """Return counts with their marks and words, those that are 0 dimmed."""
    shown = (marks.RUNNING, marks.WAITING, marks.DONE, marks.STOPPED, marks.FAILED)
    line: list[Cell] = []
    for mark in shown:
        n = counts[mark.hue]
        line.append((f"{signs.mark(mark)} {n} {mark.word}  ", mark.hue if n else "dim"))
    return line


def done_at(night: Night) -> str:
    """Return when the queue will be done; empty: nobody knows."""
    if night.plans is None:
        return ""
    open_ = [view.id for view in night.studies if view.outcome is None]
    forecasts = [forecast for study in open_ if (forecast := night.forecast(study)) is not None]
    times = [forecast.done_at for forecast in forecasts if forecast.done_at is not None]
    if not times or len(times) < len(forecasts):
        return ""
    return f"done by ~{clock(max(times), night.now)}"


def machine(night: Night) -> list[str]:
    """Return what holds for the machine as a whole: deadline, yielded, what waits in the inbox."""
    said = []
    if night.plans is not None and night.plans.deadline is not None:
        said.append(f"until {clock(night.plans.deadline, night.now)}")
    if night.plans is not None and night.plans.yielded_until is not None:
        until = night.plans.yielded_until
        said.append("yielded" + (f" until {clock(until, night.now)}" if until else ""))
    if night.requests:
        said.append(f"asked: {night.requests[0]}")
    return said


def gain(view: StudyView) -> str:
    """Return how far the best is from the baseline, in a few words; empty: not known."""
    found = difference(view)
    return "" if found is None else side_words(view.spec.goal, found)


def best(view: StudyView) -> str:
    """Return the best score of a study."""
    return number(view.best.score if view.best else None)


def ends(night: Night, view: StudyView) -> Cell:
    """Return when a study will be or was done, or what it waits for."""
    if view.outcome is not None:
        at = "" if view.ended_at is None else f" {clock(view.ended_at, night.now)}"
        return f"{_OUTCOMES[view.outcome]}{at}", marks.of_study(view).hue
    if view.state in ("paused", "halted"):
        return view.state, marks.of_study(view).hue
    forecast = night.forecast(view.id)
    if forecast is None or forecast.done_at is None:
        return ("waits" if view.state == "waiting" else ""), "waiting"
    at = clock(forecast.done_at, night.now)
    return (f"~{at}, late", "failed") if forecast.in_time is False else (f"~{at}", "")


def study_note(night: Night, view: StudyView) -> str:
    """Return what is to be known of a study: why it does not run, its best, or its question."""
    if view.state == "halted":
        return f"{view.name} is halted: {view.halted} `smallhours resume {view.name}` releases it."
    if view.state == "paused":
        return f"{view.name} was paused by {view.paused_by}; `resume {view.name}` goes on."
    forecast = night.forecast(view.id)
    late = ""
    if forecast is not None and forecast.in_time is False:
        some = forecast.trials_in_time
        part = "" if some is None else f": about {some} of {view.spec.trials} trials will be over"
        late = f" It will not be done before the deadline{part}."
    waits = night.waits(view.id)
    if view.outcome is None and waits is not None and not view.running_since:
        return f"{view.name} waits: {waits[0]}, for {age(night.now - waits[1])}.{late}"
    if view.best is not None and view.best.score is not None:
        found = difference(view)
        whose = view.trial_name(view.best.trial)
        said = f"{view.name}: best {view.spec.metric} {best(view)} ({whose})"
        if found is not None and view.baseline is not None:
            said += f", {side_words(view.spec.goal, found)} than the baseline's"
            said += f" {number(view.baseline.score)}"
        return f"{said}.{late}"
    return f"{view.name}: {view.spec.question or 'no trial has completed yet'}{late}"


def goal(view: StudyView) -> str:
    """Return what a study looks for: ``minimise val_loss``."""
    return f"{'minimise' if view.spec.goal is Goal.MINIMIZE else 'maximise'} {view.spec.metric}"


def setting(view: StudyView) -> str:
    """Return how a study looks: sampler and rule with their options."""
    parts = []
    for name, options in (
        (view.spec.sampler.name, view.spec.sampler.options),
        (view.spec.stopping.rule, view.spec.stopping.options),
    ):
        told = " ".join(f"{k}={v}" for k, v in options.items())
        parts.append(f"{name} ({told})" if told else name)
    return " + ".join(parts)


def pace(run: RunView) -> str:
    """Return steps a second, or how long one takes where that is long."""
    if not run.rate or run.rate <= 0:
        return ""
    return f"{duration(1 / run.rate)}/step" if run.rate < 1 else f"{number(run.rate)}/s"


def doing(run: RunView) -> str:
    """Return what a running trial's metric is, or what else is happening to it."""
    if run.state is TrialState.STARTING:
        return marks.STARTING.word
    if run.state is TrialState.STOPPING:
        return marks.STOPPING.word
    return "" if run.value is None else f"{run.metric} {number(run.value)}"


def device_figures(reading: DeviceReading) -> list[str]:
    """Return heat, power and who else is there, as far as known."""
    said = []
    if reading.at is None:
        return ["gone; it is looked for from time to time"]
    if reading.temperature_c is not None:
        said.append(f"{reading.temperature_c:.0f} °C{' too hot' if reading.too_hot else ''}")
    if reading.power_w is not None:
        said.append(f"{reading.power_w:.0f} W")
    if reading.reserved_bytes:
        said.append(f"reserve {size(reading.reserved_bytes)}")
    if reading.kind == "cpu" and reading.others_cores is not None and reading.cores is not None:
        if reading.others_cores >= 0.1:
            said.append(f"others {reading.others_cores:.1f} of {number(reading.cores)} cores")
    elif foreign := [p for p in reading.processes or () if not p.ours]:
        said.append(f"{count(len(foreign), 'process', 'processes')} of others")
    return said


def memory(reading: DeviceReading) -> tuple[float | None, str]:
    """Return the share of memory in use, and both figures in words."""
    if reading.used_bytes is None or not reading.total_bytes:
        return None, ""
    share = reading.used_bytes / reading.total_bytes
    used, total = size(reading.used_bytes), size(reading.total_bytes)
    return share, f"{used.removesuffix(' GiB')}/{total}" if total.endswith("GiB") else used


def busy(reading: DeviceReading) -> tuple[float | None, str]:
    """Return the share of compute in use, in words too."""
    share = reading.utilisation
    return share, "" if share is None else percent(share)


def joined(parts: Iterable[str], signs: Signs) -> str:
    """Return what there is of some parts on one line, with dots between."""
    return f" {signs.dot} ".join(part for part in parts if part)
