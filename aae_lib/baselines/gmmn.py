"""The generative moment matching network, with or without an autoencoder, that §2.2 sets beside the AAE."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from aae_lib.config import Experiment
from aae_lib.draws import Source
from aae_lib.model import half_squared_error
from aae_lib.networks import Output, dropout, initialise, perceptron
from aae_lib.phases import Batch, Descent, Each

AUTOENCODER_BATCH = 100
"""Images of one step of the autoencoder; the experiment's mini-batch, which moments need large, holds several."""


class MomentMatchingNetwork(nn.Module):
    """A dropout autoencoder with codes in (0, 1), and a network from noise to such codes. Paper: §2.2, GMMN + AE.

    The prior of the code z is that network's noise; the codes that it makes and the autoencoder's have `code_dim`
    numbers. An experiment without reconstruction has no autoencoder: its codes are the images. `pixels` is the size of
    an image; `classes` plays no part. Li et al. 2015.
    """

    def __init__(self, experiment: Experiment, pixels: int, classes: int, generator: Generator):
        super().__init__()
        e = self.experiment = experiment
        self.prior = e.code("z").prior
        codes, trunk = pixels, [e.hidden] * e.layers
        if e.reconstruction:
            codes = e.code_dim
            self.encoder = perceptron([pixels, *trunk])
            self.head = Output(e.hidden, codes)
            self.decoder = perceptron([codes, *trunk])
            self.output = Output(e.hidden, pixels)
        self.matcher = perceptron([self.prior.dim, *e.matching_layers])
        self.matched = Output(e.matching_layers[-1], codes)
        initialise(self, e.init_std, generator)

    def encode(self, x: Tensor, source: Source | None = None) -> dict[str, Tensor]:
        """Codes (batch, code_dim) of images x (batch, pixels), as {"z": codes}; a `source` adds dropout in training."""
        e = self.experiment
        if not e.reconstruction:
            return {"z": x}
        x = self._drop(x, e.input_dropout, source)
        for layer in self.encoder:
            x = layer(x)
        return {"z": self.head(self._drop(x, e.hidden_dropout, source)).sigmoid()}

    def decode(self, codes: Tensor) -> Tensor:
        """Images (batch, pixels) in [0, 1] of codes (batch, code_dim)."""
        if not self.experiment.reconstruction:
            return codes
        return self.decode_logits(codes).sigmoid()

    def decode_logits(self, codes: Tensor) -> Tensor:
        """The decoder before its sigmoid."""
        return self.output(self.decoder(codes))

    def match(self, n: int, source: Source) -> Tensor:
        """n codes (n, code_dim) that the moment-matching network makes of fresh noise."""
        return self.matched(self.matcher(self.prior.sample(n, source))).sigmoid()

    @torch.no_grad()
    def sample(self, n: int, source: Source) -> Tensor:
        """(n, pixels) images in [0, 1]: the network's codes, decoded."""
        return self.decode(self.match(n, source))

    def parameters_of(self, phase: str) -> dict[str, nn.Parameter]:
        """The parameters that `phase` may change: the autoencoder's in `reconstruction`, no others in `matching`."""
        owners = {
            "reconstruction": ("encoder.", "head.", "decoder.", "output."),
            "matching": ("matcher.", "matched."),
        }
        return {n: p for n, p in self.named_parameters() if n.startswith(owners[phase])}

    def _drop(self, x: Tensor, rate: float, source: Source | None) -> Tensor:
        return dropout(x, rate, source) if rate and source is not None and self.training else x


def step(each: Each, descent: Descent, batch: Batch, source: Source) -> dict[str, Tensor]:
    """One iteration on one mini-batch; returns the cost of the stage that it belongs to, detached. Paper: §2.2.

    In pretraining, steps of the autoencoder on the parts of the mini-batch; after it, when nothing moves the
    autoencoder any more, one step of the moment-matching network.
    """
    if not descent.pretraining:
        cost = each(matching_cost, batch.x, source)
        descent.step("matching", cost)
        return {"mmd": cost.detach()}
    costs = []
    for part in batch.x.split(AUTOENCODER_BATCH, dim=-2):
        cost = each(reconstruction_cost, part, source)
        descent.step("reconstruction", cost)
        costs.append(cost.detach())
    return {"reconstruction": torch.stack(costs).mean(0)}


def reconstruction_cost(model: MomentMatchingNetwork, x: Tensor, source: Source) -> Tensor:
    """The dropout autoencoder's cost: the target is the whole image."""
    logits = model.decode_logits(model.encode(x, source)["z"])
    if model.experiment.likelihood == "bernoulli":
        return binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return half_squared_error(logits.sigmoid(), x)


def matching_cost(model: MomentMatchingNetwork, x: Tensor, source: Source) -> Tensor:
    """MMD between codes of images and as many of the network's. Li et al. 2015: the root of the biased estimate.

    The biased estimate is a squared norm and has a root; the unbiased one may be below zero.
    """
    with torch.no_grad():
        codes = model.encode(x)["z"]
    made = model.match(len(x), source)
    with torch.autocast(x.device.type, enabled=False):  # distances are differences of large numbers
        squared = squared_mmd(made, codes, model.experiment.bandwidths, biased=True)
    return squared.clamp(min=1e-12).sqrt()  # rounding may leave it below 0


def squared_mmd(
    x: Tensor, y: Tensor, bandwidths: Sequence[float], *, biased: bool = False
) -> Tensor:
    """Squared maximum mean discrepancy of samples x (n, d) and y (m, d), 0 on average if they are of one distribution.

    E k(x, x′) − 2 E k(x, y) + E k(y, y′). Unbiased, the pairs x, x′ are of two different rows; biased, of any two:
    it then is the squared distance of the samples' mean features, never below 0. Gretton et al. 2012; Paper: §2.2.
    """
    within = [kernel(z, z, bandwidths) for z in (x, y)]
    if biased:
        means = [k.mean() for k in within]
    else:  # k(z, z) = 1 for each bandwidth
        means = [(k.sum() - len(k) * len(bandwidths)) / (len(k) * (len(k) - 1)) for k in within]
    return sum(means) - 2 * kernel(x, y, bandwidths).mean()


def kernel(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Σ over bandwidths σ of exp(−‖x − y‖² / 2σ) of all pairs of rows x (n, d) and y (m, d), shape (n, m).

    As in Li et al. 2015, a bandwidth is a variance.
    """
    distances = x.square().sum(1)[:, None] - 2 * x @ y.T + y.square().sum(1)
    return sum((distances / (-2 * bandwidth)).exp() for bandwidth in bandwidths)
