"""The multilayer perceptrons of every model here. Paper: Appendix A."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from aae_lib.draws import Source, kept


def perceptron(
    sizes: Sequence[int], *, batch_norm: bool = False, norm_after: bool = False
) -> nn.Sequential:
    """Layers of `sizes[0]` inputs to `sizes[-1]` outputs, each affine then ReLU, the last included.

    Batch normalisation, where asked for, stands between the affine map and the ReLU, or after the ReLU.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
        relu = nn.ReLU(inplace=True)
        layers.append(nn.Linear(inputs, outputs))
        layers += [relu, *norm] if norm_after else [*norm, relu]
    return nn.Sequential(*layers)


class Output(nn.Linear):
    """An affine map with no hidden layer after it: in full precision, where the hidden layers' products may not be.

    What it returns enters a cost. In bfloat16 a softmax would be sure, and its gradient gone, from 0.998 on.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def head(
    inputs: int, outputs: int, *, batch_norm: bool = False, learned: bool = True
) -> nn.Sequential:
    """An affine map to what a network returns, followed by batch normalisation where asked for.

    Unless its scale and shift are `learned`, each number has mean 0 and variance 1 over a mini-batch in training.
    """
    norm = [nn.BatchNorm1d(outputs, affine=learned)] if batch_norm else []
    return nn.Sequential(Output(inputs, outputs), *norm)


def discriminator(inputs: int, hidden: int, layers: int) -> nn.Sequential:
    """`inputs` numbers to one logit of "drawn from the prior". Never batch-normalised."""
    return nn.Sequential(*perceptron([inputs] + [hidden] * layers), Output(hidden, 1))


def dropout(x: Tensor, rate: float, source: Source) -> Tensor:
    """x with each number zeroed with probability `rate`, the rest scaled up to keep the mean."""
    return x * (kept(source, rate, *x.shape) / (1 - rate))


def initialise(module: nn.Module, std: float | None, generator: Generator) -> None:
    """Weights drawn from N(0, std²), biases zero. Paper: A.1. Without `std`: √(2/inputs) of each layer, for ReLU."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            own = math.sqrt(2 / layer.in_features)
            nn.init.normal_(layer.weight, std=own if std is None else std, generator=generator)
            nn.init.zeros_(layer.bias)
