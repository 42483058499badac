"""Runs one trial of a study in this process, so that pdb works: no Ray, no fork, no engine."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from smallhours.errors import StudyFileError, UsageError
from smallhours.hints import did_you_mean
from smallhours.space import Params
from smallhours.study import Study
from smallhours.worker import attempt, code, note
from smallhours.worker.link import Message
from smallhours.worker.order import Order
from smallhours.worker.trial import Trial, TrialStopped


class PrintingLink:
    """Stands where the engine's line would be: prints what the trial says and orders nothing."""

    def __init__(self, steps: int) -> None:
        self.metrics: dict[str, float] = {}
        self._steps = steps

    def send(self, message: Message) -> None:
        """Print a message as a line."""
        if message["t"] == "report":
            self.metrics = {name: float(value) for name, value in message["m"].items()}
            values = "  ".join(f"{name} {value:.6g}" for name, value in self.metrics.items())
            _say(f"step {message['s']}/{self._steps}  {values}")
        elif message["t"] == "ckpt":
            _say(f"step {message['s']}/{self._steps}  checkpoint, {message['bytes']:,} bytes")

    def poll(self, timeout_s: float = 0.0) -> list[Message]:
        """Return nothing: nobody orders anything here."""
        return []


def run_in_foreground(
    source: Path,
    *,
    study: str | None = None,
    params: Params | None = None,
    seed: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> dict[str, float]:
    """Run one trial; what the user's code raises is passed on.

    Args:
        source: The study file.
        study: Which of its studies; None: its only one.
        params: Replace parameters of the baseline.
        seed: The trial's seed; None: the study's.
        device: What ``trial.device`` says.
        threads: Threads that torch may use; None: all cores.

    Returns:
        The last reported metrics.

    Raises:
        StudyFileError: the file or the parameters are wrong.
    """
    source = source.absolute()
    if not source.is_file():
        raise StudyFileError(str(source), "", "there is no such file")
    code.put_first(source.parent)
    chosen = _choose(source, study)
    chosen.check()
    spec = chosen.spec()
    configuration = chosen.configuration(params or {})
    data = None
    if chosen.prepare_function is not None:
        _say("prepare()")
        data = chosen.prepare_function()
    link = PrintingLink(spec["steps"])
    with tempfile.TemporaryDirectory(prefix="smallhours-debug-") as folder:
        order = Order.parse({
            **{key: spec[key] for key in ("steps", "metric", "goal", "score")},
            "attempt": "0.0.1", "name": f"{spec['name']}/debug", "params": configuration,
            "seed": spec["seed"] if seed is None else seed, "device": device,
            "threads": threads or len(os.sched_getaffinity(0)),
            "home": folder, "trial_dir": folder, "attempt_dir": folder, "engine": "",
            "resume": [], "checkpoint_every_s": spec["checkpoint_every_s"], "best_known": None,
        })  # fmt: skip
        _say(f"{order.name}  {json.dumps(configuration)}  seed {order.seed}")
        trial = Trial(order, link, data)
        try:
            attempt.train(chosen, trial, order)
        except TrialStopped as stopped:
            _say(str(stopped))
    return link.metrics


def _choose(source: Path, name: str | None) -> Study:
    studies = code.studies_in(code.import_study_file(source))
    if name is None and len(studies) == 1:
        return studies[0]
    names = [study.name for study in studies]
    for study in studies:
        if study.name == name:
            return study
    known = ", ".join(names) or "none"
    if name is None:
        raise StudyFileError(str(source), "", f"name one of its studies: {known}")
    raise StudyFileError(
        str(source), "", f"it has no study named {name!r}{did_you_mean(name, names)} (has: {known})"
    )


def _say(text: str) -> None:
    print(f"smallhours: {text}", flush=True)


def _params(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run a trial as the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(prog="smallhours debug", description=__doc__)
    parser.add_argument("source", type=Path, metavar="STUDY.py")
    parser.add_argument("--study", help="which study, where the file has several")
    parser.add_argument("--params", type=_params, default={}, help="JSON: replaces the baseline's")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    try:
        metrics = run_in_foreground(
            given.source,
            study=given.study,
            params=given.params,
            seed=given.seed,
            device=given.device,
        )
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the user's own code failed: show where
        note.print_error(error, given.source.absolute().parent)
        return 1
    values = "  ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    _say(f"done  {values}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
