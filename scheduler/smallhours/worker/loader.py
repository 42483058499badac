"""Reads a study file in a process of its own and says as JSON, on descriptor 3, what is in it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smallhours.errors import StudyFileError
from smallhours.hints import did_you_mean
from smallhours.study import Study
from smallhours.worker import code, names, note, sources

_ANSWER_FD = 3


def read(source: Path) -> dict[str, Any]:
    """Import a study file and return its studies as data.

    Returns:
        ``studies``, ``module`` and ``files``; or ``error`` with its key, message and traceback.
    """
    try:
        return _read(source)
    except StudyFileError as error:
        same = Path(error.file).absolute() == source
        prefix = "" if same else f"{_shown(error.file, source.parent)}: "
        return _error(error.key, prefix + error.message)
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raises is its fault
        return _import_error(error, source)


def _read(source: Path) -> dict[str, Any]:
    if source.suffix != ".py":
        raise StudyFileError(str(source), "", "a study is a Python file, its name ends in .py")
    if not source.is_file():
        raise StudyFileError(str(source), "", "there is no such file")
    folder = source.parent
    code.put_first(folder)
    # From the sources: bytecode is stale where a file was edited twice within a second.
    code.use_snapshot(folder, folder)
    module = code.import_study_file(source)
    studies = code.studies_in(module)
    if not studies:
        raise StudyFileError(
            str(source),
            "",
            'it defines no study: write study = Study("name", ...) at its top level',
        )
    missing = names.undefined(module)
    if missing is not None:
        raise StudyFileError(
            str(source),
            "",
            f"line {missing.line}, in {missing.function}(): the name {missing.name!r} is not"
            f" defined{_whence(missing.name, [*missing.own, *vars(module)])}",
        )
    files = sources.own_files(module, folder)
    found = sources.reports(files)
    taken: set[str] = set()
    for study in studies:
        if study.name in taken:
            raise study.error(
                "name",
                f"two studies of this file are named {study.name!r}: give one another name",
            )
        taken.add(study.name)
        study.check()
        _check_metric(study, found)
    return {
        "studies": [study.spec() for study in studies],
        "module": module.__name__,
        "files": [str(file.relative_to(folder)) for file in files],
    }


def _check_metric(study: Study, found: sources.Reports) -> None:
    """Refuse a metric that no line of the study's code can report."""
    metric = study.spec()["metric"]
    if not found.any:
        if not sources.hands_trial_on(study.train_function):
            raise study.error(
                "metric",
                f"metric {metric!r} is never reported: call trial.report(step, {metric}=...) after"
                " every step",
            )
        return
    if found.open or metric in found.metrics:
        return
    given = ", ".join(found.metrics) or "no metric"
    raise study.error(
        "metric",
        f"metric {metric!r} is never reported; train reports {given}"
        + did_you_mean(metric, found.metrics),
    )


def _whence(name: str, known: Iterable[str]) -> str:
    """Return where a name that is missing most likely comes from."""
    if importlib.util.find_spec(name) is not None:
        return f": add `import {name}` at the top"
    return did_you_mean(name, known)


def _import_error(error: BaseException, source: Path) -> dict[str, Any]:
    folder = source.parent
    described = note.describe(error, folder, "load")
    place = described["where"].split(" in ")[0]
    if isinstance(error, SystemExit):
        message = "the file calls exit() while it is imported; put that under __name__ == ..."
    else:
        text = error.msg if isinstance(error, SyntaxError) else described["message"]
        message = f"{described['type']}: {text}" if text else str(described["type"])
    plain = isinstance(error, SyntaxError | ModuleNotFoundError | SystemExit)
    trace = "" if plain else note.for_people(error, folder)
    file = place.partition(":")[0]
    module = Path(file).stem
    hidden = (
        f"; {file} hides Python's own module {module}: rename it"
        if file != source.name and module in sys.stdlib_module_names
        else ""
    )
    # The file itself is named anyway.
    place = place.replace(f"{source.name}:", "line ", 1)
    return _error("", (f"{place}: {message}" if place else message) + hidden, trace)


def _shown(file: str, folder: Path) -> str:
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file


def _error(key: str, message: str, trace: str = "") -> dict[str, Any]:
    return {"error": {"key": key, "message": message, "traceback": trace}}


def main(arguments: list[str]) -> None:
    """Answer for the study file in `arguments`, and leave at once: nothing of its may go on."""
    answer = json.dumps(read(Path(arguments[0]).absolute())).encode()
    sys.stdout.flush()
    try:
        os.fstat(_ANSWER_FD)
    except OSError:
        sys.stdout.write(answer.decode() + "\n")  # started by hand
        sys.stdout.flush()
    else:
        with os.fdopen(_ANSWER_FD, "wb") as output:
            output.write(answer + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
