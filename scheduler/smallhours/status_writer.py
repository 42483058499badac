"""Writes ``status.json`` from what the core plans."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Literal

import msgspec

from smallhours import nameplates
from smallhours.clock import Clock
from smallhours.core import forecast, hours
from smallhours.core.machine import Machine
from smallhours.core.night import Night
from smallhours.devices.base import CPU
from smallhours.devices.inventory import Inventory, Observed
from smallhours.nameplates import Nameplate
from smallhours.packing.cards import Deck
from smallhours.paths import Home
from smallhours.status import (
    DevicePlan,
    DeviceProcess,
    DeviceReading,
    Forecast,
    Status,
    Waiting,
    write,
)

_logger = logging.getLogger(__name__)

#: Seconds between two forecasts.
_FORECAST_S = 5.0
#: Seconds between two readings of devices that are shown: they never stay the same.
_DEVICES_S = 2.0


class StatusWriter:
    """Keeps the view that others have of the engine's plans up to date."""

    def __init__(self, home: Home, machine: Machine, clock: Clock, devices: Inventory) -> None:
        """Write nothing yet."""
        self._home, self._machine, self._clock = home, machine, clock
        self._inventory = devices
        self._devices: tuple[DeviceReading, ...] = ()
        self._devices_at = -_DEVICES_S
        self._plates = nameplates.read(home)
        self._written: Status | None = None
        self._forecast: tuple[Forecast, ...] = ()
        self._forecast_at = -_FORECAST_S
        self._failed = False

    def update(self) -> None:
        """Write the view if it differs from what was written last."""
        if self._clock.mono() - self._forecast_at >= _FORECAST_S:
            self._forecast_at = self._clock.mono()
            self._forecast = self._make_forecast()
        if self._clock.mono() - self._devices_at >= _DEVICES_S:
            self._devices_at = self._clock.mono()
            ahead = self._clock.wall() - self._clock.mono()
            self._devices = tuple(_shown(seen, ahead) for seen in self._inventory.observed())
            self._keep_names()
        status = self._status()
        if self._written is not None:
            same = msgspec.structs.replace(status, at=self._written.at) == self._written
            if same:
                return
        try:
            write(self._home, status)
        except OSError as error:
            self._complain(error)
            return
        self._written, self._failed = status, False

    def remove(self) -> None:
        """Take the view away: nobody keeps it up to date any more."""
        self._home.status.unlink(missing_ok=True)

    def _keep_names(self) -> None:
        """Note what devices are called where that is news."""
        seen = {
            device.name: Nameplate(
                kind=device.kind,
                label=device.label,
                index=device.index,
                total_bytes=device.total_bytes,
            )
            for device in self._devices
        }
        if not seen.items() <= self._plates.items():
            self._plates.update(seen)
            try:
                nameplates.write(self._home, self._plates)
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Log once that something can't be written."""
        if not self._failed:
            _logger.warning("%s can't be written: %s", error.filename, error)
        self._failed = True

    def _status(self) -> Status:
        night, state = self._machine.night, self._machine.state
        ahead = self._clock.wall() - self._clock.mono()
        yielded = state.yielded
        return Status(
            at=self._clock.wall(),
            pid=os.getpid(),
            session=state.session.session if state.session is not None else 0,
            device=night.device,
            slots=night.slots,
            running=len(state.live),
            backend=night.backend,
            yielded_until=None if yielded is None else yielded.until or 0.0,
            yielded_to=None if yielded is None else yielded.by,
            deadline=None if state.deadline is None else state.deadline.until,
            storage_short_bytes=self._machine.storage_short_bytes,
            waiting=tuple(
                Waiting(study=study, trial=trial, why=why, since=round(since + ahead, 1))
                for (study, trial), (why, since) in self._machine.waits.items()
            ),
            forecast=self._forecast,
            devices=self._devices,
            packed=night.placement.packs("cpu"),
            plans=tuple(self._plan(deck) for deck in night.placement.decks),
        )

    def _plan(self, deck: Deck) -> DevicePlan:
        night, name = self._machine.night, deck.card.name
        hot = {device.name for device in self._devices if device.too_hot}
        return DevicePlan(
            name=name,
            trials=tuple(
                (key.study, key.trial)
                for key, trial in night.state.live.items()
                if trial.live is not None and trial.live.device == name
            ),
            room_bytes=deck.card.room_bytes,
            promised_bytes=deck.card.room_bytes - deck.free_bytes,
            cap=None if deck.cap is None else round(deck.cap, 3),
            shut=_shut(deck, night, hot),
        )

    def _make_forecast(self) -> tuple[Forecast, ...]:
        night, now = self._machine.night, self._clock.wall()
        deadline = night.state.deadline
        left = None
        if deadline is not None and deadline.until is not None:
            left = max(0.0, deadline.until - now)
        found = []
        for outlook in forecast.forecast(night, left):
            done = outlook.done_s
            found.append(
                Forecast(
                    study=outlook.study,
                    done_at=None if done is None else round(now + done),
                    in_time=None if done is None or left is None else done <= left,
                    trials_in_time=outlook.ended_by,
                )
            )
        return tuple(found)


def _shut(
    deck: Deck, night: Night, hot: Collection[str]
) -> Literal["hot", "gone", "quiet", "harm", "probe", "room", "full"] | None:
    """Return why nothing more is started on a device; None: more may start."""
    if deck.card.closed:
        return "hot" if deck.card.name in hot else "gone"
    quiet = night.settings.quiet.get("cpu" if deck.card.name == CPU else "gpu", ())
    if night.wall is not None and hours.until_open_s(quiet, night.wall.week_minute) == 0.0:
        return "quiet"
    if deck.shut:
        return "harm"
    if deck.probing and deck.free_bytes == 0:
        return "probe"
    if deck.kept_for is not None:
        return "room"
    return "full" if deck.full else None


def _shown(seen: Observed, ahead: float) -> DeviceReading:
    """Return what is shown of a device; `ahead`: from the monotonic clock to wall time."""
    device, reading = seen.device, seen.reading
    processes = reading.processes if reading else None
    return DeviceReading(
        name=device.name,
        kind=device.kind,
        label=device.label,
        index=device.index,
        at=round(reading.at + ahead, 1) if reading else None,
        total_bytes=(reading.total_bytes if reading else None) or device.total_bytes,
        used_bytes=reading.used_bytes if reading else None,
        free_bytes=reading.free_bytes if reading else None,
        reserved_bytes=reading.reserved_bytes if reading else None,
        utilisation=_rounded(reading.utilisation) if reading else None,
        temperature_c=reading.temperature_c if reading else None,
        too_hot=seen.too_hot,
        power_w=_rounded(reading.power_w) if reading else None,
        display=device.display,
        cores=device.cores,
        others_cores=reading.others_cores if reading else None,
        processes=None
        if processes is None
        else tuple(
            DeviceProcess(pid=p.pid, name=p.name, used_bytes=p.used_bytes, ours=p.ours)
            for p in processes
        ),
        sources=dict(reading.sources) if reading else {},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
