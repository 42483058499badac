"""Training many small networks at once: their weights stacked, one batched product a layer.

Networks of a stack have the same shapes, batch size and kind of optimizer; everything else differs
from one to the next: learning rate, its schedule, momentum, weight decay, dropout, initial weights,
the order of the samples. One that diverges doesn't touch the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

#: Adam's decay rates; momentum is SGD's only.
_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class Config:
    """One configuration, as a user's search would have drawn it."""

    width: int
    batch: int
    optimizer: str
    lr: float
    schedule: str
    momentum: float
    weight_decay: float
    dropout: float

    def lr_at(self, progress: float) -> float:
        """Return the learning rate after this share of the whole training."""
        match self.schedule:
            case "constant":
                return self.lr
            case "cosine":
                return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
            case "step":
                return self.lr * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
            case "1cycle":
                rising = 0.3
                if progress < rising:
                    return self.lr * (0.04 + 0.96 * progress / rising)
                share = (progress - rising) / (1 - rising)
                return self.lr * (1e-4 + 0.5 * (1 + math.cos(math.pi * share)))
        raise ValueError(f"no schedule is called {self.schedule!r}")


class Task(NamedTuple):
    """Data, network and metric of one table."""

    name: str
    #: Training and validation: samples first, then features, or positions and a patch at each.
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    #: "accuracy" (of classes), "logloss" (of two classes) or "rmse" (of a standardised number).
    metric: str
    outputs: int
    hidden_layers: int
    configs: tuple[Config, ...]

    @property
    def goal(self) -> str:
        return "maximize" if self.metric == "accuracy" else "minimize"


def train(
    task: Task, configs: Sequence[Config], steps: int, seed: int, tick: Callable[[], None]
) -> Tensor:
    """Train one network for each configuration; return the validation metric [configs, steps]."""
    torch.set_flush_denormal(True)
    rng = torch.Generator().manual_seed(seed)
    net = _Net(task, configs, rng)
    optimizer = _Optimizer(net.weights, configs)
    inputs, targets = task.train
    batch, count = configs[0].batch, len(targets)
    updates = count // batch
    curves = torch.empty(len(configs), steps)
    for step in range(steps):
        order = torch.rand(len(configs), count, generator=rng).argsort(dim=1)
        for update in range(updates):
            chosen = order[:, update * batch : (update + 1) * batch]
            outputs = net(inputs[chosen], rng)
            gradients = torch.autograd.grad(
                _loss(task.metric, outputs, targets[chosen]).sum(), net.weights
            )
            optimizer.step(gradients, (step + update / updates) / steps)
        curves[:, step] = _validate(task, net)
        tick()
    return curves


class _Net:
    """A stack of perceptrons, with one convolution before where the input comes in patches."""

    def __init__(self, task: Task, configs: Sequence[Config], rng: torch.Generator) -> None:
        self._stack, width = len(configs), configs[0].width
        self._keep = 1 - torch.tensor([config.dropout for config in configs]).view(-1, 1, 1)
        shape = task.train[0].shape[1:]
        self._patches = len(shape) == 2
        layers = [(shape[-1], width)] if self._patches else []
        features = shape[0] * width if self._patches else shape[0]
        hidden = [2 * width if self._patches else width] * task.hidden_layers
        layers += list(zip([features, *hidden], [*hidden, task.outputs], strict=True))
        self.weights = [weight for size in layers for weight in self._layer(*size, rng)]

    def _layer(self, fan_in: int, fan_out: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        bound = 1 / math.sqrt(fan_in)
        weight = torch.empty(self._stack, fan_in, fan_out).uniform_(-bound, bound, generator=rng)
        bias = torch.empty(self._stack, 1, fan_out).uniform_(-bound, bound, generator=rng)
        return weight.requires_grad_(), bias.requires_grad_()

    def __call__(self, inputs: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the outputs [stack, samples, outputs]; with dropout if `rng` is given."""
        layers = iter(list(zip(self.weights[::2], self.weights[1::2], strict=True)))
        value = inputs
        if self._patches:
            stack, samples, _, patch = inputs.shape
            weight, bias = next(layers)
            value = torch.baddbmm(bias, inputs.reshape(stack, -1, patch), weight).relu()
            value = value.view(stack, samples, -1)
        weight, bias = next(layers)
        for following, offset in layers:
            value = torch.baddbmm(bias, value, weight).relu()
            if rng is not None:
                kept = torch.rand(value.shape, generator=rng) < self._keep
                value = value * (kept / self._keep)
            weight, bias = following, offset
        return torch.baddbmm(bias, value, weight)


class _Optimizer:
    """SGD with momentum, or AdamW, with settings of its own for each network of the stack."""

    def __init__(self, weights: Sequence[Tensor], configs: Sequence[Config]) -> None:
        self._weights = weights
        self._configs = configs
        self._adam = configs[0].optimizer == "adam"
        self._decay = torch.tensor([config.weight_decay for config in configs]).view(-1, 1, 1)
        self._momentum = torch.tensor([config.momentum for config in configs]).view(-1, 1, 1)
        self._first = [torch.zeros_like(weight) for weight in weights]
        self._second = [torch.zeros_like(weight) for weight in weights] if self._adam else []
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], progress: float) -> None:
        """Change the weights."""
        self._steps += 1
        lr = torch.tensor([config.lr_at(progress) for config in self._configs]).view(-1, 1, 1)
        for index, (weight, gradient) in enumerate(zip(self._weights, gradients, strict=True)):
            first = self._first[index]
            if not self._adam:
                first.mul_(self._momentum).add_(gradient + self._decay * weight)
                weight.sub_(lr * first)
                continue
            second = self._second[index]
            first.mul_(_BETAS[0]).add_(gradient, alpha=1 - _BETAS[0])
            second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            scale = (second / (1 - _BETAS[1] ** self._steps)).sqrt_().add_(1e-8)
            weight.sub_(
                lr * (first / (1 - _BETAS[0] ** self._steps) / scale + self._decay * weight)
            )


def _loss(metric: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return each network's mean loss [stack]."""
    match metric:
        case "accuracy":
            flat = cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
        case "logloss":
            flat = binary_cross_entropy_with_logits(
                outputs.flatten(), targets.flatten(), reduction="none"
            )
        case _:
            flat = mse_loss(outputs.flatten(), targets.flatten(), reduction="none")
    return flat.view(len(outputs), -1).mean(1)


@torch.no_grad()
def _validate(task: Task, net: _Net) -> Tensor:
    """Return each network's validation metric [stack]."""
    inputs, targets = task.validation
    stack = len(net.weights[0])
    outputs = net(inputs.expand(stack, *inputs.shape))
    if task.metric == "accuracy":
        return (outputs.argmax(2) == targets).float().mean(1)
    loss = _loss(task.metric, outputs, targets.expand(stack, *targets.shape))
    return loss.sqrt() if task.metric == "rmse" else loss
