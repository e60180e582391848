"""The generative adversarial network that §2.2 and Table 1 set beside the adversarial autoencoder."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from aae_lib.config import Experiment
from aae_lib.draws import Source
from aae_lib.networks import Output, dropout, initialise, perceptron
from aae_lib.phases import Batch, Descent, Each, discriminator_loss, generator_loss

PIECES = 5
"""Affine maps of which a maxout unit takes the largest, as in the published configuration of Goodfellow et al."""


class GenerativeAdversarialNetwork(nn.Module):
    """Generator and discriminator, the adversary at the pixels. Paper: §2.2, Table 1; Goodfellow et al. 2014.

    The prior of the code z is the generator's noise. `pixels` is the size of an image; `classes` plays no part.
    """

    def __init__(self, experiment: Experiment, pixels: int, classes: int, generator: Generator):
        super().__init__()
        e = self.experiment = experiment
        self.prior = e.code("z").prior
        widths = [self.prior.dim, *[e.hidden] * e.layers]
        self.generator = perceptron(widths, batch_norm=e.batch_norm != "none")
        self.output = Output(e.hidden, pixels)
        units = e.hidden // PIECES
        widths = [pixels, *[units] * e.layers]
        self.discriminator = nn.ModuleList(Maxout(inputs, units) for inputs in widths[:-1])
        self.discriminator.append(Output(units, 1))
        initialise(self, e.init_std, generator)

    def generate(self, n: int, source: Source) -> Tensor:
        """n images (n, pixels) in [0, 1] of fresh noise."""
        return self.output(self.generator(self.prior.sample(n, source))).sigmoid()

    def discriminate(self, x: Tensor, source: Source | None = None) -> Tensor:
        """Logits (batch,) that images x (batch, pixels) are data; in training with dropout before each layer."""
        e = self.experiment
        for i, layer in enumerate(self.discriminator):
            rate = e.hidden_dropout if i else e.input_dropout
            if rate and self.training:
                x = dropout(x, rate, source)
            x = layer(x)
        return x[:, 0]

    @torch.no_grad()
    def sample(self, n: int, source: Source) -> Tensor:
        """(n, pixels) images in [0, 1], with batch statistics frozen."""
        self.eval()
        return self.generate(n, source)

    def parameters_of(self, phase: str) -> dict[str, nn.Parameter]:
        """The parameters that `phase` may change: those of the `discriminator`, or those of the `generator`."""
        owners = {"discriminator": ("discriminator.",), "generator": ("generator.", "output.")}
        return {n: p for n, p in self.named_parameters() if n.startswith(owners[phase])}


class Maxout(nn.Module):
    """`outputs` units, each the largest of PIECES affine maps."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.maps = nn.Linear(inputs, outputs * PIECES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs)."""
        return self.maps(x).unflatten(1, (-1, PIECES)).amax(2)


def step(each: Each, descent: Descent, batch: Batch, source: Source) -> dict[str, Tensor]:
    """One iteration: the discriminator's step, then the generator's, on one mini-batch; returns the costs, detached.

    The generator does not move in between: the images that it made serve both steps.
    """
    fake = each(generate, batch.x.shape[-2], source)
    d = each(discriminator_cost, batch.x, fake.detach(), source)
    descent.step("discriminator", d)
    g = each(generator_cost, fake, source)
    descent.step("generator", g)
    return {"discriminator": d.detach(), "generator": g.detach()}


def generate(model: GenerativeAdversarialNetwork, n: int, source: Source) -> Tensor:
    """Images (n, pixels), with the generator's gradient."""
    return model.generate(n, source)


def discriminator_cost(
    model: GenerativeAdversarialNetwork, real: Tensor, fake: Tensor, source: Source
) -> Tensor:
    """−E[log D(x)] − E[log(1 − D(G(z)))], both halves in one pass."""
    logits = model.discriminate(torch.cat((real, fake)), source)
    return discriminator_loss(*logits.chunk(2))


def generator_cost(model: GenerativeAdversarialNetwork, fake: Tensor, source: Source) -> Tensor:
    """−E[log D(G(z))]: Goodfellow et al., §3, in place of the minimax form that gives no gradient at first."""
    return generator_loss(model.discriminate(fake, source))
