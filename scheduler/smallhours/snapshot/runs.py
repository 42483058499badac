"""What runs at this moment, kept up fact by fact."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from smallhours.core import facts as f
from smallhours.core.trial import AttemptKey, TrialState
from smallhours.snapshot.heads import Head
from smallhours.snapshot.views import RunView

#: Reports that a trial's pace is taken from, the latest.
_PACED = 20


class Runs:
    """The living attempts, with the latest of each."""

    def __init__(self, views: Iterable[RunView]) -> None:
        self._views = {(view.study, view.number, view.attempt): view for view in views}
        self._reports: dict[tuple[int, int, int], deque[tuple[float, int]]] = {}

    def views(self) -> tuple[RunView, ...]:
        """Return them, first the one that started first."""
        return tuple(sorted(self._views.values(), key=lambda view: view.since))

    def take(self, fact: f.Fact, at: float, head: Head) -> None:
        """Take in what was recorded of a study."""
        match fact:
            case f.AttemptStarted():
                self._views[f.key_of(fact)] = RunView(
                    trial=f"{head.name}/{fact.trial}",
                    study=fact.study,
                    number=fact.trial,
                    attempt=fact.attempt,
                    device=fact.device,
                    slot=fact.slot,
                    state=TrialState.STARTING,
                    since=at,
                    step=fact.resume_step,
                    steps=head.spec.steps,
                    metric=head.spec.metric,
                    value=None,
                    rate=None,
                )
            case f.AttemptRunning():
                self._change(f.key_of(fact), state=TrialState.RUNNING)
            case f.Intended():
                self._change(f.key_of(fact), state=TrialState.STOPPING)
            case f.Restored():
                self._change(AttemptKey(fact.study, fact.trial, fact.attempt), step=fact.step)
            case f.AttemptEnded():
                self._views.pop(f.key_of(fact), None)
                self._reports.pop(f.key_of(fact), None)
            case _:
                pass

    def report(self, key: tuple[int, int, int], at: float, step: int, value: float | None) -> None:
        """Take in a report of an attempt."""
        view = self._views.get(key)
        if view is None:
            return
        latest = self._reports.setdefault(key, deque(maxlen=_PACED))
        latest.append((at, step))
        (first_at, first_step), rate = latest[0], view.rate
        if at > first_at:
            rate = (step - first_step) / (at - first_at)
        # Its process speaks, whether that was recorded yet or not.
        state = TrialState.RUNNING if view.state is TrialState.STARTING else view.state
        self._change(key, step=step, value=value, rate=rate, state=state)

    def _change(self, key: tuple[int, int, int], **changes: object) -> None:
        view = self._views.get(key)
        if view is not None:
            self._views[key] = msgspec.structs.replace(view, **changes)
