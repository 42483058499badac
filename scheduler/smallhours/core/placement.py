"""Where trials run: the packers of the machine's devices, told of all that happens on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

import msgspec

from smallhours.core import estimates
from smallhours.core import facts as f
from smallhours.core.footprint import Footprint, Prediction
from smallhours.core.guards import reserve_bytes
from smallhours.core.model import Study, Trial
from smallhours.core.recall import packer_of
from smallhours.core.seen import DeviceSeen, DevicesSeen
from smallhours.core.spec import DeviceKind, Params
from smallhours.core.state import State
from smallhours.core.trial import AttemptKey
from smallhours.core.waiting import Why
from smallhours.core.watched import Watched
from smallhours.packing import probes
from smallhours.packing.cards import Card, Deck, Obstacle, Pause, Start, Wish
from smallhours.packing.load import Sharing
from smallhours.packing.packer import Packer

#: What a packer refused is offered again after so long, should only time have passed.
_ASK_AGAIN_S: Final = 5.0
_WHY: Final[dict[Obstacle, Why]] = {
    "probe": Why.PROBE,
    "memory": Why.MEMORY,
    "alone": Why.ALONE,
    "making_room": Why.MAKING_ROOM,
    "full": Why.FULL,
}

#: What is asked of a packer, and what it says to it.
Choice: TypeAlias = Start | list[Pause]


class Placement:
    """Says which trial goes where, on devices whose trials are packed by what they need."""

    def __init__(self, state: State) -> None:
        self._state = state
        #: By name.
        self._seen: dict[str, DeviceSeen] = {}
        #: What may be used; a CPU is taken to be there until somebody has looked.
        self._kinds: Collection[DeviceKind] = frozenset({"cpu"})
        self._packers: dict[DeviceKind, Packer] = {}
        self._watched: dict[AttemptKey, Watched] = {}
        #: By study: `Watched.unlisted` of the attempt that ended last.
        self._unlisted: dict[int, int] = {}
        #: Places kept for trials whose parameters are being chosen: study and number.
        self._kept: dict[tuple[int, int], DeviceKind] = {}
        self._sharing: Sharing = "time_slicing"
        #: Where a packer had nothing to do: its changes, what it was asked for, and when.
        self._refused: dict[DeviceKind, tuple[int, frozenset[str], float]] = {}
        #: The most trials at a time that were seen, by kind of device.
        self._most: dict[DeviceKind, int] = {}
        #: The most trials at a time on the CPU; None: it isn't packed.
        self._cpu_places: int | None = None

    # --- what there is ---------------------------------------------------------------------

    def kind_of(self, study: Study) -> DeviceKind | None:
        """Return what a study's trials run on; None: there is no such device."""
        wanted: DeviceKind
        for wanted in ("gpu", "cpu"):
            if wanted in self._kinds and study.spec.device in ("auto", wanted):
                return wanted
        return None

    def packs(self, kind: DeviceKind | None) -> bool:
        """Whether trials on this kind of device are packed by what they need."""
        return kind in self._packers

    @property
    def packing(self) -> bool:
        """Whether anything is packed."""
        return bool(self._packers)

    def at_a_time(self, kind: DeviceKind) -> int:
        """Return how many trials run at a time on a kind of device, as far as can be told."""
        packer = self._packers.get(kind)
        if packer is None:
            return 0
        now = sum(len(deck.runners) for deck in packer.decks)
        self._most[kind] = max(now, self._most.get(kind, 1))
        return self._most[kind]

    @property
    def decks(self) -> list[Deck]:
        """The devices on which trials are packed, with what is on them."""
        return [deck for packer in self._packers.values() for deck in packer.decks]

    @property
    def devices(self) -> frozenset[str]:
        """The names of the devices on which trials are packed."""
        return frozenset(deck.card.name for deck in self.decks)

    @property
    def changes(self) -> int:
        """Rises whenever something may be started that could not be before."""
        return sum(packer.changes for packer in self._packers.values())

    def see(self, event: DevicesSeen) -> None:
        """Take note of the devices as they are now."""
        self._seen = {seen.name: seen for seen in event.devices}
        gpus = self._packers.get("gpu")
        if gpus is not None and gpus.know.loads.sharing != event.sharing and not gpus.busy:
            del self._packers["gpu"]  # what is known of loads is known under one kind of sharing
        self._sharing = event.sharing
        self._kinds = frozenset(seen.kind for seen in event.devices)
        for seen in event.devices:
            if seen.kind == "gpu" or self._cpu_places is not None:
                self._packer(seen.kind).see(self._card(seen))
        for key, watched in self._watched.items():
            self._look_at(key, watched)

    def pack_cpu(self, places: int | None) -> None:
        """Pack trials on the CPU, as many as pay up to `places`; None: don't."""
        self._cpu_places = places
        if places is None:
            self._packers.pop("cpu", None)
            return
        for seen in self._seen.values():
            if seen.kind == "cpu":
                self._packer("cpu").see(self._card(seen))

    # --- what is to be done ----------------------------------------------------------------

    def wish(self, study: Study, trial: Trial | None, turn: int) -> Wish:
        """Return what a trial asks of the packer.

        Args:
            study: Its study.
            trial: The trial; None: the study's next one, which is taken to be like the baseline.
            turn: Those of a lower one go first.
        """
        begun = trial.resume_points() if trial is not None else []
        steps = study.spec.steps - (begun[0].step if begun else 0)
        return Wish(
            key=_name(study.id, None if trial is None else trial.number),
            study=str(study.id),
            params=study.spec.baseline if trial is None else trial.params,
            believed_bytes=None if trial is None else trial.attrs.get("believed_bytes"),
            steps_left=max(1, round(steps / estimates.stride(study))),
            saves=study.saves,
            alone=trial is not None and trial.alone,
            begun=trial is not None and trial.attempts > 0,
            turn=turn,
            weight=study.standing.weight,
            to_come=max(0, study.unproposed - (trial is None)),
        )

    def choose(self, kind: DeviceKind, wishes: Sequence[Wish], at: float) -> Choice | None:
        """Return what to do next on the devices of a kind; None: nothing now.

        What the packer said stays true while nothing happens: time alone is given a while.
        """
        packer, keys = self._packers[kind], frozenset(wish.key for wish in wishes)
        refused = self._refused.get(kind)
        same = refused is not None and refused[:2] == (packer.changes, keys)
        if same and refused is not None and at - refused[2] < _ASK_AGAIN_S:
            return None
        choice = packer.next(wishes, at)
        self._refused.pop(kind, None)
        if choice is None:
            self._refused[kind] = packer.changes, keys, at
        return choice

    def why(self, kind: DeviceKind, wish: Wish) -> Why:
        """Return why a trial waits that the latest `choose` found no place for."""
        obstacle = self._packers[kind].obstacles.get(wish.key, "full")
        if obstacle == "closed":
            closed = {seen.closed for seen in self._seen.values() if seen.kind == kind}
            if "hot" in closed:
                return Why.HOT
            return Why.SHARING if "sharing" in closed else Why.NO_DEVICE
        return _WHY[obstacle]

    def lacks_room(self, kind: DeviceKind, study: int) -> bool:
        """Whether a trial of a study waits for others to leave, as of the latest `choose`."""
        mine = {
            name: obstacle
            for name, obstacle in self._packers[kind].obstacles.items()
            if name.startswith(f"{study}/") and obstacle != "closed"
        }
        watched = any(key.study == study for key in self._watched)
        return any(obstacle != "probe" or not watched for obstacle in mine.values())

    def too_large(self, study: Study, params: Params) -> tuple[int, int] | None:
        """Return what a configuration is expected to need and what there is, if it can't fit."""
        kind = self.kind_of(study)
        packer = self._packers.get(kind) if kind is not None else None
        footprint = None if packer is None else packer.know.footprints.get(str(study.id))
        if packer is None or footprint is None:
            return None
        most = max(deck.card.total_bytes - deck.card.reserve_bytes for deck in packer.decks)
        needed = footprint.beyond(params, most)
        return None if needed is None else (needed, most)

    def trial(self, name: str) -> Trial | None:
        """Return the trial of a packer's name that runs; None: it has ended."""
        for key in self._watched:
            if _name(key.study, key.trial) == name:
                return self._state.live.get(key)
        return None

    def on(self, kind: DeviceKind) -> list[Trial]:
        """Return the trials that run on devices of a kind that are packed."""
        mine = (key for key, watched in self._watched.items() if watched.kind == kind)
        return [self._state.live[key] for key in mine if key in self._state.live]

    def promised(self, kind: DeviceKind, start: Start) -> Prediction | None:
        """Return what a trial is predicted to take, and promised; None: nobody knows."""
        if start.bound is None:
            return None
        there_is = self._packers[kind].deck(start.card).card.total_bytes
        expected, upper = start.bound.expected_bytes, start.bound.upper_bytes
        return Prediction(min(expected, there_is), min(upper, there_is))

    # --- what happens ----------------------------------------------------------------------

    def keep(
        self, kind: DeviceKind, asked: tuple[int, int], start: Start, wish: Wish, at: float
    ) -> None:
        """Keep the place that was found for a trial whose parameters are being chosen."""
        self._packers[kind].started(start._replace(key=_kept(*asked)), wish, at)
        self._kept[asked] = kind

    def let_go(self, wanted: Collection[tuple[int, int]]) -> None:
        """Give up the places that are kept for trials nobody waits for any more."""
        for study, number in [*self._kept]:
            if (study, number) not in wanted:
                kind = self._kept.pop((study, number))
                if kind in self._packers:
                    self._packers[kind].withdrawn(_kept(study, number))

    def started(
        self, kind: DeviceKind, key: AttemptKey, start: Start, wish: Wish, at: float
    ) -> None:
        """Take note that a trial was given the place that was found for it."""
        packer = self._packers[kind]
        deck = packer.deck(start.card)
        seen = self._seen.get(start.card)
        before = seen.used_bytes if seen is not None and not deck.runners else None
        packer.started(start, wish, at)
        unlisted = self._unlisted.get(key.study, 0)
        self._watched[key] = Watched(kind, start.card, before, unlisted=unlisted)

    def launched(self, key: AttemptKey, at: float) -> None:
        """Take note of a trial's first word."""
        watched = self._watched.get(key)
        if watched is not None:
            self._packers[watched.kind].launched(_name(key.study, key.trial), at)

    def measured(self, key: AttemptKey, footprint: Footprint) -> None:
        """Take note of what an attempt's process measured of itself."""
        watched, cores = self._watched.get(key), self._cores
        if watched is None or watched.kind != "cpu" or not cores:
            return
        asks = footprint.on_cores(cores)
        if asks is not None:
            stride = estimates.stride(self._state.studies[key.study])
            report_s = None if asks.step_s is None else asks.step_s * stride
            name = _name(key.study, key.trial)
            self._packers["cpu"].measured(name, asks.busy, asks.weight, report_s)

    def reported(self, key: AttemptKey, at: float, footprint: Footprint | None) -> Pause | None:
        """Take note of a report; answer with what must be undone now."""
        watched = self._watched.get(key)
        if watched is None:
            return None
        busy = sum(watched.busy) / len(watched.busy) if watched.busy else None
        peak = watched.peak_bytes = watched.peak(footprint)
        packer, name = self._packers[watched.kind], _name(key.study, key.trial)
        if self._state.studies[key.study].saves:
            packer.saves(name)
        return packer.reported(name, at, peak_bytes=peak, busy=busy)

    def ended(
        self, key: AttemptKey, at: float, footprint: Footprint | None, *, short_of: int | None
    ) -> list[f.Fact]:
        """Take note that an attempt is over; answer with what was learned.

        Args:
            key: Whose.
            at: When.
            footprint: What it was measured to need; None: nothing is known.
            short_of: Bytes that it held and wanted when its card had no more; None: it did not run
                out of memory.
        """
        watched = self._watched.pop(key, None)
        if watched is None:
            return []
        self._unlisted[key.study] = watched.unlisted
        packer, well = self._packers[watched.kind], short_of is None
        peak = watched.peak(footprint)
        if short_of is not None:
            peak = max(short_of, peak or 0) or None
        runner = packer.ended(_name(key.study, key.trial), at, peak_bytes=peak, well=well)
        learned: list[f.Fact] = []
        load = packer.know.loads.known.get(str(key.study))
        if load is not None:
            fact = f.LoadLearned(
                study=key.study,
                trial=key.trial,
                sharing=packer.know.loads.sharing,
                busy=load.busy,
                log_weight=load.log_weight,
                weight_sd=load.sd,
                log_step_s=runner.log_step_s,
            )
            learned.append(fact)
        deck = packer.deck(watched.device)
        if deck.cap != self._state.caps.get(watched.device):
            learned.append(f.CapLearned(device=watched.device, cap=deck.cap))
        return learned

    def footprint_of(self, key: AttemptKey, footprint: Footprint | None) -> Footprint | None:
        """Return what is known of an attempt's needs, with what its device saw of it."""
        watched = self._watched.get(key)
        if watched is None or watched.held_bytes is None or watched.kind == "cpu":
            return footprint
        footprint = footprint or Footprint()
        context = max(0, watched.held_bytes - (footprint.gpu_bytes or 0))
        return msgspec.structs.replace(footprint, context_bytes=context, gpu_source=watched.source)

    # --- inside ----------------------------------------------------------------------------

    @property
    def _cores(self) -> float | None:
        return next((d.cores for d in self._seen.values() if d.kind == "cpu"), None)

    def _packer(self, kind: DeviceKind) -> Packer:
        packer = self._packers.get(kind)
        if packer is None:
            sharing: Sharing = "cores" if kind == "cpu" else self._sharing
            mine = [study for study in self._state.studies.values() if self.kind_of(study) == kind]
            packer = packer_of(mine, kind, sharing, self._state.caps, self._cores)
            self._packers[kind] = packer
        return packer

    def _card(self, seen: DeviceSeen) -> Card:
        cpu = seen.kind == "cpu"
        total = seen.total_bytes
        if total is None:  # some GPUs use the host's memory and don't say how much
            host = (d.total_bytes for d in self._seen.values() if d.kind == "cpu")
            total = next(host, None) or 2**62
        ours = seen.ours_bytes
        if ours is None:
            here = (w for w in self._watched.values() if w.device == seen.name)
            ours = sum(watched.peak_bytes or 0 for watched in here)
        return Card(
            seen.name,
            total,
            reserve_bytes=reserve_bytes(total) if cpu else seen.reserve_bytes,
            foreign_bytes=max(0, (seen.used_bytes or 0) - ours),
            closed=seen.closed is not None,
            places=self._cpu_places if cpu else seen.places,
            sure=1.0 if cpu else 0.0,
            tells_busy=not cpu and seen.utilisation is not None,
        )

    def _look_at(self, key: AttemptKey, watched: Watched) -> None:
        """Take in what a device shows of one of the trials on it."""
        seen, trial = self._seen.get(watched.device), self._state.live.get(key)
        if seen is None or watched.kind == "cpu" or trial is None or trial.live is None:
            return
        alone = sum(other.device == watched.device for other in self._watched.values()) == 1
        held = seen.held.get(trial.live.pid) if trial.live.pid is not None else None
        if held is not None:
            watched.held_bytes = max(held, watched.held_bytes or 0)
            watched.unlisted = 0
        elif alone and seen.ours_bytes is None:
            used, before = seen.used_bytes, watched.before_bytes
            if used is not None and before is not None:
                watched.held_bytes = max(used - before, watched.held_bytes or 0)
                watched.source = "card delta"
        if trial.live.reported and seen.ours_bytes is not None and held is None:
            watched.unlisted += 1
        if trial.live.reported and seen.utilisation is not None:
            packer, name = self._packers[watched.kind], _name(key.study, key.trial)
            busy = probes.busy_of(packer.deck(seen.name), name, seen.utilisation, packer.know)
            if busy is not None:
                watched.busy.append(busy)


def _name(study: int, trial: int | None) -> str:
    return f"{study}/{'next' if trial is None else trial}"


def _kept(study: int, number: int) -> str:
    return f"{study}/for {number}"
