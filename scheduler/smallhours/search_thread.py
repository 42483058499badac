"""Serves the searches of all studies in threads of their own: a proposal may take a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from smallhours import samplers
from smallhours.clock import Clock
from smallhours.core import classify
from smallhours.core.actions import Outcome
from smallhours.core.events import Event, Suggested, SuggestFailed
from smallhours.core.model import Study, Trial
from smallhours.core.spec import StudySpec
from smallhours.core.trial import Role, TrialState
from smallhours.errors import EngineError, SmallhoursError
from smallhours.search import Define, PastTrial, Search
from smallhours.space_relay import SpaceFunctionError

_WORDS_CHARS = 4_000

_Job: TypeAlias = Callable[[], object]

#: Roles of the trials that the search knows of.
_SEARCHED = (Role.BASELINE, Role.SEARCH)


def history_of(study: Study) -> list[PastTrial]:
    """Return what a study's search must know of the trials that the ledger has."""
    return [_known(study, trial) for trial in study.trials.values() if trial.role in _SEARCHED]


def past_of(trial: Trial) -> PastTrial:
    """Return what a study's search must know of a trial that is not over."""
    return PastTrial(
        trial=trial.number, params=trial.params, dimensions=trial.dimensions, attrs=trial.attrs
    )


def _known(study: Study, trial: Trial) -> PastTrial:
    if trial.state is not TrialState.ENDED:
        return past_of(trial)
    outcome, value, step = classify.for_search(study, trial)
    return replace(past_of(trial), outcome=outcome, value=value, step=step)


class Searches:
    """The searches of all studies, in one thread but for those that may take long.

    A space that is a function waits for the study's imports and may hang, and some samplers take
    seconds: such a study has a thread to itself, so that nobody else waits for it.
    """

    def __init__(self, post: Callable[[Event], None], clock: Clock) -> None:
        """Start the thread that is shared; see `SearchThread`."""
        self._post = post
        self._clock = clock
        self._shared = SearchThread(post, clock)
        self._own: dict[int, SearchThread] = {}

    def open(self, study: Study, define: Define | None) -> None:
        """Build the search of a study, anew if it is open; see `SearchThread.open`."""
        slow = define is not None or study.spec.sampler.name in samplers.SLOW
        if slow and study.id not in self._own:
            self._own[study.id] = SearchThread(self._post, self._clock)
        self.of(study.id).open(study.id, study.spec, history_of(study), define)

    def of(self, study: int) -> SearchThread:
        """Return the thread in which a study's search lives."""
        return self._own.get(study, self._shared)

    def close(self, study: int) -> None:
        """Let a study's search go; waits for nothing."""
        self.of(study).close(study)
        own = self._own.pop(study, None)
        if own is not None:
            own.shutdown(timeout_s=0.0)

    def shutdown(self) -> None:
        """End all threads; what blocks is left to end with the process."""
        for study in list(self._own):
            self.close(study)
        self._shared.shutdown()


class SearchThread:
    """Opens, asks, tells and closes the searches of all studies, first come, first served.

    Every `ask` is answered by exactly one `Suggested` or `SuggestFailed`, unless the thread is shut
    down before. A job that fails (it must not) leaves a search that may differ from the ledger:
    from then on the study's asks are answered with what went wrong, until it is opened anew.
    """

    def __init__(self, post: Callable[[Event], None], clock: Clock) -> None:
        """Start the thread.

        Args:
            post: Takes the answers; called from the thread.
            clock: Gives the answers their time.
        """
        self._post = post
        self._clock = clock
        #: None: the end.
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._shut = False
        self._searches: dict[int, Search] = {}
        self._defines: dict[int, Define] = {}
        #: Why a study's search can't be asked, in words.
        self._broken: dict[int, str] = {}
        self._thread = threading.Thread(target=self._serve, name="search", daemon=True)
        self._thread.start()

    def open(
        self,
        study: int,
        spec: StudySpec,
        history: Iterable[PastTrial] = (),
        define: Define | None = None,
    ) -> None:
        """Build the search of a study, anew if it is open.

        Args:
            study: Its id.
            spec: The study.
            history: Its trials so far, see `history_of`.
            define: Where the space is a function: runs it for a trial number, which may block.
        """
        self._put(study, partial(self._open, study, spec, list(history), define))

    def add(self, study: int, trial: PastTrial) -> None:
        """Let a search know of a trial that it did not propose, or that runs again."""
        self._put(study, lambda: self._searches[study].add(trial))

    def ask(self, study: int, trial: int) -> None:
        """Have a configuration proposed."""
        self._jobs.put(partial(self._ask, study, trial))

    def tell(
        self, study: int, trial: int, outcome: Outcome, value: float | None, step: int | None
    ) -> None:
        """Let a search know how a trial ended, see `Search.tell`."""
        self._put(study, lambda: self._searches[study].tell(trial, outcome, value, step))

    def close(self, study: int) -> None:
        """Let a study's search go."""
        self._jobs.put(partial(self._close, study))

    def shutdown(self, timeout_s: float = 5.0) -> None:
        """Drop what was not begun and wait for the thread to end.

        Args:
            timeout_s: Longest wait for the job at hand (a `define` may block); the thread is a
                daemon and keeps no process alive.
        """
        self._shut = True
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _put(self, study: int, job: _Job) -> None:
        self._jobs.put(partial(self._guarded, study, job))

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not self._shut:
                job()

    def _guarded(self, study: int, job: _Job) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - reported with the study's next ask
            self._broken.setdefault(study, _words(error))  # what comes later follows from it

    def _open(
        self, study: int, spec: StudySpec, history: list[PastTrial], define: Define | None
    ) -> None:
        self._close(study)
        self._searches[study] = Search(spec, history)
        if define is not None:
            self._defines[study] = define

    def _close(self, study: int) -> None:
        self._searches.pop(study, None)
        self._defines.pop(study, None)
        self._broken.pop(study, None)

    def _ask(self, study: int, trial: int) -> None:
        event: Event
        try:
            event = self._suggested(study, trial)
        except Exception as error:  # noqa: BLE001 - the machine halts the study with these words
            event = SuggestFailed(
                at=self._clock.mono(), study=study, trial=trial, message=_words(error)
            )
        if not self._shut:
            self._post(event)

    def _suggested(self, study: int, trial: int) -> Suggested:
        if study in self._broken:
            raise EngineError(self._broken[study])
        search, define = self._searches.get(study), self._defines.get(study)
        if search is None:
            raise EngineError("the study's search is not open")
        if define is None:
            params, dimensions = search.ask(trial), None
        else:
            params, dimensions = search.ask_with(trial, define)
        return Suggested(
            at=self._clock.mono(),
            study=study,
            trial=trial,
            params=params,
            dimensions=dimensions,
            attrs=search.attrs(trial),
        )


def _words(error: Exception) -> str:
    """Return what went wrong, as the ledger can keep it; of an unforeseen error its type too."""
    foreseen = isinstance(error, SmallhoursError | SpaceFunctionError)
    words = str(error) if foreseen else f"{type(error).__name__}: {error}"
    return words[:_WORDS_CHARS].encode(errors="backslashreplace").decode()
