"""The dashboard in a real pseudo-terminal, on a ledger of 10,000 trials and 300,000 reports.

Measured are whole processes: spawn to rows, key to the end of the frame while twenty trials report
twice a second, CPU, bytes and memory, and what five of them cost the engine's commits. The ledger's
writer is the real one; it lives in this process, as the engine that the dashboards see. The
dashboards run from bytecode, as an installed one does: it is compiled before, whatever the
environment says of writing it.

    python benchmarks/dashboard.py [--quick]
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import rich
import textual
from common import HERE, SMALLHOURS, quantile, save, show, smallhours_env, workplace
from terminal import Terminal

import smallhours
import smallhours_tui

sys.path.insert(0, str(HERE.parent / "tests"))

from fakes.big_ledger import LARGE, SLOTS, BigLedger

_NO_BYTECODE, _BYTECODE_AT = "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"
#: Commits a second of an engine that has more to do than any.
COMMITS_HZ = 100.0
Row = tuple[str, float | None, float | None]


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    trials: int
    more_trials: int
    keys: int
    pages: int
    window_s: float
    starts: int
    rounds: int


FULL = Plan(10_000, 50_000, 200, 60, 15.0, 7, 8)
QUICK = Plan(10_000, 20_000, 60, 20, 5.0, 3, 3)


@contextmanager
def bytecode() -> Iterator[None]:
    """Let the processes that are started run from bytecode that is there already."""
    kept = {name: os.environ.pop(name, None) for name in (_NO_BYTECODE, _BYTECODE_AT)}
    with tempfile.TemporaryDirectory(prefix="smallhours-bytecode-") as place:
        sys.pycache_prefix = os.environ[_BYTECODE_AT] = place
        for package in (smallhours, smallhours_tui, textual, rich):
            for folder in package.__path__:
                compileall.compile_dir(folder, quiet=2)
        try:
            yield
        finally:
            del os.environ[_BYTECODE_AT]
            os.environ.update({name: value for name, value in kept.items() if value is not None})


@contextmanager
def reporting(ledger: BigLedger, hertz: float, trials: int = SLOTS) -> Iterator[SimpleQueue[float]]:
    """Let some trials that run report, all of them at once, so many times a second.

    Yields the seconds that each of these commits took, as they come.
    """
    done, spent = threading.Event(), SimpleQueue[float]()

    def work() -> None:
        while not done.wait(1 / hertz):
            began = time.perf_counter()
            ledger.report(trials)
            spent.put(time.perf_counter() - began)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield spent
    finally:
        done.set()
        thread.join()


@contextmanager
def watching(place: Path, columns: int, lines: int, **keys: Any) -> Iterator[Terminal]:
    """Open the dashboard on the large study; what it wrote at its start is done with."""
    command = [SMALLHOURS, "watch", LARGE]
    terminal = Terminal(command, smallhours_env(place), columns, lines, **keys)
    try:
        yield terminal
    finally:
        terminal.close()


def rows_seen(terminal: Terminal) -> bool:
    """Say whether rows of the table are on the screen."""
    return terminal.text().count(" running ") + terminal.text().count(" ran to ") >= 5


def starting(place: Path, columns: int, lines: int, times: int) -> tuple[float, float]:
    """Return the seconds from spawn to rows on the screen, and those of CPU (medians)."""
    spent, cpu_s = [], []
    for _ in range(times):
        with watching(place, columns, lines) as terminal:
            if not terminal.wait(lambda t=terminal: rows_seen(t), 20.0):
                raise RuntimeError(f"no rows came:\n{terminal.text()[-2000:]}")
            spent.append(terminal.frames[-1] - terminal.started)
            cpu_s.append(terminal.cpu_s())
    return statistics.median(spent), statistics.median(cpu_s)


def over(
    terminal: Terminal, seconds: float, typing: Callable[[Terminal], None] | None = None
) -> tuple[float, float]:
    """Return, of a while, the per cent of a core that was spent and the KB a second that came."""
    cpu_s, written, began = terminal.cpu_s(), terminal.bytes, time.perf_counter()
    while time.perf_counter() - began < seconds:
        if typing is None:
            terminal.rest(seconds)
        else:
            typing(terminal)
    wall_s = time.perf_counter() - began
    spent = terminal.cpu_s() - cpu_s
    return 100 * spent / wall_s, (terminal.bytes - written) / wall_s / 1000


def hold_down(terminal: Terminal) -> None:
    """Press a key as often as a keyboard repeats it."""
    terminal.press("j")
    terminal.rest(1 / 30)


def strokes(terminal: Terminal, keys: str, times: int) -> list[float]:
    """Return the milliseconds that keys took, pressed at odd moments."""
    rng, spent = random.Random(0), []
    for _ in range(times):
        terminal.rest(rng.uniform(0.03, 0.09))
        seconds = terminal.keystroke(keys)
        if seconds is not None:
            spent.append(1000 * seconds)
    return spent


def live(place: Path, ledger: BigLedger, plan: Plan, columns: int, lines: int) -> dict[str, Any]:
    """Measure one dashboard at rest, followed by a living night and by keys."""
    figures: dict[str, Any] = {}
    with watching(place, columns, lines) as terminal:
        terminal.wait(lambda: rows_seen(terminal), 20.0)
        terminal.rest(3.0)
        figures["rest_cpu"], figures["rest_kb_s"] = over(terminal, plan.window_s)
        with reporting(ledger, 1.0):
            terminal.rest(2.0)
            figures["live_1hz_cpu"], figures["live_1hz_kb_s"] = over(terminal, plan.window_s)
        with reporting(ledger, 2.0):
            terminal.rest(2.0)
            figures["live_2hz_cpu"], figures["live_2hz_kb_s"] = over(terminal, plan.window_s)
            down = strokes(terminal, "j", plan.keys)
            page = strokes(terminal, "\x1b[6~", plan.pages)
            page += strokes(terminal, "\x1b[5~", plan.pages)
            _, figures["held_kb_s"] = over(terminal, 4.0, hold_down)
        for name, spent in (("down", down), ("page", page)):
            figures[f"{name}_keys"] = len(spent)
            figures[f"{name}_p50_ms"] = quantile(spent, 0.5)
            figures[f"{name}_p99_ms"] = quantile(spent, 0.99)
        figures["resident_mib"] = terminal.resident_mib()
    return figures


def commits(place: Path, ledger: BigLedger, plan: Plan) -> dict[str, float]:
    """Return how long commits take without and with five dashboards, measured turn by turn.

    The five are stopped and go on by signals, so that both are measured on the same machine, in the
    same minute and at the same size of the ledger. First at a rate above any night's, then as fast
    as they go: there dashboards that were stopped have some ten thousand reports to catch up with,
    and all share two cores.
    """
    five = [
        Terminal([SMALLHOURS, "watch", LARGE], smallhours_env(place), 160, 50, drained=True)
        for _ in range(5)
    ]
    try:
        time.sleep(6.0)
        paced = _turns(five, ledger, plan, COMMITS_HZ, 200)
        wal_bytes = place.joinpath("home", "ledger.db-wal").stat().st_size
        fast = _turns(five, ledger, plan, math.inf, 4_000)
    finally:
        for terminal in five:
            terminal.close()
    return {
        "commit_ms": 1000 * paced[False],
        "slower_percent": 100 * (paced[True] / paced[False] - 1),
        "fast_per_s": 1.0 / fast[False],
        "fast_slower_percent": 100 * (fast[True] / fast[False] - 1),
        "wal_mib": wal_bytes / 2**20,
    }


def _turns(
    five: list[Terminal], ledger: BigLedger, plan: Plan, hertz: float, counted: int
) -> dict[bool, float]:
    """Return the seconds a commit takes (mean) without (False) and with dashboards.

    In each turn as many commits go by first: dashboards catch up, or come to rest.
    """
    spent: dict[bool, list[float]] = {False: [], True: []}
    turns = itertools.cycle((True, False, False, True))
    with reporting(ledger, hertz, 1) as commits_s:
        for together in itertools.islice(turns, 4 * plan.rounds):
            for terminal in five:
                terminal.signal(signal.SIGCONT if together else signal.SIGSTOP)
            seconds = [commits_s.get() for _ in range(2 * counted)]
            spent[together] += seconds[counted:]
    return {together: statistics.fmean(values) for together, values in spent.items()}


def budgets(figures: dict[str, Any]) -> list[Row]:
    """Return what was measured of one size of ledger beside what it may be."""
    large, small = figures["160x50"], figures["80x24"]
    return [
        ("spawn to rows, s", figures["start_s"], 0.6),
        ("CPU of that, s", figures["start_cpu_s"], None),
        ("key to frame at 2 Hz, p50 ms", large["down_p50_ms"], 16),
        ("key to frame at 2 Hz, p99 ms", large["down_p99_ms"], 50),
        ("page to frame at 2 Hz, p99 ms", large["page_p99_ms"], 50),
        ("CPU at rest, %", large["rest_cpu"], 0.5),
        ("CPU at 1 Hz, %", large["live_1hz_cpu"], 2.5),
        ("CPU at 2 Hz, %", large["live_2hz_cpu"], 5),
        ("CPU at 2 Hz, 80x24, %", small["live_2hz_cpu"], 2.5),
        ("KB/s at 2 Hz", large["live_2hz_kb_s"], 32),
        ("KB/s at 2 Hz, 80x24", small["live_2hz_kb_s"], 15),
        ("KB/s holding j", large["held_kb_s"], 50),
        ("memory, MiB", large["resident_mib"], 70),
    ]


def main() -> None:
    """Write the ledgers, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer keys, shorter windows")
    plan = QUICK if parser.parse_args().quick else FULL
    with bytecode():
        measure(plan)


def measure(plan: Plan) -> None:
    """Measure both sizes of ledger, print what was found and keep it."""
    figures: dict[str, Any] = {}
    for trials in (plan.trials, plan.more_trials):
        with workplace() as place:
            ledger = BigLedger(place / "home", trials)
            ledger.become_engine()
            size = ledger.home.ledger.stat().st_size / 1e6
            print(f"  {ledger.trials} trials, {ledger.reports} reports, {size:.0f} MB", flush=True)
            found: dict[str, Any] = {"reports": ledger.reports}
            found["start_s"], found["start_cpu_s"] = starting(place, 160, 50, plan.starts)
            found["160x50"] = live(place, ledger, plan, 160, 50)
            if trials == plan.trials:
                found["80x24"] = live(place, ledger, plan, 80, 24)
                found["commits"] = commits(place, ledger, plan)
            ledger.close()
        figures[str(trials)] = found
        title = f"{SLOTS} of {trials} trials report, 160x50 where nothing else is said"
        if trials == plan.trials:
            rows = budgets(found)
            rows += [
                (f"a commit, {COMMITS_HZ:.0f} a second, ms", found["commits"]["commit_ms"], None),
                ("beside five dashboards, slower by %", found["commits"]["slower_percent"], 5),
                ("commits as fast as they go, a second", found["commits"]["fast_per_s"], None),
                ("those beside five, slower by %", found["commits"]["fast_slower_percent"], None),
                ("WAL with five open, MiB", found["commits"]["wal_mib"], 8),
            ]
        else:
            rows = [
                ("spawn to rows, s", found["start_s"], None),
                ("key to frame at 2 Hz, p99 ms", found["160x50"]["down_p99_ms"], 60),
                ("memory, MiB", found["160x50"]["resident_mib"], 110),
            ]
        show(title, ("what", "measured", "budget"), rows)
    save("dashboard", figures)


if __name__ == "__main__":
    main()
