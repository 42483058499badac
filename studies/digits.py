"""A small convolutional network on scikit-learn's digits, written by people it has not seen.

The 1,797 images lie in the order of the people who wrote them. A shuffled split would put each
person's hand into training and test, where every sensible network reaches 99 % and a sweep has
nothing to find. So all splits are blocks of neighbouring rows: the last 450 are the test, three
blocks of 90 are for validation (a single one is too easy), the other 1,077 are for training.
Configurations are compared on the validation blocks alone; the test is looked at once a trial,
after its last epoch.

    smallhours run studies/digits.py
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smallhours import Choice, Float, Study, Trial

EPOCHS = 27
BATCH_SIZE = 64
VALIDATION = ((180, 270), (540, 630), (900, 990))
TEST = (1347, 1797)

study = Study(
    "digits",
    question="How much does tuning gain a small CNN on the digits of people it has not seen?",
    hypothesis="The learning rate decides nearly all of it; dropout is worth less than a point.",
    metric="val_loss",
    goal="minimize",
    space={
        "lr": Float(3e-3, 1.0, log=True),
        "momentum": Choice([0.0, 0.5, 0.9]),
        "channels": Choice([8, 16, 32]),
        "dropout": Float(0.0, 0.5),
        "weight_decay": Float(1e-6, 1e-2, log=True),
    },
    # What people start from without a thought: SGD's usual learning rate and momentum.
    baseline={"lr": 0.01, "momentum": 0.9, "channels": 8, "dropout": 0.0, "weight_decay": 1e-5},
    trials=40,
    steps=EPOCHS,
    stopping="median",
    sampler="tpe",
    seed=0,
    confirm=3,
)


class Part(NamedTuple):
    """Images (n × 1 × 8 × 8, from 0 to 1) and the digits they show."""

    images: Tensor
    labels: Tensor


class Digits(NamedTuple):
    """The three parts of the data."""

    train: Part
    validation: Part
    test: Part


@study.prepare
def prepare() -> Digits:
    """Read the data once, for all trials."""
    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(raw.target)
    in_validation = torch.zeros(len(labels), dtype=torch.bool)
    for start, end in VALIDATION:
        in_validation[start:end] = True
    in_test = torch.zeros_like(in_validation)
    in_test[slice(*TEST)] = True
    masks = (~in_validation & ~in_test, in_validation, in_test)
    return Digits(*(Part(images[mask], labels[mask]) for mask in masks))


def build(channels: int, dropout: float) -> nn.Module:
    """Build the network: two convolutions, each followed by pooling, and one linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(2 * channels * 2 * 2, 10),
    )


def train_epoch(net: nn.Module, optimizer: torch.optim.Optimizer, part: Part) -> None:
    """Go through the part once, in a random order."""
    net.train()
    for batch in torch.randperm(len(part.labels)).split(BATCH_SIZE):
        optimizer.zero_grad()
        cross_entropy(net(part.images[batch]), part.labels[batch]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(net: nn.Module, part: Part) -> tuple[float, float]:
    """Return loss and accuracy."""
    net.eval()
    scores = net(part.images)
    correct = scores.argmax(dim=1) == part.labels
    return cross_entropy(scores, part.labels).item(), correct.float().mean().item()


@study.train
def train(trial: Trial) -> None:
    """Train one configuration."""
    data: Digits = trial.data
    net = build(trial.params["channels"], trial.params["dropout"])
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=trial.params["lr"],
        momentum=trial.params["momentum"],
        weight_decay=trial.params["weight_decay"],
    )
    state = {"net": net, "optimizer": optimizer}
    start = trial.restore(state)
    for epoch in range(start + 1, EPOCHS + 1):
        train_epoch(net, optimizer, data.train)
        loss, accuracy = evaluate(net, data.validation)
        metrics = {"val_loss": loss, "val_acc": accuracy}
        if epoch == EPOCHS:
            metrics["test_acc"] = evaluate(net, data.test)[1]
        trial.report(epoch, **metrics)
        trial.checkpoint(state)
