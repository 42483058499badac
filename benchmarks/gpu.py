"""Real training on a real NVIDIA GPU: what our packing gains, and what CUDA and MPS do there.

Three kinds of nets (`gpu_train.py`) are trained through `smallhours run`, from the first trial's
start to the last one's end, beside fixed numbers of the same trials at a time (`gpu_static.py`),
with time slicing and, where it can be used, with MPS. A card with more free memory than --card-gb
is made like a smaller one: another process holds the rest. Nothing of the card's settings is
changed, and each process has a limit. What is found is kept after every part.

    python benchmarks/gpu.py [--quick] [--parts start,train] [--card GPU-8f] [--card-gb 24]
                             [--limit 240] [--local] [--out DIR] [--cpu]

Where there is no GPU it leaves with 2; with --cpu the training is tried out on the CPU.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gpu_parts
from common import OUT, save, show
from gpu_card import Card, NoCardError
from gpu_parts import Ground

from smallhours.devices.mps_control import MpsError

#: What is to be reached of the speed of one at a time.
GOALS = {"mlp": 2.5, "cnn": 2.5, "saturating": 0.98}
#: Those that say most come first: with a limit, the last ones may be left out.
PARTS = ("start", "context", "oom", "kill", "mlp", "saturating", "cnn")
#: No part is begun with less time than this.
_LEAST_S = 10.0


@dataclass
class Figures:
    """All that was found so far."""

    out: Path
    ends_at: float
    about: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)
    #: What was not measured -> why.
    left_out: dict[str, str] = field(default_factory=dict)

    def left_s(self) -> float:
        """Return how much time is left of the limit."""
        return self.ends_at - time.monotonic()

    def measure(self, name: str, part: Callable[[float], Any]) -> Any:
        """Have something measured, in the seconds that are left, and keep it; None: it was not."""
        if self.left_s() < _LEAST_S:
            self.leave_out(name, "the time is over (--limit)")
            return None
        try:
            self.found[name] = part(self.left_s())
        except (RuntimeError, NoCardError, MpsError) as error:
            self.leave_out(name, str(error))
        self.save()
        return self.found.get(name)

    def leave_out(self, name: str, why: str) -> None:
        """Say that something is not measured."""
        self.left_out[name] = why
        print(f"\n{name}: not measured: {why}", flush=True)

    def save(self) -> None:
        """Keep what there is."""
        save("gpu", {**self.about, "found": self.found, "left_out": self.left_out}, self.out)


def measure_training(figures: Figures, ground: Ground, kind: str) -> None:
    """Measure a kind of nets: without MPS and with it, peers first."""
    batches: int | None = None
    alone_s: float | None = None
    for mode in ("off", "on"):
        name = f"{kind}, MPS {mode}"
        if mode == "on" and ground.without_mps:
            figures.leave_out(name, ground.without_mps)
            continue
        numbers = ground.at_a_time if mode == "off" else ground.at_a_time[1:]
        peers = figures.measure(
            f"{name}, fixed",
            partial(gpu_parts.fixed, ground, mode, gpu_parts.order(ground, kind, numbers, batches)),
        )
        if peers is None:
            continue
        batches = peers["batches"]
        if peers["stopped"]:
            figures.leave_out(f"{name}, the rest of the fixed ones", peers["stopped"])
        alone = (run["s"] for run in peers["runs"] if run["at_a_time"] == 1 and not run["failed"])
        alone_s = next(alone, alone_s)
        ours = figures.measure(
            f"{name}, ours", partial(gpu_parts.ours, ground, kind, mode, batches)
        )
        title = f"{name}: {ground.trials} trials of {ground.steps} steps on {ground.label}"
        goal = GOALS[kind] if ground.card is not None else None
        show_training(title, peers["runs"], ours, alone_s, goal)


def show_training(
    title: str,
    peers: Sequence[Mapping[str, Any]],
    ours: Mapping[str, Any] | None,
    alone_s: float | None,
    goal: float | None,
) -> None:
    """Print the peers beside ours; what failed trials took is no figure to compare."""
    rows: list[tuple[object, ...]] = []
    for run in peers:
        compared = alone_s / run["s"] if alone_s and not run["failed"] else None
        rows.append((f"{run['at_a_time']} at a time", run["s"], compared, run["failed"], None))
    if ours is not None:
        compared = alone_s / ours["s"] if alone_s and not ours["failed"] else None
        label = f"ours, up to {ours['most_at_a_time']} at a time"
        rows.append((label, ours["s"], compared, ours["failed"], goal))
    show(title, ("", "seconds", "times one at a time", "failed", "goal"), rows)


def measure_cuda(figures: Figures, ground: Ground, part: str) -> None:
    """Measure something of CUDA itself, with MPS as well where that says something else."""
    for mode in ("off",) if part == "kill" else ("off", "on"):
        name = f"{part}, MPS {mode}"
        if mode == "on" and ground.without_mps:
            figures.leave_out(name, ground.without_mps)
            continue
        found = figures.measure(name, partial(gpu_parts.cuda, ground, part, mode))
        if found is not None:
            columns, rows = gpu_parts.table(part, found)
            show(name, columns, rows)
        if part == "oom":
            for case, said in (found or {}).items():
                print(f"  {case}: {'' if said is None else said['text']}")


def measure(given: argparse.Namespace, card: Card | None) -> None:
    """Measure all parts that are wanted."""
    ground = gpu_parts.ground(card, quick=given.quick, local=given.local)
    about: dict[str, Any] = {
        "card": None if card is None else card.describe(),
        "trials": ground.trials,
        "steps": ground.steps,
        "local": given.local,
    }
    figures = Figures(given.out, time.monotonic() + given.limit, about)
    with ExitStack() as held:
        if card is not None:
            about["ballast_gb"] = held.enter_context(card.ballast(given.card_gb))
            _say(about["card"])
            print(f"held by another process: {about['ballast_gb'] or 0:.1f} GB")
            about["mps"] = ground.without_mps or "can be used"
        for part in given.parts:
            if part in GOALS:
                measure_training(figures, ground, part)
            elif card is None:
                figures.leave_out(part, "there is no CUDA on the CPU")
            else:
                measure_cuda(figures, ground, part)
    figures.save()


def _say(described: Mapping[str, Any]) -> None:
    print(", ".join(f"{key}: {value}" for key, value in described.items()))


def _parts(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = set(wanted) - {*PARTS, "train"}
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {PARTS}, train")
    return [part for part in PARTS if part in wanted or ("train" in wanted and part in GOALS)]


def main() -> int:
    """Measure and print; 2: there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short trials, in about 4 minutes")
    parser.add_argument(
        "--parts", type=_parts, default=list(PARTS), help=f"some of {','.join(PARTS)}, train"
    )
    parser.add_argument("--card", default="", help="beginning of the card's UUID (the first card)")
    parser.add_argument("--card-gb", type=float, default=24, help="free memory left to it (24)")
    parser.add_argument("--limit", type=float, help="seconds in all (240 with --quick, else 7200)")
    parser.add_argument("--local", action="store_true", help="without Ray")
    parser.add_argument("--out", type=Path, default=OUT, help="where gpu.json goes")
    parser.add_argument("--cpu", action="store_true", help="only try it out, on the CPU")
    given = parser.parse_args()
    # What holds the card is let go of by whoever ends this, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.limit = given.limit or (240 if given.quick else 7200)
    if given.cpu:
        print("On the CPU, with tiny nets: these figures say nothing of a GPU.", flush=True)
        measure(given, None)
        return 0
    try:
        card = Card(given.card)
    except NoCardError as error:
        print(f"not measured: {error} (--cpu tries this out on the CPU)", file=sys.stderr)
        return 2
    try:
        measure(given, card)
    except (RuntimeError, NoCardError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
