"""Looks after the files of trials while the engine runs; what takes long is done in a thread."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable, Mapping
from functools import partial

from smallhours import housekeeping, logs
from smallhours.core.model import Study
from smallhours.core.storage import Holding
from smallhours.core.trial import AttemptKey
from smallhours.errors import LedgerError
from smallhours.paths import Home

_logger = logging.getLogger(__name__)


class Upkeep:
    """Keeps logs within their size and deletes what is not wanted any more."""

    def __init__(self, home: Home, log_bytes: int) -> None:
        """Set up.

        Args:
            home: The state directory.
            log_bytes: What the log of an attempt may take; may be changed at any time.
        """
        self._home = home
        self.log_bytes = log_bytes

    def cap_logs(self, living: Iterable[AttemptKey]) -> None:
        """Keep the logs of living attempts within their size."""
        logs.cap([self._home.attempt(*key) for key in living], self.log_bytes)

    def finish_log(self, key: AttemptKey) -> None:
        """Tidy the log of an attempt that is over, in a thread."""
        asyncio.get_running_loop().run_in_executor(None, self._finish_log, key)

    def remove_files(self, study: int, *, checkpoints_only: bool) -> None:
        """Delete a study's files, in a thread; what a sudden end leaves goes at the next start."""
        remove = partial(
            housekeeping.remove_files, self._home, study, checkpoints_only=checkpoints_only
        )
        asyncio.get_running_loop().run_in_executor(None, remove)

    def remove_checkpoint(self, path: str) -> None:
        """Delete a checkpoint's directory, by its path below the state directory."""
        target = (self._home.root / path).resolve()
        if target.is_relative_to(self._home.trials.resolve()):
            shutil.rmtree(target, ignore_errors=True)

    async def holdings(self, studies: Mapping[int, Study]) -> list[Holding]:
        """Return the checkpoints of the studies that are not loaded; none where that fails."""
        try:
            return await asyncio.to_thread(housekeeping.holdings, self._home, dict(studies))
        except (OSError, LedgerError) as error:
            _logger.error("checkpoints of closed studies don't count: %s", error)
            return []

    def _finish_log(self, key: AttemptKey) -> None:
        try:
            logs.finish(self._home.attempt(*key), self.log_bytes)
        except OSError as error:
            _logger.warning("the log of %s can't be tidied: %s", key, error)
