"""Workloads for the packing benchmark: three mixes, drawn from a seed."""

from __future__ import annotations

import math
import random
from typing import Literal, TypeAlias

from smallhours.packing.cards import Card
from smallhours.simulate.interference import Interference, Load
from smallhours.simulate.workload import StudySpec, TrialSpec, Workload

Mix: TypeAlias = Literal["small", "mixed", "saturating"]
MIXES: tuple[Mix, ...] = ("small", "mixed", "saturating")
CARDS = {"24": (24,), "24+12": (24, 12)}
_GIB = 2**30
_MIB = 2**20
#: What a process takes before it does anything.
_CONTEXT = 450 * _MIB
TRIALS = 60


def workload(mix: Mix, cards: str, seed: int) -> Workload:
    """Draw a workload."""
    rng = random.Random(f"{mix}/{seed}")
    studies, trials = [], []
    kinds = _kinds(mix, rng)
    shares = [rng.uniform(0.5, 1.5) for _ in kinds]
    counts = [max(2, round(TRIALS * share / sum(shares))) for share in shares]
    counts[counts.index(max(counts))] += TRIALS - sum(counts)
    for number, (kind, count) in enumerate(zip(kinds, counts, strict=True)):
        study = StudySpec(name=f"{kind}{number}")
        studies.append(study)
        # A third of the nights has a study that comes later.
        late = number == len(kinds) - 1 and rng.random() < 1 / 3
        trials += _trials(study.name, kind, count, rng.uniform(100, 1000) if late else 0.0, rng)
    rng.shuffle(trials)
    return Workload(
        cards=tuple(
            Card(name=f"gpu{i}", total_bytes=size * _GIB, reserve_bytes=_GIB // 2)
            for i, size in enumerate(CARDS[cards])
        ),
        studies=tuple(studies),
        trials=tuple(trials),
        interference=Interference("mps" if seed % 2 else "time_slicing"),
        seed=seed,
    )


def _kinds(mix: Mix, rng: random.Random) -> list[str]:
    if mix == "small":
        return ["small"] * rng.randint(2, 5)
    if mix == "saturating":
        return ["saturating"] * rng.randint(2, 4)
    return ["small", "saturating", *rng.choices(("small", "medium", "saturating"), k=2)]


def _trials(
    study: str, kind: str, count: int, arrival_s: float, rng: random.Random
) -> list[TrialSpec]:
    busy, compute, memory_bound, weights_bytes, minutes = {
        "small": (rng.uniform(0.2, 0.65), rng.uniform(0.1, 0.45), 0.0, 0.8 * _GIB, (1.5, 6)),
        "medium": (rng.uniform(0.5, 0.85), rng.uniform(0.4, 0.8), 0.3, 2.0 * _GIB, (3, 12)),
        "saturating": (rng.uniform(0.93, 0.995), rng.uniform(0.85, 1.0), rng.random(),
                       3.0 * _GIB, (4, 15)),
    }[kind]  # fmt: skip
    length_s = 60 * rng.uniform(*minutes)
    steps = rng.randint(20, 80)
    by_batch, by_width = rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.2)
    # The largest configuration fits on the larger card.
    largest = 2**by_batch * 2**by_width
    bytes_at_64 = min(weights_bytes * math.exp(rng.gauss(0.0, 0.5)), 18 * _GIB / largest)
    slower_by_width = rng.uniform(0.1, 0.8)
    found = []
    for number in range(count):
        batch, width = rng.choice((32, 64, 128)), rng.choice((64, 128, 256))
        size = (batch / 64) ** by_batch * (width / 128) ** by_width
        true = _CONTEXT + bytes_at_64 * size * math.exp(rng.gauss(0.0, 0.03))
        step_s = length_s / steps * (width / 128) ** slower_by_width * math.exp(rng.gauss(0, 0.1))
        load = Load(
            round(min(0.995, busy * (width / 128) ** 0.08), 2),
            round(min(1.0, compute * (batch / 64) ** 0.15), 2),
            round(memory_bound, 1),
        )
        found.append(
            TrialSpec(
                name=f"{study}/{number}",
                study=study,
                arrival_s=arrival_s,
                steps=steps,
                step_s=step_s,
                device_bytes=int(true),
                believed_bytes=int(true * math.exp(rng.gauss(0.0, 0.3))),
                load=load,
                params={
                    "batch_size": batch,
                    "width": width,
                    "lr": 10 ** rng.uniform(-4, -1),
                    "dropout": rng.uniform(0.0, 0.5),
                },
            )
        )
    return found
