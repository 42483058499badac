"""When the queue will be done: what is left, laid out over the slots in the order of the queue."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from smallhours.core import estimates
from smallhours.core.model import Study
from smallhours.core.night import Night
from smallhours.core.queue import has_work

#: More trials than this are laid out several at a time: a forecast is made every few seconds.
_LAID_OUT = 1000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What will become of a study, hours and deadline aside."""

    study: int
    #: Seconds from now until it is done; None: nothing is known of how long its trials take.
    done_s: float | None
    #: Its search trials that will have ended within the time asked for; None: see above.
    ended_by: int | None


@dataclass(slots=True)
class _Rest:
    """What is left of a study."""

    study: Study
    each_s: float
    search: int
    #: Confirmations that will follow the search, and the seconds of each.
    confirm: int
    confirm_s: float
    served: float = 0.0
    done_s: float = 0.0
    ended_by: int = 0
    #: When its search will have ended, as far as it was laid out.
    search_done_s: float = 0.0


def forecast(night: Night, within_s: float | None) -> list[Outlook]:
    """Lay out what is left of every study that may start something.

    Each trial takes the mean of those that ended (so what rules stop early counts), each
    confirmation a whole run; the slots take from the studies by priority and weight, as the queue
    does.

    Args:
        night: What is.
        within_s: Seconds from now for `Outlook.ended_by`; None: not asked for.
    """
    studies = [
        s for s in night.state.studies.values() if s.active and (s.living or has_work(s, night.at))
    ]
    rests = {study.id: rest for study in studies if (rest := _rest_of(study)) is not None}
    free = _lay_out_living(night, rests, within_s)
    if free is not None:
        _lay_out(list(rests.values()), free, within_s)
    outlooks = []
    for study in studies:
        rest = rests.get(study.id)
        if rest is None or free is None:
            outlooks.append(Outlook(study.id, None, None))
        else:
            outlooks.append(
                Outlook(study.id, rest.done_s, None if within_s is None else rest.ended_by)
            )
    return outlooks


def _rest_of(study: Study) -> _Rest | None:
    each = estimates.expected_s(study)
    pace = estimates.mean_pace_s(study, None)
    if each is None or pace is None:
        return None
    waiting = [study.trials[number] for number in study.waiting]
    confirming = sum(trial.role == "confirmation" for trial in waiting)
    search = len(waiting) - confirming + study.unproposed
    expected_winner = study.best if not study.unproposed else None
    to_confirm = {0, expected_winner if expected_winner is not None else -1} - study.confirmed
    return _Rest(
        study=study,
        each_s=each,
        search=max(0, search),
        confirm=confirming + study.spec.confirm * len(to_confirm),
        confirm_s=pace * study.spec.steps,
        ended_by=sum(study.trials[n].state == "ended" for n in study.trials),
    )


def _lay_out_living(
    night: Night, rests: dict[int, _Rest], within_s: float | None
) -> list[float] | None:
    """Return when each slot will be free, in seconds from now; None: of none it is known."""
    free = [0.0] * max(0, night.at_a_time - len(night.state.live))
    for key, trial in night.state.live.items():
        study = night.state.studies[key.study]
        left = estimates.expected_left_s(study, trial, night.at)
        if left is None:
            continue  # the others do without that slot
        free.append(left)
        rest = rests.get(study.id)
        if rest is not None:
            rest.done_s = max(rest.done_s, left)
            if trial.role != "confirmation":
                rest.search_done_s = max(rest.search_done_s, left)
            if within_s is not None and left <= within_s:
                rest.ended_by += 1
    return free or None


def _lay_out(rests: list[_Rest], free: list[float], within_s: float | None) -> None:
    heapq.heapify(free)
    left = sum(rest.search + rest.confirm for rest in rests)
    batch = max(1, -(-left // _LAID_OUT))
    while rests:
        at = heapq.heappop(free)
        ready = [r for r in rests if r.search or (r.confirm and r.search_done_s <= at)]
        if not ready:
            later = min((r.search_done_s for r in rests if r.confirm), default=None)
            if later is None:
                return
            heapq.heappush(free, max(at, later))
            continue
        rest = min(ready, key=lambda r: (r.study.standing.priority.rank, r.served))
        seconds = rest.each_s if rest.search else rest.confirm_s
        number = min(batch, rest.search or rest.confirm)
        end = at + seconds * number
        if rest.search:
            rest.search -= number
            rest.search_done_s = max(rest.search_done_s, end)
            if within_s is not None and seconds > 0:
                rest.ended_by += min(number, max(0, int((within_s - at) / seconds)))
        else:
            rest.confirm -= number
        rest.done_s = max(rest.done_s, end)
        rest.served += seconds * number / rest.study.standing.weight
        heapq.heappush(free, end)
        rests = [r for r in rests if r.search or r.confirm]
