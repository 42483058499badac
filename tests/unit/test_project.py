"""The project's outer shell: source roots, what importing costs, what the wheel ships."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("ray", "optuna", "torch", "textual", "sqlite3")


def python(code: str, cwd: Path, **env: str) -> str:
    """Run code in a Python of its own; the output, or the failure with its traceback."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imported_by(statement: str, cwd: Path) -> set[str]:
    """The heavy modules that a statement brings along."""
    code = f"import sys; {statement}; print(*({HEAVY!r} & sys.modules.keys()))"
    return set(python(code.replace(repr(HEAVY), repr(set(HEAVY))), cwd).split())


@pytest.mark.parametrize("root", ["scheduler", "tui"])
def test_the_source_roots_are_no_packages(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()
    assert [p.name for p in (ROOT / root).iterdir() if (p / "__init__.py").exists()] == [
        {"scheduler": "smallhours", "tui": "smallhours_tui"}[root]
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "import smallhours",
        "import smallhours.study, smallhours.space",
        "from smallhours import Study, Float, Int, Choice, Median",
        "import smallhours.core.machine, smallhours.core.facts, smallhours.rules",
        "import smallhours.cli",
    ],
)
def test_importing_the_light_parts_brings_nothing_heavy(statement: str, tmp_path: Path) -> None:
    assert imported_by(statement, tmp_path) == set()


def test_the_check_for_heavy_imports_can_fail(tmp_path: Path) -> None:
    assert imported_by("import sqlite3", tmp_path) == {"sqlite3"}


def test_the_read_model_needs_neither_ray_nor_torch(tmp_path: Path) -> None:
    assert imported_by("import smallhours.snapshot", tmp_path) <= {"sqlite3"}


@pytest.mark.parametrize("name", ["scheduler", "tui"])
def test_a_users_own_module_of_that_name_wins(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("mine = True\n", encoding="utf-8")
    code = f"import smallhours, smallhours_tui, {name}; print({name}.mine)"
    assert python(code, tmp_path, PYTHONPATH=str(tmp_path)) == "True"


@pytest.mark.timeout(60)
def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (wheel,) = tmp_path.glob("smallhours-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    metadata = {name for name in shipped if ".dist-info/" in name}
    assert {name.split("/")[0] for name in shipped - metadata} == {"smallhours", "smallhours_tui"}
    for root in (ROOT / "scheduler", ROOT / "tui"):
        for path in root.rglob("*"):
            if path.is_file() and path.suffix in {".py", ".sql", ".tcss", ".typed"}:
                assert path.relative_to(root).as_posix() in shipped


def test_what_is_said_about_the_project_is_there() -> None:
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "constraints.txt"):
        assert (ROOT / name).stat().st_size > 0
    for name in (".ci/run", ".ci/setup"):
        assert os.access(ROOT / name, os.X_OK)


def test_every_pinned_tool_is_the_one_that_runs() -> None:
    from importlib.metadata import PackageNotFoundError, version

    differing = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if "==" in line:
            name, pinned = line.split("==")
            try:
                found = version(name)
            except PackageNotFoundError:
                continue
            if found.split("+")[0] != pinned:
                differing.append(f"{name}: {found}, pinned {pinned}")
    assert differing == [], "run `make setup`"
