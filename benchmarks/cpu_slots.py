"""How many trials at a time the CPU is given, beside the best fixed number.

Two kinds of studies: one whose trials wait most of the time (for data, say), one whose trials
compute all the time. Each is run with fixed numbers of slots and with as many as pay, in turns,
from the first trial's start to the last one's end.

    python benchmarks/cpu_slots.py [--rounds 3] [--kind waits|computes] [--quick] [--local]
"""

from __future__ import annotations

import argparse
import os
from statistics import median

from common import SMALLHOURS, query, run, save, show, smallhours_env, workplace

STUDY = """
import time
from smallhours import Float, Study

study = Study("{name}", metric="loss", goal="minimize", space={{"x": Float(0, 1)}},
              baseline={{"x": 0.5}}, trials={trials}, steps={steps}, stopping="none",
              sampler="random")

@study.train
def train(trial):
    state = {{}}
    for step in range(trial.restore(state) + 1, {steps} + 1):
        until = time.thread_time() + {cpu_s}
        while time.thread_time() < until:
            pass
        time.sleep({wait_s})
        trial.report(step, loss=trial.params["x"] / step)
        trial.checkpoint(state)
"""
#: CPU seconds and seconds of waiting in each step.
KINDS = {"waits": (0.01, 0.19), "computes": (0.2, 0.0)}
SLOTS = (1, 2, 4, 8, 16, None)


def makespan_s(kind: str, slots: int | None, trials: int, steps: int, *, local: bool) -> float:
    """Run a study and return the seconds from its first trial's start to its last one's end."""
    cpu_s, wait_s = KINDS[kind]
    with workplace() as place:
        text = STUDY.format(name=kind, trials=trials, steps=steps, cpu_s=cpu_s, wait_s=wait_s)
        (place / f"{kind}.py").write_text(text, encoding="utf-8")
        config = place / "config.toml"
        config.write_text("" if slots is None else f"slots = {slots}\n", encoding="utf-8")
        env = smallhours_env(place) | {"SMALLHOURS_CONFIG": str(config)}
        env |= {"SMALLHOURS_LAUNCHER": "local"} if local else {}
        run([SMALLHOURS, "run", place / f"{kind}.py"], env=env)
        ((began, ended),) = query(
            place, "SELECT min(at), max(at) FROM event WHERE kind IN"
            " ('attempt_started', 'attempt_ended')"
        )  # fmt: skip
        return float(ended - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of all numbers of slots (3)")
    parser.add_argument("--kind", choices=KINDS, help="studies of this kind only")
    parser.add_argument("--quick", action="store_true", help="one round of short studies")
    parser.add_argument("--local", action="store_true", help="without Ray")
    given = parser.parse_args()
    rounds, trials, steps = (1, 16, 10) if given.quick else (given.rounds, 40, 25)
    figures: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for kind in [given.kind] if given.kind else KINDS:
            # What would take minutes by itself says nothing: one at a time waits for ever.
            for slots in SLOTS[1:] if kind == "waits" else SLOTS[:4] + SLOTS[-1:]:
                name = "as many as pay" if slots is None else str(slots)
                taken = makespan_s(kind, slots, trials, steps, local=given.local)
                figures.setdefault(kind, {}).setdefault(name, []).append(taken)
    for kind, found in figures.items():
        middles = {name: median(values) for name, values in found.items()}
        best = min(taken for name, taken in middles.items() if name != "as many as pay")
        rows = [
            (name, taken, min(found[name]), max(found[name]), taken / best)
            for name, taken in middles.items()
        ]
        title = f"A study that {kind}, {trials} trials of {steps} steps, seconds"
        columns = ("slots", "median", "least", "most", "over the best fixed")
        show(f"{title} (load {os.getloadavg()[0]:.1f})", columns, rows)
    save("cpu_slots", {"rounds": rounds, "makespan_s": figures})


if __name__ == "__main__":
    main()
