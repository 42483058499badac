"""What all benchmarks share: where they ran, how a table looks, where figures are kept."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
#: The command of the environment that runs the benchmark.
SMALLHOURS = Path(sys.executable).with_name("smallhours")


def environment() -> dict[str, Any]:
    """Return what a figure must be read with: machine, load, versions, commit."""
    packages = ("smallhours", "ray", "optuna", "torch", "scikit-learn")
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "at": time.strftime("%Y-%m-%d %H:%M"),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "commit": commit or None,
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str | None:
    """Return which version is installed; None: it is not there, and some benchmarks need it not."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; floats with three significant digits, None as a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{title}")
    for line in (list(columns), *cells):
        first, *rest = (
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join((first, *rest)).rstrip())
    sys.stdout.flush()


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def save(name: str, figures: Mapping[str, Any], out: Path = OUT) -> None:
    """Keep the figures, with their environment, as benchmarks/out/NAME.json, or elsewhere."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    kept = {"environment": environment(), **figures}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(f"  kept in {path.relative_to(HERE.parent) if out == OUT else path}")


def quantile(values: Sequence[float], q: float) -> float | None:
    """Return the value below which the share `q` lies (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else None


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ran to its end."""

    wall_s: float
    #: One-minute load average when it started: others' work, and what the last run left.
    load: float
    output: str


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, limit_s: float = 600
) -> Ran:
    """Run a command to its end; its output only shows if it fails.

    Raises:
        RuntimeError: it failed, or was killed with all it had started because it took too long.
    """
    load, started = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise RuntimeError(f"{command} was not done in {limit_s:.0f} s") from None
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{command} left with {process.returncode}:\n{output[-4000:]}")
    return Ran(wall_s, load, output)


@contextmanager
def workplace(study: str | None = None, name: str = "bench") -> Iterator[Path]:
    """Give a private directory with `task.py` and a study file NAME.py; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="smallhours-bench-") as text:
        place = Path(text)
        shutil.copy(HERE / "task.py", place)
        if study is not None:
            (place / f"{name}.py").write_text(study, encoding="utf-8")
        yield place


def smallhours_env(place: Path) -> dict[str, str]:
    """Return the environment in which smallhours keeps its state in the workplace."""
    return {"SMALLHOURS_HOME": str(place / "home")}


def query(place: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Read the ledger of the workplace."""
    uri = f"file:{place / 'home' / 'ledger.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        return db.execute(sql, values).fetchall()
