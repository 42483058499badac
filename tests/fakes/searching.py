"""The search as the engine keeps it, for simulated nights."""

from __future__ import annotations

from smallhours.core import actions as a
from smallhours.core.model import Study, Trial
from smallhours.core.spec import Params, StudySpec
from smallhours.search import PastTrial, Search
from smallhours.search_thread import past_of


class LivingSearch:
    """Answers for a study's search with the real one."""

    def __init__(self, of: StudySpec) -> None:
        self.search = Search(of)

    def ask(self, study: Study, trial: int) -> Params:
        return self.search.ask(trial)

    def introduce(self, action: a.Introduce) -> None:
        self.search.add(PastTrial(trial=action.trial, params=action.params))

    def tell(self, action: a.Tell) -> None:
        self.search.tell(action.trial, action.outcome, action.value, action.step)

    def reopen(self, trial: Trial) -> None:
        self.search.add(past_of(trial))
