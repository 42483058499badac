"""A night on two GPUs for the dashboard's lanes and reasons: predicted, measured, cut, starved."""

from __future__ import annotations

import os
from pathlib import Path

from fakes.ledgers import EVENING, Recording
from smallhours import status
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.footprint import Footprint, GpuPeak, Prediction
from smallhours.core.waiting import Why

GIB = 2**30
FIRST, SECOND = "GPU-1f2e3d4c-aaaa", "GPU-9a8b7c6d-bbbb"
CUT = r.RungCut(
    rule="asha", version=1, step=9, rung=2, value=0.412, cutoff=0.377, goal="minimize", rank=7,
    of=9, competitors=((1, 0.301), (3, 0.318), (2, 0.352), (4, 0.391)),
)  # fmt: skip
OOM = r.GpuOom(
    requested_bytes=2 * GIB, free_bytes=GIB, own_peak_bytes=12 * GIB, predicted_bytes=11 * GIB,
    neighbours=(("vit/5", 9 * GIB),), fault="own",
)  # fmt: skip
BUG = r.Failure(
    type="ValueError", message="bad width", fingerprint="f1", where="mlp.py:12 in train",
    traceback="Traceback (most recent call last):\n  boom", phase="train",
)  # fmt: skip


class GpuNight(Recording):
    """Two studies from 22:00 on; it is 23:00, two trials run and one waits."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._at: list[tuple[float, f.Fact]] = []
        self.session()
        self.study(1, "vit", trials=40, steps=27)
        self.study(2, "mlp", trials=40, steps=27)
        done = r.Completed(steps=27, metrics={"val_loss": 0.3})
        self.stay((1, 0), FIRST, (1, 12), done, probe=True, needed=5.0)
        self.stay((1, 1), FIRST, (12, 40), done, needed=5.1)
        self.stay((2, 0), FIRST, (12, 14), BUG)
        self.stay((2, 1), FIRST, (15, 30), CUT, last=9, needed=2.2)
        self.stay((2, 2), FIRST, (30, 33), BUG)
        self.stay((1, 5), SECOND, (5, None))
        self.stay((1, 6), SECOND, (20, 41), OOM, needed=12.9, last=4)
        self.stay((1, 7), FIRST, (41, None))
        self._play()
        self.engine_lives(os.getpid())
        self.clock.now = EVENING + 3600
        self.plan()

    def stay(
        self,
        whose: tuple[int, int],
        device: str,
        minutes: tuple[float, float | None],
        reason: r.Reason | None = None,
        *,
        last: int = 27,
        needed: float | None = None,
        probe: bool = False,
    ) -> None:
        """Run a trial of a study from one minute of the night to another; None: it still runs."""
        (study, trial), (start, end) = whose, minutes
        ids = {"study": study, "trial": trial, "attempt": 1}
        since = EVENING + 60 * start
        predicted = Prediction(int(5.0 * GIB), int(5.4 * GIB))
        created = f.TrialCreated(
            study=study, trial=trial, params={"lr": 0.01 * (trial + 1)}, seed=trial,
            role="search" if trial else "baseline",  # type: ignore[arg-type]
        )  # fmt: skip
        started = f.AttemptStarted(
            **ids, device=device, resume_step=0, predicted=None if probe else predicted, probe=probe
        )
        self._at += [(since - 2, created), (since, started)]
        steps = range(1, (last if reason else 5) + 1)
        self._at += [
            (since + 1 + step, f.Reported(**ids, step=step, metrics={"val_loss": 0.3 + 1 / step}))
            for step in steps
        ]
        if reason is not None and end is not None:
            took = None if needed is None else int(needed * GIB)
            footprint = None
            if took is not None:
                footprint = Footprint(
                    step_s=0.2, gpus=(GpuPeak(0, took - GIB // 2, took - GIB),),
                    context_bytes=GIB // 2, gpu_source="processes",
                )  # fmt: skip
            ended = f.AttemptEnded(
                **ids, reason=reason, seconds=60.0 * (end - start), last_step=last, score=0.3,
                then="over", footprint=footprint,
            )  # fmt: skip
            self._at.append((EVENING + 60 * end, ended))

    def plan(self, **changes: object) -> None:
        """Write what the engine plans."""
        now = self.clock.now
        known: dict[str, object] = {
            "at": now, "pid": os.getpid(), "session": 1, "device": FIRST, "slots": 2, "running": 2,
            "backend": "ready", "yielded_until": None, "yielded_to": None, "deadline": None,
            "storage_short_bytes": 0,
            "waiting": (status.Waiting(study=2, trial=None, why=Why.MEMORY, since=now - 500),),
            "forecast": (),
            "devices": (_card(0, FIRST, now, 17.4, 0.88), _card(1, SECOND, now, 21.1, 0.97)),
        }  # fmt: skip
        status.write(self.home, status.Status(**(known | changes)))  # type: ignore[arg-type]

    def _play(self) -> None:
        """Record everything in the order of time."""
        for at, fact in sorted(self._at, key=lambda one: one[0]):
            self.clock.now = at - 1
            self.add(fact)


def _card(index: int, name: str, now: float, used: float, busy: float) -> status.DeviceReading:
    return status.DeviceReading(
        name=name, kind="gpu", label="NVIDIA GeForce RTX 4090", index=index, at=now,
        total_bytes=24 * GIB, used_bytes=int(used * GIB), free_bytes=int((24 - used) * GIB),
        reserved_bytes=int(1.5 * GIB), utilisation=busy, temperature_c=64.0, too_hot=False,
        power_w=301.0, display=False, cores=None, others_cores=None, processes=None, sources={},
    )  # fmt: skip
