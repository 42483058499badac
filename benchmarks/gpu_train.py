"""What is trained in `gpu.py`, by us and by the peers: three nets on tensors made up on the spot.

The two small nets leave most of a GPU idle between their kernels; the saturating one fills it with
large matrix products in full precision.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

KINDS = ("mlp", "cnn", "saturating")
LEARNING_RATES = (1e-4, 1e-2)
CLASSES = 10


class Trial(Protocol):
    """What is used of a `smallhours.Trial`."""

    params: dict[str, Any]
    device: str

    def restore(self, state: dict[str, Any]) -> int: ...

    def report(self, step: int, **metrics: float) -> None: ...

    def checkpoint(self, state: dict[str, Any]) -> None: ...


def _mlp(tiny: bool) -> tuple[nn.Module, tuple[int, ...], int]:
    width = 16 if tiny else 128
    layers = (nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(width, CLASSES)), (64,), 256


def _cnn(tiny: bool) -> tuple[nn.Module, tuple[int, ...], int]:
    side, channels = (8, 4) if tiny else (28, 16)
    layers = (
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
    )  # fmt: skip
    return nn.Sequential(*layers, nn.Linear(32 * channels, CLASSES)), (1, side, side), 64


def _saturating(tiny: bool) -> tuple[nn.Module, tuple[int, ...], int]:
    width, batch = (64, 128) if tiny else (4096, 8192)
    layers = [layer for _ in range(3) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES)), (width,), batch


#: By the kind: a net, the shape of an example, how many examples make a batch.
_MAKERS = {"mlp": _mlp, "cnn": _cnn, "saturating": _saturating}


class Training:
    """A net with its optimizer and data, on a device."""

    def __init__(self, kind: str, device: str, rate: float, *, tiny: bool) -> None:
        net, shape, self._batch = _MAKERS[kind](tiny)
        self.net = net.to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=rate, momentum=0.9)
        examples = self._batch * (1 if kind == "saturating" else 16)
        self._inputs = torch.randn(examples, *shape, device=device)
        self._labels = torch.randint(CLASSES, (examples,), device=device)

    def run(self, batches: int) -> float:
        """Train on so many batches; returns the last one's loss, once the device has it."""
        loss = torch.zeros(())
        for number in range(batches):
            start = number * self._batch % len(self._inputs)
            rows = slice(start, start + self._batch)
            loss = nn.functional.cross_entropy(self.net(self._inputs[rows]), self._labels[rows])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return loss.item()


def train(trial: Trial, kind: str, steps: int, batches: int, *, tiny: bool) -> None:
    """Train for so many steps of so many batches, with a report and a checkpoint after each."""
    training = Training(kind, trial.device, trial.params["lr"], tiny=tiny)
    state = {"net": training.net, "optimizer": training.optimizer}
    for step in range(trial.restore(state) + 1, steps + 1):
        trial.report(step, loss=training.run(batches))
        trial.checkpoint(state)
