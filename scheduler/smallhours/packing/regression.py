"""A Bayesian regression of a logarithm on a configuration: cautious where it has seen little.

It is made for few observations: the first one already sets the level, and how far another
configuration may be off follows from what is believed of such parameters at large until the
observations say better. Noise and its uncertainty are learned too, so predictions are Student's t
(C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 3.3 and exercise 3.12; the
evidence of a belief: section 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

ParamValue: TypeAlias = bool | int | float | str | None
Params: TypeAlias = Mapping[str, ParamValue]

#: What is believed of slopes before anything was seen, mean and standard deviation. Whole numbers
#: (sizes of a batch or a layer, counts) often drive a trial's needs, up to in proportion; fractions
#: (rates, probabilities) seldom do, but one that does (a width factor) does as whole numbers do;
#: a choice may make any difference of this order.
WHOLE: Final = (0.5, 0.4)
FRACTION: Final = (0.0, 0.03)
_DRIVING: Final = (0.5, 0.4)
CHOICE: Final = (0.0, 0.25)
#: Standard deviation that is believed of the level: any.
_LEVEL_SD: Final = 20.0


class Observation(NamedTuple):
    """A configuration and the logarithm of what was measured of it."""

    params: Params
    value: float


@dataclass(frozen=True, slots=True)
class Predicted:
    """A Student's t distribution of a logarithm."""

    mean: float
    scale: float
    freedom: float

    def above(self, normal: float) -> float:
        """Return the value as far out as so many standard deviations are for a normal one."""
        return self.mean + self.scale * _t_quantile(normal, self.freedom)


class Regression:
    """What was seen, and what follows for other configurations."""

    def __init__(self, noise: float, certainty: float) -> None:
        """Begin without observations.

        Args:
            noise: Relative deviation that repeated measurements are believed to have.
            certainty: How many observations this belief is worth.
        """
        self._noise = noise
        self._certainty = certainty
        self.seen: list[Observation] = []
        self._solved: _Solved | None = None

    def observe(self, params: Params, value: float) -> None:
        """Take in the logarithm of a measurement."""
        self.seen.append(Observation(dict(params), value))
        self._solved = None

    def predict(self, params: Params) -> Predicted | None:
        """Return what to expect of a configuration; None: nothing was seen yet."""
        if not self.seen:
            return None
        if self._solved is None:
            self._solved = _solve(self.seen, self._noise, self._certainty)
        return self._solved.predict(params)


@dataclass(frozen=True, slots=True)
class Column:
    """One feature: how far a number is from where it was first seen, or whether it is a choice."""

    name: str
    #: Whether its logarithm counts.
    log: bool
    origin: float
    #: The choice; None: it is a number.
    choice: ParamValue
    mean: float
    sd: float

    def of(self, params: Params) -> float:
        """Return the feature of a configuration."""
        value = params.get(self.name)
        if self.choice is not None:
            return 1.0 if value == self.choice else 0.0
        if isinstance(value, str | bool) or value is None or not math.isfinite(value):
            return 0.0
        if self.log:
            return math.log(value / self.origin) if value > 0 else 0.0
        return value - self.origin


@dataclass(slots=True)
class _Solved:
    columns: list[Column]
    weights: list[float]
    covariance: list[list[float]]
    variance: float
    freedom: float
    #: Choices that were seen, by parameter.
    choices: dict[str, set[ParamValue]]

    def predict(self, params: Params) -> Predicted:
        x = [1.0, *(column.of(params) for column in self.columns)]
        mean = sum(w * v for w, v in zip(self.weights, x, strict=True))
        size = range(len(x))
        spread = sum(x[i] * self.covariance[i][j] * x[j] for i in size for j in size)
        unseen = sum(params.get(name) not in known for name, known in self.choices.items())
        variance = self.variance * (1.0 + spread) + unseen * CHOICE[1] ** 2
        return Predicted(mean, math.sqrt(variance), self.freedom)


@dataclass(slots=True)
class _Sums:
    """All that the posterior takes of the observations."""

    count: int
    #: Value of the first.
    first: float
    #: Of the features with each other, of the features with the values, of the values.
    gram: list[list[float]]
    right: list[float]
    square: float


def _solve(seen: Sequence[Observation], noise: float, certainty: float) -> _Solved:
    columns, choices = _columns(seen)
    sums = _sums(seen, columns)
    solved, evidence = _posterior(sums, columns, choices, noise, certainty)
    # Fractions that drive what was measured are told from the others by the evidence, one by one.
    for index, column in enumerate(columns):
        if (column.mean, column.sd) == FRACTION:
            other = [*columns]
            other[index] = replace(column, mean=_DRIVING[0], sd=_DRIVING[1])
            better, more = _posterior(sums, other, choices, noise, certainty)
            if more > evidence:
                columns, solved, evidence = other, better, more
    return solved


def _sums(seen: Sequence[Observation], columns: Sequence[Column]) -> _Sums:
    size = len(columns) + 1
    sums = _Sums(len(seen), seen[0].value, [[0.0] * size for _ in range(size)], [0.0] * size, 0.0)
    for params, value in seen:
        x = [1.0, *(column.of(params) for column in columns)]
        sums.square += value * value
        for i in range(size):
            sums.right[i] += x[i] * value
            for j in range(size):
                sums.gram[i][j] += x[i] * x[j]
    return sums


def _posterior(
    sums: _Sums,
    columns: list[Column],
    choices: dict[str, set[ParamValue]],
    noise: float,
    certainty: float,
) -> tuple[_Solved, float]:
    """Return what follows from a belief, and the logarithm of its evidence but for a constant."""
    prior_mean = [sums.first, *(column.mean for column in columns)]
    # In units of the noise, as conjugate priors want it.
    prior = [_LEVEL_SD**-2, *((column.sd / noise) ** -2 for column in columns)]
    size = range(len(prior))
    precision = [[sums.gram[i][j] + prior[i] * (i == j) for j in size] for i in size]
    right = [sums.right[i] + prior[i] * prior_mean[i] for i in size]
    square = sums.square + sum(prior[i] * prior_mean[i] ** 2 for i in size)
    covariance, log_determinant = _inverse(precision)
    weights = [sum(a * b for a, b in zip(row, right, strict=True)) for row in covariance]
    misfit = max(0.0, square - sum(w * r for w, r in zip(weights, right, strict=True)))
    freedom = 2.0 * certainty + sums.count
    total = 2.0 * certainty * noise**2 + misfit
    solved = _Solved(columns, weights, covariance, total / freedom, freedom, choices)
    shrunk = 0.5 * (sum(map(math.log, prior)) - log_determinant)
    return solved, shrunk - 0.5 * freedom * math.log(total)


def _columns(seen: Sequence[Observation]) -> tuple[list[Column], dict[str, set[ParamValue]]]:
    columns: list[Column] = []
    choices: dict[str, set[ParamValue]] = {}
    for name in dict.fromkeys(name for params, _ in seen for name in params):
        values = [params.get(name) for params, _ in seen]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(values):
            choices[name] = set(values)
            later = list(dict.fromkeys(values))[1:]
            columns += [Column(name, False, 0.0, value, *CHOICE) for value in later]
            continue
        whole = all(isinstance(v, int) for v in numbers)
        log = all(v > 0 for v in numbers)
        mean, sd = WHOLE if whole and log else FRACTION
        columns.append(Column(name, log, numbers[0], None, mean, sd))
    return columns, choices


def _inverse(matrix: list[list[float]]) -> tuple[list[list[float]], float]:
    """Return the inverse of a small positive definite matrix, and its log determinant."""
    size, log_determinant = len(matrix), 0.0
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        lead = rows[i][i]
        log_determinant += math.log(abs(lead))
        rows[i] = [value / lead for value in rows[i]]
        for r in range(size):
            factor = rows[r][i]
            if r != i and factor:
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[size:] for row in rows], log_determinant


def _t_quantile(normal: float, freedom: float) -> float:
    """Return Student's quantile from the normal one (Hill's expansion: Cornish and Fisher)."""
    z = normal
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    return z + first / freedom + second / freedom**2
