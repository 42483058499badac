"""``smallhours debug``: one trial in the foreground, without Ray or the engine; pdb works."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from smallhours import submit
from smallhours.core.spec import Dimension, Params, ParamValue, StudySpec
from smallhours.errors import UsageError
from smallhours.hints import did_you_mean
from smallhours.paths import Home
from smallhours.snapshot import Snapshot


def debug(
    home: Home,
    path: Path,
    *,
    study: str | None = None,
    settings: list[str] | None = None,
    trial: str | None = None,
) -> int:
    """Become a process that runs one trial here; returns only where that can't be done.

    Args:
        home: The state directory, where `trial` is looked up.
        path: The study file.
        study: Which study of the file; None: its only one.
        settings: Parameters other than the baseline's, each ``key=value``.
        trial: A trial whose parameters and seed are taken instead of the baseline's.
    """
    spec = _choose(submit.load(path).specs, path, study)
    params, seed = dict(spec.baseline), spec.seed
    if trial is not None:
        params, seed = _of_trial(home, trial)
    for setting in settings or []:
        key, value = _setting(setting, spec, params)
        params[key] = value
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", "smallhours.worker.foreground", str(path)]
    command += ["--study", spec.name, "--params", json.dumps(params), "--seed", str(seed)]
    # The trial gets this process: terminal, signals and exit code are its own.
    os.execv(sys.executable, command)  # noqa: S606 - a shell is what is not wanted


def _choose(specs: tuple[StudySpec, ...], path: Path, name: str | None) -> StudySpec:
    names = [spec.name for spec in specs]
    if name is None:
        if len(specs) == 1:
            return specs[0]
        raise UsageError(f"{path} has {len(specs)} studies: say --study {' or '.join(names)}")
    for spec in specs:
        if spec.name == name:
            return spec
    raise UsageError(f"{path} has no study {name!r}{did_you_mean(name, names)}")


def _of_trial(home: Home, name: str) -> tuple[Params, int]:
    with Snapshot(home) as snapshot:
        target = snapshot.resolve(name)
        number = 0 if target.trial is None else target.trial
        view = snapshot.trial(target.study, number)
    return dict(view.params), view.seed


def _setting(text: str, spec: StudySpec, params: Params) -> tuple[str, ParamValue]:
    """Read ``key=value`` as the space of the study has it."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: expected KEY=VALUE")
    dimensions = {dimension.name: dimension for dimension in spec.space or ()}
    known = dimensions or params
    if key not in known:
        raise UsageError(
            f"--set {text}: {spec.name} has no parameter {key!r}{did_you_mean(key, known)}"
        )
    return key, _value(text, value, dimensions.get(key))


def _value(setting: str, text: str, dimension: Dimension | None) -> ParamValue:
    """Read a value; the study itself says whether it lies inside the space."""
    if dimension is not None and dimension.kind == "choice":
        for choice in dimension.choices:
            if text == str(choice):
                return choice
        choices = ", ".join(map(str, dimension.choices))
        raise UsageError(f"--set {setting}: expected one of {choices}")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if value is not None and not isinstance(value, bool | int | float | str):
        raise UsageError(f"--set {setting}: expected a number, a word, true, false or null")
    if dimension is None:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"--set {setting}: expected a number")
    return float(value) if dimension.kind == "float" else value
