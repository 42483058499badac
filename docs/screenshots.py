"""Draws the dashboard's pictures for the README from a real night.

    python docs/screenshots.py             # runs a short night on Ray (2 to 4 minutes), then draws
    python docs/screenshots.py --home DIR  # draws what another state directory holds

The pictures are SVGs in ``docs/pictures``; ``--keep DIR`` leaves the night there for a closer look.
"""  # noqa: INP001

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from smallhours.paths import Home
from smallhours.snapshot import Snapshot
from smallhours_tui.app import Dashboard
from smallhours_tui.options import Options

PICTURES = Path(__file__).parent / "pictures"
DIGITS = Path(__file__).parent.parent / "studies" / "digits.py"
#: The night is long enough once so many trials are over; it is ended after `_PATIENCE_S` anyway.
ENOUGH, _PATIENCE_S = 30, 420.0
#: A second study, with the kind of mistake that a night brings to light.
WINE = """
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from smallhours import Choice, Float, Study

study = Study(
    "wine", question="How wide must an MLP be on 13 features?", metric="val_loss", goal="minimize",
    space={"width": Choice([4, 6, 8, 16, 32]), "lr": Float(1e-3, 1.0, log=True)},
    baseline={"width": 16, "lr": 0.05}, trials=24, steps=40, stopping="asha", seed=0,
)


@study.prepare
def prepare():
    x, y = load_wine(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(StandardScaler().fit_transform(x), dtype=torch.float32)[order]
    return x, torch.tensor(y)[order]


@study.train
def train(trial):
    x, y = trial.data
    width = trial.params["width"]
    net = torch.nn.Sequential(
        torch.nn.Linear(13, width),
        torch.nn.GroupNorm(4, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, 3),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=trial.params["lr"], momentum=0.9)
    for step in range(1, 41):
        for _ in range(40):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[:100]), y[:100]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(net(x[100:]), y[100:])
        trial.report(step, val_loss=loss)
"""


class View(NamedTuple):
    """A picture: how to get there, and how large it is."""

    keys: tuple[str, ...]
    size: tuple[int, int] = (120, 32)


VIEWS = {
    "night": View(()),
    "study": View(("enter", "j", "j")),
    "lanes": View(("3", "0")),
    "why": View(("4",), (140, 32)),
}


def main() -> int:
    """Run a night unless one is given, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="a state directory to draw")
    parser.add_argument("--keep", type=Path, help="where the night is run; it stays there")
    parser.add_argument("--to", type=Path, default=PICTURES, help="where pictures go")
    given = parser.parse_args()
    if given.home is not None:
        asyncio.run(draw(Home(given.home), given.to))
        return 0
    with tempfile.TemporaryDirectory(prefix="night-") as scratch:
        root = given.keep or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        run_night(root)
        try:
            asyncio.run(draw(Home(root / "state"), given.to))
        finally:
            _smallhours(root, "stop", "--now")
    return 0


def run_night(root: Path) -> None:
    """Begin a night of two studies, and wait until there is something to see."""
    (root / "wine.py").write_text(WINE, encoding="utf-8")
    (root / "digits.py").write_text(DIGITS.read_text(encoding="utf-8"), encoding="utf-8")
    for study in ("digits.py", "wine.py"):
        _smallhours(root, "add", study)
    _smallhours(root, "start", "--detach")
    until = time.monotonic() + _PATIENCE_S
    with Snapshot(Home(root / "state")) as ledger:
        while sum(view.ended for view in ledger.studies()) < ENOUGH and time.monotonic() < until:
            time.sleep(1.0)
            ledger.refresh()


async def draw(home: Home, to: Path) -> None:
    """Draw all pictures of a night."""
    for name, view in VIEWS.items():
        app = Dashboard(home, Options(theme="dark"))
        app.host = "moth"
        async with app.run_test(size=view.size) as pilot:
            await pilot.pause()
            for key in view.keys:
                await pilot.press(key)
            await pilot.pause(0.5)
            svg = app.export_screenshot(title="smallhours watch")
        _write(to / f"{name}.svg", svg)


def _write(path: Path, svg: str) -> None:
    """Write a picture that fetches no font from elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inert = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    path.write_text("\n".join(line.rstrip() for line in inert.splitlines()) + "\n", "utf-8")
    print(path)


def _smallhours(root: Path, *arguments: str) -> None:
    env = {**os.environ, "SMALLHOURS_HOME": str(root / "state")}
    program = Path(sys.executable).with_name("smallhours")
    subprocess.run([program, *arguments], cwd=root, env=env, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    raise SystemExit(main())
