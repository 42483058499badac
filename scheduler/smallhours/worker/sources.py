"""Reads a study's own source files without running them: what they import, what they report."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from smallhours.worker.note import is_own


@dataclass(slots=True)
class Reports:
    """What the calls of ``.report(`` in some files name."""

    #: Metrics in the order they are written.
    metrics: list[str] = field(default_factory=list)
    #: Whether ``.report`` is there at all.
    any: bool = False
    #: Whether some names can't be read: ``**metrics``, or the method handed on.
    open: bool = False


def own_files(module: ModuleType, folder: Path) -> list[Path]:
    """Return the study's own files: imported by now, or named by an import further inside.

    Args:
        module: The study's module, imported.
        folder: Its folder.
    """
    loaded = [Path(file) for file in map(_file_of, list(sys.modules.values())) if file]
    waiting = [file for file in loaded if is_own(str(file), folder)]
    main = Path(str(module.__file__))
    found: dict[Path, None] = {main: None}
    waiting.insert(0, main)
    while waiting:
        file = waiting.pop(0)
        found[file] = None
        roots = [Path(entry) for entry in sys.path if Path(entry).is_relative_to(folder)]
        waiting.extend(
            path
            for path in _imported(file, roots)
            if path not in found and is_own(str(path), folder)
        )
    return list(found)


def reports(files: list[Path]) -> Reports:
    """Collect what some files report."""
    found = Reports()
    for file in files:
        tree = _parse(file)
        called = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_report(node.func):
                called.add(node.func)
                found.any = True
                _collect(node, found)
        for node in ast.walk(tree):
            if _is_report(node) and node not in called:
                found.any = found.open = True
    return found


def hands_trial_on(function: object) -> bool:
    """Say whether a training function gives its trial to another function, which may report."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_argcount:
        return True  # no plain function: nothing can be said about it
    name = code.co_varnames[0]
    for node in ast.walk(_parse(Path(code.co_filename))):
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(value, ast.Name) and value.id == name for value in given):
                return True
    return False


def _is_report(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "report"


def _collect(call: ast.Call, found: Reports) -> None:
    for keyword in call.keywords:
        if keyword.arg is None and not _literal_names(keyword.value, found):
            found.open = True
        elif keyword.arg is not None and keyword.arg not in {"step", *found.metrics}:
            found.metrics.append(keyword.arg)


def _literal_names(value: ast.expr, found: Reports) -> bool:
    """Take the names of ``**{"val/loss": x}``; False: they can't be read."""
    if not isinstance(value, ast.Dict):
        return False
    names = [key.value if isinstance(key, ast.Constant) else None for key in value.keys]
    if not all(isinstance(name, str) for name in names):
        return False
    found.metrics += [str(name) for name in names if name not in found.metrics]
    return True


def _file_of(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else None


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _imported(file: Path, roots: list[Path]) -> Iterator[Path]:
    """Yield the files below some folders that a file imports, on whatever line."""
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _chain(alias.name.split("."), roots)
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            places = roots if node.level == 0 else [file.parents[node.level - 1]]
            yield from _chain(parts, places)
            for alias in node.names:
                yield from _chain([*parts, alias.name], places)


def _chain(parts: list[str], places: list[Path]) -> Iterator[Path]:
    """Yield the files that importing a dotted name runs: its packages and itself."""
    for place in places:
        folder = place
        for part in parts:
            for path in (folder / part / "__init__.py", folder / f"{part}.py"):
                if path.is_file():
                    yield path
            folder /= part
