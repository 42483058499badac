"""What can be done next, and the trials that could be started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smallhours.core.model import Study, Trial
from smallhours.core.spec import DeviceKind
from smallhours.packing.cards import Pause, Start, Wish


@dataclass(frozen=True, slots=True)
class Place:
    """A place on a device that is packed."""

    kind: DeviceKind
    start: Start
    wish: Wish


@dataclass(frozen=True, slots=True)
class StartWaiting:
    """Give the place to a trial that waits."""

    study: Study
    trial: Trial
    #: Where devices are packed: the place that was found for it.
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class CreateBaseline:
    """Create the study's baseline."""

    study: Study


@dataclass(frozen=True, slots=True)
class AskForTrial:
    """Ask the study's search for a configuration."""

    study: Study
    number: int
    #: Where devices are packed: the place to keep for it.
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class CreateConfirmations:
    """Repeat a trial's configuration on fresh seeds."""

    study: Study
    of: Trial


@dataclass(frozen=True, slots=True)
class EndStudy:
    """Nothing is left to do for the study."""

    study: Study


@dataclass(frozen=True, slots=True)
class WaitForWord:
    """Nothing is left to do for the study but what lies where others failed."""

    study: Study


@dataclass(frozen=True, slots=True)
class TakeOff:
    """Pause trials for the good of others on their device."""

    trials: tuple[Pause, ...]


Item: TypeAlias = (
    StartWaiting
    | CreateBaseline
    | AskForTrial
    | CreateConfirmations
    | EndStudy
    | WaitForWord
    | TakeOff
)

#: A study and the number of a trial that waits; None: its next trial, which does not exist yet.
Waiter: TypeAlias = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial that could be started, were there room."""

    study: Study
    #: None: it does not exist yet.
    trial: Trial | None
    item: Item | None

    @property
    def waiter(self) -> Waiter:
        """What waits."""
        return self.study.id, None if self.trial is None else self.trial.number

    @property
    def alone(self) -> bool:
        """Whether it must run while nothing else does."""
        return self.trial is not None and self.trial.alone
