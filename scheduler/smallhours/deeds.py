"""Carries out what the core wants done outside of itself; decides nothing."""

from __future__ import annotations

from collections.abc import Callable

from smallhours import exits
from smallhours.backends.process import ProcessBackend
from smallhours.core import actions as a
from smallhours.core.state import State
from smallhours.paths import Home
from smallhours.search import PastTrial
from smallhours.search_thread import Searches, past_of
from smallhours.space_relay import SpaceRelay
from smallhours.upkeep import Upkeep


class Deeds:
    """Hands each action to whoever does it."""

    def __init__(
        self,
        home: Home,
        state: State,
        *,
        backend: ProcessBackend,
        searches: Searches,
        upkeep: Upkeep,
        leave: Callable[[int], None],
    ) -> None:
        """Set up.

        Args:
            home: The state directory.
            state: What the core knows.
            backend: Runs the attempts.
            searches: Propose configurations.
            upkeep: Deletes files.
            leave: Has the engine end with an exit status.
        """
        self._state = state
        self._backend, self._searches = backend, searches
        self._upkeep, self._leave = upkeep, leave

    def do(self, action: a.Action) -> None:
        """Carry an action out."""
        match action:
            case a.Start():
                self._backend.start(action)
            case a.Stop():
                self._backend.stop(action)
            case a.Ask():
                self._searches.of(action.study).ask(action.study, action.trial)
            case a.Introduce():
                past = PastTrial(trial=action.trial, params=action.params)
                self._searches.of(action.study).add(action.study, past)
            case a.Tell():
                self._searches.of(action.study).tell(
                    action.study, action.trial, action.outcome, action.value, action.step
                )
            case a.Reopen():
                study = self._state.studies[action.study]
                self._searches.of(study.id).add(study.id, past_of(study.trials[action.trial]))
            case a.OpenBackend():
                self._backend.wake()
            case a.RenewBackend():
                self._backend.renew()
            case a.CloseBackend():
                self._backend.rest()
            case a.OpenStudy():
                self._open_study(action.study)
            case a.CloseStudy():
                self._searches.close(action.study)
                self._backend.close_study(action.study)
            case a.DumpStack():
                self._backend.dump_stack(action.key)
            case a.Signal():
                self._backend.signal(action.key, action.signal)
            case a.RemoveCheckpoint():
                self._upkeep.remove_checkpoint(action.path)
            case a.RemoveFiles():
                self._upkeep.remove_files(action.study, checkpoints_only=action.checkpoints_only)
            case a.Finish():
                self._leave(exits.AGAIN if action.cause == "raylet died" else exits.DONE)
            case a.Answer() | a.Record():
                pass  # answers are facts: whoever asked reads the ledger

    def _open_study(self, number: int) -> None:
        study = self._state.studies[number]
        relay = SpaceRelay(self._backend.space_address(number))
        self._searches.open(study, relay.define if study.spec.space is None else None)
        self._backend.open_study(number)
