"""Runs one attempt in a process that is its own: set up, train, say how it ended."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from smallhours.study import Study
from smallhours.worker import code, note, usage
from smallhours.worker.checkpoint import seed_all
from smallhours.worker.limits import DUMP_SIGNAL, born, loaded
from smallhours.worker.link import EngineLink, LinkLostError
from smallhours.worker.order import Order
from smallhours.worker.trial import ReportError, Trial, TrialStopped

#: The death note's name in the attempt's directory.
NOTE = "note.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which study a zygote serves; see docs/internals.md."""

    study: str
    module: str
    source: Path
    snapshot: Path
    cwd: Path

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Config:
        """Read it from JSON data."""
        return cls(
            study=data["study"],
            module=data["module"],
            source=Path(data["source"]),
            snapshot=Path(data["snapshot"]),
            cwd=Path(data["cwd"]),
        )

    @property
    def folder(self) -> Path:
        """The study's folder, where the user wrote it."""
        return self.source.parent


class LoadError(Exception):
    """The study's code could not be loaded or prepared; carries the note and the log's text."""

    def __init__(self, error: BaseException, folder: Path, phase: note.Phase) -> None:
        super().__init__(phase)
        self.note = note.describe(error, folder, phase)
        self.text = note.for_people(error, folder)


def load_study(config: Config) -> tuple[Study, object]:
    """Import the study from its snapshot and run its ``prepare``.

    Returns:
        The study, and what ``prepare`` returned (None where there is none).

    Raises:
        LoadError: the user's code failed.
    """
    phase: note.Phase = "load"
    try:
        code.put_first(config.folder)
        os.chdir(config.cwd)
        code.use_snapshot(config.folder, config.snapshot)
        module = code.import_study_file(config.source)
        study = code.study_named(module, config.source, config.study)
        phase = "prepare"
        data = study.prepare_function() if study.prepare_function is not None else None
    except BaseException as error:  # noqa: BLE001 - SystemExit at import is a failure as well
        raise LoadError(error, config.folder, phase) from None
    return study, data


def redirect(attempt_dir: Path) -> None:
    """Send everything that is printed to the attempt's log, and stacks to its fault file."""
    attempt_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(attempt_dir / "log.txt", flags, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    _watch_faults((attempt_dir / "fault.txt").open("ab"))
    note.reserve(attempt_dir / NOTE)


def _watch_faults(file: IO[bytes]) -> None:
    """Have stacks written on fatal signals and on request; the file must stay open."""
    global _fault_file  # noqa: PLW0603 - faulthandler holds the descriptor, not the file
    _fault_file = file
    faulthandler.enable(file, all_threads=True)
    faulthandler.register(DUMP_SIGNAL, file, all_threads=True, chain=False)


_fault_file: IO[bytes] | None = None


def connect(order: Order) -> EngineLink:
    """Open the line to the engine and say who this is."""
    link = EngineLink(order.engine)
    link.send({"t": "hello", "a": order.attempt, "pid": os.getpid(), "born": born()})
    return link


def run(study: Study, data: object, order: Order, link: EngineLink, folder: Path) -> int:
    """Train the trial; returns the exit code of its process."""
    trial = Trial(order, link, data)
    signal.signal(signal.SIGTERM, trial.on_sigterm)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        train(study, trial, order)
    except TrialStopped:
        pass  # its end was decided before, or it is past its last step
    except BaseException as error:  # noqa: BLE001 - it is told in the death note
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        death = note.describe(error, folder, "train")
        status = fail(death, note.for_people(error, folder), order)
        trial.measure()
        return status
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    trial.measure()
    if trial.finished or not trial.stopped:
        try:
            link.send({"t": "done"})
        except LinkLostError:
            return 1
    note.release(order.attempt_dir / NOTE)
    return 0


def train(study: Study, trial: Trial, order: Order) -> None:
    """Seed everything and call the training function.

    Raises:
        ReportError: it returned without ever reporting.
        BaseException: what it raised, but for an exit that means success.
    """
    torch = loaded("torch")
    if torch is not None:
        torch.set_num_threads(order.threads)
    seed_all(order.seed)
    usage.cap(order.device, order.memory_bytes)
    assert study.train_function is not None
    try:
        study.train_function(trial)
    except SystemExit as leave:
        if leave.code not in {None, 0}:
            raise
    if not trial.reported and not trial.stopped:
        raise ReportError(
            f"the training function returned and never reported {order.metric!r}: call"
            " trial.report(step, ...) after every step"
        )


def fail(death: note.Note, text: str, order: Order) -> int:
    """Write the death note and the log's last words; returns the exit code."""
    print(text, end="", file=sys.stderr, flush=True)
    note.write(death, order.attempt_dir / NOTE)
    return 1


def leave(status: int) -> NoReturn:
    """End the process at once: what it inherited from its zygote is not its to clean up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed, full, or replaced by the user's code
    os._exit(status)
