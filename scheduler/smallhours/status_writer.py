"""Writes ``status.json`` from what the core plans."""

from __future__ import annotations

import logging
import os

import msgspec

from smallhours.clock import Clock
from smallhours.core import forecast
from smallhours.core.machine import Machine
from smallhours.paths import Home
from smallhours.status import Forecast, Status, Waiting, write

_logger = logging.getLogger(__name__)

#: Seconds between two forecasts.
_FORECAST_S = 5.0


class StatusWriter:
    """Keeps the view that others have of the engine's plans up to date."""

    def __init__(self, home: Home, machine: Machine, clock: Clock) -> None:
        """Write nothing yet."""
        self._home, self._machine, self._clock = home, machine, clock
        self._written: Status | None = None
        self._forecast: tuple[Forecast, ...] = ()
        self._forecast_at = -_FORECAST_S
        self._failed = False

    def update(self) -> None:
        """Write the view if it differs from what was written last."""
        if self._clock.mono() - self._forecast_at >= _FORECAST_S:
            self._forecast_at = self._clock.mono()
            self._forecast = self._make_forecast()
        status = self._status()
        if self._written is not None:
            same = msgspec.structs.replace(status, at=self._written.at) == self._written
            if same:
                return
        try:
            write(self._home, status)
        except OSError as error:
            if not self._failed:
                _logger.warning("%s can't be written: %s", self._home.status, error)
            self._failed = True
            return
        self._written, self._failed = status, False

    def remove(self) -> None:
        """Take the view away: nobody keeps it up to date any more."""
        self._home.status.unlink(missing_ok=True)

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
