"""The parts of `gpu.py`: what is run for each figure, and what its table shows."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from statistics import median
from typing import Any

from common import HERE, SMALLHOURS, query, run, smallhours_env, workplace
from gpu_card import Card
from gpu_static import Order
from gpu_train import LEARNING_RATES

from smallhours.worker.limits import ENVIRONMENT, PREFERRED

STUDY = """
import gpu_train
from smallhours import Float, Study

study = Study("{kind}", metric="loss", goal="minimize", space={{"lr": Float(*{rates}, log=True)}},
              baseline={{"lr": {rates}[0]}}, trials={trials}, steps={steps}, stopping="none",
              sampler={{"name": "grid", "points": {trials}}}, enough=False, device="{device}")

@study.train
def train(trial):
    gpu_train.train(trial, "{kind}", {steps}, {batches}, tiny={tiny})
"""
#: How often each question about CUDA is asked.
TIMES = {"start": 6, "context": 3, "oom": 1, "mps_limit": 1, "kill": 3}
#: The longest that one question, or one study, may take.
_CUDA_S = 60.0
_QUICK_RUN_S = 90.0
_RUN_S = 1200.0
_STOP_S = 30.0
#: Under MPS, what a process may take of the card, to see how the rest is refused.
_MPS_LIMIT = "0=2048M"


@dataclass(frozen=True)
class Ground:
    """On what, and how much, is trained."""

    #: None: on the CPU.
    card: Card | None
    trials: int
    steps: int
    #: The peers' numbers of trials at a time; the first is one.
    at_a_time: tuple[int, ...]
    limit_s: float
    local: bool
    #: Why there is no MPS; empty: there is.
    without_mps: str

    @property
    def label(self) -> str:
        """Where it runs, for people."""
        return "the CPU" if self.card is None else self.card.device.label


def ground(card: Card | None, *, quick: bool, local: bool) -> Ground:
    """Return how much is trained: a trial's step takes about 0.1 s when it is alone."""
    trials, steps, numbers = (8, 10, (1, 4, 8)) if quick else (24, 100, (1, 2, 4, 8))
    obstacle = "there is no MPS on the CPU" if card is None else card.obstacle_to_mps()
    limit_s = _QUICK_RUN_S if quick else _RUN_S
    return Ground(card, trials, steps, numbers, limit_s, local, obstacle)


def order(ground: Ground, kind: str, numbers: Sequence[int], batches: int | None) -> Order:
    """Return what the peers are to run; `batches` as `Order` has it."""
    device, tiny = ("cpu", True) if ground.card is None else ("cuda", False)
    return Order(kind, device, tiny, ground.trials, ground.steps, tuple(numbers), batches)


def fixed(ground: Ground, mode: str, order: Order, left_s: float) -> dict[str, Any]:
    """Run the peers.

    Returns:
        The batches of a step, what was found of each number, and why there is not more (empty).

    Raises:
        RuntimeError: there is nothing.
    """
    stopped = ""
    with workplace() as place, ExitStack() as held:
        out = place / "found"
        out.touch()
        command: list[str | Path] = [sys.executable, HERE / "gpu_static.py", out, order.json()]
        try:
            limit_s = min(ground.limit_s * len(order.at_a_time), left_s)
            run(command, env=_environment(ground, mode, held), limit_s=limit_s)
        except RuntimeError as error:
            stopped = str(error)
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise RuntimeError(stopped)
    return {"batches": lines[0]["batches"], "runs": lines[1:], "stopped": stopped}


def _environment(ground: Ground, mode: str, held: ExitStack) -> dict[str, str]:
    """Return what a process needs to be as our trials are, and to see the card only.

    An MPS daemon, where one is wanted, runs for as long as `held`.
    """
    as_ours = PREFERRED | ENVIRONMENT
    if ground.card is None:
        return as_ours
    if mode == "off":
        return as_ours | ground.card.environment
    return as_ours | held.enter_context(ground.card.mps())


def ours(ground: Ground, kind: str, mode: str, batches: int, left_s: float) -> dict[str, Any]:
    """Run a study through the engine, with its own choice of what runs beside what.

    Raises:
        RuntimeError: it failed; the end of the engine's log is in the message.
    """
    device, where = ("cpu", "cpu") if ground.card is None else ("gpu", ground.card.device.name)
    text = STUDY.format(
        kind=kind, rates=LEARNING_RATES, trials=ground.trials, steps=ground.steps,
        batches=batches, device=device, tiny=ground.card is None,
    )  # fmt: skip
    with workplace(text, kind) as place:
        copy(HERE / "gpu_train.py", place)
        config = place / "config.toml"
        config.write_text(f'mps = "{mode}"\ndevices = ["{where}"]\n', encoding="utf-8")
        env = smallhours_env(place) | {"SMALLHOURS_CONFIG": str(config)}
        env |= {"SMALLHOURS_LAUNCHER": "local"} if ground.local else {}
        log = place / "home" / "engine.log"
        try:
            run([*_command(), "run", place / f"{kind}.py"], env=env,
                limit_s=min(ground.limit_s, left_s))  # fmt: skip
        except RuntimeError as error:
            end = log.read_text("utf-8", "replace")[-2000:] if log.exists() else "no engine.log"
            raise RuntimeError(f"{error}\n{end}") from None
        finally:
            # An engine outlives its command, and would share the card with what comes next.
            run([*_command(), "stop", "--now"], env=env, limit_s=_STOP_S)
        return _made(place, ground.trials) | {"mps_was_on": "MPS is on" in log.read_text("utf-8")}


def _command() -> list[str | Path]:
    """Return smallhours' command; where it is not installed, its module must be on the path."""
    if SMALLHOURS.exists():
        return [SMALLHOURS]
    return [sys.executable, "-c", "import sys; from smallhours.cli import main; sys.exit(main())"]


def _made(place: Path, trials: int) -> dict[str, Any]:
    """Read off the ledger how long it took, how many ran at a time, and how attempts ended.

    The time begins with the first trial's first word, as the peers' does when torch is imported.
    """
    rows = query(
        place, "SELECT kind, at, reason FROM event WHERE kind IN"
        " ('attempt_started', 'attempt_running', 'attempt_ended') ORDER BY seq",
    )  # fmt: skip
    running = most = 0
    for kind, _, _ in rows:
        running += {"attempt_started": 1, "attempt_ended": -1}.get(kind, 0)
        most = max(most, running)
    ends = Counter(reason for kind, _, reason in rows if kind == "attempt_ended")
    return {
        "s": rows[-1][1] - next(at for kind, at, _ in rows if kind == "attempt_running"),
        "most_at_a_time": most,
        "ends": dict(ends),
        "failed": trials - ends["completed"],
    }


def cuda(ground: Ground, part: str, mode: str, left_s: float) -> Any:
    """Ask something of CUDA, in processes of their own.

    Raises:
        RuntimeError: there is no answer.
    """
    assert ground.card is not None
    name = "mps_limit" if part == "oom" and mode == "on" else part
    uuid, times = ground.card.device.name, str(TIMES[name])
    command: list[str | Path] = [sys.executable, HERE / "gpu_probes.py", name, uuid, times]
    with ExitStack() as held:
        env = _environment(ground, mode, held)
        env |= {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": _MPS_LIMIT} if name == "mps_limit" else {}
        done = run(command, env=env, limit_s=min(_CUDA_S, left_s))
    try:
        return json.loads(done.output.splitlines()[-1])
    except (ValueError, IndexError):
        raise RuntimeError(f"no answer: {done.output[-2000:]}") from None


def table(part: str, found: Any) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Return the columns and rows of what `cuda` found."""
    if part == "start":
        columns: Sequence[str] = ("seconds from the fork", "the first", "median", "least", "most")
        words = {"kernel_s": "to the first kernel's end", "product_s": "to a matrix product's"}
        rows: list[Sequence[object]] = []
        for key, label in words.items():
            values = [times[key] for times in found]
            if values:
                rows.append((label, values[0], median(values), min(values), max(values)))
        return columns, rows
    if part == "context":
        columns = ("MB that torch did not ask for", "of the card", "of the process (NVML)")
        return columns, [
            (f"process {number}", _mb(one["card_bytes"]), _mb(one["process_bytes"]))
            for number, one in enumerate(found, start=1)
        ]
    if part == "kill":
        keys = ("by_its_own_pid", "reaped_s", "unlisted_s", "memory_back_s")
        return ("after SIGKILL", *keys), [
            (f"process {number}", *(one[key] for key in keys))
            for number, one in enumerate(found, start=1)
        ]
    return ("out of memory", "what is raised", "seen as such"), [
        (case, said["type"], str(said["seen_as_out_of_memory"]))
        if said is not None
        else (case, "the process died", None)
        for case, said in found.items()
    ]


def _mb(size: int | None) -> float | None:
    return None if size is None else size / 1e6
