"""Ways to run a workload: our packer, and what it is compared with."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from smallhours.packing.cards import Pause, Start, Wish
from smallhours.packing.footprint import Bound
from smallhours.packing.knowledge import Knowledge
from smallhours.packing.load import Demand, Doubt
from smallhours.packing.packer import Packer
from smallhours.simulate.cards import Begin, Ending, Order, Speeds, Suspend
from smallhours.simulate.workload import TrialSpec, Workload

#: A packer whose answer would only change with time is asked again after this long.
_ASK_AGAIN_S: Final = 30.0


class Packed:
    """Our packer, which knows of the truth what it was told."""

    wants_reports = True

    def __init__(self, workload: Workload, packer: Packer | None = None) -> None:
        self.packer = packer or new_packer(workload)
        self._trials = {trial.name: trial for trial in workload.trials}
        self._studies = {study.name: study for study in workload.studies}
        self._waiting: dict[str, Wish] = {}
        self._orders: list[Order] = []
        self._steps: dict[str, int] = {}
        self._asked: tuple[int, float] = (-1, 0.0)

    def arrived(self, trial: TrialSpec, at: float) -> None:
        """Take note of a trial that may be started from now on."""
        self._waiting[trial.name] = self._wish(trial)
        self.packer.changes += 1

    def launched(self, trial: str, at: float) -> None:
        """Take note of a trial's first word."""
        self.packer.launched(trial, at)

    def reported(self, trial: str, step: int, at: float) -> None:
        """Take note of a report."""
        spec = self._trials[trial]
        self._steps[trial] = step
        undo = self.packer.reported(trial, at, peak_bytes=spec.device_bytes, busy=spec.load.busy)
        if undo is not None:
            self._orders.append(Suspend(undo.key))

    def ended(self, trial: str, ending: Ending, at: float, peak_bytes: int | None) -> None:
        """Take note that a trial is off its card."""
        self.packer.ended(trial, at, peak_bytes=peak_bytes, well=ending != "gpu_oom")
        if ending in ("paused", "gpu_oom"):
            again = self._wish(self._trials[trial], alone=ending == "gpu_oom")
            self._waiting[trial] = again

    def decide(self, at: float) -> Iterable[Order]:
        """Say what to do now."""
        orders, self._orders = self._orders, []
        if orders:
            return orders
        changes, asked_at = self._asked
        if changes == self.packer.changes and at < asked_at + _ASK_AGAIN_S:
            return []
        found = self.packer.next([*self._waiting.values()], at) if self._waiting else None
        if found is None:
            self._asked = self.packer.changes, at
            return []
        if isinstance(found, Start):
            self.packer.started(found, self._waiting.pop(found.key), at)
            return [Begin(found.key, found.card)]
        return [Suspend(pause.key) for pause in found]

    def _wish(self, trial: TrialSpec, *, alone: bool = False) -> Wish:
        return Wish(
            key=trial.name,
            study=trial.study,
            params=trial.params,
            steps_left=trial.steps - self._steps.get(trial.name, 0),
            believed_bytes=trial.believed_bytes,
            saves=self._studies[trial.study].saves,
            alone=alone,
            begun=trial.name in self._steps,
            weight=self._studies[trial.study].weight,
        )


def new_packer(workload: Workload) -> Packer:
    """Return a packer that knows the cards, no more."""
    return Packer([*workload.cards], sharing=workload.interference.sharing)


class Truth(Knowledge):
    """What there is to know of every trial, beforehand."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload.interference.sharing)
        self._trials = {trial.name: trial for trial in workload.trials}
        self._speeds = Speeds(workload.interference)

    def known(self, study: str) -> bool:
        """Nothing needs to be watched first."""
        return True

    def bound(self, wish: Wish) -> Bound:
        """Return what the trial will take."""
        truth = self._trials[wish.key].device_bytes
        return Bound(truth, truth, truth)

    def demand(self, wish: Wish) -> Demand:
        """Return what the trial asks for."""
        load = self._trials[wish.key].load
        return Demand(load.busy, load.compute if self.loads.sharing == "mps" else 1.0)

    def kind(self, wish: Wish) -> Hashable:
        """Return what its progress beside others depends on."""
        return self._trials[wish.key].load

    def slowdowns(self, wishes: Sequence[Wish]) -> list[float]:
        """Return by what factor trials beside each other are slower than alone."""
        loads = [self._trials[wish.key].load for wish in wishes]
        return [1.0 / rate for rate in self._speeds.of(tuple(loads))] if loads else []

    def progress(self, wishes: Sequence[Wish], doubt: Doubt) -> float:
        """Return the progress of trials beside each other."""
        return sum(1.0 / slow for slow in self.slowdowns(wishes))

    def expected_s(self, wish: Wish) -> float:
        """Return how long it takes alone."""
        return wish.steps_left * self._trials[wish.key].step_s


class AllKnown(Packer):
    """Our packer, told the truth of every trial beforehand: it has nothing to learn."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(
            [*workload.cards],
            sharing=workload.interference.sharing,
            know=Truth(workload),
        )

    def reported(
        self, key: str, at: float, *, peak_bytes: int | None = None, busy: float | None = None
    ) -> Pause | None:
        """Count the step."""
        self._where[key].runners[key].steps_left -= 1
        return None


class Slots:
    """First in, first out, so many a card; memory is looked at by belief, or not at all."""

    wants_reports = False

    def __init__(self, workload: Workload, slots: int | None, *, memory: bool = False) -> None:
        """Set up.

        Args:
            workload: What is to run.
            slots: How many a card; None: any number.
            memory: A trial is started where what is believed of it is free.
        """
        self._rooms = {card.name: card.room_bytes for card in workload.cards}
        self._slots = slots
        self._memory = memory
        self._there: dict[str, dict[str, int]] = {card.name: {} for card in workload.cards}
        self._waiting: list[TrialSpec] = []
        self._needs: dict[str, int] = {}
        self._alone: set[str] = set()
        self._trials = {trial.name: trial for trial in workload.trials}

    def arrived(self, trial: TrialSpec, at: float) -> None:
        """Take note of a trial that may be started from now on."""
        self._needs[trial.name] = trial.believed_bytes or trial.device_bytes
        self._waiting.append(trial)

    def launched(self, trial: str, at: float) -> None:
        """Take no note."""

    def reported(self, trial: str, step: int, at: float) -> None:
        """Take no note."""

    def ended(self, trial: str, ending: Ending, at: float, peak_bytes: int | None) -> None:
        """Take note that a trial is off its card; out of memory, it is tried again alone."""
        for there in self._there.values():
            there.pop(trial, None)
        if ending == "gpu_oom" and peak_bytes is not None:
            self._needs[trial] = peak_bytes
            self._alone.add(trial)
            self._waiting.insert(0, self._trials[trial])

    def decide(self, at: float) -> Iterable[Order]:
        """Start the first that waits on the card with the fewest that may take it."""
        if not self._waiting:
            return []
        trial = self._waiting[0]
        fits = [name for name in self._there if self._fits(trial, name)]
        if not fits:
            return []
        name = min(fits, key=lambda name: len(self._there[name]))
        self._waiting.pop(0)
        self._there[name][trial.name] = self._needs[trial.name]
        return [Begin(trial.name, name)]

    def _fits(self, trial: TrialSpec, card: str) -> bool:
        there, room = self._there[card], self._rooms[card]
        if trial.device_bytes > room:  # whoever runs things by hand knows as much
            return False
        if any(name in self._alone for name in there):
            return False
        if trial.name in self._alone or self._slots == 1:
            return not there
        if self._slots is not None and len(there) >= self._slots:
            return False
        need = self._needs[trial.name]
        return not self._memory or not there or sum(there.values()) + need <= room
