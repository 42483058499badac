"""What others do with the same work: one peer a process, so that none warms another up.

    python benchmarks/peers.py PEER --trials N [--stopping] --times DIRECTORY

Every epoch's end is noted in DIRECTORY (a file a process), by the same code for all peers.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import task

PROCESSES = 2


class Note:
    """Writes down when each epoch of this process ended."""

    def __init__(self, directory: str) -> None:
        path = Path(directory, f"{os.getpid()}.txt")
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self) -> None:
        os.write(self._fd, f"{time.time()}\n".encode())


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


# --- the bare loop -------------------------------------------------------------------------------


def _bare(share: range, stopping: bool, times: str) -> None:
    """Random search over a share of the trials, with a median rule over this process's own."""
    _one_thread()
    note, data = Note(times), task.load()
    completed: list[list[float]] = []
    for seed in share:
        curve: list[float] = []
        for step, value in task.epochs(task.draw(random.Random(seed)), seed, data):
            curve.append(value)
            note()
            ready = len(completed) >= task.STARTUP_TRIALS and step > task.WARMUP_STEPS
            if (
                stopping
                and ready
                and min(curve) > statistics.median(c[step - 1] for c in completed)
            ):
                break
        else:
            completed.append(curve)


def bare(trials: int, *, stopping: bool, times: str) -> None:
    """Run two processes that share nothing: what the machine can do."""
    spawn = get_context("spawn")
    shares = [range(first, trials, PROCESSES) for first in range(PROCESSES)]
    processes = [spawn.Process(target=_bare, args=(share, stopping, times)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


# --- Optuna --------------------------------------------------------------------------------------


def _optuna(storage: str, trials: int, stopping: bool, times: str) -> None:
    import optuna

    _one_thread()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    note, data = Note(times), task.load()

    def objective(trial: optuna.Trial) -> float:
        params = {
            "lr": trial.suggest_float("lr", *task.LR, log=True),
            "dropout": trial.suggest_float("dropout", *task.DROPOUT),
            "momentum": trial.suggest_categorical("momentum", task.MOMENTUM),
        }
        value = float("inf")
        for step, value in task.epochs(params, trial.number, data):
            note()
            trial.report(value, step)
            if stopping and trial.should_prune():
                raise optuna.TrialPruned
        return value

    # Its steps below n_warmup_steps are spared; ours up to and with WARMUP_STEPS.
    pruner = optuna.pruners.MedianPruner(task.STARTUP_TRIALS, task.WARMUP_STEPS + 1)
    sampler = optuna.samplers.TPESampler(constant_liar=True)
    study = optuna.load_study(study_name="bench", storage=storage, sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=trials // PROCESSES)


def optuna_sqlite(trials: int, *, stopping: bool, times: str) -> None:
    """Run Optuna as its manual says for two processes: one SQLite file, one study."""
    import optuna

    with tempfile.TemporaryDirectory() as place:
        storage = f"sqlite:///{place}/study.db"
        optuna.create_study(study_name="bench", storage=storage, direction="minimize")
        spawn = get_context("spawn")
        processes = [
            spawn.Process(target=_optuna, args=(storage, trials, stopping, times))
            for _ in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


# --- Ray Tune ------------------------------------------------------------------------------------


def _space() -> dict[str, Any]:
    from ray import tune

    return {
        "lr": tune.loguniform(*task.LR),
        "dropout": tune.uniform(*task.DROPOUT),
        "momentum": tune.choice(task.MOMENTUM),
    }


def _tune(trainable: Any, trials: int, *, stopping: bool, reuse: bool) -> None:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    here = str(Path(__file__).parent)
    ray.init(
        num_cpus=PROCESSES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    # Its median rule pauses trials while it has few samples, and they begin again at epoch 1: 234
    # epochs were run where 144 were due. ASHA is what most people give it anyway.
    asha = ASHAScheduler(
        time_attr="training_iteration", max_t=task.EPOCHS, grace_period=3, reduction_factor=3
    )
    with tempfile.TemporaryDirectory() as place:
        tuner = tune.Tuner(
            trainable,
            param_space=_space(),
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=trials,
                search_alg=OptunaSearch(),
                scheduler=asha if stopping else None,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                storage_path=place,
                verbose=0,
                stop={"training_iteration": task.EPOCHS},
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    ray.shutdown()


def tune_reuse(trials: int, *, stopping: bool, times: str) -> None:
    """Run Ray Tune at its best: actors reused (trials share a process), loggers off."""
    os.environ.update(
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        TUNE_GLOBAL_CHECKPOINT_S="3600",
        TUNE_MAX_PENDING_TRIALS_PG=str(PROCESSES),
    )
    from ray import tune

    class Reused(tune.Trainable):  # type: ignore[misc]
        """The task as a class, which alone can be reused."""

        def setup(self, config: dict[str, Any]) -> None:
            _one_thread()
            self.note, self.data = Note(times), task.load()
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.training = task.Training(new_config, 0, self.data)
            return True

        def step(self) -> dict[str, float]:
            value = self.training.epoch()
            self.note()
            return {"val_loss": value}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, float]:
            return {}

    _tune(Reused, trials, stopping=stopping, reuse=True)


def tune_default(trials: int, *, stopping: bool, times: str) -> None:
    """Run Ray Tune as its first example shows it: a function, everything else left alone."""
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        _one_thread()
        note, data = Note(times), task.load()
        for _, value in task.epochs(config, 0, data):
            note()
            tune.report({"val_loss": value})

    _tune(train, trials, stopping=stopping, reuse=False)


PEERS: dict[str, Callable[..., None]] = {
    "bare": bare,
    "optuna": optuna_sqlite,
    "tune-reuse": tune_reuse,
    "tune": tune_default,
}


def main() -> None:
    """Run the peer that the command line names."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--stopping", action="store_true")
    parser.add_argument("--times", required=True, help="directory for the times of all epochs")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    PEERS[given.peer](given.trials, stopping=given.stopping, times=given.times)


if __name__ == "__main__":
    main()
