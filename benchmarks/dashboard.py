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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeAlias

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
#: Which of five dashboards go on and have the focus: all do, none goes on, one of five has it.
Focus: TypeAlias = Literal["all", "none", "one"]


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


class Commit(NamedTuple):
    """What a commit took, in seconds."""

    seconds: float
    #: Of them: it could have run, and all cores were others'.
    waited_s: float


def waited_for_core_s() -> float:
    """Return the seconds that this thread could have run and had no core."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@contextmanager
def reporting(
    ledger: BigLedger, hertz: float, trials: int = SLOTS
) -> Iterator[SimpleQueue[Commit]]:
    """Let some trials that run report, all of them at once, so many times a second.

    Yields what each of these commits took, as they come.
    """
    done, spent = threading.Event(), SimpleQueue[Commit]()

    def work() -> None:
        while not done.wait(1 / hertz):
            began, waited = time.perf_counter(), waited_for_core_s()
            ledger.report(trials)
            spent.put(Commit(time.perf_counter() - began, waited_for_core_s() - waited))

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

    The five are stopped and go on by signals, so that all is measured on the same machine, in the
    same minute and at the same size of the ledger. First at a rate above any night's, where either
    all terminals have the focus (or tell of none) or one of them; then as fast as they go: there
    dashboards that were stopped have some ten thousand reports to catch up with, and all share two
    cores.
    """
    five = [
        Terminal([SMALLHOURS, "watch", LARGE], smallhours_env(place), 160, 50, drained=True)
        for _ in range(5)
    ]
    try:
        time.sleep(6.0)
        paced = _turns(
            five, ledger, ("all", "none", "one"), COMMITS_HZ, counted=300, rounds=plan.rounds
        )
        wal_bytes = place.joinpath("home", "ledger.db-wal").stat().st_size
        fast = _turns(five, ledger, ("all", "none"), math.inf, counted=4_000, rounds=plan.rounds)
    finally:
        for terminal in five:
            terminal.close()
    alone, seen, fast_alone = paced["none"].seconds, paced["one"], fast["none"].seconds
    return {
        "commit_ms": 1000 * alone,
        "slower_percent": 100 * (seen.seconds / alone - 1),
        "waited_percent": 100 * (seen.waited_s - paced["none"].waited_s) / alone,
        "all_seen_slower_percent": 100 * (paced["all"].seconds / alone - 1),
        "all_seen_waited_percent": 100 * (paced["all"].waited_s - paced["none"].waited_s) / alone,
        "fast_per_s": 1.0 / fast_alone,
        "fast_slower_percent": 100 * (fast["all"].seconds / fast_alone - 1),
        "wal_mib": wal_bytes / 2**20,
    }


def _turns(
    five: list[Terminal],
    ledger: BigLedger,
    kinds: Sequence[Focus],
    hertz: float,
    *,
    counted: int,
    rounds: int,
) -> dict[Focus, Commit]:
    """Return what a commit takes (means), by how many of the five go on and have the focus.

    In each turn as many commits go by first: dashboards catch up, or come to rest.
    """
    spent: dict[Focus, list[Commit]] = {kind: [] for kind in kinds}
    turns = itertools.cycle((*kinds, *reversed(kinds)))
    with reporting(ledger, hertz, 1) as done:
        for turn in itertools.islice(turns, 2 * len(kinds) * rounds):
            for number, terminal in enumerate(five):
                terminal.signal(signal.SIGSTOP if turn == "none" else signal.SIGCONT)
                terminal.focus(gained=turn == "all" or number == 0)
            while not done.empty():
                done.get()
            spent[turn] += [done.get() for _ in range(2 * counted)][counted:]
    return {
        turn: Commit(*(statistics.fmean(part) for part in zip(*commits, strict=True)))
        for turn, commits in spent.items()
    }


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
            rows, of = budgets(found), found["commits"]
            rows += [
                (f"a commit, {COMMITS_HZ:.0f} a second, ms", of["commit_ms"], None),
                ("beside five, one has the focus, slower by %", of["slower_percent"], 5),
                ("    by waiting for a core, %", of["waited_percent"], None),
                ("beside five, all have the focus, slower by %", of["all_seen_slower_percent"], 5),
                ("    by waiting for a core, %", of["all_seen_waited_percent"], None),
                ("commits as fast as they go, a second", of["fast_per_s"], None),
                ("those beside five, slower by %", of["fast_slower_percent"], None),
                ("WAL with five open, MiB", of["wal_mib"], 8),
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
