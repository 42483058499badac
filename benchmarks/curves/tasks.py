"""The tasks of the curve tables: real data, and a search space as a user would write it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from stacked import Config, Task
from torch import Tensor

CONFIGS = 400
_LR = {"sgd": (3e-3, 3.0), "adam": (1e-4, 1e-1)}
_SCHEDULES = ("constant", "cosine", "step", "1cycle")
_MOMENTA = (0.0, 0.5, 0.9, 0.95, 0.99)


def _draw(seed: int, widths: tuple[int, ...], batches: tuple[int, ...]) -> tuple[Config, ...]:
    rng = random.Random(seed)

    def log_uniform(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    def config() -> Config:
        optimizer = rng.choice(("sgd", "adam"))
        return Config(
            width=rng.choice(widths),
            batch=rng.choice(batches),
            optimizer=optimizer,
            lr=log_uniform(*_LR[optimizer]),
            schedule=rng.choice(_SCHEDULES),
            momentum=rng.choice(_MOMENTA),
            weight_decay=log_uniform(1e-6, 1e-1),
            dropout=rng.uniform(0.0, 0.6),
        )

    return tuple(config() for _ in range(CONFIGS))


def _split(inputs: np.ndarray, targets: np.ndarray, at: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return training and validation blocks, inputs standardised by the training block."""
    mean, spread = inputs[:at].mean(), inputs[:at].std()
    x = torch.tensor((inputs - mean) / spread, dtype=torch.float32)
    y = torch.tensor(targets)
    return (x[:at], y[:at]), (x[at:], y[at:])


def _mnist1d(**changes: object) -> tuple[np.ndarray, np.ndarray]:
    """Return 2,000 + 1,000 samples of MNIST-1D, made on the spot."""
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples, arguments.train_split = 3000, 1.0
    for name, value in changes.items():
        setattr(arguments, name, value)
    made = make_dataset(arguments)
    return made["x"].astype(np.float32), made["y"].astype(np.int64)


def mnist1d_mlp() -> Task:
    """MNIST-1D, a perceptron with two hidden layers."""
    blocks = _split(*_mnist1d(), 2000)
    return Task(
        "mnist1d-mlp", *blocks, "accuracy", 10, 2, _draw(1, (16, 32, 64), (16, 32, 64, 128))
    )


def mnist1d_conv() -> Task:
    """A noisier MNIST-1D, a convolution of width 8 and stride 4 before a hidden layer."""
    x, y = _mnist1d(iid_noise_scale=0.1, corr_noise_scale=0.4, seed=7)
    windows = np.lib.stride_tricks.sliding_window_view(x, 8, axis=1)[:, ::4]
    blocks = _split(np.ascontiguousarray(windows), y, 2000)
    return Task("mnist1d-conv", *blocks, "accuracy", 10, 1, _draw(2, (8, 16, 24), (32, 64, 128)))


def digits_conv() -> Task:
    """Digits of people that the network has not seen, a 4 x 4 convolution of stride 2 first."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(images, (4, 4), axis=(1, 2))[:, ::2, ::2]
    blocks = _split(windows.reshape(len(images), 9, 16), labels, 1077)
    return Task("digits-conv", *blocks, "accuracy", 10, 1, _draw(3, (4, 8, 16), (16, 32, 64, 128)))


def cancer_mlp() -> Task:
    """Breast cancer, validation log loss: a small block, and networks that overfit."""
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    blocks = _split(x, y.astype(np.float32), 341)
    return Task("cancer-mlp", *blocks, "logloss", 1, 2, _draw(4, (8, 16, 32), (8, 16, 32)))


def diabetes_mlp() -> Task:
    """Diabetes, root mean squared error of the standardised progression: mostly noise."""
    x, y = load_diabetes(return_X_y=True)
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    blocks = _split(x.astype(np.float32), y, 282)
    return Task("diabetes-mlp", *blocks, "rmse", 1, 2, _draw(5, (8, 16, 32), (8, 16, 32)))


TASKS: dict[str, Callable[[], Task]] = {
    "mnist1d-mlp": mnist1d_mlp,
    "mnist1d-conv": mnist1d_conv,
    "digits-conv": digits_conv,
    "cancer-mlp": cancer_mlp,
    "diabetes-mlp": diabetes_mlp,
}
