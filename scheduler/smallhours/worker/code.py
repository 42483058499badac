"""Imports a study's code from its snapshot as if it were still where the user wrote it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import linecache
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from smallhours.errors import StudyFileError
from smallhours.hints import did_you_mean
from smallhours.study import Study
from smallhours.worker.note import in_library


class SnapshotLoader(importlib.abc.ExecutionLoader):
    """Runs a module's source from the snapshot under the path of its original."""

    def __init__(self, original: Path, copied: Path) -> None:
        self._original, self._copied = original, copied

    def get_filename(self, fullname: str) -> str:
        """Return the path that the module and its tracebacks show."""
        return str(self._original)

    def get_source(self, fullname: str) -> str:
        """Return the source, which tracebacks print from then on."""
        source = importlib.util.decode_source(self._copied.read_bytes())
        # An entry without a time is never compared with the file, which may be edited or gone.
        lines = source.splitlines(keepends=True)
        linecache.cache[str(self._original)] = (len(source), None, lines, str(self._original))
        return source


class SnapshotFinder(importlib.abc.MetaPathFinder):
    """Finds modules below the study's folder in its snapshot; what isn't there, others find."""

    def __init__(self, folder: Path, snapshot: Path) -> None:
        self._folder, self._snapshot = folder, snapshot

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that the snapshot holds."""
        if fullname.partition(".")[0] == "smallhours":
            return None  # ours, even where it is developed below the study's folder
        copies = self._copies(sys.path if path is None else path)
        found = PathFinder.find_spec(fullname, copies, target) if copies else None
        if found is None:
            return None
        if found.loader is None:
            return self._namespace(fullname, path, found)
        if found.origin is None or not found.origin.endswith(".py"):
            return None
        original = self._original(Path(found.origin))
        loader = SnapshotLoader(original, Path(found.origin))
        return importlib.util.spec_from_file_location(
            fullname,
            original,
            loader=loader,
            submodule_search_locations=self._originals(found.submodule_search_locations),
        )

    def _namespace(
        self, fullname: str, path: Sequence[str] | None, found: ModuleSpec
    ) -> ModuleSpec | None:
        """Return a package without ``__init__``, unless a real one lies elsewhere."""
        elsewhere = PathFinder.find_spec(fullname, path)
        if elsewhere is not None and elsewhere.loader is not None:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = self._originals(found.submodule_search_locations)
        return spec

    def _copies(self, path: Iterable[str]) -> list[str]:
        """Return the snapshot's counterpart of every entry below the study's folder."""
        copies = []
        for entry in path:
            place = Path(entry)
            if not place.is_absolute() or not place.is_relative_to(self._folder):
                continue
            below = place.relative_to(self._folder)
            if not in_library(below):
                copies.append(str(self._snapshot / below))
        return copies

    def _original(self, copied: Path) -> Path:
        return self._folder / copied.relative_to(self._snapshot)

    def _originals(self, places: Iterable[str] | None) -> list[str] | None:
        return None if places is None else [str(self._original(Path(place))) for place in places]


def put_first(folder: Path) -> None:
    """Make the study's folder the first place that imports look in, as running its file would."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in {"", str(Path.cwd())}:
        del sys.path[0]  # `python -m` put the working directory there
    sys.path.insert(0, str(folder))


def use_snapshot(folder: Path, snapshot: Path) -> None:
    """Import everything below the folder from its snapshot from now on."""
    place = next(
        (i for i, finder in enumerate(sys.meta_path) if finder is PathFinder), len(sys.meta_path)
    )
    sys.meta_path.insert(place, SnapshotFinder(folder, snapshot))


def module_name(source: Path) -> str:
    """Return the name under which a study file is imported.

    Raises:
        StudyFileError: a file of that name can't be imported.
    """
    name = source.stem
    if name in sys.stdlib_module_names or name == "smallhours":
        raise StudyFileError(
            str(source), "", f"a file named {source.name} hides the module {name}: rename it"
        )
    if not name.isidentifier():
        raise StudyFileError(
            str(source), "", f"{name!r} can't be a module's name: use letters, digits and '_'"
        )
    return name


def import_study_file(source: Path) -> ModuleType:
    """Import a study file; its folder must be on the path already."""
    name = module_name(source)
    module = importlib.import_module(name)
    origin = getattr(module, "__file__", None)
    if origin is None or os.path.realpath(origin) != os.path.realpath(source):
        raise StudyFileError(
            str(source), "", f"{name} was imported from {origin} before: rename the file"
        )
    return module


def studies_in(module: ModuleType) -> list[Study]:
    """Return the studies that a module holds, in lists too, in the order they are written."""
    found: dict[int, Study] = {}
    for value in vars(module).values():
        items: Iterable[Any] = (value,)
        if isinstance(value, list | tuple):
            items = value
        elif isinstance(value, dict):
            items = value.values()
        found.update({id(item): item for item in items if isinstance(item, Study)})
    return sorted(found.values(), key=lambda study: study.position)


def study_named(module: ModuleType, source: Path, name: str) -> Study:
    """Return the study of that name, complete and checked.

    The only study of a file may go by another name than the file gives it (``run --as``).

    Raises:
        StudyFileError: the module has none, or it is wrong.
    """
    studies = studies_in(module)
    for study in studies:
        if study.name == name:
            study.check()
            return study
    if len(studies) == 1:
        studies[0].check()
        return studies[0]
    names = [study.name for study in studies]
    known = ", ".join(names) or "none"
    raise StudyFileError(
        str(source), "", f"it has no study named {name!r}{did_you_mean(name, names)} (has: {known})"
    )
