"""The variational autoencoder that §2.1 sets beside the adversarial one, with the same networks."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from aae_lib.draws import Source, normal
from aae_lib.model import AdversarialAutoencoder, half_squared_error
from aae_lib.priors import Gaussian, Prior


class VariationalAutoencoder(AdversarialAutoencoder):
    """Encoder and decoder of an experiment with a Gaussian posterior, trained on the bound of eq. 2.

    It is the adversarial autoencoder without its discriminators: the KL divergence stands in their place,
    in closed form for a Gaussian prior and by Monte Carlo for any other, which must then have a density.
    """

    def reconstruction_costs(
        self, x: Tensor, target: Tensor, label: Tensor, source: Source
    ) -> dict[str, Tensor]:
        """The two parts of the negative bound in nats, batch means. Paper: §2.1, eq. 2."""
        prior = self.experiment.code("z").prior
        mean, log_variance = self.heads["z"](self.features(x, source)).chunk(2, 1)
        epsilon = normal(source, *mean.shape)
        z = mean + (0.5 * log_variance).exp() * epsilon
        logits = self.decode_logits(self.combine({"z": z}, label))
        return {
            "reconstruction": self._negative_log_likelihood(logits, target),
            "kl": kl_divergence(mean, log_variance, epsilon, prior),
        }

    def _negative_log_likelihood(self, logits: Tensor, target: Tensor) -> Tensor:
        """−log p(x|z) summed over pixels, mean over the batch, without constants."""
        if self.experiment.likelihood == "bernoulli":
            return binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(target)
        return half_squared_error(self.activate(logits), target)


def kl_divergence(mean: Tensor, log_variance: Tensor, epsilon: Tensor, prior: Prior) -> Tensor:
    """KL(q(z|x) ‖ p(z)) in nats, batch mean, of q = N(mean, diag exp(log_variance)), all (batch, dim).

    Exact for a Gaussian prior. For another, the one-sample estimate at z = mean + σ·epsilon of
    log q(z|x) − log p(z), with the entropy of q exact, as in the third line of eq. 2.
    """
    if isinstance(prior, Gaussian):
        variance = prior.std**2
        terms = (
            (mean.square() + log_variance.exp()) / variance - 1 - log_variance + math.log(variance)
        )
        return 0.5 * terms.sum(1).mean()
    z = mean + (0.5 * log_variance).exp() * epsilon
    entropy = 0.5 * (log_variance + math.log(2 * math.pi * math.e)).sum(1)
    return (-entropy - prior.log_prob(z)).mean()
