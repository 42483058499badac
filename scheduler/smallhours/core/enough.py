"""When a search has found enough: what is left to gain is less than what another seed changes.

Makarova et al., Automatic Termination for Hyperparameter Optimization (AutoML 2022), stop a search
once its bound on the regret is below the noise of the scores. Theirs is the bound of a Gaussian
process. Here the gain that is left comes from order statistics: where scores beyond a high one fall
off exponentially with mean excess e, the best of n + m trials is expected to beat the best of n by
e * (1/(n+1) + ... + 1/(n+m)) (Renyi, On the theory of order statistics, 1953).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from smallhours.core.model import Study, Trial
from smallhours.core.noise import Noise
from smallhours.core.outcomes import Enough
from smallhours.core.reasons import Completed
from smallhours.core.spec import Goal
from smallhours.core.trial import Role, TrialState

#: Of the judgement: ledgers made by another one are not comparable.
VERSION: Final = 1
#: Studies that want fewer trials run them all.
LEAST_TRIALS: Final = 100
#: Nothing is said before so many trials are over, and so many of them completed.
LEAST_ENDED: Final = 30
LEAST_COMPLETED: Final = 10
#: The best of so many of those that are over show how far good scores lie apart ...
_TOP_SHARE: Final = 0.1
#: ... and no fewer than this.
_TOP_LEAST: Final = 5
#: What is left to gain is less than this share of the noise: what one seed shows of the noise is
#: the least that it can be, and what scores show of the gain is uncertain.
_NOISE_SHARE: Final = 0.5
#: The curves of so many completed trials, the latest, tell the noise.
_TELLING: Final = 50
#: The best is as old as this share of the trials that are over, at least.
_SINCE_BEST: Final = 1 / 3


def judge(study: Study) -> Enough | None:
    """Say whether a study's search has found enough, with the evidence; None: it goes on."""
    spec = study.spec
    if not spec.enough or spec.trials < LEAST_TRIALS or study.best is None:
        return None
    tried = [t for t in study.trials.values() if t.role is not Role.CONFIRMATION]
    ended = [trial for trial in tried if trial.state is TrialState.ENDED]
    left = spec.trials - study.searched
    completed = [trial for trial in ended if isinstance(trial.reason, Completed)]
    if left <= 0 or len(ended) < LEAST_ENDED or len(completed) < LEAST_COMPLETED:
        return None
    sign = 1.0 if spec.goal is Goal.MAXIMIZE else -1.0
    merits = sorted((sign * s for t in completed if (s := t.score(spec)) is not None), reverse=True)
    merits = [merit for merit in merits if math.isfinite(merit)]
    top = max(_TOP_LEAST, math.ceil(_TOP_SHARE * len(ended)))
    since_best = sum(trial.number > study.best for trial in ended)
    if len(merits) <= top or since_best < _SINCE_BEST * len(ended):
        return None
    excess = math.fsum(merits[:top]) / top - merits[top]
    gain = excess * math.fsum(1 / i for i in range(len(ended) + 1, len(ended) + left + 1))
    noise = _noise(study, completed)
    if gain >= _NOISE_SHARE * noise:
        return None
    return Enough(
        version=VERSION,
        ended=len(ended),
        left=left,
        best=study.best,
        since_best=since_best,
        top=top,
        excess=excess,
        gain=gain,
        noise=noise,
    )


def sentence(study: Study, found: Enough) -> str:
    """Return the evidence in words."""
    return (
        f"the {found.left} trials that were left could be expected to gain {found.gain:.3g} in"
        f" {study.spec.metric}, little beside the {found.noise:.3g} that another seed changes at"
        " least"
    )


def _noise(study: Study, completed: Sequence[Trial]) -> float:
    """Return what another seed changes at least: the scatter of the curves about their trends.

    Where configurations were repeated on fresh seeds (before the study was asked for more), what
    those show counts if it is more.
    """
    noise = Noise()
    for trial in completed[-_TELLING:]:
        noise.add([trial.curve[step] for step in sorted(trial.curve)])
    squares, degrees = 0.0, 0
    for of in study.confirmed:
        scores = [
            score
            for trial in study.trials.values()
            if of in (trial.number, trial.of)
            and isinstance(trial.reason, Completed)
            and (score := trial.score(study.spec)) is not None
        ]
        if len(scores) > 1:
            mean = math.fsum(scores) / len(scores)
            squares += math.fsum((score - mean) ** 2 for score in scores)
            degrees += len(scores) - 1
    return max(noise.level, math.sqrt(squares / degrees) if degrees else 0.0)
