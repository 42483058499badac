"""A night for the dashboard's tests: one study over, one running, one that waits, one halted."""

from __future__ import annotations

import math
import os
from pathlib import Path

from fakes.ledgers import Recording
from smallhours import status
from smallhours.core import facts as f
from smallhours.core import reasons as r
from smallhours.core.spec import Dimension
from smallhours.core.waiting import Why

#: A failure whose message tries to clear the screen, in wide characters.
HOSTILE = "bad \x1b[2J[bold]width[/bold] 測定"
_SPACE = (
    Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),
    Dimension(name="width", kind="int", low=4, high=256),
    Dimension(name="act", kind="choice", choices=("relu", "gelu")),
)


class SampleNight(Recording):
    """The ledger, with this process as its engine and the engine's plans beside it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.session()
        self._wine()
        self._digits()
        self._others()
        self.engine_lives(os.getpid())
        self.plan()

    def plan(self, **changes: object) -> None:
        """Write what the engine plans."""
        now = self.clock.now
        device = status.DeviceReading(
            name="cpu", kind="cpu", label="EPYC", index=None, at=now, total_bytes=64 * 2**30,
            used_bytes=21 * 2**30, free_bytes=43 * 2**30, reserved_bytes=None, utilisation=0.71,
            temperature_c=64.0, too_hot=False, power_w=None, display=None, cores=16.0,
            others_cores=1.2, processes=None, sources={},
        )  # fmt: skip
        known: dict[str, object] = {
            "at": now, "pid": os.getpid(), "session": 1, "device": "cpu", "slots": 4, "running": 2,
            "backend": "ready", "yielded_until": None, "yielded_to": None, "deadline": None,
            "storage_short_bytes": 0,
            "waiting": (status.Waiting(study=3, trial=None, why=Why.FULL, since=now - 500),),
            "forecast": (
                status.Forecast(study=2, done_at=now + 7200, in_time=None, trials_in_time=None),
            ),
            "devices": (device,),
        }  # fmt: skip
        status.write(self.home, status.Status(**(known | changes)))  # type: ignore[arg-type]

    def trial(self, study: int, number: int, fate: str = "done") -> None:
        """Run a trial to its end, or into the middle."""
        lr = 10 ** (-4 + number % 17 / 4)
        steps = self._specs[study].steps
        low = 0.2 + 0.1 * abs(math.log10(lr) + 2) + 0.001 * number
        curve = {step: low + math.exp(-step / 4) for step in range(1, steps + 1)}
        act = "relu" if number % 2 else "gelu"
        self.create(number, {"lr": lr, "width": 8 + number, "act": act}, study=study)
        self.start(number, study=study)
        match fate:
            case "done":
                self.report(number, curve, study=study)
                reason: r.Reason = r.Completed(steps=steps, metrics={"val_loss": curve[steps]})
                score, last = curve[steps], steps
            case "cut":
                self.report(number, {s: v for s, v in curve.items() if s <= 7}, study=study)
                reason = r.RuleCut(
                    rule="median", version=1, options={"warmup": 5, "startup": 5}, step=7,
                    value=curve[7], threshold=curve[7] - 0.1, goal="minimize", compared=6,
                    competitors=((1, 0.3), (2, 0.4)),
                )  # fmt: skip
                score, last = curve[7], 7
            case "fail":
                reason = r.Failure(
                    type="ValueError", message=HOSTILE, fingerprint="f1",
                    where="digits.py:12 in train", traceback="Traceback:\n  \x1b]52;c;eA==\x07boom",
                    phase="train",
                )  # fmt: skip
                self.end(number, reason, study=study)
                return
            case _:
                self.report(number, {s: v for s, v in curve.items() if s <= 4}, study=study)
                return
        self.end(number, reason, study=study, score=score, last_step=last)

    def _wine(self) -> None:
        self.study(1, "wine", trials=2, steps=10, space=_SPACE)
        self.trial(1, 0)
        self.trial(1, 1)
        self.add(f.StudyEnded(study=1, outcome="done", winner=1))

    def _digits(self) -> None:
        self.study(2, "digits", trials=40, steps=10, space=_SPACE)
        for number in range(20):
            fate = "done" if number < 6 or number % 3 == 0 else "cut"
            self.trial(2, number, "fail" if number == 17 else fate)
        self.log(20, b"epoch 1\repoch 2\nwarning \x1b[2J evil\nlast words\n", study=2)
        self.trial(2, 20, "live")
        self.trial(2, 21, "live")

    def _others(self) -> None:
        self.study(3, "vit-[red]tiny", trials=8, steps=10, space=_SPACE)
        self.study(4, "gru", trials=8, steps=10, space=_SPACE)
        said = "3 trials in a row failed in the same way"
        self.add(f.StudyHalted(study=4, cause="same_failure", sentence=said))
