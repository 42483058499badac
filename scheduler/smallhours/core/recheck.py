"""Which stopped trials are run to their end later, to measure how often the rule was wrong."""

from __future__ import annotations

import hashlib

from smallhours.core.model import Study, Trial
from smallhours.core.reasons import Reason, RuleCut, RungCut
from smallhours.core.spec import StudySpec
from smallhours.core.trial import TrialState

#: The verdicts whose truth a recheck measures.
_BY_RULE = (RungCut, RuleCut)


def drawn(spec: StudySpec, number: int) -> bool:
    """Toss the trial's coin: a function of the study's seed, its share and the trial's number."""
    digest = hashlib.sha256(f"{spec.seed}/recheck/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < spec.recheck * 2**64


def keeps(study: Study, trial: Trial, reason: Reason) -> bool:
    """Whether a trial that is to end for a reason should save its state for a recheck."""
    return trial.judged and isinstance(reason, _BY_RULE) and drawn(study.spec, trial.number)


def due(study: Study, trial: Trial) -> bool:
    """Whether a trial that has just ended is to be rechecked."""
    over = trial.state is TrialState.ENDED and trial.reason is not None
    return over and keeps(study, trial, trial.reason)  # type: ignore[arg-type]


def waits(trial: Trial) -> bool:
    """Whether a trial that waits is one of those that go last."""
    return trial.continued is not None and trial.continued.cause == "recheck"
