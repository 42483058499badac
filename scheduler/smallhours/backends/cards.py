"""The devices of a simulated machine: memory, and how fast trials go that share one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from smallhours.backends.timeline import Timeline
from smallhours.core.seen import DeviceSeen, DevicesSeen
from smallhours.core.spec import DeviceKind
from smallhours.core.trial import AttemptKey
from smallhours.simulate.interference import Interference, Load, rates

#: Cores are shared as multiprocessors are under MPS: side by side until all are taken.
_CORES: Final = Interference(sharing="mps", contention=0.0)


#: Why nothing is to be started on a device.
Closed: TypeAlias = Literal["hot", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDevice:
    """A device."""

    name: str
    kind: DeviceKind = "gpu"
    total_bytes: int
    reserve_bytes: int = 0
    foreign_bytes: int = 0
    #: How fast it is beside others, alone.
    speed: float = 1.0
    cores: float | None = None
    places: int | None = None


@dataclass(slots=True, eq=False)
class _Step:
    """What a process is doing on a device."""

    load: Load
    used_bytes: int
    #: Its process; None: nothing lists it.
    pid: int | None
    #: Seconds alone that are left of its step, as of `since`; infinite: it does none.
    left_s: float = math.inf
    since: float = 0.0
    rate: float = 1.0
    done: Callable[[], None] | None = None
    #: Counts the changes: what was due before one does not happen.
    turns: int = 0


@dataclass(slots=True)
class Use:
    """What a device did so far: integrals over time."""

    #: Of the bytes in use.
    byte_s: float = 0.0
    #: Of the progress of all trials: seconds that the work would have taken alone.
    work_s: float = 0.0
    #: Of the share of the time that it was busy.
    busy_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Place:
    device: SimulatedDevice
    use: Use = field(default_factory=Use)
    settled_at: float = 0.0
    closed: Closed | None = None
    steps: dict[AttemptKey, _Step] = field(default_factory=dict)


class SimulatedDevices:
    """All devices of a machine, with what runs on them."""

    def __init__(
        self,
        timeline: Timeline,
        devices: Sequence[SimulatedDevice],
        interference: Interference | None = None,
    ) -> None:
        """Set up; nothing runs.

        Args:
            timeline: Where everything happens.
            devices: What there is.
            interference: What sharing a GPU costs.
        """
        self._timeline = timeline
        self._places = {device.name: _Place(device) for device in devices}
        self._interference = interference or Interference()
        self._where: dict[AttemptKey, _Place] = {}

    def close(self, device: str, why: Closed | None) -> None:
        """Let a device be too hot (``hot``), or gone; None: it is as it should be."""
        self._places[device].closed = why

    def enter(
        self, key: AttemptKey, device: str, load: Load, used_bytes: int, pid: int | None
    ) -> None:
        """Let a process come onto a device; it takes its memory at once."""
        place = self._where[key] = self._places[device]
        self._settle(place)
        place.steps[key] = _Step(load, used_bytes, pid, since=self._timeline.mono())
        self._set_rates(place)

    def leave(self, key: AttemptKey) -> None:
        """Let a process go; does nothing where it never came."""
        place = self._where.pop(key, None)
        if place is not None:
            self._settle(place)
            del place.steps[key]
            self._set_rates(place)

    def step(self, key: AttemptKey, seconds: float, done: Callable[[], None]) -> None:
        """Let a process do a step that takes so long alone, and be told when it is done."""
        place = self._where[key]
        step = place.steps[key]
        step.left_s, step.since, step.done = seconds, self._timeline.mono(), done
        self._schedule(step)

    def short_bytes(self, key: AttemptKey) -> int:
        """Return the bytes by which a process's device is over-committed; 0: it isn't."""
        place = self._where[key]
        room = place.device.total_bytes - place.device.foreign_bytes
        return max(0, sum(step.used_bytes for step in place.steps.values()) - room)

    def total_bytes(self, key: AttemptKey) -> int:
        """Return the memory of a process's device."""
        return self._where[key].device.total_bytes

    def use(self) -> dict[str, Use]:
        """Return what each device did so far."""
        for place in self._places.values():
            self._settle(place)
        return {name: place.use for name, place in self._places.items()}

    def seen(self) -> DevicesSeen:
        """Return what a probe would see now."""
        found = tuple(self._seen(place) for place in self._places.values())
        sharing = self._interference.sharing
        return DevicesSeen(at=self._timeline.mono(), devices=found, sharing=sharing)

    def _seen(self, place: _Place) -> DeviceSeen:
        device, steps = place.device, place.steps.values()
        ours = sum(step.used_bytes for step in steps)
        return DeviceSeen(
            name=device.name,
            kind=device.kind,
            total_bytes=device.total_bytes,
            reserve_bytes=device.reserve_bytes,
            used_bytes=ours + device.foreign_bytes,
            ours_bytes=ours,
            held={step.pid: step.used_bytes for step in steps if step.pid is not None},
            utilisation=self._busy(place, steps),
            closed=place.closed,
            cores=device.cores,
            places=device.places,
        )

    def _settle(self, place: _Place) -> None:
        """Take off what was done of each step since its pace last changed."""
        now = self._timeline.mono()
        span, place.settled_at = now - place.settled_at, now
        working = [step for step in place.steps.values() if step.done is not None]
        place.use.byte_s += span * sum(step.used_bytes for step in place.steps.values())
        place.use.work_s += span * sum(step.rate for step in working)
        place.use.busy_s += span * self._busy(place, working)
        for step in place.steps.values():
            step.left_s = max(0.0, step.left_s - (now - step.since) * step.rate)
            step.since = now

    def _busy(self, place: _Place, steps: Iterable[_Step]) -> float:
        """Return the share of the time that something runs on a device."""
        shares = [step.load.busy * step.rate / place.device.speed for step in steps]
        if place.device.kind == "gpu" and self._interference.sharing == "mps":  # side by side
            return 1.0 - math.prod(1.0 - min(1.0, share) for share in shares)
        return min(1.0, sum(shares))

    def _set_rates(self, place: _Place) -> None:
        steps = [*place.steps.values()]
        how = _CORES if place.device.kind == "cpu" else self._interference
        speeds = rates([step.load for step in steps], how) if steps else []
        for step, speed in zip(steps, speeds, strict=True):
            step.rate = speed * place.device.speed
            if step.done is not None:
                self._schedule(step)

    def _schedule(self, step: _Step) -> None:
        step.turns += 1
        mine = step.turns

        def due() -> None:
            if step.turns == mine and step.done is not None:
                done, step.done, step.left_s = step.done, None, math.inf
                done()

        self._timeline.after(step.left_s / step.rate, due)
